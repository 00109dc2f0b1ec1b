//! When a failing target is left alone, how it is tried again, and how it comes back.
//!
//! A state machine in one atomic. [`Phase`] is its state as a value, with pure steps; [`Breaker`]
//! holds it and counts the window of the failure rate.
//!
//! ```text
//!            failures in a row, or their share               due; one request claims it
//!   Closed ────────────────────────────────────► Open ──────────────────────────────► Probing
//!      ▲                                          ▲ ▲                                   │  │
//!      │ ramp is over                             │ └──────────── it failed ────────────┘  │
//!      └────────────── Ramp ◄─────────────────────┼───────────── it succeeded ─────────────┘
//!                        └── failed before three successes in a row
//! ```
//!
//! Two rules open it, because one alone is blind (linkerd's argument): failures in a row catch a dead
//! target at once, their share in 30 s catches one that fails now and then. The first openings all
//! take the shortest time: a target that heals within two minutes should be seen within seconds, and
//! one probe each few seconds costs next to nothing. Only a long outage makes the openings longer.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::table::CircuitBreaker;

/// How many openings in a row take the shortest time.
const SHORT_OPENINGS: u8 = 16;

/// How many successes in a row make a target trusted that has just come back.
const TRUSTED: u16 = 3;

/// How long a probe may be out before another one is sent.
const PROBE_LOST: u64 = 30_000;

/// The least share of its traffic that a target gets when it comes back.
const FIRST_SHARE: f32 = 0.1;

/// The state of a breaker; times are milliseconds since the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serves; so many failures in a row.
    Closed { failures: u16 },
    /// Left alone until then; how often it was opened in a row, this time not counted.
    Open { until: u64, openings: u8 },
    /// One request is out to see.
    Probing { since: u64, openings: u8 },
    /// Coming back since then, with so many successes since the last failure.
    Ramp { since: u64, good: u16, openings: u8 },
}

/// Whether a target may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Admit {
    /// Yes; with this share of its traffic, 1 for all of it.
    Share(f32),
    /// By one request, to see.
    Probe,
    /// Not before then.
    Until(u64),
}

impl Phase {
    /// Whether a target in this phase may be asked.
    pub fn admits(self, now: u64, policy: &CircuitBreaker) -> Admit {
        match self {
            Self::Closed { .. } => Admit::Share(1.0),
            Self::Open { until, .. } if until > now => Admit::Until(until),
            Self::Open { .. } => Admit::Probe,
            Self::Probing { since, .. } => match since + PROBE_LOST {
                lost if lost > now => Admit::Until(lost),
                _ => Admit::Probe,
            },
            Self::Ramp { since, .. } => Admit::Share(ramped(now.saturating_sub(since), policy)),
        }
    }

    fn probed(self, now: u64, policy: &CircuitBreaker) -> Option<Self> {
        if self.admits(now, policy) != Admit::Probe {
            return None;
        }
        match self {
            Self::Open { openings, .. } | Self::Probing { openings, .. } => {
                Some(Self::Probing { since: now, openings })
            }
            Self::Closed { .. } | Self::Ramp { .. } => None,
        }
    }

    fn succeeded(self, now: u64, policy: &CircuitBreaker) -> Self {
        match self {
            Self::Closed { .. } => Self::Closed { failures: 0 },
            // The end of a request from before it was opened proves nothing about now.
            Self::Open { .. } => self,
            Self::Probing { openings, .. } => Self::Ramp { since: now, good: 1, openings },
            Self::Ramp { since, good, openings } => {
                let good = good.saturating_add(1);
                if good >= TRUSTED && now.saturating_sub(since) >= millis(policy.ramp_up) {
                    Self::Closed { failures: 0 }
                } else {
                    Self::Ramp { since, good, openings }
                }
            }
        }
    }

    /// `rate` says whether the share of failures is too large. `jitter` is between 0 and 1.
    fn failed(self, now: u64, rate: bool, policy: &CircuitBreaker, jitter: f64) -> Self {
        let open = |openings| Self::Open {
            until: now + pause(openings, policy.cooldown, policy.max_cooldown, jitter),
            openings,
        };
        match self {
            Self::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if rate || u32::from(failures) >= policy.consecutive_failures {
                    open(0)
                } else {
                    Self::Closed { failures }
                }
            }
            Self::Open { .. } => self,
            Self::Probing { openings, .. } => open(openings.saturating_add(1)),
            Self::Ramp { good, openings, .. } if good < TRUSTED => open(openings.saturating_add(1)),
            Self::Ramp { since, openings, .. } => Self::Ramp { since, good: 0, openings },
        }
    }

    /// A probe that told nothing: the next request may be one.
    fn unproved(self) -> Self {
        match self {
            Self::Probing { since, openings } => Self::Open { until: since, openings },
            Self::Closed { .. } | Self::Open { .. } | Self::Ramp { .. } => self,
        }
    }

    fn pack(self) -> u64 {
        let (kind, openings, count, time) = match self {
            Self::Closed { failures } => (0, 0, failures, 0),
            Self::Open { until, openings } => (1, openings, 0, until),
            Self::Probing { since, openings } => (2, openings, 0, since),
            Self::Ramp { since, good, openings } => (3, openings, good, since),
        };
        let (openings, count) = (u64::from(openings.min(63)), u64::from(count));
        kind << 62 | openings << 56 | count << 40 | (time & TIME)
    }

    #[expect(clippy::cast_possible_truncation, reason = "fields of 6 and 16 bits")]
    const fn unpack(bits: u64) -> Self {
        let openings = (bits >> 56 & 63) as u8;
        let (count, time) = ((bits >> 40) as u16, bits & TIME);
        match bits >> 62 {
            0 => Self::Closed { failures: count },
            1 => Self::Open { until: time, openings },
            2 => Self::Probing { since: time, openings },
            _ => Self::Ramp { since: time, good: count, openings },
        }
    }
}

/// 40 bits of milliseconds: 34 years.
const TIME: u64 = (1 << 40) - 1;

/// How long to leave a target alone after so many openings. `jitter`, between 0 and 1, takes up to a
/// fifth off, so that replicas do not probe together.
pub(super) fn pause(openings: u8, shortest: Duration, longest: Duration, jitter: f64) -> u64 {
    let doublings = u32::from(openings.saturating_sub(SHORT_OPENINGS - 1)).min(20);
    let pause = shortest.saturating_mul(1 << doublings).min(longest.max(shortest));
    millis(pause.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0)))
}

/// The share of a target that comes back. It grows fast at first, where the first answers say most,
/// and slowly towards all of it (Envoy's slow start with an aggression of 3).
fn ramped(since: u64, policy: &CircuitBreaker) -> f32 {
    let whole = policy.ramp_up.as_secs_f32();
    if whole <= 0.0 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a time of seconds")]
    let passed = since as f32 / 1e3 / whole;
    passed.min(1.0).cbrt().max(FIRST_SHARE)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(TIME).min(TIME / 2)
}

/// The buckets of the failure rate, and how long each is, in milliseconds.
const BUCKETS: usize = 10;
const BUCKET: u64 = 3_000;

/// A breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    phase: AtomicU64,
    /// Which 3 s (32 bits), failures and results in them (16 bits each).
    rate: [AtomicU64; BUCKETS],
}

impl Breaker {
    /// A closed one.
    pub fn new() -> Self {
        Self {
            phase: AtomicU64::new(Phase::Closed { failures: 0 }.pack()),
            rate: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Its state.
    pub fn phase(&self) -> Phase {
        Phase::unpack(self.phase.load(Ordering::Relaxed))
    }

    /// Whether the caller is the one request that may see how the target is.
    pub fn claim(&self, now: u64, policy: &CircuitBreaker) -> bool {
        self.step(|phase| phase.probed(now, policy)).is_some()
    }

    /// A request has succeeded; gives the phase before and after.
    pub fn succeeded(&self, now: u64, policy: &CircuitBreaker) -> (Phase, Phase) {
        let before = self.phase();
        self.count(now, false);
        // The usual case touches no shared line.
        if before == (Phase::Closed { failures: 0 }) {
            return (before, before);
        }
        self.step(|phase| Some(phase.succeeded(now, policy))).unwrap_or((before, before))
    }

    /// A request has failed; gives the phase before and after.
    pub fn failed(&self, now: u64, policy: &CircuitBreaker, jitter: f64) -> (Phase, Phase) {
        self.count(now, true);
        let (failures, results) = self.recent(now);
        let rate = results >= policy.min_requests
            && failures * 100 > policy.failure_percent.saturating_mul(results);
        let step = self.step(|phase| Some(phase.failed(now, rate, policy, jitter)));
        if let Some((Phase::Closed { .. } | Phase::Ramp { .. }, Phase::Open { .. })) = step {
            // What opened it must not open it again when it comes back.
            self.rate.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        }
        step.unwrap_or_else(|| (self.phase(), self.phase()))
    }

    /// A probe has ended without telling anything.
    pub fn unproved(&self) {
        let _unchanged = self.step(|phase| Some(phase.unproved()));
    }

    /// Failures and results of the last 30 s.
    pub fn recent(&self, now: u64) -> (u32, u32) {
        let epoch = (now / BUCKET) & u64::from(u32::MAX);
        let (mut failures, mut results) = (0, 0);
        for bucket in &self.rate {
            let bits = bucket.load(Ordering::Relaxed);
            if epoch.wrapping_sub(bits >> 32) < BUCKETS as u64 {
                failures += u32::try_from(bits >> 16 & 0xffff).unwrap_or(0);
                results += u32::try_from(bits & 0xffff).unwrap_or(0);
            }
        }
        (failures, results)
    }

    fn step(&self, to: impl Fn(Phase) -> Option<Phase>) -> Option<(Phase, Phase)> {
        let pack = |bits| to(Phase::unpack(bits)).map(Phase::pack);
        let before = self.phase.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pack).ok();
        let before = Phase::unpack(before?);
        Some((before, to(before)?))
    }

    fn count(&self, now: u64, failed: bool) {
        let epoch = (now / BUCKET) & u64::from(u32::MAX);
        let index = usize::try_from(epoch).unwrap_or(0) % BUCKETS;
        let Some(bucket) = self.rate.get(index) else { return };
        let add = |bits: u64| {
            let fresh = if bits >> 32 == epoch { bits } else { epoch << 32 };
            let (failures, results) = (fresh >> 16 & 0xffff, fresh & 0xffff);
            // A full bucket keeps its proportions well enough.
            let full = results == 0xffff;
            let add = if full { 0 } else { 1 | u64::from(failed) << 16 };
            debug_assert!(failures <= results, "a failure is a result");
            Some(fresh + add)
        };
        let _always = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CircuitBreaker = CircuitBreaker {
        consecutive_failures: 3,
        failure_percent: 25,
        min_requests: 10,
        cooldown: Duration::from_secs(5),
        max_cooldown: Duration::from_mins(5),
        ramp_up: Duration::from_secs(30),
    };

    fn open(now: u64) -> Breaker {
        let breaker = Breaker::new();
        for _ in 0..3 {
            breaker.failed(now, &POLICY, 0.0);
        }
        assert_eq!(breaker.phase(), Phase::Open { until: now + 5_000, openings: 0 });
        breaker
    }

    #[test]
    fn every_phase_fits_into_its_bits() {
        for phase in [
            Phase::Closed { failures: 700 },
            Phase::Open { until: TIME, openings: 63 },
            Phase::Probing { since: 12, openings: 1 },
            Phase::Ramp { since: 1 << 39, good: u16::MAX, openings: 5 },
        ] {
            assert_eq!(Phase::unpack(phase.pack()), phase);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = Breaker::new();
        for _ in 0..2 {
            breaker.failed(0, &POLICY, 0.0);
            breaker.failed(0, &POLICY, 0.0);
            breaker.succeeded(0, &POLICY);
        }
        assert_eq!(breaker.phase(), Phase::Closed { failures: 0 });
        assert!(matches!(open(0).phase(), Phase::Open { .. }));
    }

    #[test]
    fn a_share_of_failures_opens_it_though_they_never_stand_in_a_row() {
        let breaker = Breaker::new();
        for request in 0..12_u64 {
            if request % 3 == 0 {
                breaker.failed(request * 2_000, &POLICY, 0.0);
            } else {
                breaker.succeeded(request * 2_000, &POLICY);
            }
        }
        assert!(matches!(breaker.phase(), Phase::Open { .. }), "4 of 12 in 24 s");
    }

    #[test]
    fn failures_long_ago_do_not_count() {
        let breaker = Breaker::new();
        for request in 0..40_u64 {
            let now = request * 6_000;
            if request % 3 == 0 {
                breaker.failed(now, &POLICY, 0.0);
            } else {
                breaker.succeeded(now, &POLICY);
            }
        }
        assert!(matches!(breaker.phase(), Phase::Closed { .. }), "too few in any 30 s");
    }

    #[test]
    fn one_request_probes_and_its_failure_opens_it_again() {
        let breaker = open(0);
        assert_eq!(breaker.phase().admits(4_999, &POLICY), Admit::Until(5_000));
        assert!(!breaker.claim(4_999, &POLICY));
        assert!(breaker.claim(5_000, &POLICY));
        assert!(!breaker.claim(5_000, &POLICY), "only one");
        breaker.failed(5_100, &POLICY, 0.0);
        assert_eq!(breaker.phase(), Phase::Open { until: 10_100, openings: 1 });
    }

    #[test]
    fn a_probe_that_never_came_back_is_sent_again() {
        let breaker = open(0);
        assert!(breaker.claim(5_000, &POLICY));
        assert!(!breaker.claim(5_000 + PROBE_LOST - 1, &POLICY));
        assert!(breaker.claim(5_000 + PROBE_LOST, &POLICY));
        breaker.unproved();
        assert!(breaker.claim(40_000, &POLICY), "the client has left: the next one may see");
    }

    #[test]
    fn a_target_comes_back_by_a_ramp() {
        let breaker = open(0);
        breaker.claim(5_000, &POLICY);
        breaker.succeeded(5_000, &POLICY);
        let share = |now| match breaker.phase().admits(now, &POLICY) {
            Admit::Share(share) => share,
            Admit::Probe | Admit::Until(_) => 0.0,
        };
        assert!((share(5_000) - FIRST_SHARE).abs() < 1e-6);
        assert!(share(6_000) < share(10_000) && share(10_000) < share(20_000));
        for now in [6_000, 7_000, 34_000] {
            breaker.succeeded(now, &POLICY);
            assert!(matches!(breaker.phase(), Phase::Ramp { .. }));
        }
        breaker.succeeded(35_000, &POLICY);
        assert_eq!(breaker.phase(), Phase::Closed { failures: 0 });
    }

    #[test]
    fn a_target_that_comes_back_must_succeed_three_times_before_it_may_fail() {
        let breaker = open(0);
        breaker.claim(5_000, &POLICY);
        breaker.succeeded(5_000, &POLICY);
        breaker.succeeded(5_000, &POLICY);
        breaker.failed(5_000, &POLICY, 0.0);
        assert_eq!(breaker.phase(), Phase::Open { until: 10_000, openings: 1 });
    }

    #[test]
    fn the_first_openings_are_short_and_a_long_outage_makes_them_longer() {
        let after = |openings| pause(openings, POLICY.cooldown, POLICY.max_cooldown, 0.0);
        assert_eq!(
            [0, 15, 16, 17, 30, 63].map(after),
            [5_000, 5_000, 10_000, 20_000, 300_000, 300_000]
        );
        assert_eq!(pause(0, POLICY.cooldown, POLICY.max_cooldown, 1.0), 4_000);
    }
}
