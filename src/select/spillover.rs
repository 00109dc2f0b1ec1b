//! Whether a target of a lower tier is full, so that requests spill over to the next tier.
//!
//! Full is what has as many requests in flight as its pods take well. Once full it stays so until it
//! has been clearly below that for a while: a server that sheds one request and takes the next would
//! be at its brim for hours, and conversations would move to and fro. One number is all there is to
//! remember, until when it stays full, so no core waits for another.
//!
//! Each process counts its own requests and takes as many others for as busy as the operator says
//! there are.

use std::{
    collections::hash_map::Entry,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::breaker::millis;
use crate::table::{ObjectId, Route, Spillover, Table, Target};

type Id = (ObjectId, Arc<str>);

/// One target of one route.
#[derive(Debug)]
pub struct SpillState {
    origin: Instant,
    proxies: Arc<AtomicU32>,
    /// Until when it stays full, in milliseconds since the origin.
    until: AtomicU64,
    /// Requests that another tier served because it was full.
    spilled: AtomicU64,
}

/// A target as a scrape finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// The route.
    pub route: ObjectId,
    /// The target.
    pub target: Arc<str>,
    /// Whether it is full.
    pub full: bool,
    /// Requests that another tier served because it was full.
    pub spilled: u64,
}

impl SpillState {
    /// Until when it is full, were nothing more to come; `None` when it takes requests. `in_flight` are
    /// those that are at its `pods` now. Changes nothing.
    pub(super) fn full(
        &self,
        policy: &Spillover,
        (in_flight, pods): (u64, u64),
        now: Instant,
    ) -> Option<Instant> {
        let capacity = u64::from(policy.in_flight_per_pod).saturating_mul(pods);
        let all = in_flight.saturating_mul(self.proxies.load(Ordering::Relaxed).into());
        let back = capacity.saturating_mul(policy.return_below_percent.into());
        let held = self.held(now);
        if all >= capacity || held.is_some() && all.saturating_mul(100) >= back {
            return Some(now + policy.hold_for);
        }
        held
    }

    fn held(&self, now: Instant) -> Option<Instant> {
        let until = self.origin + Duration::from_millis(self.until.load(Ordering::Relaxed));
        Some(until).filter(|until| *until > now)
    }

    /// It stays full at least as long.
    pub(super) fn hold(&self, until: Instant) {
        self.until.fetch_max(millis(until - self.origin), Ordering::Relaxed);
    }

    /// Notes that another tier serves a request because it is full.
    pub(super) fn spill(&self) {
        self.spilled.fetch_add(1, Ordering::Relaxed);
    }
}

/// The targets of all routes that spill over.
#[derive(Debug)]
pub struct SpillStates {
    origin: Instant,
    proxies: Arc<AtomicU32>,
    states: Mutex<FxHashMap<Id, Arc<SpillState>>>,
}

impl SpillStates {
    /// None is full. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, proxies: Arc::new(AtomicU32::new(1)), states: Mutex::default() }
    }

    /// So many proxies take requests.
    pub fn share(&self, proxies: u32) {
        self.proxies.store(proxies.max(1), Ordering::Relaxed);
    }

    /// The state of a target that can be full: not of one in the last tier, from which nothing can
    /// spill. Takes a lock: not for the request path.
    pub fn of(&self, route: &Route, target: &Target) -> Option<Arc<SpillState>> {
        route.choosing.spillover?;
        let last = route.targets.iter().map(|target| target.tier).max()?;
        let state = || {
            let (origin, proxies) = (self.origin, Arc::clone(&self.proxies));
            let (until, spilled) = Default::default();
            Arc::new(SpillState { origin, proxies, until, spilled })
        };
        (target.tier < last).then(|| match self.lock().entry(id(route, target)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(state())),
        })
    }

    /// Every target that can be full, in the order of the table.
    pub fn all(&self, table: &Table, now: Instant) -> Vec<Spill> {
        let rows = spilling(table).filter_map(|(route, target)| {
            let state = self.of(route, target)?;
            Some(Spill {
                route: route.id.clone(),
                target: Arc::clone(&target.name),
                full: state.held(now).is_some(),
                spilled: state.spilled.load(Ordering::Relaxed),
            })
        });
        rows.collect()
    }

    /// Forgets what a new table no longer has.
    pub fn retain(&self, table: &Table) {
        let live: FxHashSet<Id> =
            spilling(table).map(|(route, target)| id(route, target)).collect();
        self.lock().retain(|id, _| live.contains(id));
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Id, Arc<SpillState>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(route: &Route, target: &Target) -> Id {
    (route.id.clone(), Arc::clone(&target.name))
}

fn spilling(table: &Table) -> impl Iterator<Item = (&Route, &Target)> {
    let routes = table.routes().iter().filter(|route| route.choosing.spillover.is_some());
    routes.flat_map(|route| route.targets.iter().map(move |target| (&**route, &**target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Spillover = Spillover {
        in_flight_per_pod: 10,
        return_below_percent: 70,
        hold_for: Duration::from_secs(30),
    };

    fn state(proxies: u32) -> (SpillState, Instant) {
        let now = Instant::now();
        let proxies = Arc::new(AtomicU32::new(proxies));
        let (until, spilled) = Default::default();
        (SpillState { origin: now, proxies, until, spilled }, now)
    }

    #[test]
    fn full_is_what_has_as_many_in_flight_as_its_pods_take() {
        let (state, now) = state(1);
        for (load, full) in [((9, 1), false), ((10, 1), true), ((19, 2), false), ((20, 2), true)] {
            assert_eq!(state.full(&POLICY, load, now).is_some(), full, "{load:?}");
        }
    }

    #[test]
    fn it_stays_full_until_it_was_clearly_below_that_for_a_while() {
        let (state, now) = state(1);
        let at = |seconds| now + Duration::from_secs(seconds);
        let look = |in_flight, seconds| {
            let full = state.full(&POLICY, (in_flight, 1), at(seconds));
            full.inspect(|until| state.hold(*until));
            full
        };
        assert_eq!(look(9, 0), None);
        assert_eq!(look(10, 0), Some(at(30)));
        assert_eq!(look(7, 20), Some(at(50)), "not clearly below");
        assert_eq!(look(6, 49), Some(at(50)), "not for long enough");
        assert_eq!(look(6, 50), None);
        assert_eq!(look(9, 51), None, "not full yet");
    }

    #[test]
    fn other_proxies_are_taken_for_as_busy() {
        let (state, now) = state(3);
        assert_eq!(state.full(&POLICY, (3, 1), now), None, "nine in all");
        assert!(state.full(&POLICY, (4, 1), now).is_some());
    }
}
