//! The requests whose first token has not come: what a silent target tells by saying nothing.
//!
//! A target that accepts and never answers has perfect statistics: no sample, no failure, until the
//! first deadline passes ten seconds later. So what has not answered yet must count. Each waiting
//! request notes when it was sent and how long the target usually needs; [`Outstanding::overdue`]
//! says by how many usual times all of them together are late. With several requests a second that
//! shows within one usual time, long before any single one is beyond doubt.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many are watched. More than this only wait when the target is overloaded, and then these tell.
const SLOTS: usize = 32;

/// The requests whose first token has not come.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Which slots are in use, a bit each.
    taken: AtomicU32,
    /// When each was sent (milliseconds, never 0) and how long it usually takes (milliseconds).
    slots: [AtomicU64; SLOTS],
}

impl Outstanding {
    /// Watches a request; `None` when enough are watched.
    pub fn begin(&self, now: u64, usual: f32) -> Option<usize> {
        loop {
            let free = (!self.taken.load(Ordering::Relaxed)).trailing_zeros();
            if free == u32::BITS {
                return None;
            }
            if self.taken.fetch_or(1 << free, Ordering::Relaxed) & 1 << free == 0 {
                let at = free as usize;
                if let Some(slot) = self.slots.get(at) {
                    slot.store(pack(now, usual), Ordering::Relaxed);
                }
                return Some(at);
            }
        }
    }

    /// Watches it no longer.
    pub fn end(&self, at: usize) {
        if let Some(slot) = self.slots.get(at) {
            // Before the bit: whoever takes the slot next must not be read with the old time.
            slot.store(0, Ordering::Relaxed);
            self.taken.fetch_and(!(1 << at), Ordering::Release);
        }
    }

    /// By how many usual times the waiting requests are late, added up.
    pub fn overdue(&self, now: u64) -> f32 {
        let mut late = 0.0;
        let mut left = self.taken.load(Ordering::Acquire);
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let slot = self.slots.get(at).map_or(0, |slot| slot.load(Ordering::Relaxed));
            if let Some((sent, usual)) = unpack(slot) {
                late += (age(sent, now) / usual - 1.0).max(0.0);
            }
        }
        late
    }
}

#[expect(clippy::cast_precision_loss, reason = "ages are small")]
fn age(sent: u32, now: u64) -> f32 {
    // Another core's clock may be a little behind: then it has just been sent.
    let age = truncated(now).wrapping_sub(sent);
    if age > u32::MAX / 2 { 0.0 } else { age as f32 }
}

/// The lower half: waiting takes minutes, and 32 bits of milliseconds are 49 days.
#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
const fn truncated(millis: u64) -> u32 {
    millis as u32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time between 1 ms and an hour"
)]
fn pack(sent: u64, usual: f32) -> u64 {
    let usual = (usual * 1e3).clamp(1.0, 3.6e6) as u32;
    u64::from(truncated(sent).max(1)) << 32 | u64::from(usual)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "two halves")]
fn unpack(slot: u64) -> Option<(u32, f32)> {
    let (sent, usual) = ((slot >> 32) as u32, slot as u32);
    (sent != 0).then_some((sent, usual as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_its_usual_time_is_not_late() {
        let waiting = Outstanding::default();
        for sent in [1_000, 1_200, 1_400] {
            waiting.begin(sent, 0.5);
        }
        assert!(waiting.overdue(1_500) < f32::EPSILON);
        // 2, 1.6 and 1.2 usual times old.
        assert!((waiting.overdue(2_000) - 1.8).abs() < 1e-3);
    }

    #[test]
    fn an_answer_ends_the_wait_and_frees_the_slot() {
        let waiting = Outstanding::default();
        let slots: Vec<_> = (0..SLOTS).map(|_| waiting.begin(1, 1.0).unwrap()).collect();
        assert_eq!(waiting.begin(1, 1.0), None, "enough are watched");
        waiting.end(slots[7]);
        assert_eq!(waiting.begin(5, 1.0), Some(7));
        for slot in slots {
            waiting.end(slot);
        }
        assert!(waiting.overdue(100_000) < f32::EPSILON);
    }

    #[test]
    fn a_clock_that_is_behind_makes_nobody_late() {
        let waiting = Outstanding::default();
        waiting.begin(1_000, 0.5);
        assert!(waiting.overdue(990) < f32::EPSILON);
    }
}
