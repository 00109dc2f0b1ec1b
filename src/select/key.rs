//! Which key of a target's credential a request goes with.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    belonging::Belonging,
    keys::KeyState,
    tried::{PickedKey, Tried},
    weight::by_weight,
};
use crate::table::Target;

/// When a target can be asked, and with which of its keys: now, or when the first of its keys has
/// rested. `None` when no key is left for this request.
pub(super) fn soonest(
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

/// Draws a key, or takes the one to which the request belongs; `None` only where the target needs none.
///
/// Another core may have let every key rest since the target was found usable. A request without its
/// key would be worse than one with a resting key, so then the soonest serves.
pub(super) fn pick_key(
    target: &Target,
    states: &[Arc<KeyState>],
    tried: &Tried,
    belonging: Option<Belonging>,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<PickedKey> {
    let rows = target.credential.keys.iter().zip(states).enumerate();
    #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
    let usable = rows
        .filter(|(_, (_, state))| !tried.has_key(state) && state.is_free(now))
        .map(|(at, (key, _))| (at, key.weight as f32));
    let name =
        |at: usize| target.credential.keys.get(at).map_or(&[][..], |key| key.name.as_bytes());
    let at = match belonging {
        Some(belonging) => usable
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(at, weight)| (belonging.rank(name(at), weight), at))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, at)| at),
        None => by_weight(usable, random),
    };
    let at = at.or_else(|| soonest(target, states, tried, now)?.1);
    picked(states, at)
}

pub(super) fn picked(states: &[Arc<KeyState>], at: Option<usize>) -> Option<PickedKey> {
    let at = at?;
    Some(PickedKey { at, state: Arc::clone(states.get(at)?) })
}
