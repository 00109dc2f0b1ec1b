//! A request on its way to a target, and what it tells of it.
//!
//! Whatever becomes of the request is noted in the target's [`Health`]: an answer, a failure, a wait
//! that was given up. What is not noted by whoever knows is noted when the flight is dropped.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::Instant;

use super::{
    account::Claim,
    average::Pace,
    breaker::Phase,
    health::{Health, Lane, PRIOR_FIRST_TOKEN, TIME, Trust, thousands, tick},
    pods::NEVER,
    tried::PickedPod,
};
use crate::table::CircuitBreaker;

/// How the time of each further token is followed.
const PER_TOKEN: Pace = Pace { rise: 0.1, fall: 0.1, tau: 30.0 };

/// Text of one kind follows text of another: the mean of the last few hundred requests.
const BYTES_A_TOKEN: Pace = Pace { rise: 0.02, fall: 0.02, tau: 3600.0 };

/// How success is followed: bad news no faster than good.
const SUCCESS: Pace = Pace { rise: 0.1, fall: 0.1, tau: 30.0 };

/// What a target that proved itself is believed to be again.
const RECOVERED: f32 = 0.95;

/// A request on its way to a target. Whatever becomes of it is noted, at the latest when it is
/// dropped: then the client has left or another target was faster.
#[derive(Debug)]
pub struct Flight {
    health: Arc<Health>,
    policy: CircuitBreaker,
    lane: Lane,
    input_tokens: u32,
    probe: bool,
    sent: u64,
    /// Whether its first token has not come.
    waiting: bool,
    /// Where its wait is watched.
    slot: Option<usize>,
    begun: u64,
    judged: bool,
    /// The same request on its way to one pod of the target.
    pod: Option<Box<Self>>,
    /// Its place in the account's quota.
    claim: Option<Claim>,
}

impl Flight {
    /// A request is sent.
    pub fn begin(
        health: Arc<Health>,
        policy: CircuitBreaker,
        lane: Lane,
        input_tokens: u32,
        probe: bool,
        now: Instant,
    ) -> Self {
        let sent = health.millis(now);
        let times = health.times(lane, sent);
        let usual = times.expected(input_tokens).unwrap_or(match lane {
            Lane::Streamed => PRIOR_FIRST_TOKEN,
            // A whole answer takes as long as it is; the first one must not look silent.
            Lane::Whole => 10.0 * PRIOR_FIRST_TOKEN,
        });
        times.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = times.outstanding.begin(sent, usual);
        health.in_flight.fetch_add(1, Ordering::Relaxed);
        health.started.fetch_add(1, Ordering::Relaxed);
        Self {
            health,
            policy,
            lane,
            input_tokens,
            probe,
            sent,
            waiting: true,
            slot,
            begun: sent,
            judged: false,
            pod: None,
            claim: None,
        }
    }

    /// The request goes to this pod of the target. Both hear of what becomes of it; only the pod may
    /// be left alone for it.
    #[must_use]
    pub fn at(mut self, picked: &PickedPod, now: Instant) -> Self {
        let (lane, tokens) = (self.lane, self.input_tokens);
        let health = Arc::clone(&picked.pod.health);
        let policy = std::mem::replace(&mut self.policy, NEVER);
        let pod = Self::begin(health, policy, lane, tokens, picked.probe, now);
        self.pod = Some(Box::new(pod));
        self
    }

    /// The request has this place in the account's quota, for as long as it flies.
    #[must_use]
    pub fn within(mut self, claim: Option<Claim>) -> Self {
        self.claim = claim;
        self
    }

    /// The provider has told how many tokens it took, input and output together.
    pub fn spent(&mut self, tokens: u64, now: Instant) {
        if let Some(claim) = &mut self.claim {
            claim.settle(tokens, now);
        }
    }

    /// The first token has come, or the whole answer. Gives whether this closed or opened a breaker.
    pub fn answered(&mut self, now: Instant) -> Option<Turn> {
        self.tell_pod(|pod| pod.answered(now));
        let now = self.health.millis(now);
        self.begun = now;
        let trust = match self.health.breaker.phase() {
            Phase::Probing { .. } => Trust::Recovered,
            Phase::Closed { .. } | Phase::Ramp { .. } | Phase::Open { .. } if self.probe => {
                Trust::Probed
            }
            Phase::Closed { .. } | Phase::Ramp { .. } | Phase::Open { .. } => Trust::Usual,
        };
        self.time(now, trust);
        self.judge(now, true, trust != Trust::Usual);
        turn(self.health.breaker.succeeded(now, &self.policy))
    }

    /// The target has failed. `jitter` is between 0 and 1.
    pub fn failed(&mut self, now: Instant, jitter: f64) -> Option<Turn> {
        self.tell_pod(|pod| pod.failed(now, jitter));
        let now = self.health.millis(now);
        // A failure that came late was slow as well; one that came at once says nothing about speed.
        self.late(now);
        self.judge(now, false, false);
        turn(self.health.breaker.failed(now, &self.policy, jitter))
    }

    /// The request was not answered for reasons of its own, or of its key: the target is well.
    pub fn excused(&mut self) {
        self.tell_pod(Self::excused);
        if let Some(claim) = &mut self.claim {
            claim.refund();
        }
        self.stop_waiting();
    }

    /// Nobody waits for it any more: the client has left, or another target was faster. Only that it
    /// took at least so long is known.
    pub fn abandoned(&mut self, now: Instant) {
        self.tell_pod(|pod| pod.abandoned(now));
        let now = self.health.millis(now);
        if self.waiting {
            self.late(now);
        }
    }

    /// We would not wait longer for a target that was to prove itself.
    pub fn gave_up(&mut self, now: Instant, jitter: f64) -> Option<Turn> {
        self.tell_pod(|pod| pod.gave_up(now, jitter));
        let now = self.health.millis(now);
        self.late(now);
        self.judged = true;
        match self.health.breaker.phase() {
            Phase::Probing { .. } => turn(self.health.breaker.failed(now, &self.policy, jitter)),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Ramp { .. } => None,
        }
    }

    /// The whole answer is through.
    pub fn finished(&mut self, output_tokens: u64, now: Instant) {
        self.tell_pod(|pod| pod.finished(output_tokens, now));
        let now = self.health.millis(now);
        if let (Lane::Streamed, Ok(after_first @ 4..)) =
            (self.lane, u32::try_from(output_tokens.saturating_sub(1)))
        {
            #[expect(clippy::cast_precision_loss, reason = "a time of seconds")]
            let took = now.saturating_sub(self.begun) as f32 / 1e3;
            self.health.per_token.add(took / thousands(after_first) / 1e3, tick(now), PER_TOKEN);
        }
    }

    /// The provider has told how many tokens a request of so many bytes of text was.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn measured(&mut self, bytes: u64, tokens: u64, now: Instant) {
        // Of a short request most is not the client's text.
        if tokens >= 200 {
            let now = tick(self.health.millis(now));
            self.health.bytes_a_token.add(bytes as f32 / tokens as f32, now, BYTES_A_TOKEN);
        }
    }

    /// The answer broke after it had begun.
    pub fn broke(&mut self, now: Instant, jitter: f64) -> Option<Turn> {
        self.tell_pod(|pod| pod.broke(now, jitter));
        let now = self.health.millis(now);
        self.judge(now, false, false);
        turn(self.health.breaker.failed(now, &self.policy, jitter))
    }

    /// Which lane it flies in.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// Lets the pod hear what the target hears. How its breaker turned is told by nobody yet.
    fn tell_pod<T>(&mut self, tell: impl FnOnce(&mut Self) -> T) {
        if let Some(pod) = &mut self.pod {
            tell(pod);
        }
    }

    fn elapsed(&self, now: u64) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a time of seconds")]
        let millis = now.saturating_sub(self.sent) as f32;
        millis / 1e3
    }

    fn time(&mut self, now: u64, trust: Trust) {
        let elapsed = self.elapsed(now);
        self.stop_waiting();
        self.health.times(self.lane, now).add(elapsed, self.input_tokens, now, trust);
        if self.probe {
            self.health.probed.store(now & TIME, Ordering::Relaxed);
        }
    }

    /// It took at least so long: taken in when that is more than usual.
    fn late(&mut self, now: u64) {
        let elapsed = self.elapsed(now);
        self.stop_waiting();
        let times = self.health.times(self.lane, now);
        let usual = times.expected(self.input_tokens).unwrap_or(PRIOR_FIRST_TOKEN);
        if elapsed > usual {
            times.add(elapsed, self.input_tokens, now, Trust::Usual);
        }
        if self.probe {
            let vain =
                |old: u64| Some((old >> 40 & 0x3f).saturating_add(1).min(63) << 40 | now & TIME);
            let _always =
                self.health.probed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, vain);
        }
    }

    fn judge(&mut self, now: u64, success: bool, fresh: bool) {
        self.judged = true;
        let (success, tick) = (if success { 1.0 } else { 0.0 }, tick(now));
        if fresh {
            self.health.success.reset(RECOVERED, tick);
        } else {
            self.health.success.add(success, tick, SUCCESS);
        }
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(times) = self.health.lane(self.lane).get()
        {
            times.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Some(slot) = self.slot.take() {
                times.outstanding.end(slot);
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.judged {
            self.health.breaker.unproved();
        }
        // A simulation ends every flight itself; here the client has left.
        self.abandoned(Instant::now());
        self.health.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A change of a breaker that somebody may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The target serves again.
    Closed,
    /// The target is left alone.
    Opened,
}

fn turn((before, after): (Phase, Phase)) -> Option<Turn> {
    match (before, after) {
        (Phase::Open { .. }, Phase::Open { .. }) => None,
        (_, Phase::Open { .. }) => Some(Turn::Opened),
        (Phase::Probing { .. }, Phase::Ramp { .. }) => Some(Turn::Closed),
        (_, Phase::Closed { .. } | Phase::Probing { .. } | Phase::Ramp { .. }) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POLICY: CircuitBreaker = CircuitBreaker {
        consecutive_failures: 3,
        failure_percent: 100,
        min_requests: 10,
        cooldown: Duration::from_secs(5),
        max_cooldown: Duration::from_mins(5),
        ramp_up: Duration::from_secs(30),
    };

    fn fresh() -> (Arc<Health>, Instant) {
        let now = Instant::now();
        (Arc::new(Health::new(now)), now)
    }

    fn begin(health: &Arc<Health>, tokens: u32, probe: bool, now: Instant) -> Flight {
        Flight::begin(Arc::clone(health), POLICY, Lane::Streamed, tokens, probe, now)
    }

    fn read(health: &Health, tokens: u32, now: Instant) -> super::super::Reading {
        health.read(Lane::Streamed, tokens, health.millis(now))
    }

    #[test]
    fn a_request_is_in_flight_to_its_end_and_waits_to_its_first_token() {
        let (health, now) = fresh();
        let mut flight = begin(&health, 100, false, now);
        let sent = read(&health, 100, now);
        assert_eq!((sent.waiting, sent.in_flight, sent.first_token), (1, 1, None));
        let later = now + Duration::from_millis(400);
        flight.answered(later);
        let answered = read(&health, 100, later);
        assert_eq!((answered.waiting, answered.in_flight), (0, 1));
        assert!((answered.first_token.unwrap() - 0.4).abs() < 1e-3);
        flight.finished(101, later + Duration::from_secs(2));
        drop(flight);
        let ended = read(&health, 100, later);
        assert_eq!(ended.in_flight, 0);
        assert!((ended.per_token.unwrap() - 0.02).abs() < 1e-4);
    }

    #[test]
    fn a_silent_target_is_late_before_anything_has_failed() {
        let (health, now) = fresh();
        begin(&health, 100, false, now).answered(now + Duration::from_millis(500));
        let sent = now + Duration::from_secs(1);
        let mut waiting: Vec<_> = (0..3).map(|_| begin(&health, 100, false, sent)).collect();
        let late = read(&health, 100, sent + Duration::from_secs(1));
        assert!((late.overdue - 3.0).abs() < 0.1, "each is one usual time late: {late:?}");
        waiting.iter_mut().for_each(Flight::excused);
        assert!(read(&health, 100, sent + Duration::from_secs(1)).overdue < f32::EPSILON);
    }

    #[test]
    fn long_prompts_do_not_make_a_target_slow_for_short_ones() {
        let (health, mut now) = fresh();
        for round in 0..400_u32 {
            let tokens = if round % 2 == 0 { 500 } else { 8_500 };
            now += Duration::from_secs(1);
            let takes = Duration::from_millis(300 + u64::from(tokens) / 10);
            begin(&health, tokens, false, now).answered(now + takes);
        }
        let [short, long] = [500, 8_500].map(|n| read(&health, n, now).first_token.unwrap());
        assert!((short - 0.35).abs() < 0.1, "{short}");
        assert!((long - 1.15).abs() < 0.15, "{long}");
    }

    #[test]
    fn who_leaves_early_tells_only_that_it_took_at_least_so_long() {
        let (health, now) = fresh();
        begin(&health, 100, false, now).answered(now + Duration::from_millis(500));
        begin(&health, 100, false, now).abandoned(now + Duration::from_millis(100));
        assert!((read(&health, 100, now).first_token.unwrap() - 0.5).abs() < 1e-3);
        begin(&health, 100, false, now).abandoned(now + Duration::from_secs(4));
        assert!(read(&health, 100, now).first_token.unwrap() > 1.0);
        assert!((read(&health, 100, now).success - 1.0).abs() < f32::EPSILON);
    }

    #[test]
    fn a_probe_that_answers_makes_a_slow_target_fast_at_once() {
        let (health, now) = fresh();
        begin(&health, 100, false, now).answered(now + Duration::from_secs(9));
        let later = now + Duration::from_secs(20);
        assert!(health.claim_slow(Lane::Streamed, health.millis(later), &POLICY));
        assert!(!health.claim_slow(Lane::Streamed, health.millis(later), &POLICY), "one at a time");
        begin(&health, 100, true, later).answered(later + Duration::from_millis(400));
        assert!((read(&health, 100, later).first_token.unwrap() - 0.4).abs() < 1e-3);
    }

    #[test]
    fn failures_open_the_breaker_and_requests_at_fault_themselves_do_not() {
        let (health, now) = fresh();
        for _ in 0..9 {
            begin(&health, 100, false, now).excused();
        }
        assert_eq!(begin(&health, 100, false, now).failed(now, 0.0), None);
        assert_eq!(begin(&health, 100, false, now).failed(now, 0.0), None);
        assert_eq!(begin(&health, 100, false, now).failed(now, 0.0), Some(Turn::Opened));
    }
}
