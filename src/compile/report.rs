//! What is said of each object: conditions from closed sets, with what, where and what to do.
//!
//! The same words stand in `trunkline check`, in the log, and in status and events. A reason belongs
//! to exactly one condition, so a [`Problem`] needs no more than its reason to know what it makes
//! false.

use super::source::Source;
use crate::table::ObjectId;

/// Which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The specification is sound, and its names are its own.
    Accepted,
    /// What it refers to was found and may be used.
    ResolvedRefs,
    /// Every target of a route can do what the route requires.
    TargetsCapable,
    /// The price of every target of a route is known. Nothing is wrong with a route where it is not,
    /// but its cost cannot be said.
    Priced,
    /// It serves.
    Ready,
}

impl ConditionType {
    /// Every condition, in the order of a status.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::ResolvedRefs, Self::TargetsCapable, Self::Priced, Self::Ready];

    /// The word in `status.conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::TargetsCapable => "TargetsCapable",
            Self::Priced => "Priced",
            Self::Ready => "Ready",
        }
    }

    /// The reason when nothing is wrong.
    const fn well(self) -> Reason {
        match self {
            Self::Accepted => Reason::Accepted,
            Self::ResolvedRefs => Reason::ResolvedRefs,
            Self::TargetsCapable => Reason::TargetsCapable,
            Self::Priced => Reason::Priced,
            Self::Ready => Reason::Ready,
        }
    }
}

/// Why a condition is as it is. Part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The specification is sound.
    Accepted,
    /// Another object of the same kind and name counts instead.
    Duplicate,
    /// The endpoint is private, unencrypted or foreign, and keys do not go there.
    EndpointNotAllowed,
    /// A value is not what it must be.
    Invalid,
    /// Another route owns the model name.
    NameTaken,
    /// The kind has no such field.
    UnknownField,
    /// The file is neither YAML nor JSON, or cannot be read.
    Unreadable,
    /// A value is none of those that there are.
    UnsupportedValue,

    /// Everything that it refers to was found.
    ResolvedRefs,
    /// An `EndpointSlice` names an address that is never connected to.
    AddressNotAllowed,
    /// There is no such `ConfigMap`.
    ConfigMapNotFound,
    /// There is no such consumer.
    ConsumerNotFound,
    /// There is no such credential.
    CredentialNotFound,
    /// The credential is there, and was not accepted or has nothing to connect with.
    CredentialNotReady,
    /// Keys may not come from the environment of this process.
    EnvironmentNotAllowed,
    /// The `Secret` or `ConfigMap` has no such key.
    KeyNotFound,
    /// The key belongs to another consumer.
    KeyTaken,
    /// The key is there and cannot be used.
    KeyUnusable,
    /// No pod of the Service has such a port.
    PortNotFound,
    /// The credential's owner does not allow it, or there is none: which of the two is not told.
    RefNotPermitted,
    /// This process has no right to read the `Secret`, `ConfigMap` or `EndpointSlice`.
    RefNotReadable,
    /// There is no such Secret.
    SecretNotFound,
    /// The environment variable is not set.
    VariableNotSet,

    /// No target is known to lack what the route requires.
    TargetsCapable,
    /// A target's model is known to lack what the route requires.
    Incapable,

    /// The price of every target is known.
    Priced,
    /// Nobody has said what a target's model costs.
    PriceUnknown,

    /// All of it serves.
    Ready,
    /// It serves with fewer targets, keys or names than it asks for.
    Degraded,
    /// An earlier version of it serves.
    LastGood,
    /// No pod of a Service is ready: requests wait for one, or go to other targets.
    NoReadyPod,
    /// No key can be used.
    NoUsableKey,
    /// No target can be used.
    NoUsableTarget,
    /// It was not accepted, and no earlier version is known.
    NotAccepted,
    /// It was told to answer 503.
    Paused,
}

impl Reason {
    /// The word in `status.conditions[].reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Duplicate => "Duplicate",
            Self::EndpointNotAllowed => "EndpointNotAllowed",
            Self::Invalid => "Invalid",
            Self::NameTaken => "NameTaken",
            Self::UnknownField => "UnknownField",
            Self::Unreadable => "Unreadable",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::AddressNotAllowed => "AddressNotAllowed",
            Self::ConfigMapNotFound => "ConfigMapNotFound",
            Self::ConsumerNotFound => "ConsumerNotFound",
            Self::CredentialNotFound => "CredentialNotFound",
            Self::CredentialNotReady => "CredentialNotReady",
            Self::EnvironmentNotAllowed => "EnvironmentNotAllowed",
            Self::KeyNotFound => "KeyNotFound",
            Self::KeyTaken => "KeyTaken",
            Self::KeyUnusable => "KeyUnusable",
            Self::PortNotFound => "PortNotFound",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::RefNotReadable => "RefNotReadable",
            Self::SecretNotFound => "SecretNotFound",
            Self::VariableNotSet => "VariableNotSet",
            Self::TargetsCapable => "TargetsCapable",
            Self::Incapable => "Incapable",
            Self::Priced => "Priced",
            Self::PriceUnknown => "PriceUnknown",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::LastGood => "LastGood",
            Self::NoReadyPod => "NoReadyPod",
            Self::NoUsableKey => "NoUsableKey",
            Self::NoUsableTarget => "NoUsableTarget",
            Self::NotAccepted => "NotAccepted",
            Self::Paused => "Paused",
        }
    }

    /// The condition that it speaks of.
    pub const fn condition(self) -> ConditionType {
        match self {
            Self::Accepted
            | Self::Duplicate
            | Self::EndpointNotAllowed
            | Self::Invalid
            | Self::NameTaken
            | Self::UnknownField
            | Self::Unreadable
            | Self::UnsupportedValue => ConditionType::Accepted,
            Self::ResolvedRefs
            | Self::AddressNotAllowed
            | Self::ConfigMapNotFound
            | Self::ConsumerNotFound
            | Self::CredentialNotFound
            | Self::CredentialNotReady
            | Self::EnvironmentNotAllowed
            | Self::KeyNotFound
            | Self::KeyTaken
            | Self::KeyUnusable
            | Self::PortNotFound
            | Self::RefNotPermitted
            | Self::RefNotReadable
            | Self::SecretNotFound
            | Self::VariableNotSet => ConditionType::ResolvedRefs,
            Self::TargetsCapable | Self::Incapable => ConditionType::TargetsCapable,
            Self::Priced | Self::PriceUnknown => ConditionType::Priced,
            Self::Ready
            | Self::Degraded
            | Self::LastGood
            | Self::NoReadyPod
            | Self::NoUsableKey
            | Self::NoUsableTarget
            | Self::NotAccepted
            | Self::Paused => ConditionType::Ready,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why; it says which condition is false.
    pub reason: Reason,
    /// The field's path (`spec.targets[1].weight`); empty for the object as a whole.
    pub field: String,
    /// What, where and what to do. Never a key.
    pub message: String,
}

impl Problem {
    /// Something is wrong; the message names the place in words of its own.
    pub fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// Something is wrong with a field, and the message begins with it.
    pub fn at(reason: Reason, field: &str, message: impl std::fmt::Display) -> Self {
        Self::new(reason, field, format!("{field}: {message}"))
    }

    /// A field's value is not what it must be.
    pub fn invalid(field: &str, message: impl std::fmt::Display) -> Self {
        Self::at(Reason::Invalid, field, message)
    }

    /// Whether it keeps the object from being accepted as it is written. A name that is taken does
    /// not: the route keeps its other names.
    pub(super) fn rejects(&self) -> bool {
        self.reason.condition() == ConditionType::Accepted && self.reason != Reason::NameTaken
    }
}

/// Whether an object serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whether requests are served through it.
    pub status: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Targets of a route or keys of a credential or consumer that can be used.
    pub usable: usize,
    /// How many it asks for.
    pub total: usize,
}

/// What is said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its kind; `File` for a file that could not be read.
    pub kind: String,
    /// Its name; none for a file.
    pub id: Option<ObjectId>,
    /// Where it was read.
    pub source: Source,
    /// What is wrong; empty when nothing is.
    pub problems: Vec<Problem>,
    /// Whether it serves; none for what serves nothing by itself.
    pub ready: Option<Ready>,
    /// The targets of a route, in their order.
    pub targets: Vec<TargetState>,
    /// The names that a route really owns.
    pub models: Vec<String>,
    /// What is to be said of targets of a route whose price nobody knows.
    pub unpriced: Vec<String>,
    /// What else is to be said of how it serves.
    pub note: String,
    /// Whether it is somebody else's and was not looked into.
    pub left_alone: bool,
}

/// Whether a target of a route can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// Its name.
    pub name: String,
    /// Whether it can.
    pub usable: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// What, where and what to do; empty when it can be used.
    pub message: String,
}

/// One condition of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which.
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: bool,
    /// Why.
    pub reason: Reason,
    /// What, where and what to do; empty when all is well.
    pub message: String,
}

impl Report {
    /// Nothing is wrong with it.
    pub fn new(kind: impl Into<String>, id: Option<ObjectId>, source: Source) -> Self {
        Self {
            kind: kind.into(),
            id,
            source,
            problems: Vec::new(),
            ready: None,
            targets: Vec::new(),
            models: Vec::new(),
            unpriced: Vec::new(),
            note: String::new(),
            left_alone: false,
        }
    }

    /// Whether an earlier version of the object serves in its place.
    pub fn last_good_serves(&self) -> bool {
        self.ready.is_some_and(|ready| ready.reason == Reason::LastGood)
    }

    /// Kind and name, as in `ModelRoute team-a/support`.
    pub fn title(&self) -> String {
        match &self.id {
            Some(id) => format!("{} {id}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// The conditions as a status shows them: one of each type, the first problem names the reason.
    pub fn conditions(&self) -> Vec<Condition> {
        let told = ConditionType::ALL.into_iter().filter(|kind| match kind {
            ConditionType::Accepted => true,
            ConditionType::ResolvedRefs | ConditionType::Ready => self.ready.is_some(),
            ConditionType::TargetsCapable | ConditionType::Priced => !self.targets.is_empty(),
        });
        told.map(|kind| self.condition(kind)).collect()
    }

    fn condition(&self, kind: ConditionType) -> Condition {
        if kind == ConditionType::Priced && !self.unpriced.is_empty() {
            let (reason, message) = (Reason::PriceUnknown, self.unpriced.join("; "));
            return Condition { kind, status: false, reason, message };
        }
        let problems = || self.problems.iter().filter(|found| found.reason.condition() == kind);
        let message = problems().map(|found| found.message.as_str()).collect::<Vec<_>>().join("; ");
        if let Some(Ready { status, reason, usable, total }) =
            self.ready.filter(|_| kind == ConditionType::Ready)
        {
            let parts = format!("{usable} of {total} can be used");
            let message = if reason == Reason::Ready {
                String::new()
            } else if reason == Reason::NoReadyPod {
                self.note.clone()
            } else if self.note.is_empty() {
                parts
            } else {
                format!("{parts}; {}", self.note)
            };
            return Condition { kind, status, reason, message };
        }
        let first = problems().next();
        let reason = first.map_or_else(|| kind.well(), |problem| problem.reason);
        Condition { kind, status: first.is_none(), reason, message }
    }

    /// One line a problem, for logs.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(|problem| {
            let Problem { reason, field, message } = problem;
            let (file, line) = (&self.source.file, self.source.line_of(field));
            let (kind, reason) = (reason.condition().as_str(), reason.as_str());
            let serves =
                if self.last_good_serves() { " (its last good version serves)" } else { "" };
            format!("{file}:{line} {} {kind}=False ({reason}) {message}{serves}", self.title())
        })
    }
}
