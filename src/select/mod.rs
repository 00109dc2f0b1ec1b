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
    let mut resting: Option<(Instant, usize, Option<usize>)> = None;
    let mut usable: SmallVec<[(usize, u32); 8]> = SmallVec::new();
    let mut tier = u8::MAX;
    for (at, (target, states)) in route.targets.iter().zip(keys).enumerate() {
        if target.weight == 0 || tried.targets.contains(&at) || target.tier > tier {
            continue;
        }
        let Some((free, key)) = soonest(target, states, tried, now) else { continue };
        if free > now {
            if resting.is_none_or(|(best, ..)| free < best) {
                resting = Some((free, at, key));
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
        let row = route.targets.get(target)?;
        return Some(Pick { target, key: pick_key(row, keys.get(target)?, tried, now, random) });
    }
    let (_, target, key) = resting?;
    Some(Pick { target, key: picked(keys.get(target)?, key) })
}

/// When a target can be asked, and with which of its keys: now, or when the first of its keys has
/// rested. `None` when no key is left for this request.
fn soonest(
    target: &Target,
    states: &[Arc<KeyState>],
    tried: &Tried,
    now: Instant,
) -> Option<(Instant, Option<usize>)> {
    if target.credential.keys.is_empty() {
        return Some((now, None));
    }
    let left = states.iter().enumerate().filter(|(_, state)| !tried.has_key(state));
    left.map(|(at, state)| (state.rests_until().max(now), Some(at))).min()
}

/// Draws a key; `None` only where the target needs none.
///
/// Another core may have let every key rest since the target was found usable. A request without its
/// key would be worse than one with a resting key, so then the soonest serves.
fn pick_key(
    target: &Target,
    states: &[Arc<KeyState>],
    tried: &Tried,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<PickedKey> {
    let rows = target.credential.keys.iter().zip(states).enumerate();
    let usable: SmallVec<[(usize, u32); 8]> = rows
        .filter(|(_, (_, state))| !tried.has_key(state) && state.rests_until() <= now)
        .map(|(at, (key, _))| (at, key.weight))
        .collect();
    let at = weighted(&usable, random).or_else(|| soonest(target, states, tried, now)?.1);
    picked(states, at)
}

fn picked(states: &[Arc<KeyState>], at: Option<usize>) -> Option<PickedKey> {
    let at = at?;
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
