//! How long first tokens took lately, as a histogram: for SLO tests and for the wait before a hedge.
//!
//! Two generations of counters. One is being filled; when it is old or full the other one, the
//! oldest knowledge, is emptied and filled next. So what is read covers between one and two
//! generations, and nothing has to be moved on the request path.

use std::{
    array,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Four buckets an octave from 10 ms to 160 s.
const BUCKETS: usize = 56;

/// The upper end of the first bucket, in seconds.
const FIRST: f32 = 0.010;

/// How long a generation is filled, in milliseconds.
const LONGEST: u64 = 150_000;

/// How many samples fill a generation: with much traffic, old samples are of no use.
const MOST: u32 = 400;

/// The fewest samples that make a quantile.
const FEWEST: u32 = 20;

#[derive(Debug)]
struct Generation {
    count: AtomicU32,
    buckets: [AtomicU32; BUCKETS],
}

impl Generation {
    fn empty() -> Self {
        Self { count: AtomicU32::new(0), buckets: array::from_fn(|_| AtomicU32::new(0)) }
    }

    fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

/// How long first tokens took lately.
#[derive(Debug)]
pub(super) struct Window {
    generations: [Generation; 2],
    /// When the generation in use was begun (milliseconds), and in the lowest bit which one it is.
    current: AtomicU64,
}

impl Window {
    /// Nothing known.
    pub fn new(now: u64) -> Self {
        Self {
            generations: [Generation::empty(), Generation::empty()],
            current: AtomicU64::new(now << 1),
        }
    }

    /// Takes a sample in, in seconds.
    pub fn add(&self, seconds: f32, now: u64) {
        let current = self.current.load(Ordering::Relaxed);
        let [even, odd] = &self.generations;
        let (mut filled, next) = if current & 1 == 0 { (even, odd) } else { (odd, even) };
        let full = filled.count.load(Ordering::Relaxed) >= MOST;
        if full || now.saturating_sub(current >> 1) > LONGEST {
            let turned = now << 1 | (current & 1 ^ 1);
            // Whoever loses the race has seen the same end; its sample goes into the old generation.
            let turn = self.current.compare_exchange(
                current,
                turned,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if turn.is_ok() {
                next.clear();
                filled = next;
            }
        }
        if let Some(bucket) = filled.buckets.get(bucket(seconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
            filled.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.generations.iter().for_each(Generation::clear);
    }

    /// Lets what is known count half as much.
    pub fn fade(&self) {
        for one in &self.generations {
            let halved = one.buckets.iter().map(|bucket| {
                let half = bucket.load(Ordering::Relaxed) / 2;
                bucket.store(half, Ordering::Relaxed);
                half
            });
            one.count.store(halved.sum(), Ordering::Relaxed);
        }
    }

    /// How many samples are known.
    pub fn count(&self) -> u32 {
        self.generations.iter().map(|one| one.count.load(Ordering::Relaxed)).sum()
    }

    /// How many samples came within a limit.
    #[expect(clippy::cast_precision_loss, reason = "counts of at most a few hundred")]
    pub fn within(&self, limit: Limit) -> f32 {
        let [even, odd] = self.generations.each_ref().map(|one| {
            let mut counts = one.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
            let whole: u32 = counts.by_ref().take(limit.whole).sum();
            (whole, counts.next().unwrap_or(0))
        });
        (even.0 + odd.0) as f32 + (even.1 + odd.1) as f32 * limit.share
    }

    /// The time within which this share of first tokens came; `None` when too few are known.
    #[expect(clippy::cast_precision_loss, reason = "counts of at most a few hundred")]
    pub fn quantile(&self, share: f32) -> Option<f32> {
        let count = self.count();
        if count < FEWEST {
            return None;
        }
        let wanted = count as f32 * share;
        let [even, odd] = &self.generations;
        let mut passed = 0.0;
        for (at, (a, b)) in even.buckets.iter().zip(&odd.buckets).enumerate() {
            let here = (a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed)) as f32;
            if here > 0.0 && passed + here >= wanted {
                let inside = (wanted - passed) / here;
                return Some(FIRST * ((at as f32 - 1.0 + inside) / 4.0).exp2());
            }
            passed += here;
        }
        None
    }
}

/// A limit on the scale of buckets: it is the same for all targets, and finding it there costs about as
/// much as reading one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// How many buckets are within it as a whole.
    whole: usize,
    /// How much of the next one is.
    share: f32,
}

impl Limit {
    /// So long.
    #[expect(clippy::cast_precision_loss, reason = "at most 56")]
    pub fn of(limit: Duration) -> Self {
        let seconds = limit.as_secs_f32();
        let whole = bucket(seconds);
        Self { whole, share: (position(seconds) - whole as f32 + 1.0).clamp(0.0, 1.0) }
    }
}

/// Where a time stands on the scale of buckets; bucket `n` holds what is in `(n - 1, n]`.
fn position(seconds: f32) -> f32 {
    (seconds / FIRST).max(f32::MIN_POSITIVE).log2() * 4.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn bucket(seconds: f32) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "56")]
    let last = (BUCKETS - 1) as f32;
    position(seconds).ceil().clamp(0.0, last) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_samples_within_a_bucket() {
        let window = Window::new(0);
        assert_eq!(window.quantile(0.5), None);
        for sample in 1..=200_u16 {
            window.add(f32::from(sample) / 100.0, 0);
        }
        for share in [0.5, 0.9, 0.95] {
            let found = window.quantile(share).unwrap();
            assert!((found / (share * 2.0) - 1.0).abs() < 0.05, "{share}: {found}");
        }
        assert!((window.within(Limit::of(Duration::from_secs(1))) - 100.0).abs() < 3.0);
    }

    #[test]
    fn old_samples_are_forgotten_by_time_and_by_number() {
        let window = Window::new(0);
        for _ in 0..FEWEST {
            window.add(9.0, 0);
        }
        window.add(1.0, LONGEST + 1);
        assert_eq!(window.count(), FEWEST + 1, "the last generation still counts");
        window.add(1.0, 2 * LONGEST + 2);
        assert_eq!(window.count(), 2);
        for _ in 0..=MOST {
            window.add(1.0, 2 * LONGEST + 3);
        }
        assert!(window.quantile(0.99).unwrap() < 1.2);
        let known = window.count();
        window.fade();
        assert_eq!(window.count(), known / 2);
        window.forget();
        assert_eq!(window.count(), 0);
    }

    #[test]
    fn what_is_beyond_the_scale_is_in_its_last_bucket() {
        let window = Window::new(0);
        window.add(0.0, 0);
        window.add(1e9, 0);
        assert!((window.within(Limit::of(Duration::from_secs(1))) - 1.0).abs() < f32::EPSILON);
    }
}
