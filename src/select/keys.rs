//! Which keys rest, and until when: what was learned about a key outlives the table.
//!
//! A key rests after a provider limited or refused it. All cores must know at once, and no request
//! may wait for a lock, so the time is one atomic a key. States are found by credential, key name and
//! secret when a table is taken into use, never on the request path.
//!
//! The secret belongs to the identity: whoever replaces a refused key under its old name has a new
//! key, which nobody has refused.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::table::{Credential, ObjectId, Secret, Table};

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

/// By credential and key name; more than one of a name only while a replaced key is still in an older
/// table, the newest last.
type States = FxHashMap<(ObjectId, Arc<str>), Vec<(Secret, Arc<KeyState>)>>;

/// The keys in use, and those of older tables that may still be.
#[derive(Debug)]
pub struct KeyStates {
    origin: Instant,
    states: Mutex<States>,
}

impl KeyStates {
    /// None yet. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, states: Mutex::default() }
    }

    /// The states of a credential's keys, in its order. Takes a lock: not for the request path.
    pub fn of(&self, credential: &Credential) -> Arc<[Arc<KeyState>]> {
        let mut states = self.lock();
        credential
            .keys
            .iter()
            .map(|key| {
                let id = (credential.id.clone(), Arc::clone(&key.name));
                let versions = states.entry(id).or_default();
                if let Some((_, known)) = versions.iter().find(|(own, _)| *own == key.secret) {
                    return Arc::clone(known);
                }
                let state = Arc::new(KeyState::new(self.origin));
                versions.push((key.secret.clone(), Arc::clone(&state)));
                state
            })
            .collect()
    }

    /// Forgets the keys that a new table no longer has, and with them their secrets.
    pub fn retain(&self, table: &Table) {
        let targets = table.routes().iter().flat_map(|route| &route.targets);
        let live: FxHashMap<(&ObjectId, &str), &Secret> = targets
            .flat_map(|target| {
                let credential = &target.credential;
                credential.keys.iter().map(|key| ((&credential.id, &*key.name), &key.secret))
            })
            .collect();
        self.lock().retain(|(credential, name), versions| {
            let own = live.get(&(credential, &**name));
            versions.retain(|(secret, _)| own == Some(&secret));
            !versions.is_empty()
        });
    }

    /// Every key with whether it rests, sorted by credential and name.
    pub fn all(&self, now: Instant) -> Vec<(ObjectId, Arc<str>, bool)> {
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .filter_map(|((credential, name), versions)| {
                // The newest is the one in use.
                let (_, state) = versions.last()?;
                Some((credential.clone(), Arc::clone(name), state.rests_until() > now))
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// How many keys rest now.
    pub fn resting(&self, now: Instant) -> usize {
        self.all(now).iter().filter(|(_, _, rests)| *rests).count()
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
