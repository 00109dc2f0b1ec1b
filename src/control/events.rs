//! Events: what changed about an object, for `kubectl describe`.
//!
//! Only changes of state: a condition that became false, or for another reason, and one that became
//! true again. An object that was made and is well needs no event; its status says so.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::timeout;

use super::progress::Key;
use crate::{
    api::{API_VERSION, Condition, ConditionStatus},
    observe::operator::{Operator, WriteResult},
};

/// The longest wait for an answer. An event that is lost is lost.
const ANSWER: Duration = Duration::from_secs(3);

/// The longest note that an API server takes is 1024 bytes.
const LONGEST: usize = 250;

/// The conditions that say something new, in order.
pub(super) fn transitions<'a>(was: &[Condition], is: &'a [Condition]) -> Vec<&'a Condition> {
    let new = |now: &&Condition| {
        let before = was.iter().find(|before| before.kind == now.kind);
        match (before, now.status) {
            (None, ConditionStatus::True | ConditionStatus::Unknown) => false,
            (None, ConditionStatus::False) => true,
            (Some(before), ConditionStatus::False) => {
                (before.status, &before.reason) != (now.status, &now.reason)
            }
            (Some(before), ConditionStatus::True | ConditionStatus::Unknown) => {
                before.status != now.status
            }
        }
    };
    // `Ready` repeats what another condition says. What the proxies run passes, and concerns every
    // object at once; only a table that cannot be published is for its authors to know.
    let worth = |it: &&Condition| match it.kind.as_str() {
        "Accepted" | "ResolvedRefs" | "TargetsCapable" | "CredentialsValid" => true,
        "Programmed" => it.reason == "TableTooLarge",
        _ => false,
    };
    is.iter().filter(worth).filter(new).collect()
}

/// Tells events.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    reporter: Reporter,
    recorder: Recorder,
    meter: Operator,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    pub(super) fn new(client: Client, identity: &str, meter: Operator) -> Self {
        let reporter = Reporter {
            controller: "trunkline.dev/operator".to_owned(),
            instance: Some(identity.to_owned()),
        };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, recorder, meter }
    }

    /// Tells that replicas were scaled. By a recorder that knows no earlier event: one that does makes a
    /// series of those that are alike, and a series keeps the note of its first.
    pub(super) async fn scaled(&self, key: &Key, uid: &str, note: &str) {
        let event = Event {
            type_: EventType::Normal,
            reason: "Scaled".to_owned(),
            note: Some(note.chars().take(LONGEST).collect()),
            action: "Scale".to_owned(),
            secondary: None,
        };
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        self.publish(&recorder, &event, &regarding(key, uid)).await;
    }

    async fn publish(&self, recorder: &Recorder, event: &Event, regarding: &ObjectReference) {
        let begin = tokio::time::Instant::now();
        let told = timeout(ANSWER, recorder.publish(event, regarding)).await;
        let failure = match told {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_late) => Some("no answer in time".to_owned()),
        };
        if let Some(error) = &failure {
            let (of, reason) = (regarding.name.as_deref(), &event.reason);
            tracing::warn!(
                of,
                reason,
                error,
                "an event cannot be written; the status says the same"
            );
        }
        let result = failure.map_or(WriteResult::Ok, |_| WriteResult::Failed);
        self.meter.wrote("Event", result, begin.elapsed());
    }

    /// Tells what changed between two statuses of an object.
    pub(super) async fn tell(&self, key: &Key, uid: &str, was: &[Condition], is: &[Condition]) {
        let regarding = regarding(key, uid);
        for condition in transitions(was, is) {
            let well = condition.status == ConditionStatus::True;
            let note: String = condition.message.chars().take(LONGEST).collect();
            let event = Event {
                type_: if well { EventType::Normal } else { EventType::Warning },
                reason: condition.reason.clone(),
                note: Some(note).filter(|note| !note.is_empty()),
                action: condition.kind.clone(),
                secondary: None,
            };
            self.publish(&self.recorder, &event, &regarding).await;
        }
    }
}

fn regarding((kind, id): &Key, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(kind.as_str().to_owned()),
        name: Some(id.name.to_string()),
        namespace: Some(id.namespace.to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{
            fake::{Fake, Seen},
            kind::Kind,
        },
        observe::Metrics,
        table::ObjectId,
    };

    #[tokio::test]
    async fn each_scaling_is_an_event_of_its_own() {
        let fake = Fake::default();
        let meter = Operator::new(&Metrics::new().unwrap()).unwrap();
        let events = Events::new(fake.client(), "a", meter);
        let key = (Kind::ModelAutoscaler, ObjectId::new("team", "vllm"));
        for note in ["from 1 to 2 replicas", "from 2 to 4 replicas"] {
            events.scaled(&key, "u", note).await;
        }
        let made = |seen: &Seen| seen.method == http::Method::POST && seen.path.contains("/events");
        assert_eq!(fake.count(made), 2);
        assert_eq!(fake.count(|seen| seen.path.contains("/events")), 2, "and none is changed");
    }

    fn condition(kind: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: Some(1),
            last_transition_time: String::new(),
            reason: reason.to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn only_what_says_something_new_is_told() {
        use ConditionStatus::{False, True};
        let told = |was: &[(ConditionStatus, &str)], is: (ConditionStatus, &str)| {
            let of =
                |(status, reason): &(ConditionStatus, &str)| condition("Accepted", *status, reason);
            let was: Vec<_> = was.iter().map(of).collect();
            transitions(&was, &[of(&is)]).len()
        };
        assert_eq!(told(&[], (True, "Accepted")), 0, "a new object that is well");
        assert_eq!(told(&[], (False, "Invalid")), 1);
        assert_eq!(told(&[(True, "Accepted")], (False, "Invalid")), 1);
        assert_eq!(told(&[(False, "Invalid")], (False, "Invalid")), 0);
        assert_eq!(told(&[(False, "Invalid")], (False, "NameTaken")), 1);
        assert_eq!(told(&[(False, "Invalid")], (True, "Accepted")), 1);
        assert_eq!(told(&[(True, "Accepted")], (True, "Accepted")), 0);
        let passing = ["Propagating", "NoProxies"].map(|it| condition("Programmed", False, it));
        assert!(transitions(&[], &passing).is_empty());
        let large = [condition("Programmed", False, "TableTooLarge")];
        assert_eq!(transitions(&passing[..1], &large).len(), 1);
    }
}
