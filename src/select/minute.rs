//! How much there was in the last minute, over all cores.
//!
//! A ring of slots of five seconds, each one atomic: its number in the upper 24 bits, its amount in the
//! lower 40. The slot that runs counts together with the twelve before it, so what is told is of the
//! last 60 to 65 seconds: a limit on it holds in any 60. A number comes back after 2.6 years.

use std::sync::atomic::{AtomicU64, Ordering};

/// How long a slot is, in milliseconds.
const SLOT: u64 = 5_000;

/// The slots of a minute, and the one that runs.
const SLOTS: u64 = COUNT as u64;
const COUNT: usize = 13;

const AMOUNT: u64 = (1 << 40) - 1;
const NUMBER: u64 = (1 << 24) - 1;

/// What was counted within the last minute.
#[derive(Debug, Default)]
pub(super) struct Minute([AtomicU64; COUNT]);

/// Where something was counted, so that it can be corrected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(u64);

impl Minute {
    /// Counts. `now` is in milliseconds, from an origin that stays the same.
    pub(super) fn add(&self, amount: u64, now: u64) -> Slot {
        let own = now / SLOT;
        self.change(own, |word| {
            // Another core may have begun the next turn of the ring a moment ago.
            let current = age(word, own) == 0 || age(word, own) > NUMBER / 2;
            let (number, known) =
                if current { (word >> 40, word & AMOUNT) } else { (own & NUMBER, 0) };
            number << 40 | known.saturating_add(amount).min(AMOUNT)
        });
        Slot(own)
    }

    /// Takes back what was counted there, unless it is forgotten already.
    pub(super) fn take_back(&self, amount: u64, Slot(own): Slot) {
        self.change(own, |word| {
            if age(word, own) == 0 {
                word & !AMOUNT | (word & AMOUNT).saturating_sub(amount)
            } else {
                word
            }
        });
    }

    /// How much there was.
    pub(super) fn total(&self, now: u64) -> u64 {
        self.live(now / SLOT).map(|(_, amount)| amount).sum()
    }

    /// When there is room for `amount` within `limit`, in milliseconds from the origin; `None` when there
    /// is now. What is more than the limit needs all of it.
    pub(super) fn room_at(&self, amount: u64, limit: u64, now: u64) -> Option<u64> {
        let most = limit.saturating_sub(amount);
        let mut total = self.total(now);
        if total <= most {
            return None;
        }
        let own = now / SLOT;
        // The oldest are forgotten first.
        for age in (0..SLOTS).rev() {
            let ended = self.live(own).filter(|(has, _)| *has == age).map(|(_, amount)| amount);
            total = total.saturating_sub(ended.sum());
            if total <= most {
                return Some((own + SLOTS - age) * SLOT);
            }
        }
        Some((own + SLOTS) * SLOT)
    }

    /// How old each slot is, and its amount.
    fn live(&self, own: u64) -> impl Iterator<Item = (u64, u64)> {
        let words = self.0.iter().map(|slot| slot.load(Ordering::SeqCst));
        words
            .filter(|word| word & AMOUNT != 0)
            .map(move |word| {
                let age = age(word, own);
                (if age > NUMBER / 2 { 0 } else { age }, word & AMOUNT)
            })
            .filter(|(age, _)| *age < SLOTS)
    }

    fn change(&self, own: u64, to: impl Fn(u64) -> u64) {
        let at = usize::try_from(own % SLOTS).unwrap_or(0);
        if let Some(slot) = self.0.get(at) {
            let to = |word| Some(to(word));
            let _always = slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to);
        }
    }
}

/// The longest time until there is room.
#[cfg(test)]
pub(super) const LONGEST: std::time::Duration = std::time::Duration::from_millis(SLOT * SLOTS);

/// How many slots before `own` the slot of a word is.
const fn age(word: u64, own: u64) -> u64 {
    own.wrapping_sub(word >> 40) & NUMBER
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000;

    #[test]
    fn what_is_a_minute_old_is_forgotten_and_room_comes_with_it() {
        let minute = Minute::default();
        minute.add(6, 0);
        minute.add(4, 30 * SECOND);
        assert_eq!(minute.total(30 * SECOND), 10);
        assert_eq!(minute.room_at(1, 10, 31 * SECOND), Some(65 * SECOND));
        assert_eq!(minute.room_at(7, 10, 31 * SECOND), Some(95 * SECOND));
        assert_eq!(minute.room_at(500, 10, 31 * SECOND), Some(95 * SECOND), "all of the limit");
        assert_eq!(minute.room_at(1, 11, 31 * SECOND), None);
        assert_eq!((minute.total(64 * SECOND), minute.total(65 * SECOND)), (10, 4));
        assert_eq!(minute.total(95 * SECOND), 0);
    }

    #[test]
    fn a_correction_finds_what_was_counted_or_nothing() {
        let minute = Minute::default();
        let first = minute.add(100, 0);
        minute.take_back(60, first);
        assert_eq!(minute.total(SECOND), 40);
        minute.add(7, 65 * SECOND);
        minute.take_back(40, first);
        assert_eq!(minute.total(65 * SECOND), 7, "the slot has begun anew");
    }

    proptest! {
        /// Whatever comes when: what is admitted is never more than the limit in any minute, and there
        /// is room when it was said that there would be.
        #[test]
        fn a_limit_holds_in_any_minute(
            steps in prop::collection::vec((0..20_000_u64, 1..40_u64), 1..200),
            limit in 1..100_u64,
        ) {
            let minute = Minute::default();
            let mut taken: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (pause, amount) in steps {
                now += pause;
                match minute.room_at(amount, limit, now) {
                    None => {
                        minute.add(amount.min(limit), now);
                        taken.push((now, amount.min(limit)));
                    }
                    Some(until) => {
                        prop_assert!(until > now && until <= now + SLOT * SLOTS);
                        prop_assert_eq!(minute.room_at(amount, limit, until), None);
                        prop_assert!(minute.room_at(amount, limit, until - 1).is_some());
                    }
                }
                let within = taken.iter().filter(|(at, _)| now - at <= 60 * SECOND);
                prop_assert!(within.map(|(_, amount)| amount).sum::<u64>() <= limit);
            }
        }
    }
}
