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
