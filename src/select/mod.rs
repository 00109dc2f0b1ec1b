//! Choosing: which target of a route, and which of its keys.
//!
//! Pure but for the resting times of keys, which are atomics so that every core sees a key that was
//! just limited. The clock and the randomness are arguments. The same code will answer `explain`.
//!
//! The order of choice: the lowest tier that has a usable target; in it, by weight; of its keys, by
//! weight. A target is usable when it has a weight, was not tried for this request, and has a key
//! that does not rest (or needs none). When every key of every target rests, the one that rests the
//! shortest is used after all: an outage of our own making would be worse than one more refusal.

mod budget;
mod keys;

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

pub use self::{
    budget::RetryBudget,
    keys::{KeyState, KeyStates},
};
use crate::table::{Route, Target};

/// The keys of each target of a route, in the order of `route.targets`.
pub type RouteKeys = [Arc<[Arc<KeyState>]>];

/// A choice.
#[derive(Clone, Debug)]
pub struct Pick {
    /// Which of `route.targets`.
    pub target: usize,
    /// Which of the credential's keys; `None` where it needs none.
    pub key: Option<PickedKey>,
}

/// A chosen key.
#[derive(Clone, Debug)]
pub struct PickedKey {
    /// Which of the credential's keys.
    pub at: usize,
    /// Whether it rests, and until when.
    pub state: Arc<KeyState>,
}

/// What one request has tried in vain.
#[derive(Debug, Default)]
pub struct Tried {
    targets: SmallVec<[usize; 4]>,
    keys: SmallVec<[Arc<KeyState>; 2]>,
}

impl Tried {
    /// Leaves a target out of this request's further choices.
    pub fn target(&mut self, target: usize) {
        self.targets.push(target);
    }

    /// Leaves a key out of this request's further choices; its target keeps its other keys.
    pub fn key(&mut self, key: &PickedKey) {
        self.keys.push(Arc::clone(&key.state));
    }

    fn has_key(&self, key: &Arc<KeyState>) -> bool {
        self.keys.iter().any(|tried| Arc::ptr_eq(tried, key))
    }
}

/// Chooses a target and a key; `None` when nothing is left to try.
///
/// `random` gives numbers evenly between 0 and 1, 1 excluded.
pub fn pick(
    route: &Route,
    keys: &RouteKeys,
    tried: &Tried,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<Pick> {
    // Most routes have one target and one key, or none: nothing is to be weighed.
    let mut best: Option<(u8, Instant)> = None;
    let mut usable: SmallVec<[(usize, u32); 8]> = SmallVec::new();
    let mut tier = u8::MAX;
    for (at, (target, states)) in route.targets.iter().zip(keys).enumerate() {
        if target.weight == 0 || tried.targets.contains(&at) || target.tier > tier {
            continue;
        }
        let Some(free) = free_at(target, states, tried, now) else { continue };
        if free > now {
            if best.is_none_or(|(_, soonest)| free < soonest) {
                best = Some((target.tier, free));
            }
            continue;
        }
        if target.tier < tier {
            tier = target.tier;
            usable.clear();
        }
        usable.push((at, target.weight));
    }
    if let Some(target) = weighted(&usable, random) {
        let states = keys.get(target)?;
        let key = pick_key(route.targets.get(target)?, states, tried, now, random);
        return Some(Pick { target, key });
    }
    let (_, soonest) = best?;
    route.targets.iter().zip(keys).enumerate().find_map(|(target, (row, states))| {
        let out = row.weight == 0 || tried.targets.contains(&target);
        let (at, state) = states
            .iter()
            .enumerate()
            .find(|(_, state)| !out && !tried.has_key(state) && state.rests_until() == soonest)?;
        Some(Pick { target, key: Some(PickedKey { at, state: Arc::clone(state) }) })
    })
}

/// When a target can be asked: now, or when the first of its keys has rested. `None` when no key is
/// left for this request.
fn free_at(
    target: &Target,
    states: &[Arc<KeyState>],
    tried: &Tried,
    now: Instant,
) -> Option<Instant> {
    if target.credential.keys.is_empty() {
        return Some(now);
    }
    let left = states.iter().filter(|state| !tried.has_key(state));
    left.map(|state| state.rests_until()).min().map(|free| free.max(now))
}

fn pick_key(
    target: &Target,
    states: &[Arc<KeyState>],
    tried: &Tried,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<PickedKey> {
    let usable: SmallVec<[(usize, u32); 8]> = target
        .credential
        .keys
        .iter()
        .zip(states)
        .enumerate()
        .filter(|(_, (_, state))| !tried.has_key(state) && state.rests_until() <= now)
        .map(|(at, (key, _))| (at, key.weight))
        .collect();
    let at = weighted(&usable, random)?;
    Some(PickedKey { at, state: Arc::clone(states.get(at)?) })
}

/// Draws one of several by weight; weights of 0 are drawn only when there is no other.
fn weighted(candidates: &[(usize, u32)], random: &mut dyn FnMut() -> f64) -> Option<usize> {
    let (first, _) = candidates.first()?;
    if candidates.len() == 1 {
        return Some(*first);
    }
    let total: u64 = candidates.iter().map(|(_, weight)| u64::from(*weight)).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "weights add up to less than 2^42; the product is between 0 and their sum"
    )]
    let mut left = (random() * total as f64) as u64;
    for (at, weight) in candidates {
        let weight = u64::from(*weight);
        if left < weight {
            return Some(*at);
        }
        left -= weight;
    }
    Some(*first)
}

#[cfg(test)]
mod tests;
