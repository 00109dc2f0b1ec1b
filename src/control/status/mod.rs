//! What became of each object, written where its author looks.
//!
//! `plan` says what a status must say, `queue` when it is written, `apply` writes it. This file joins
//! them for the operator: it judges an object by what was compiled, published and taken over, and
//! keeps the numbers of conditions for the metrics.

mod apply;
mod plan;
mod queue;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::Client;
use tokio::{sync::mpsc, time::Instant};

pub(super) use self::apply::apply;
pub use self::plan::{CredentialsValidReason, ProgrammedReason};
use self::{
    plan::{Differs, Facts, Programmed, differs},
    queue::{PATIENCE, Queue, Urgency},
};
use super::{
    events::Events,
    index::Index,
    keys::Keys,
    kind::Kind,
    progress::{Fleet, Key, Progress},
    spend::Spend,
    watch::Failure,
};
use crate::{
    api::{
        Condition, ConditionStatus, ModelConsumerStatus, ModelRouteStatus, ProviderCredentialStatus,
    },
    compile::Compiler,
    observe::operator::{Operator, WriteResult},
};

/// What the statuses are made from.
#[derive(Debug)]
pub struct World {
    /// The objects.
    pub index: Index,
    /// What was compiled.
    pub compiler: Compiler,
    /// What was published.
    pub progress: Progress,
    /// What runs.
    pub fleet: Fleet,
    /// Which keys are refused there.
    pub keys: Keys,
    /// What accounts have spent.
    pub spend: Spend,
    /// Whether the compiled table is too large to be published.
    pub too_large: bool,
}

/// A status of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Of a `ModelRoute`.
    Route(ModelRouteStatus),
    /// Of a `ModelConsumer`.
    Consumer(ModelConsumerStatus),
    /// Of a `ProviderCredential`.
    Credential(ProviderCredentialStatus),
}

impl Status {
    fn conditions(&self) -> &[Condition] {
        match self {
            Self::Route(status) => &status.conditions,
            Self::Consumer(status) => &status.conditions,
            Self::Credential(status) => &status.conditions,
        }
    }
}

/// A write that has ended.
#[derive(Debug)]
pub struct Written {
    key: Key,
    uid: String,
    status: Status,
    result: Result<(), Failure>,
}

/// What should be written, and why.
struct Plan {
    uid: String,
    was: Status,
    is: Status,
    differs: Differs,
    programmed: Programmed,
}

impl Plan {
    /// Whether what was programmed would be said not to be any more, of the same generation. That
    /// passes more often than not: after a restart the proxies are only being asked.
    fn regresses(&self) -> bool {
        let programmed = |status: &Status| {
            let found = status.conditions().iter().find(|it| it.kind == "Programmed");
            found.map(|it| (it.status, it.observed_generation))
        };
        let (was, is) = (programmed(&self.was), programmed(&self.is));
        let generation = |it: Option<(ConditionStatus, Option<i64>)>| it.map(|(_, it)| it);
        was.is_some_and(|(status, _)| status == ConditionStatus::True)
            && generation(was) == generation(is)
    }
}

/// The statuses of all objects.
pub struct Statuses {
    client: Client,
    meter: Operator,
    events: Events,
    queue: Queue,
    written: mpsc::Sender<Written>,
    /// What each object's conditions count as in the metrics.
    counted: BTreeMap<Key, Vec<[String; 4]>>,
}

impl std::fmt::Debug for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statuses").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Statuses {
    /// None is known to be wrong yet; and where ended writes come.
    pub fn new(client: Client, identity: &str, meter: Operator) -> (Self, mpsc::Receiver<Written>) {
        let (written, ended) = mpsc::channel(64);
        let events = Events::new(client.clone(), identity, meter.clone());
        let (queue, counted) = (Queue::default(), BTreeMap::new());
        (Self { client, meter, events, queue, written, counted }, ended)
    }

    /// When something is to be written.
    pub fn next(&self) -> Option<Instant> {
        self.queue.next()
    }

    /// This process does not lead any more.
    pub fn stop(&mut self) {
        self.queue.clear();
        for key in self.counted.keys().cloned().collect::<Vec<_>>() {
            self.count(&key, Vec::new());
        }
    }

    /// Looks at an object again. `calm` says that only the fleet has changed.
    pub fn look(&mut self, key: &Key, world: &World, calm: bool, now: Instant) {
        let Some(plan) = world.plan(key) else {
            self.queue.forget(key);
            self.count(key, Vec::new());
            return;
        };
        self.count(key, labels(key.0, plan.is.conditions()));
        let urgency = match (plan.differs, plan.programmed.reason) {
            (Differs::No, _) => {
                self.queue.forget(key);
                return;
            }
            (Differs::InCount, _) => Urgency::Leisure,
            (Differs::InWords, _) if calm => Urgency::Leisure,
            (Differs::InWords, ProgrammedReason::Propagating | ProgrammedReason::NoProxies) => {
                let patience = if plan.regresses() { 5 * PATIENCE } else { PATIENCE };
                Urgency::At(world.progress.changed(key).unwrap_or(now) + patience)
            }
            (
                Differs::InWords,
                ProgrammedReason::NotServed
                | ProgrammedReason::Programmed
                | ProgrammedReason::TableTooLarge,
            ) => Urgency::Now,
        };
        self.queue.push(key.clone(), urgency, now);
    }

    /// Writes what is due.
    pub fn write(&mut self, world: &World, now: Instant) {
        while let Some(key) = self.queue.take(now) {
            let plan = world.plan(&key).filter(|plan| plan.differs != Differs::No);
            let Some(Plan { uid, was, is, .. }) = plan else {
                self.meter.skipped.inc();
                self.queue.spared(&key);
                continue;
            };
            let (client, events) = (self.client.clone(), self.events.clone());
            let (meter, written) = (self.meter.clone(), self.written.clone());
            tokio::spawn(async move {
                let begin = Instant::now();
                let result = match &is {
                    Status::Route(status) => apply(client, &key, &uid, status).await,
                    Status::Consumer(status) => apply(client, &key, &uid, status).await,
                    Status::Credential(status) => apply(client, &key, &uid, status).await,
                };
                let counted = match &result {
                    Ok(()) => WriteResult::Ok,
                    Err(error) if error.is_conflict() => WriteResult::Conflict,
                    Err(_) => WriteResult::Failed,
                };
                meter.wrote(status_of(key.0), counted, begin.elapsed());
                let told = (key.clone(), uid.clone(), is.clone(), result.is_ok());
                let ended = Written { key, uid, status: is, result };
                // Nobody listens only when the process ends.
                if written.send(ended).await.is_ok() && told.3 {
                    let (key, uid, is, _) = told;
                    events.tell(&key, &uid, was.conditions(), is.conditions()).await;
                }
            });
        }
    }

    /// A write has ended: the object, which must be looked at again.
    pub fn ended(&mut self, written: Written, index: &mut Index, now: Instant) -> Key {
        let Written { key, uid, status, result } = written;
        match result {
            Ok(()) => match status {
                Status::Route(status) => index.wrote_route(&key.1, &uid, status),
                Status::Consumer(status) => index.wrote_consumer(&key.1, &uid, status),
                Status::Credential(status) => index.wrote_credential(&key.1, &uid, status),
            },
            Err(error) => {
                let (kind, id) = (key.0.as_str(), &key.1);
                tracing::warn!(kind, %id, %error, "a status cannot be written");
            }
        }
        self.queue.done(key.clone(), now);
        key
    }

    fn count(&mut self, key: &Key, labels: Vec<[String; 4]>) {
        if self.counted.get(key) == Some(&labels) {
            return;
        }
        let was = self.counted.remove(key).unwrap_or_default();
        for (labels, by) in was.iter().map(|it| (it, -1)).chain(labels.iter().map(|it| (it, 1))) {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            self.meter.count_condition(&labels, by);
        }
        if !labels.is_empty() {
            self.counted.insert(key.clone(), labels);
        }
    }
}

fn labels(kind: Kind, conditions: &[Condition]) -> Vec<[String; 4]> {
    let labels = |it: &Condition| {
        [
            kind.as_str().to_owned(),
            it.kind.clone(),
            it.status.as_str().to_owned(),
            it.reason.clone(),
        ]
    };
    conditions.iter().map(labels).collect()
}

const fn status_of(kind: Kind) -> &'static str {
    match kind {
        Kind::ModelConsumer => "ModelConsumer/status",
        Kind::ModelRoute => "ModelRoute/status",
        Kind::ProviderCredential => "ProviderCredential/status",
        Kind::ConfigMap
        | Kind::EndpointSlice
        | Kind::ModelAutoscaler
        | Kind::Namespace
        | Kind::Pod
        | Kind::Secret => "other",
    }
}

impl World {
    fn plan(&self, key: &Key) -> Option<Plan> {
        let (kind, id) = key;
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let now = now.to_string();
        match kind {
            Kind::ModelRoute => {
                let about = self.index.route(id)?;
                let report = self.compiler.route_report(id)?;
                let programmed = self.programmed(key, Facts::is_served(report))?;
                let generation = about.generation;
                let is = Facts { report, generation, programmed, now: &now }.route(&about.status);
                let differs = differs(&about.status, &is, |status| status.programmed = None);
                let (was, is) = (Status::Route(about.status.clone()), Status::Route(is));
                Some(Plan { uid: about.uid.clone(), was, is, differs, programmed })
            }
            Kind::ProviderCredential => {
                let about = self.index.credential(id)?;
                let report = self.compiler.credential_report(id)?;
                let programmed = self.programmed(key, Facts::is_served(report))?;
                let (generation, routes) = (about.generation, self.compiler.uses(id));
                let facts = Facts { report, generation, programmed, now: &now };
                let refused = self.keys.of(id);
                let known = self.keys.have_all_told() || !refused.is_empty();
                let refused = known.then_some(&refused);
                let mut is = facts.credential(routes, refused, &about.status);
                let tiered = self.compiler.credential(id).is_some_and(|it| !it.tiers.is_empty());
                let spend = self.spend.status(id).or(about.status.spend.as_ref());
                is.spend = spend.filter(|_| tiered).cloned();
                let differs = differs(&about.status, &is, |status| {
                    status.programmed = None;
                    status.routes = None;
                    status.spend = None;
                });
                let (was, is) = (Status::Credential(about.status.clone()), Status::Credential(is));
                Some(Plan { uid: about.uid.clone(), was, is, differs, programmed })
            }
            Kind::ModelConsumer => {
                let about = self.index.consumer(id)?;
                let report = self.compiler.consumer_report(id)?;
                let programmed = self.programmed(key, Facts::is_served(report))?;
                let facts = Facts { report, generation: about.generation, programmed, now: &now };
                let is = facts.consumer(&about.status);
                let differs = differs(&about.status, &is, |status| status.programmed = None);
                let (was, is) = (Status::Consumer(about.status.clone()), Status::Consumer(is));
                Some(Plan { uid: about.uid.clone(), was, is, differs, programmed })
            }
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::ModelAutoscaler
            | Kind::Namespace
            | Kind::Pod
            | Kind::Secret => None,
        }
    }

    /// How far an object is; none while that cannot be said yet.
    fn programmed(&self, key: &Key, served: bool) -> Option<Programmed> {
        let ready = self.fleet.len();
        let since = self.progress.since(key);
        let running = since.map_or(0, |since| self.fleet.running(since));
        let reason = match since {
            None if self.too_large => ProgrammedReason::TableTooLarge,
            None => return None,
            Some(_) if !served => ProgrammedReason::NotServed,
            Some(_) if ready == 0 => ProgrammedReason::NoProxies,
            Some(_) if running < ready => ProgrammedReason::Propagating,
            Some(_) => ProgrammedReason::Programmed,
        };
        let running = if reason == ProgrammedReason::NotServed { 0 } else { running };
        Some(Programmed { reason, running, ready })
    }
}
