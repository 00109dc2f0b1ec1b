//! Who chooses: the code that serves, and the baselines.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use trunkline::{
    select::{Ask, Flight, HedgeBudget, Lane, Needs, Targets, Tried, choose, hedge_after},
    table::Choosing,
};

use super::{
    policy::{Attempt, Choice, Policy},
    routes::Fresh,
};

/// How many targets there are.
pub const TARGETS: usize = 4;

/// The code that serves.
pub struct Served {
    fresh: Fresh,
    flights: HashMap<usize, Flight>,
    rng: fastrand::Rng,
    budget: HedgeBudget,
}

/// What every simulated request is.
pub const ASK: Ask = Ask {
    lane: Lane::Streamed,
    input_tokens: 1_000,
    output_tokens: 100,
    needs: Needs::NONE,
    preference: None,
    belonging: None,
};

impl Served {
    pub fn new(choosing: Choosing, count: usize, seed: u64, now: Instant) -> Self {
        Self {
            fresh: super::routes::fresh(count, choosing, |_| None, now),
            flights: HashMap::new(),
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed),
            budget: HedgeBudget::default(),
        }
    }
}

impl Policy for Served {
    fn choose(&mut self, tried: &[usize], _: Option<usize>, now: Instant) -> Option<Choice> {
        let mut excluded = Tried::default();
        for target in tried {
            excluded.target(*target);
        }
        let Fresh { route, keys, health } = &self.fresh;
        let targets = Targets::new(route, keys, health);
        let pick = choose(targets, &ASK, &excluded, now, &mut || self.rng.f64())?;
        let hedge = route.choosing.hedge;
        if let (Some(hedge), []) = (&hedge, tried) {
            self.budget.earn(hedge, None);
        }
        let hedge_after =
            hedge.and_then(|hedge| hedge_after(targets, &hedge, pick.target, ASK.lane));
        Some(Choice {
            target: pick.target,
            probe: pick.probe,
            patience: pick.patience,
            hedge_after,
        })
    }

    fn sent(&mut self, id: usize, choice: Choice, now: Instant) {
        let health = Arc::clone(&self.fresh.health[choice.target]);
        let policy = self.fresh.route.choosing.breaker;
        let flight = Flight::begin(health, policy, ASK.lane, ASK.input_tokens, choice.probe, now);
        self.flights.insert(id, flight);
    }

    fn answered(&mut self, id: usize, _: &Attempt, now: Instant) {
        self.flights.get_mut(&id).unwrap().answered(now);
    }

    fn failed(&mut self, id: usize, attempt: &Attempt, now: Instant) {
        let mut flight = self.flights.remove(&id).unwrap();
        let jitter = self.rng.f64();
        if attempt.choice.patience.is_some_and(|patience| now - attempt.sent >= patience) {
            flight.gave_up(now, jitter);
        } else {
            flight.failed(now, jitter);
        }
    }

    fn abandoned(&mut self, id: usize, now: Instant) {
        self.flights.remove(&id).unwrap().abandoned(now);
    }

    fn finished(&mut self, id: usize, _: &Attempt, now: Instant) {
        self.flights.remove(&id).unwrap().finished(100, now);
    }

    fn may_hedge(&mut self) -> bool {
        self.budget.spend(None)
    }
}

/// One after the other.
#[derive(Default)]
pub struct RoundRobin {
    next: usize,
}

impl Policy for RoundRobin {
    fn choose(&mut self, tried: &[usize], _: Option<usize>, _: Instant) -> Option<Choice> {
        rotate(&mut self.next, |target| !tried.contains(&target))
    }
}

/// One after the other, knowing who is sick.
#[derive(Default)]
pub struct Oracle {
    next: usize,
}

impl Policy for Oracle {
    fn choose(&mut self, tried: &[usize], sick: Option<usize>, _: Instant) -> Option<Choice> {
        rotate(&mut self.next, |target| !tried.contains(&target) && Some(target) != sick)
    }
}

fn rotate(next: &mut usize, usable: impl Fn(usize) -> bool) -> Option<Choice> {
    let found = (0..TARGETS).map(|step| *next + step);
    let target = found.map(|at| at % TARGETS).find(|target| usable(*target))?;
    *next = target + 1;
    Some(Choice::of(target))
}

/// The fewest requests in flight; with `eject`, the better of two drawn, and five failures in a row
/// take a target out for 30 s, then 60, and so on (Envoy's least request with outlier detection).
pub struct LeastRequest {
    in_flight: Vec<u32>,
    failures: Vec<u32>,
    ejections: Vec<u32>,
    until: Vec<Instant>,
    eject: bool,
    rng: fastrand::Rng,
}

impl LeastRequest {
    pub fn new(eject: bool, seed: u64, now: Instant) -> Self {
        let count = TARGETS;
        Self {
            in_flight: vec![0; count],
            failures: vec![0; count],
            ejections: vec![0; count],
            until: vec![now; count],
            eject,
            rng: fastrand::Rng::with_seed(seed ^ 0xba5e),
        }
    }

    fn ended(&mut self, target: usize) {
        self.in_flight[target] -= 1;
    }
}

impl Policy for LeastRequest {
    fn choose(&mut self, tried: &[usize], _: Option<usize>, now: Instant) -> Option<Choice> {
        let mut usable: Vec<usize> = (0..self.in_flight.len())
            .filter(|target| !tried.contains(target) && self.until[*target] <= now)
            .collect();
        if usable.is_empty() {
            usable = (0..self.in_flight.len()).filter(|target| !tried.contains(target)).collect();
        }
        if self.eject {
            self.rng.shuffle(&mut usable);
            usable.truncate(2);
        }
        usable.into_iter().min_by_key(|target| self.in_flight[*target]).map(Choice::of)
    }

    fn sent(&mut self, _: usize, choice: Choice, _: Instant) {
        self.in_flight[choice.target] += 1;
    }

    fn answered(&mut self, _: usize, attempt: &Attempt, _: Instant) {
        self.failures[attempt.choice.target] = 0;
    }

    fn failed(&mut self, _: usize, attempt: &Attempt, now: Instant) {
        let target = attempt.choice.target;
        self.ended(target);
        self.failures[target] += 1;
        if self.eject && self.failures[target] >= 5 {
            self.failures[target] = 0;
            self.ejections[target] += 1;
            self.until[target] = now + Duration::from_secs(30) * self.ejections[target];
        }
    }

    fn finished(&mut self, _: usize, attempt: &Attempt, _: Instant) {
        self.ended(attempt.choice.target);
    }
}
