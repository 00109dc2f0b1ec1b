//! Choosing: which target of a route, and which of its keys.
//!
//! Pure but for what is known of targets and keys, which are atomics, so that every core sees at once
//! what another has learned and no request waits for a lock. The clock and the randomness are
//! arguments. [`consider`] filters and scores, for serving and for `explain`; [`choose`] draws.
//!
//! A request sometimes is a probe: it goes to a target that was left out as failing or slow, to see
//! whether it still is. It is a user's request, so it goes there only when it has not failed
//! elsewhere before, and waits no longer than [`Pick::patience`].
//!
//! When no target may serve, the least bad one does: an outage of our own making would be worse than
//! one more refusal. Only a quota is kept whatever happens: its owner wants it so.

mod account;
mod affinity;
mod ask;
mod average;
mod backend;
mod belonging;
mod breaker;
mod budget;
mod candidates;
mod flight;
mod health;
mod hedge;
mod key;
mod keys;
mod minute;
mod needs;
mod outstanding;
mod pods;
mod preference;
mod score;
mod spillover;
mod states;
mod tried;
mod verdict;
mod weight;
mod window;

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

pub use self::{
    account::{Account, Accounts, Claim, Over},
    affinity::{Hold, Kept, hold, order},
    ask::{Ask, RouteKeys, Targets},
    backend::{Backend, Backends, Pod},
    belonging::Belonging,
    budget::RetryBudget,
    candidates::consider,
    flight::{Flight, Turn},
    health::{Health, Lane, Reading},
    hedge::{HedgeBudget, hedge_after},
    keys::{KeyState, KeyStates, Refusal, Standing},
    needs::{BYTES_A_TOKEN, Needs},
    preference::of_caller,
    spillover::{Spill, SpillState, SpillStates},
    states::{Healths, Load},
    tried::{PickedKey, PickedPod, Tried},
    verdict::{Candidate, Considered, LeftOut, SloPart, Verdict},
};
use self::{
    key::{pick_key, picked, soonest},
    weight::by_weight,
};
use crate::table::{Choosing, Strategy};

/// How likely a request is to probe a slow target once that is due: with little traffic, one request
/// of ten, not each of them.
const PROBES: f64 = 0.1;

/// How much longer than the fastest a probe may take, and at least how long it may.
const PATIENCE: f32 = 2.0;
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// A choice.
#[derive(Clone, Debug)]
pub struct Pick {
    /// Which of `route.targets`.
    pub target: usize,
    /// Which of the credential's keys; `None` where it needs none.
    pub key: Option<PickedKey>,
    /// Which pod; `None` where the target is no Service.
    pub pod: Option<PickedPod>,
    /// Whether the target is to show that it has recovered.
    pub probe: bool,
    /// The longest wait for the first token of a probe, where others are known to be faster.
    pub patience: Option<Duration>,
    /// How many of [`SloPart::ORDER`] were given up, because no target holds them.
    pub relaxed: usize,
    /// What the request is believed to cost there, in nano-dollars, where a price is known.
    pub cost: Option<u64>,
    /// What became of the route's affinity; `None` where it has none.
    pub kept: Option<Kept>,
}

/// Chooses a target and a key; `None` when nothing is left to try.
///
/// `random` gives numbers evenly between 0 and 1, 1 excluded.
pub fn choose(
    targets: Targets<'_>,
    ask: &Ask,
    tried: &Tried,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<Pick> {
    let found = consider(targets, ask, tried, now);
    hold_full(targets, &found);
    if let (Some(tier), true) = (found.tier, tried.is_empty()) {
        pass_over(targets, &found, tier);
    }
    let hold = hold(targets, ask, &found);
    let probe = probe(targets, ask, tried, &found, now, random);
    let held = probe.or_else(|| hold?.serves);
    let (at, key) = match held.or_else(|| draw(targets, &found, random)) {
        Some(at) => (at, None),
        None => last_resort(targets, &found, tried, now)?,
    };
    let target = targets.route.targets.get(at)?;
    let keys = targets.keys.get(at)?;
    let key = match key {
        Some(key) => picked(keys, Some(key)),
        None => pick_key(target, keys, tried, ask.belonging, now, random),
    };
    let pod = match targets.backend(at) {
        Some(backend) => {
            Some(pods::choose(backend, tried, ask, &targets.route.choosing.breaker, now, random)?)
        }
        None => None,
    };
    let patience = found
        .fastest
        .filter(|_| probe.is_some())
        .map(|fastest| Duration::from_secs_f32(fastest * PATIENCE).max(LEAST_PATIENCE));
    let cost = found.candidates.get(at).and_then(|one| one.cost);
    let (probe, relaxed) = (probe.is_some(), found.relaxed);
    let kept = hold.map(|hold| hold.result(at));
    Some(Pick { target: at, key, pod, probe, patience, relaxed, cost, kept })
}

/// What is full stays so for a while.
fn hold_full(targets: Targets<'_>, found: &Considered) {
    for one in &found.candidates {
        if let Verdict::LeftOut(LeftOut::Full { until }) = one.verdict
            && let Some(spill) = targets.spill(one.at)
        {
            spill.hold(until);
        }
    }
}

/// Notes that a Service without a pod, or a full target, would have been asked, had it room: who scales
/// it should know. A request is noted once, however often it is tried, and not at tiers that only wait
/// behind the one that serves.
fn pass_over(targets: Targets<'_>, found: &Considered, serving: u8) {
    let tier = |at: usize| targets.route.targets.get(at).map_or(u8::MAX, |target| target.tier);
    for one in found.candidates.iter().filter(|one| tier(one.at) <= serving) {
        let Verdict::LeftOut(why @ (LeftOut::NoPod | LeftOut::Full { .. })) = one.verdict else {
            continue;
        };
        if let Some(backend) = targets.backend(one.at) {
            backend.pass_over();
        }
        if let (LeftOut::Full { .. }, Some(spill)) = (why, targets.spill(one.at)) {
            spill.spill();
        }
    }
}

/// A target that was left out as failing or slow and may be seen again, if this request is to do it.
fn probe(
    targets: Targets<'_>,
    ask: &Ask,
    tried: &Tried,
    found: &Considered,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<usize> {
    if !tried.is_empty() {
        return None;
    }
    let policy = &targets.route.choosing.breaker;
    found.candidates.iter().find_map(|one| {
        let Verdict::LeftOut(why) = one.verdict else { return None };
        let health = targets.health.get(one.at)?;
        // A higher tier is not asked out of curiosity.
        if targets.route.targets.get(one.at)?.tier > found.tier.unwrap_or(u8::MAX) {
            return None;
        }
        let millis = health.millis(now);
        let claimed = match why {
            LeftOut::CircuitOpen { until } => {
                until <= now && health.breaker().claim(millis, policy)
            }
            LeftOut::MissesSlo(_) | LeftOut::Slow => {
                health.is_slow_due(ask.lane, millis, policy)
                    && random() < PROBES
                    && health.claim_slow(ask.lane, millis, policy)
            }
            LeftOut::Drained
            | LeftOut::FallsShort
            | LeftOut::Full { .. }
            | LeftOut::HigherTier
            | LeftOut::Incapable(_)
            | LeftOut::KeysRest { .. }
            | LeftOut::NoKey
            | LeftOut::NoPod
            | LeftOut::OverQuota(_)
            | LeftOut::Silent
            | LeftOut::TooLong { .. }
            | LeftOut::Tried => false,
        };
        claimed.then_some(one.at)
    })
}

/// A target that the strategy finds as good as the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equal {
    /// Which of `route.targets`.
    pub at: usize,
    score: f32,
    speed: f32,
    weight: f32,
}

/// Those that the strategy finds equally good: one of them serves.
pub fn equals(choosing: &Choosing, found: &Considered) -> SmallVec<[Equal; 8]> {
    let eligible = found.candidates.iter().filter_map(|one| match one.verdict {
        Verdict::Eligible { score, speed, weight } => {
            Some(Equal { at: one.at, score, speed, weight })
        }
        Verdict::LeftOut(_) => None,
    });
    let mut equals: SmallVec<[Equal; 8]> = SmallVec::with_capacity(found.candidates.len());
    equals.extend(eligible);
    match choosing.strategy {
        // Speed and load are in the score themselves, so all of them take part.
        Strategy::Weighted | Strategy::Fastest | Strategy::LeastBusy => {}
        Strategy::Balanced(_) | Strategy::Cheapest => {
            let best = equals.iter().map(|one| one.score).fold(f32::INFINITY, f32::min);
            let worst = best * tolerance(choosing);
            equals.retain(|one| one.score <= worst);
        }
    }
    equals
}

/// So many times worse is still as good.
#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn tolerance(choosing: &Choosing) -> f32 {
    1.0 + choosing.tolerance_percent as f32 / 100.0
}

/// Draws one of those that the strategy finds equally good: by weight alone, or the better of two that
/// are drawn by weight. The better of two, not the best of all: what is known is a little old, and
/// everybody running to the best one would make it the worst.
fn draw(
    targets: Targets<'_>,
    found: &Considered,
    random: &mut dyn FnMut() -> f64,
) -> Option<usize> {
    let choosing = &targets.route.choosing;
    let equals = equals(choosing, found);
    let weights = |without: Option<usize>| {
        let rows = equals.iter().enumerate().filter(move |(index, _)| Some(*index) != without);
        rows.map(|(index, one)| (index, one.weight))
    };
    let first = by_weight(weights(None), random)?;
    let one = equals.get(first)?;
    if choosing.strategy == Strategy::Weighted {
        return Some(one.at);
    }
    let second = by_weight(weights(Some(first)), random);
    let Some(other) = second.and_then(|second| equals.get(second)) else {
        return Some(one.at);
    };
    let (own, others) = match choosing.strategy {
        Strategy::LeastBusy => (one.score, other.score),
        Strategy::Balanced(_) | Strategy::Cheapest | Strategy::Fastest | Strategy::Weighted => {
            (one.speed, other.speed)
        }
    };
    // Of two that hardly differ, the one with less to do: that spreads better than noise.
    let tolerance = tolerance(choosing);
    let hardly = others <= own * tolerance && own <= others * tolerance;
    let busy = |one: &Equal| found.candidates.get(one.at).map_or(0.0, |row| row.busy(one.weight));
    let better = if hardly { busy(other) < busy(one) } else { others < own };
    Some(if better { other.at } else { one.at })
}

/// The least bad of targets that may not serve: one that is full, silent or slow before one whose key
/// rests or whose breaker is open, and of these the one that is free the soonest.
fn last_resort(
    targets: Targets<'_>,
    found: &Considered,
    tried: &Tried,
    now: Instant,
) -> Option<(usize, Option<usize>)> {
    let rows = found.candidates.iter().filter_map(|one| {
        let Verdict::LeftOut(why) = one.verdict else { return None };
        let until = match why {
            LeftOut::Full { .. } | LeftOut::Silent | LeftOut::Slow | LeftOut::MissesSlo(_) => now,
            LeftOut::CircuitOpen { until } | LeftOut::KeysRest { until } => until,
            LeftOut::Drained
            | LeftOut::FallsShort
            | LeftOut::HigherTier
            | LeftOut::Incapable(_)
            | LeftOut::NoKey
            | LeftOut::NoPod
            | LeftOut::OverQuota(_)
            | LeftOut::TooLong { .. }
            | LeftOut::Tried => return None,
        };
        let target = targets.route.targets.get(one.at)?;
        let (_, key) = soonest(target, targets.keys.get(one.at)?, tried, now)?;
        Some((until, target.tier, one.at, key))
    });
    rows.min().map(|(_, _, at, key)| (at, key))
}

#[cfg(test)]
mod tests;
