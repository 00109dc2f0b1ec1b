//! Where what was learned of targets is kept: it outlives the table and is shared by routes.
//!
//! One state a model at an endpoint under a credential. So two routes to the same model learn from
//! each other, a changed route forgets nothing, and a credential that moves to another endpoint
//! begins anew. States are found when a table is taken into use, never on the request path.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::health::Health;
use crate::table::{Endpoint, ObjectId, Table, Target};

type Id = (ObjectId, Endpoint, Arc<str>);

/// The share of first tokens whose time is told.
const LATE_SHARE: f32 = 0.95;

/// What a model of a credential is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The account or server.
    pub credential: ObjectId,
    /// The upstream's name of the model.
    pub model: Arc<str>,
    /// Requests from the first byte sent to the last one read.
    pub in_flight: u32,
    /// Requests that were ever sent.
    pub started: u64,
    /// Seconds in which 95 of 100 first tokens came lately, and how many were seen.
    pub first_token: Option<(f32, u32)>,
}

/// What is known of every target in use.
#[derive(Debug)]
pub struct Healths {
    origin: Instant,
    states: Mutex<FxHashMap<Id, Arc<Health>>>,
}

impl Healths {
    /// Nothing known yet. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, states: Mutex::default() }
    }

    /// What is known of a target. Takes a lock: not for the request path.
    pub fn of(&self, target: &Target) -> Arc<Health> {
        let mut states = self.lock();
        let state = states.entry(id(target)).or_insert_with(|| Arc::new(Health::new(self.origin)));
        Arc::clone(state)
    }

    /// Every model of every credential, and whether it is left alone, sorted. Of a model at several
    /// endpoints, which is so while a table is replaced, one that is left alone counts.
    pub fn all(&self) -> Vec<(ObjectId, Arc<str>, bool)> {
        let mut all: BTreeMap<(ObjectId, Arc<str>), bool> = BTreeMap::new();
        for ((credential, _, model), health) in self.lock().iter() {
            *all.entry((credential.clone(), Arc::clone(model))).or_default() |=
                health.is_left_alone();
        }
        all.into_iter().map(|((credential, model), open)| (credential, model, open)).collect()
    }

    /// What each model of each credential is asked to do, sorted.
    pub fn loads(&self) -> Vec<Load> {
        let mut all: BTreeMap<(ObjectId, Arc<str>), Load> = BTreeMap::new();
        for ((credential, _, model), health) in self.lock().iter() {
            let (in_flight, started, first_token) = health.load(LATE_SHARE);
            let load = all.entry((credential.clone(), Arc::clone(model))).or_insert_with(|| Load {
                credential: credential.clone(),
                model: Arc::clone(model),
                in_flight: 0,
                started: 0,
                first_token: None,
            });
            load.in_flight += in_flight;
            load.started += started;
            // Of a model at several endpoints the slower one counts.
            load.first_token = match (load.first_token, first_token) {
                (Some(known), Some(new)) if known.0 >= new.0 => Some(known),
                (known, new) => new.or(known),
            };
        }
        all.into_values().collect()
    }

    /// Forgets the targets that a new table no longer has.
    pub fn retain(&self, table: &Table) {
        let targets = table.routes().iter().flat_map(|route| &route.targets);
        let live: FxHashSet<Id> = targets.map(|target| id(target)).collect();
        self.lock().retain(|id, _| live.contains(id));
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Id, Arc<Health>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(target: &Target) -> Id {
    let credential = &target.credential;
    (credential.id.clone(), credential.endpoint.clone(), Arc::clone(&target.model))
}
