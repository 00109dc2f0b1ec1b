//! What a status must say. Pure: facts and the status that is there in, the status that should be
//! there out. A status that is as it should be is not written.
//!
//! All conditions of a kind are there from the first write. `lastTransitionTime` moves only when a
//! condition's status does, so two plans of the same facts are equal whatever the clock says.

use std::collections::BTreeMap;

use crate::{
    api::{
        Condition, ConditionStatus, ModelConsumerStatus, ModelRouteStatus,
        ProviderCredentialStatus, TargetStatus, UsableState,
    },
    compile::{ConditionType, Reason, Report, TargetState},
    control::keys::{Refusal, message},
    words::words,
};

/// The longest message of a condition or target; a list of everything helps nobody.
const LONGEST: usize = 1024;

words! {
    /// Why `Programmed` is as it is. Part of the API.
    ProgrammedReason {
        /// No proxy serves.
        NoProxies => "NoProxies",
        /// The object, or this generation of it, is not in the table.
        NotServed => "NotServed",
        /// Every proxy that serves runs it.
        Programmed => "Programmed",
        /// Some proxies do not run it yet.
        Propagating => "Propagating",
        /// The table that holds it is too large.
        TableTooLarge => "TableTooLarge",
    }
}

words! {
    /// Why `CredentialsValid` is as it is. Part of the API.
    CredentialsValidReason {
        /// A provider rejects a key.
        KeyRejected => "KeyRejected",
        /// A provider wants its bill paid.
        KeyUnpaid => "KeyUnpaid",
        /// No proxy knows of a refused key.
        NoKeyRefused => "NoKeyRefused",
    }
}

/// How far an object has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programmed {
    /// Why.
    pub reason: ProgrammedReason,
    /// Proxies that run it.
    pub running: usize,
    /// Proxies that serve.
    pub ready: usize,
}

impl Programmed {
    const fn status(self) -> ConditionStatus {
        match self.reason {
            ProgrammedReason::Programmed => ConditionStatus::True,
            ProgrammedReason::NoProxies
            | ProgrammedReason::NotServed
            | ProgrammedReason::Propagating
            | ProgrammedReason::TableTooLarge => ConditionStatus::False,
        }
    }

    fn message(self) -> String {
        let Self { reason, running, ready } = self;
        match reason {
            ProgrammedReason::NoProxies => "no proxy is ready".to_owned(),
            ProgrammedReason::NotServed => {
                "this generation is not served; the other conditions say why".to_owned()
            }
            ProgrammedReason::Programmed => String::new(),
            ProgrammedReason::Propagating => format!("{running} of {ready} ready proxies run it"),
            ProgrammedReason::TableTooLarge => {
                "the routing table is too large to be published; take routes away or split the \
                 installation"
                    .to_owned()
            }
        }
    }

    /// As in `2/3`.
    fn column(self) -> String {
        format!("{}/{}", self.running, self.ready)
    }
}

/// What a status is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What `compile` says.
    pub report: &'a Report,
    /// The generation that it says it of.
    pub generation: i64,
    /// How far that is.
    pub programmed: Programmed,
    /// Now, in RFC 3339.
    pub now: &'a str,
}

impl Facts<'_> {
    /// Whether the generation that was asked for is what the table would hold.
    pub fn is_served(report: &Report) -> bool {
        let served = |reason| match reason {
            Reason::NotAccepted | Reason::LastGood | Reason::NameTaken => false,
            Reason::Accepted
            | Reason::AddressNotAllowed
            | Reason::ConfigMapNotFound
            | Reason::ConsumerNotFound
            | Reason::CredentialNotFound
            | Reason::CredentialNotReady
            | Reason::Degraded
            | Reason::Duplicate
            | Reason::EndpointNotAllowed
            | Reason::EnvironmentNotAllowed
            | Reason::Incapable
            | Reason::Invalid
            | Reason::KeyNotFound
            | Reason::KeyTaken
            | Reason::KeyUnusable
            | Reason::NoReadyPod
            | Reason::NoUsableKey
            | Reason::NoUsableTarget
            | Reason::Paused
            | Reason::PortNotFound
            | Reason::PriceUnknown
            | Reason::Priced
            | Reason::Ready
            | Reason::RefNotPermitted
            | Reason::RefNotReadable
            | Reason::ResolvedRefs
            | Reason::SecretNotFound
            | Reason::TargetsCapable
            | Reason::UnknownField
            | Reason::Unreadable
            | Reason::UnsupportedValue
            | Reason::VariableNotSet => true,
        };
        report.ready.is_some_and(|ready| served(ready.reason))
    }

    /// The status of a route.
    pub fn route(&self, was: &ModelRouteStatus) -> ModelRouteStatus {
        ModelRouteStatus {
            observed_generation: Some(self.generation),
            conditions: self.conditions(&was.conditions),
            usable_targets: self.usable(),
            programmed: Some(self.programmed.column()),
            models: self.report.models.clone(),
            targets: self.report.targets.iter().map(target).collect(),
        }
    }

    /// The status of a credential that `routes` routes use. `refused` are its keys that providers
    /// refuse; none while not every proxy has been heard.
    pub fn credential(
        &self,
        routes: usize,
        refused: Option<&BTreeMap<&str, Refusal>>,
        was: &ProviderCredentialStatus,
    ) -> ProviderCredentialStatus {
        let mut conditions = self.conditions(&was.conditions);
        conditions.push(self.credentials_valid(refused, &was.conditions));
        ProviderCredentialStatus {
            observed_generation: Some(self.generation),
            conditions,
            usable_keys: self.usable(),
            programmed: Some(self.programmed.column()),
            routes: i32::try_from(routes).ok(),
            spend: None,
        }
    }

    /// Silence takes nothing back: until every proxy was heard, what was said stays said.
    fn credentials_valid(
        &self,
        refused: Option<&BTreeMap<&str, Refusal>>,
        was: &[Condition],
    ) -> Condition {
        use CredentialsValidReason::{KeyRejected, KeyUnpaid, NoKeyRefused};
        let kind = "CredentialsValid";
        let told = was.iter().find(|was| was.kind == kind);
        if let (None, Some(told)) = (refused, told) {
            return self.condition(kind, told.status, &told.reason, &told.message, was);
        }
        let none = BTreeMap::new();
        let refused = refused.unwrap_or(&none);
        let (status, reason) = match refused.values().min() {
            None => (ConditionStatus::True, NoKeyRefused),
            Some(Refusal::Rejected) => (ConditionStatus::False, KeyRejected),
            Some(Refusal::Unpaid) => (ConditionStatus::False, KeyUnpaid),
        };
        self.condition(kind, status, reason.as_str(), &message(refused), was)
    }

    /// The status of a consumer.
    pub fn consumer(&self, was: &ModelConsumerStatus) -> ModelConsumerStatus {
        ModelConsumerStatus {
            observed_generation: Some(self.generation),
            conditions: self.conditions(&was.conditions),
            usable_keys: self.usable(),
            programmed: Some(self.programmed.column()),
        }
    }

    fn usable(&self) -> Option<String> {
        self.report.ready.map(|ready| format!("{}/{}", ready.usable, ready.total))
    }

    fn conditions(&self, was: &[Condition]) -> Vec<Condition> {
        let told = self.report.conditions();
        let of = |kind: ConditionType| {
            let told = told.iter().find(|condition| condition.kind == kind)?;
            let status = if told.status { ConditionStatus::True } else { ConditionStatus::False };
            let (reason, message) = (told.reason.as_str(), told.message.as_str());
            Some(self.condition(kind.as_str(), status, reason, message, was))
        };
        let Programmed { reason, .. } = self.programmed;
        let message = self.programmed.message();
        let status = self.programmed.status();
        let programmed = self.condition("Programmed", status, reason.as_str(), &message, was);
        // What nobody runs serves nothing, however sound it is.
        let nowhere = match reason {
            ProgrammedReason::NoProxies | ProgrammedReason::TableTooLarge => true,
            ProgrammedReason::Propagating => self.programmed.running == 0,
            ProgrammedReason::NotServed | ProgrammedReason::Programmed => false,
        };
        let ready = of(ConditionType::Ready);
        let ready =
            if nowhere && ready.as_ref().is_some_and(|it| it.status == ConditionStatus::True) {
                let status = ConditionStatus::False;
                Some(self.condition("Ready", status, "NotProgrammed", &message, was))
            } else {
                ready
            };
        let accepted = of(ConditionType::Accepted);
        let resolved = of(ConditionType::ResolvedRefs);
        let capable = of(ConditionType::TargetsCapable);
        let priced = of(ConditionType::Priced);
        let all = [accepted, resolved, capable, priced, Some(programmed), ready];
        all.into_iter().flatten().collect()
    }

    fn condition(
        &self,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        was: &[Condition],
    ) -> Condition {
        let same = was.iter().find(|was| was.kind == kind && was.status == status);
        let since = same.map_or(self.now, |was| was.last_transition_time.as_str());
        Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: Some(self.generation),
            last_transition_time: since.to_owned(),
            reason: reason.to_owned(),
            message: cut(message),
        }
    }
}

fn target(state: &TargetState) -> TargetStatus {
    TargetStatus {
        name: state.name.clone(),
        state: if state.usable { UsableState::Usable } else { UsableState::Unusable },
        reason: state.reason.as_str().to_owned(),
        message: cut(&state.message),
    }
}

/// A message of bounded length, whole characters.
fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(LONGEST / 4).collect();
    format!("{kept} …")
}

/// How a status differs from the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Differs {
    /// Not at all.
    No,
    /// By how many proxies serve or routes use it, nothing more.
    InCount,
    /// In what it says.
    InWords,
}

/// How two statuses differ. `uncount` takes out what is only a count.
pub fn differs<T: PartialEq + Clone>(was: &T, is: &T, uncount: impl Fn(&mut T)) -> Differs {
    if was == is {
        return Differs::No;
    }
    let (mut a, mut b) = (was.clone(), is.clone());
    uncount(&mut a);
    uncount(&mut b);
    if a == b { Differs::InCount } else { Differs::InWords }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{Problem, Ready, Source},
        table::ObjectId,
    };

    fn report(reason: Reason, problems: Vec<Problem>) -> Report {
        let status = matches!(reason, Reason::Ready | Reason::Degraded | Reason::LastGood);
        let ready = Some(Ready { status, reason, usable: 2, total: 3 });
        let id = ObjectId::new("team", "chat");
        Report { problems, ready, ..Report::new("ModelRoute", Some(id), Source::default()) }
    }

    const fn programmed(reason: ProgrammedReason, running: usize, ready: usize) -> Programmed {
        Programmed { reason, running, ready }
    }

    const EVERYWHERE: Programmed = programmed(ProgrammedReason::Programmed, 3, 3);

    fn plan(
        report: &Report,
        programmed: Programmed,
        was: &ModelRouteStatus,
        now: &str,
    ) -> ModelRouteStatus {
        Facts { report, generation: 4, programmed, now }.route(was)
    }

    fn said(status: &ModelRouteStatus) -> Vec<String> {
        let said = |it: &Condition| format!("{}={:?} {}", it.kind, it.status, it.reason);
        status.conditions.iter().map(said).collect()
    }

    #[test]
    fn all_conditions_are_there_from_the_first_write() {
        let status =
            plan(&report(Reason::Ready, vec![]), EVERYWHERE, &ModelRouteStatus::default(), "t1");
        assert_eq!(
            said(&status),
            [
                "Accepted=True Accepted",
                "ResolvedRefs=True ResolvedRefs",
                "Programmed=True Programmed",
                "Ready=True Ready"
            ]
        );
        assert!(status.conditions.iter().all(|it| it.observed_generation == Some(4)));
        assert_eq!(status.programmed.as_deref(), Some("3/3"));
        assert_eq!(status.usable_targets.as_deref(), Some("2/3"));
    }

    #[test]
    fn the_same_facts_later_are_the_same_status() {
        let report = report(Reason::Ready, vec![]);
        let first = plan(&report, EVERYWHERE, &ModelRouteStatus::default(), "t1");
        assert_eq!(plan(&report, EVERYWHERE, &first, "t2"), first);
    }

    #[test]
    fn a_transition_moves_its_own_time_and_no_other() {
        let report = report(Reason::Ready, vec![]);
        let first = plan(&report, EVERYWHERE, &ModelRouteStatus::default(), "t1");
        let behind = programmed(ProgrammedReason::Propagating, 2, 3);
        let status = plan(&report, behind, &first, "t2");
        let times: Vec<_> =
            status.conditions.iter().map(|it| it.last_transition_time.as_str()).collect();
        assert_eq!(times, ["t1", "t1", "t2", "t1"]);
        assert_eq!(status.conditions[2].message, "2 of 3 ready proxies run it");
        assert_eq!(said(&status)[3], "Ready=True Ready", "two proxies serve it");
    }

    #[test]
    fn what_no_proxy_runs_is_not_ready() {
        let report = report(Reason::Ready, vec![]);
        for nowhere in [
            programmed(ProgrammedReason::NoProxies, 0, 0),
            programmed(ProgrammedReason::Propagating, 0, 3),
            programmed(ProgrammedReason::TableTooLarge, 0, 3),
        ] {
            let status = plan(&report, nowhere, &ModelRouteStatus::default(), "t");
            assert_eq!(said(&status)[3], "Ready=False NotProgrammed", "{nowhere:?}");
        }
    }

    #[test]
    fn a_generation_that_was_not_accepted_is_not_served_even_while_an_earlier_one_is() {
        let bad = vec![Problem::invalid("spec.models[0]", "must be something else")];
        for reason in [Reason::NotAccepted, Reason::LastGood, Reason::NameTaken] {
            assert!(!Facts::is_served(&report(reason, bad.clone())), "{reason:?}");
        }
        assert!(Facts::is_served(&report(Reason::NoUsableTarget, vec![])));
        let status = plan(
            &report(Reason::LastGood, bad),
            programmed(ProgrammedReason::NotServed, 0, 3),
            &ModelRouteStatus::default(),
            "t",
        );
        assert_eq!(
            said(&status),
            [
                "Accepted=False Invalid",
                "ResolvedRefs=True ResolvedRefs",
                "Programmed=False NotServed",
                "Ready=True LastGood"
            ]
        );
    }

    #[test]
    fn refused_keys_are_named_and_silence_takes_nothing_back() {
        let report = report(Reason::Ready, vec![]);
        let plan = |refused: Option<&[(&'static str, Refusal)]>,
                    was: &ProviderCredentialStatus,
                    now: &str| {
            let refused = refused.map(|rows| rows.iter().copied().collect());
            Facts { report: &report, generation: 4, programmed: EVERYWHERE, now }.credential(
                1,
                refused.as_ref(),
                was,
            )
        };
        let valid = |status: &ProviderCredentialStatus| {
            let found = status.conditions.iter().find(|it| it.kind == "CredentialsValid").unwrap();
            (found.status, found.reason.clone(), found.message.clone())
        };
        let first = plan(None, &ProviderCredentialStatus::default(), "t1");
        assert_eq!(valid(&first).1, "NoKeyRefused", "nobody has met a refusal");
        let keys = [("k1", Refusal::Unpaid), ("k2", Refusal::Rejected)];
        let refused = plan(Some(&keys), &first, "t2");
        let (status, reason, message) = valid(&refused);
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "KeyRejected"));
        assert!(message.contains("`k1`") && message.contains("`k2`"), "{message}");
        assert_eq!(
            plan(Some(&keys), &refused, "t3"),
            refused,
            "the same facts are the same status"
        );
        assert_eq!(plan(None, &refused, "t3"), refused);
        assert_eq!(valid(&plan(Some(&[]), &refused, "t3")), valid(&first));
    }

    #[test]
    fn a_message_is_never_longer_than_its_field() {
        let long = "\u{e4}".repeat(5000);
        assert!(cut(&long).len() <= LONGEST);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_count_alone_is_told_from_words() {
        let report = report(Reason::Ready, vec![]);
        let was = plan(&report, EVERYWHERE, &ModelRouteStatus::default(), "t");
        let differ = |is: &ModelRouteStatus| differs(&was, is, |status| status.programmed = None);
        assert_eq!(differ(&was), Differs::No);
        let four = plan(&report, programmed(ProgrammedReason::Programmed, 4, 4), &was, "t");
        assert_eq!(differ(&four), Differs::InCount);
        let behind = plan(&report, programmed(ProgrammedReason::Propagating, 3, 4), &was, "t");
        assert_eq!(differ(&behind), Differs::InWords);
    }
}
