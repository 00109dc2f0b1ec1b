//! Which keys rest, and until when: what was learned about a key outlives the table.
//!
//! A key rests after a provider limited or refused it. All cores must know at once, and no request
//! may wait for a lock, so the time is one atomic a key. States are found by credential and key name
//! when a table is taken into use, never on the request path.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::table::{Credential, ObjectId};

/// Whether one key rests.
#[derive(Debug)]
pub struct KeyState {
    origin: Instant,
    /// Milliseconds since `origin`.
    until: AtomicU64,
}

impl KeyState {
    fn new(origin: Instant) -> Self {
        Self { origin, until: AtomicU64::new(0) }
    }

    /// Until when it rests; in the past when it does not.
    pub fn rests_until(&self) -> Instant {
        self.origin + Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    /// Lets it rest at least until this time.
    pub fn rest_until(&self, until: Instant) {
        let millis = until.saturating_duration_since(self.origin).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.until.fetch_max(millis, Ordering::Relaxed);
    }

    /// Lets it work again: it has just been accepted.
    pub fn wake(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

/// Every key that was ever in use.
#[derive(Debug)]
pub struct KeyStates {
    origin: Instant,
    states: Mutex<FxHashMap<(ObjectId, Arc<str>), Arc<KeyState>>>,
}

impl KeyStates {
    /// None yet. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, states: Mutex::default() }
    }

    /// The states of a credential's keys, in its order.
    pub fn of(&self, credential: &Credential) -> Arc<[Arc<KeyState>]> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        credential
            .keys
            .iter()
            .map(|key| {
                let id = (credential.id.clone(), Arc::clone(&key.name));
                let state =
                    states.entry(id).or_insert_with(|| Arc::new(KeyState::new(self.origin)));
                Arc::clone(state)
            })
            .collect()
    }

    /// How many keys rest now.
    pub fn resting(&self, now: Instant) -> usize {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.values().filter(|state| state.rests_until() > now).count()
    }
}
