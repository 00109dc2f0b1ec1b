//! What is said of each object: conditions from closed sets, with what, where and what to do.
//!
//! The same words stand in `trunkline check`, the log, and later in status and events.

use std::fmt::Write;

use serde::Serialize;

use super::Source;
use crate::{table::ObjectId, words::words};

words! {
    /// Which condition.
    Status {
        /// The object is sound.
        Accepted => "Accepted",
        /// What it refers to was found and may be used.
        ResolvedRefs => "ResolvedRefs",
    }
}

words! {
    /// Why a condition is false.
    Reason {
        /// There is no such credential.
        CredentialNotFound => "CredentialNotFound",
        /// Two objects have one name.
        Duplicate => "Duplicate",
        /// A value is not what it must be.
        Invalid => "Invalid",
        /// An object that is referred to lacks the key.
        KeyNotFound => "KeyNotFound",
        /// Another route owns the model name.
        NameTaken => "NameTaken",
        /// The endpoint is private and the process does not allow that.
        PrivateEndpoint => "PrivateEndpoint",
        /// The credential's owner does not allow it, or there is none.
        RefNotPermitted => "RefNotPermitted",
        /// There is no such Secret, ConfigMap or environment variable.
        RefNotFound => "RefNotFound",
        /// The schema has no such field.
        UnknownField => "UnknownField",
        /// The file is no YAML or JSON.
        Unreadable => "Unreadable",
    }
}

/// A condition that is false.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type", serialize_with = "status")]
    pub status: Status,
    /// Why.
    #[serde(serialize_with = "reason")]
    pub reason: Reason,
    /// What, where and what to do.
    pub message: String,
}

fn status<S: serde::Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(status.as_str())
}

fn reason<S: serde::Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.as_str())
}

impl Condition {
    /// Something is wrong with the object itself.
    pub fn not_accepted(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: Status::Accepted, reason, message: message.into() }
    }

    /// Something that the object refers to is missing or may not be used.
    pub fn unresolved(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: Status::ResolvedRefs, reason, message: message.into() }
    }

    pub(super) fn name_taken(pattern: &str, owner: &ObjectId) -> Self {
        let message = format!(
            "spec.models: `{pattern}` belongs to ModelRoute {owner}; choose another name, or give \
             one of the two a higher `precedence`"
        );
        Self::not_accepted(Reason::NameTaken, message)
    }
}

/// What is said of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its kind; empty for a file that could not be read.
    pub kind: &'static str,
    /// Namespace and name; empty for a file that could not be read.
    pub name: String,
    /// Where it was read.
    #[serde(skip)]
    pub source: Source,
    /// `file:line`.
    pub at: String,
    /// What is wrong; empty when nothing is.
    pub conditions: Vec<Condition>,
    /// Whether an earlier version of it serves.
    pub last_good_serves: bool,
}

impl Report {
    /// Nothing is wrong yet.
    pub fn new(kind: &'static str, id: &ObjectId, source: &Source) -> Self {
        Self::named(kind, id.to_string(), source)
    }

    /// Nothing is wrong yet with something that may have no name.
    pub fn named(kind: &'static str, name: String, source: &Source) -> Self {
        Self {
            kind,
            name,
            source: source.clone(),
            at: format!("{}:{}", source.file, source.line),
            conditions: Vec::new(),
            last_good_serves: false,
        }
    }

    /// Something is wrong.
    pub fn push(&mut self, condition: Condition) {
        self.conditions.push(condition);
    }

    pub(super) fn extend(&mut self, conditions: Vec<Condition>) {
        self.conditions.extend(conditions);
    }

    pub(super) const fn still_serving(&mut self) {
        self.last_good_serves = true;
    }

    /// One line a condition, for logs.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.conditions.iter().map(|condition| {
            let Condition { status, reason, message } = condition;
            format!(
                "{} {} {}  {}=False ({})  {message}",
                self.at,
                self.kind,
                self.name,
                status.as_str(),
                reason.as_str()
            )
        })
    }
}

/// The reports as `trunkline check` prints them.
pub fn render(reports: &[Report]) -> String {
    let mut text = String::new();
    let (mut problems, mut bad) = (0, 0);
    for report in reports {
        if report.conditions.is_empty() {
            continue;
        }
        bad += 1;
        problems += report.conditions.len();
        let head = format!("{}  {} {}", report.at, report.kind, report.name);
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{}", head.trim_end());
        for Condition { status, reason, message } in &report.conditions {
            let (status, reason) = (status.as_str(), reason.as_str());
            let _written = writeln!(text, "  {status}=False ({reason})  {message}");
        }
    }
    let all = reports.len();
    let _written = if bad == 0 {
        writeln!(text, "{all} objects, no problem.")
    } else {
        let s = if problems == 1 { "" } else { "s" };
        writeln!(text, "{problems} problem{s} in {bad} of {all} objects.")
    };
    text
}
