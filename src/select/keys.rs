//! Which keys rest, and until when: what was learned about a key outlives the table.
//!
//! A key rests after a provider limited it, and is in quarantine after a provider refused it: then it
//! stays *refused* until an answer shows that it is accepted again. When the quarantine is over one
//! request at a time tries it. All cores must know at once, and no request may wait for a lock, so
//! both are one atomic a key. States are found by credential, key name and secret when a table is
//! taken into use, never on the request path.
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

use crate::{
    table::{Credential, ObjectId, Secret, Table},
    words::words,
};

/// How long others pass over a refused key while one request tries it.
const TRIAL: Duration = Duration::from_secs(10);

words! {
    /// Why a provider refused a key.
    Refusal {
        /// It does not know the key, or does not allow it what was asked (401, 403).
        Rejected => "rejected",
        /// The account is not paid (402 and its like).
        Unpaid => "unpaid",
    }
}

/// How a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It works, as far as is known.
    Ready,
    /// The provider limited it a moment ago.
    Resting,
    /// The provider refused it, and has not accepted it since.
    Refused {
        /// Why.
        why: Refusal,
        /// When it was first refused.
        since: Instant,
    },
}

impl Standing {
    /// Its word in `/internal/state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Resting => "resting",
            Self::Refused { .. } => "refused",
        }
    }
}

/// What is known of one key.
#[derive(Debug)]
pub struct KeyState {
    origin: Instant,
    /// Until when it rests: milliseconds since `origin`.
    until: AtomicU64,
    /// 0 while it is not refused; else twice the milliseconds since `origin` plus one, plus one more
    /// when it is because of the bill.
    refused: AtomicU64,
}

impl KeyState {
    fn new(origin: Instant) -> Self {
        Self { origin, until: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Until when it rests; in the past when it does not.
    pub fn rests_until(&self) -> Instant {
        self.origin + Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    /// Whether it does not rest.
    pub fn is_free(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Most keys never rest: the clock's arithmetic is for those that do.
        until == 0 || self.origin + Duration::from_millis(until) <= now
    }

    /// Lets it rest at least until this time.
    pub fn rest_until(&self, until: Instant) {
        self.until.fetch_max(self.millis(until), Ordering::Relaxed);
    }

    /// The provider has refused it: nobody asks with it until the quarantine is over.
    pub fn refuse(&self, why: Refusal, now: Instant, until: Instant) {
        let word = (self.millis(now) + 1) * 2
            + match why {
                Refusal::Rejected => 0,
                Refusal::Unpaid => 1,
            };
        // What it was refused for first stays until it is accepted.
        let _known = self.refused.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed);
        self.rest_until(until);
    }

    /// It is asked with. While one request tries a refused key, others pass over it.
    pub fn asked(&self, now: Instant) {
        if self.refused.load(Ordering::Relaxed) != 0 {
            self.rest_until(now + TRIAL);
        }
    }

    /// Lets it work again: it has just been accepted.
    pub fn wake(&self) {
        self.until.store(0, Ordering::Relaxed);
        if self.refused.load(Ordering::Relaxed) != 0 {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    /// How it is.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.refused.load(Ordering::Relaxed) {
            0 if self.rests_until() > now => Standing::Resting,
            0 => Standing::Ready,
            word => Standing::Refused {
                why: if word & 1 == 0 { Refusal::Rejected } else { Refusal::Unpaid },
                since: self.origin + Duration::from_millis(word / 2 - 1),
            },
        }
    }

    fn millis(&self, time: Instant) -> u64 {
        let millis = time.saturating_duration_since(self.origin).as_millis();
        // Half of what fits, so that twice of it still does.
        u64::try_from(millis).unwrap_or(u64::MAX).min(u64::MAX / 4)
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

    /// Every key and how it is, sorted by credential and name.
    pub fn all(&self, now: Instant) -> Vec<(ObjectId, Arc<str>, Standing)> {
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .filter_map(|((credential, name), versions)| {
                // The newest is the one in use.
                let (_, state) = versions.last()?;
                Some((credential.clone(), Arc::clone(name), state.standing(now)))
            })
            .collect();
        all.sort_unstable();
        all
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_refused_key_stays_refused_until_it_is_accepted() {
        let now = Instant::now();
        let state = KeyState::new(now);
        assert_eq!(state.standing(now), Standing::Ready);
        state.rest_until(now + MINUTE);
        assert_eq!(state.standing(now), Standing::Resting, "a limit is no refusal");
        let (since, later) = (now + MINUTE, now + 5 * MINUTE);
        let refused = Standing::Refused { why: Refusal::Unpaid, since };
        state.refuse(Refusal::Unpaid, since, since + MINUTE);
        assert_eq!(state.standing(since), refused);
        assert_eq!(state.rests_until(), since + MINUTE);
        assert_eq!(state.standing(later), refused, "the end of the quarantine proves nothing");
        state.refuse(Refusal::Rejected, later, later + MINUTE);
        assert_eq!(state.standing(later), refused, "since the first time");
        state.wake();
        assert_eq!((state.standing(later), state.rests_until()), (Standing::Ready, now));
    }

    #[test]
    fn one_request_tries_a_refused_key_and_others_wait_for_what_comes_of_it() {
        let now = Instant::now();
        let state = KeyState::new(now);
        state.asked(now);
        assert_eq!(state.rests_until(), now, "a key that works is asked by all");
        state.refuse(Refusal::Rejected, now, now + MINUTE);
        let over = now + MINUTE;
        assert!(state.rests_until() <= over);
        state.asked(over);
        assert_eq!(state.rests_until(), over + TRIAL);
    }
}
