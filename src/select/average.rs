//! A mean that forgets: one number and the time of its last sample, in one atomic.
//!
//! Shared between workers without a lock. Two samples at the same moment are both taken in, in some
//! order. Time is in ticks of 10 ms since the origin of all states, so that value and time fit into
//! 64 bits for 497 days; a longer gap only makes an old mean count a little more.

use std::sync::atomic::{AtomicU64, Ordering};

/// Ticks a second.
pub(super) const TICKS: f32 = 100.0;

/// Milliseconds a tick.
pub(super) const TICK_MILLIS: u64 = 10;

/// A mean that forgets. Nothing is known until the first sample.
#[derive(Debug, Default)]
pub(super) struct Average(AtomicU64);

/// How fast a mean follows its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The least weight of a sample above the mean.
    pub rise: f32,
    /// The least weight of a sample below the mean.
    pub fall: f32,
    /// After so many seconds without a sample, the old mean counts 37 %.
    pub tau: f32,
}

impl Average {
    /// The mean; `None` before the first sample.
    pub fn value(&self) -> Option<f32> {
        unpack(self.0.load(Ordering::Relaxed)).map(|(value, _)| value)
    }

    /// When the last sample came, in ticks.
    pub fn at(&self) -> Option<u32> {
        unpack(self.0.load(Ordering::Relaxed)).map(|(_, at)| at)
    }

    /// Takes a sample in. The first one is the mean.
    pub fn add(&self, sample: f32, now: u32, pace: Pace) {
        let take = |old| {
            Some(match unpack(old) {
                None => pack(sample, now),
                Some((mean, at)) => {
                    #[expect(clippy::cast_precision_loss, reason = "a pause, not a count")]
                    let idle = now.wrapping_sub(at).min(u32::MAX / 2) as f32 / TICKS;
                    let least = if sample > mean { pace.rise } else { pace.fall };
                    let weight = 1.0 - (1.0 - least) * (-idle / pace.tau).exp();
                    pack(mean + (sample - mean) * weight, now)
                }
            })
        };
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }

    /// Forgets everything but this sample.
    pub fn reset(&self, sample: f32, now: u32) {
        self.0.store(pack(sample, now), Ordering::Relaxed);
    }
}

/// Zero bits are no sample, so a sample of nothing is counted as almost nothing.
fn pack(value: f32, at: u32) -> u64 {
    u64::from(value.max(f32::MIN_POSITIVE).to_bits()) << 32 | u64::from(at)
}

fn unpack(bits: u64) -> Option<(f32, u32)> {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 64 bits")]
    let (value, at) = ((bits >> 32) as u32, bits as u32);
    (value != 0).then(|| (f32::from_bits(value), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { rise: 0.5, fall: 0.1, tau: 10.0 };

    #[test]
    fn a_mean_rises_faster_than_it_falls() {
        let mean = Average::default();
        assert_eq!(mean.value(), None);
        mean.add(1.0, 0, PACE);
        mean.add(3.0, 0, PACE);
        assert_eq!(mean.value(), Some(2.0));
        mean.add(1.0, 0, PACE);
        assert_eq!(mean.value(), Some(1.9));
    }

    #[test]
    fn after_a_long_pause_the_new_sample_is_the_mean() {
        let mean = Average::default();
        mean.add(9.0, 0, PACE);
        mean.add(1.0, 100 * 100, PACE);
        assert!((mean.value().unwrap() - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_sample_of_nothing_is_a_sample() {
        let mean = Average::default();
        mean.add(0.0, 0, PACE);
        assert!(mean.value().is_some());
    }
}
