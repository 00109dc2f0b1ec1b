//! One autoscaler: its policy, what it has seen, and what was said of it.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, api::DynamicObject};
use tokio::time::Instant;

use super::{demand::Selection, target};
use crate::{
    api::{
        AutoscalerInputs, AutoscalerMode, Condition, ConditionStatus, ModelAutoscalerSpec,
        ModelAutoscalerStatus,
    },
    autoscale::{Decision, Policy, Reading, Scaler},
    compile::{Problem, autoscaler},
    control::{events::Events, kind::Kind, object::Declared, status::apply, watch::Failure},
    observe::operator::{Operator as Meter, WriteResult},
    table::ObjectId,
};

/// How often the target is looked at when nothing is to be changed.
const LOOK: Duration = Duration::from_secs(5);

/// How long after a failed write of a status the next one is tried.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Held {
    pub(super) selection: Selection,
    declared: Declared<ModelAutoscalerSpec, ModelAutoscalerStatus>,
    policy: Option<Policy>,
    problems: Vec<Problem>,
    scaler: Scaler,
    /// Why nothing was read, where somebody knows more than that no proxy answers.
    unread: Option<String>,
    api: Option<Api<DynamicObject>>,
    /// What the target asked for, and when it was looked at.
    current: Option<(u32, Instant)>,
    written: Option<Instant>,
    /// Whether that failed: it is told once, and not tried at every step.
    unwritten: bool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("policy", &self.policy).finish_non_exhaustive()
    }
}

type Declaration = Declared<ModelAutoscalerSpec, ModelAutoscalerStatus>;

impl Held {
    pub(super) fn new(id: &ObjectId, declared: Declaration) -> Self {
        let mut held = Self {
            selection: Selection::All,
            declared,
            policy: None,
            problems: Vec::new(),
            scaler: Scaler::default(),
            unread: None,
            api: None,
            current: None,
            written: None,
            unwritten: false,
        };
        held.read(id);
        held
    }

    /// Takes another version over; what was seen of the demand stays where the same demand counts.
    pub(super) fn update(&mut self, id: &ObjectId, declared: Declaration) {
        let new =
            declared.uid != self.declared.uid || declared.generation != self.declared.generation;
        self.declared = declared;
        if new {
            let selection = self.selection.clone();
            self.read(id);
            self.api = None;
            self.current = None;
            if selection != self.selection {
                self.scaler = Scaler::default();
            }
        }
    }

    fn read(&mut self, id: &ObjectId) {
        self.problems.clone_from(&self.declared.entry.problems);
        self.policy = None;
        if let Some(spec) = &self.declared.entry.spec {
            self.policy = autoscaler(spec, &mut self.problems);
            self.selection = Selection::of(&id.namespace, &spec.demand);
        }
    }

    /// Takes a reading in, or why there is none, decides, and does it.
    pub(super) async fn step(
        &mut self,
        client: &Client,
        id: &ObjectId,
        (reading, unread): (Reading, Option<String>),
        events: &Events,
        meter: &Meter,
    ) {
        let now = Instant::now();
        self.unread = unread;
        self.scaler.read((reading.answered > 0).then_some(reading), now);
        let (Some(spec), Some(policy)) = (self.declared.entry.spec.clone(), self.policy.clone())
        else {
            let message =
                self.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>();
            let message = message.join("; ");
            return self.say(client, id, None, Some(("Invalid", message)), reading, meter).await;
        };
        let current = match self.look(client, id, &spec, now).await {
            Ok(current) => current,
            Err(failure) => {
                let target = &spec.scale_target_ref;
                let message = format!(
                    "{} {} in namespace {} cannot be scaled: {failure}",
                    target.kind, target.name, id.namespace
                );
                let told = Some(("TargetNotScalable", message));
                return self.say(client, id, None, told, reading, meter).await;
            }
        };
        let decision = self.scaler.decide(&policy, current, now);
        meter.autoscaler(&id.namespace, &id.name, current, decision.desired);
        let mut told = None;
        let mut after = current;
        if decision.desired != current && spec.mode == AutoscalerMode::Scale {
            match self.scale(&spec, decision.desired, now, meter).await {
                Ok(()) => {
                    after = decision.desired;
                    let note = format!(
                        "from {current} to {after} replicas: {} ({} in flight, {} waiting, {} a \
                         second sent elsewhere)",
                        decision.reason.as_str(),
                        reading.in_flight,
                        reading.queued,
                        whole(reading.passed_over)
                    );
                    let key = (Kind::ModelAutoscaler, id.clone());
                    events.scaled(&key, &self.declared.uid, &note).await;
                }
                Err(failure) => told = Some(("TargetNotScalable", failure.to_string())),
            }
        }
        self.say(client, id, Some((after, decision)), told, reading, meter).await;
    }

    async fn look(
        &mut self,
        client: &Client,
        id: &ObjectId,
        spec: &ModelAutoscalerSpec,
        now: Instant,
    ) -> Result<u32, Failure> {
        if let Some((current, at)) = self.current
            && now.saturating_duration_since(at) < LOOK
        {
            return Ok(current);
        }
        let api = match &self.api {
            Some(api) => api.clone(),
            None => target::find(client.clone(), &id.namespace, &spec.scale_target_ref).await?,
        };
        let current = target::replicas(&api, &spec.scale_target_ref.name).await?;
        self.api = Some(api);
        self.current = Some((current, now));
        Ok(current)
    }

    async fn scale(
        &mut self,
        spec: &ModelAutoscalerSpec,
        replicas: u32,
        now: Instant,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let Some(api) = &self.api else { return Ok(()) };
        let begin = Instant::now();
        let done = target::scale(api, &spec.scale_target_ref.name, replicas).await;
        let result = if done.is_ok() { WriteResult::Ok } else { WriteResult::Failed };
        meter.wrote("Scale", result, begin.elapsed());
        self.current = done.is_ok().then_some((replicas, now));
        done
    }

    /// Writes the status where it says something new.
    async fn say(
        &mut self,
        client: &Client,
        id: &ObjectId,
        decided: Option<(u32, Decision)>,
        wrong: Option<(&'static str, String)>,
        reading: Reading,
        meter: &Meter,
    ) {
        let was = &self.declared.status;
        let status = self.status(decided, wrong.as_ref(), reading);
        // What was seen changes with every question; it is told with what follows from it.
        let same = ModelAutoscalerStatus { inputs: was.inputs.clone(), ..status.clone() } == *was;
        let waits = self.written.is_some_and(|at| at.elapsed() < AGAIN);
        if same {
            return;
        }
        if waits && (decided.is_none() || self.unwritten) {
            return;
        }
        let begin = Instant::now();
        let key = (Kind::ModelAutoscaler, id.clone());
        let done = apply(client.clone(), &key, &self.declared.uid, &status).await;
        let result = if done.is_ok() { WriteResult::Ok } else { WriteResult::Failed };
        meter.wrote(Kind::ModelAutoscaler.as_str(), result, begin.elapsed());
        self.written = Some(begin);
        let failed = std::mem::replace(&mut self.unwritten, done.is_err());
        match done {
            Ok(()) => self.declared.status = status,
            Err(error) if !failed => {
                tracing::warn!(kind = "ModelAutoscaler", %id, %error, "a status cannot be written");
            }
            Err(_told) => {}
        }
    }

    fn status(
        &self,
        decided: Option<(u32, Decision)>,
        wrong: Option<&(&'static str, String)>,
        reading: Reading,
    ) -> ModelAutoscalerStatus {
        let was = &self.declared.status;
        let accepted = self.policy.is_some();
        let (reason, message) = match (wrong, decided) {
            (Some((reason, message)), _) => (*reason, message.clone()),
            (None, Some((_, decision))) if decision.demand.is_none() => (
                "NoData",
                format!(
                    "{}; the last decision holds",
                    self.unread.as_deref().unwrap_or("no proxy says what it has in flight")
                ),
            ),
            (None, _) => ("Active", String::new()),
        };
        let invalid = if accepted { String::new() } else { message.clone() };
        let conditions = vec![
            self.condition(
                "Accepted",
                accepted,
                if accepted { "Accepted" } else { "Invalid" },
                invalid,
            ),
            self.condition("Active", reason == "Active", reason, message),
        ];
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        ModelAutoscalerStatus {
            observed_generation: Some(self.declared.generation),
            conditions,
            current_replicas: decided.map(|(current, _)| number(current)).or(was.current_replicas),
            desired_replicas: decided
                .map(|(_, decision)| number(decision.desired))
                .or(was.desired_replicas),
            reason: decided
                .map(|(_, decision)| decision.reason.as_str().to_owned())
                .or_else(|| was.reason.clone()),
            inputs: Some(AutoscalerInputs {
                in_flight: i64::try_from(reading.in_flight).unwrap_or(i64::MAX),
                queued: i64::try_from(reading.queued).unwrap_or(i64::MAX),
                passed_over: whole(reading.passed_over),
                first_token: reading
                    .first_token
                    .map(|(time, _)| format!("{:.3}s", time.as_secs_f64())),
                proxies: format!("{}/{}", reading.answered, reading.proxies),
            }),
        }
    }

    fn condition(&self, kind: &str, holds: bool, reason: &str, message: String) -> Condition {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        let conditions = &self.declared.status.conditions;
        let same = conditions.iter().find(|was| was.kind == kind && was.status == status);
        let since = same.map(|was| was.last_transition_time.clone());
        Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: Some(self.declared.generation),
            last_transition_time: since.unwrap_or_else(|| Timestamp::now().to_string()),
            reason: reason.to_owned(),
            message,
        }
    }
}

/// A rate, rounded up.
#[expect(clippy::cast_possible_truncation, reason = "saturating")]
fn whole(rate: f64) -> i64 {
    rate.ceil() as i64
}
