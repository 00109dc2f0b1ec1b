//! What is known of one model at one account or server: how fast, how reliable, how busy.
//!
//! Shared between workers and read on the request path, so everything is an atomic and nothing waits.
//! It outlives the table: see [`super::states`]. Latency is kept for streams and for whole answers
//! apart, because the first byte of a whole answer comes with its last.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    average::{Average, Pace, TICK_MILLIS},
    breaker::{Breaker, Phase, millis, pause},
    outstanding::Outstanding,
    window::{Limit, Window},
};
use crate::table::CircuitBreaker;

/// How a first token's time is followed: up at once by half, down within 10 s (a softened Peak-EWMA:
/// a full peak lets one unlucky answer of a heavy tail outweigh ten good ones).
const FIRST_TOKEN: Pace = Pace { rise: 0.25, fall: 0.1, tau: 10.0 };

/// The usual first token of a target that nothing is known of.
pub(super) const PRIOR_FIRST_TOKEN: f32 = 0.5;

/// How the times of a request are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A stream: to its first meaningful token.
    Streamed,
    /// A whole answer: to its end.
    Whole,
}

/// What an answer says about the answers before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is one more.
    Usual,
    /// The target was slow and is fast again: what was before counts less.
    Probed,
    /// The target failed and is well again: what was before is of another time.
    Recovered,
}

/// What is known of the times of one lane.
#[derive(Debug)]
pub(super) struct Times {
    /// To the first token, at the usual length of a prompt, in seconds.
    first: Average,
    /// Seconds that a thousand input tokens add, and the usual input in thousands of tokens.
    prompt: AtomicU64,
    pub(super) waiting: AtomicU32,
    pub(super) outstanding: Outstanding,
    window: Window,
}

/// What is known of one model at one account or server.
#[derive(Debug)]
pub struct Health {
    origin: Instant,
    streamed: OnceLock<Box<Times>>,
    whole: OnceLock<Box<Times>>,
    pub(super) per_token: Average,
    pub(super) success: Average,
    /// Bytes of a request that make a token of its model.
    pub(super) bytes_a_token: Average,
    pub(super) in_flight: AtomicU32,
    /// Requests that were ever sent.
    pub(super) started: AtomicU64,
    pub(super) breaker: Breaker,
    /// When a slow target was last probed (milliseconds, 40 bits), and how often in vain.
    pub(super) probed: AtomicU64,
}

/// What is known at a moment, for one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The expected time to the first token for this prompt, in seconds; `None` before any.
    pub first_token: Option<f32>,
    /// By how many usual times the waiting requests are late, added up.
    pub overdue: f32,
    /// Seconds for each further token.
    pub per_token: Option<f32>,
    /// The share of requests that succeeds, between 0 and 1.
    pub success: f32,
    /// Requests that wait for their first token.
    pub waiting: u32,
    /// Requests from the first byte sent to the last one read.
    pub in_flight: u32,
}

/// So many usual times late, all waiting requests together, and a target is silent.
const SILENT: f32 = 2.0;

impl Reading {
    /// Whether it accepts and does not answer.
    pub(super) fn is_silent(&self) -> bool {
        self.overdue > SILENT
    }
}

impl Health {
    /// Nothing known.
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            streamed: OnceLock::new(),
            whole: OnceLock::new(),
            per_token: Average::default(),
            success: Average::default(),
            bytes_a_token: Average::default(),
            in_flight: AtomicU32::new(0),
            started: AtomicU64::new(0),
            breaker: Breaker::new(),
            probed: AtomicU64::new(0),
        }
    }

    /// Whether its breaker keeps requests from it, but for those that see whether it is well.
    pub(super) fn is_left_alone(&self) -> bool {
        match self.breaker.phase() {
            Phase::Open { .. } | Phase::Probing { .. } => true,
            Phase::Closed { .. } | Phase::Ramp { .. } => false,
        }
    }

    /// What it is asked to do: requests in flight, requests ever sent, and the time in which so many
    /// of its first tokens came lately, with their number.
    pub(super) fn load(&self, share: f32) -> (u32, u64, Option<(f32, u32)>) {
        let window = self.streamed.get().map(|times| &times.window);
        let first_token = window.and_then(|window| Some((window.quantile(share)?, window.count())));
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        (in_flight, self.started.load(Ordering::Relaxed), first_token)
    }

    /// Milliseconds since the origin of all times.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.origin))
    }

    /// The moment that is so many milliseconds after the origin.
    pub(super) fn instant(&self, millis: u64) -> Instant {
        self.origin + Duration::from_millis(millis)
    }

    pub(super) const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What is known now, for a request with so many input tokens.
    pub(super) fn read(&self, lane: Lane, input_tokens: u32, now: u64) -> Reading {
        let times = self.lane(lane).get();
        Reading {
            first_token: times.and_then(|times| times.expected(input_tokens)),
            overdue: times.map_or(0.0, |times| times.outstanding.overdue(now)),
            per_token: self.per_token.value(),
            success: self.success.value().unwrap_or(1.0),
            waiting: times.map_or(0, |times| times.waiting.load(Ordering::Relaxed)),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    /// How many bytes of a request made a token lately.
    pub(super) fn bytes_a_token(&self) -> Option<f32> {
        self.bytes_a_token.value()
    }

    /// Of the first tokens seen lately, how many came within the limit, and how many there were.
    pub(super) fn within(&self, lane: Lane, limit: Limit) -> (f32, u32) {
        let times = self.lane(lane).get();
        times.map_or((0.0, 0), |times| (times.window.within(limit), times.window.count()))
    }

    /// The time within which this share of first tokens came lately.
    pub(super) fn quantile(&self, lane: Lane, share: f32) -> Option<f32> {
        self.lane(lane).get()?.window.quantile(share)
    }

    /// Whether the caller may see whether a slow target still is: one request each few seconds.
    pub(super) fn claim_slow(&self, lane: Lane, now: u64, policy: &CircuitBreaker) -> bool {
        let last = self.probed.load(Ordering::Relaxed);
        if !self.is_slow_due(lane, now, policy) {
            return false;
        }
        let next = last & !TIME | now & TIME;
        self.probed.compare_exchange(last, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it is time to see whether a slow target still is.
    pub(super) fn is_slow_due(&self, lane: Lane, now: u64, policy: &CircuitBreaker) -> bool {
        let probed = self.probed.load(Ordering::Relaxed);
        let vain = u8::try_from(probed >> 40 & 0x3f).unwrap_or(u8::MAX);
        let pause = pause(vain, policy.cooldown, policy.max_cooldown, 0.0);
        let heard = self.lane(lane).get().and_then(|times| times.first.at());
        let last = (probed & TIME).max(heard.map_or(0, |at| u64::from(at) * TICK_MILLIS));
        now.saturating_sub(last) >= pause
    }

    pub(super) const fn lane(&self, lane: Lane) -> &OnceLock<Box<Times>> {
        match lane {
            Lane::Streamed => &self.streamed,
            Lane::Whole => &self.whole,
        }
    }

    pub(super) fn times(&self, lane: Lane, now: u64) -> &Times {
        self.lane(lane).get_or_init(|| Box::new(Times::new(now)))
    }
}

/// The bits of a time in milliseconds: 34 years.
pub(super) const TIME: u64 = (1 << 40) - 1;

impl Times {
    fn new(now: u64) -> Self {
        Self {
            first: Average::default(),
            prompt: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            outstanding: Outstanding::default(),
            window: Window::new(now),
        }
    }

    /// The expected time to the first token for so many input tokens.
    pub(super) fn expected(&self, input_tokens: u32) -> Option<f32> {
        let usual = self.first.value()?;
        let (slope, mean) = unpack(self.prompt.load(Ordering::Relaxed));
        Some((usual + slope * (thousands(input_tokens) - mean)).max(usual / 4.0))
    }

    /// Takes a time in.
    pub(super) fn add(&self, seconds: f32, input_tokens: u32, now: u64, trust: Trust) {
        let tick = tick(now);
        let input = thousands(input_tokens);
        let mut level = seconds;
        if let Some(usual) = self.first.value() {
            // Least mean squares, normalised: the slope follows what the level leaves unexplained.
            let learn = |bits| {
                let (slope, mean) = unpack(bits);
                let from_mean = input - mean;
                let error = seconds - usual - slope * from_mean;
                let step = 0.05 * error * from_mean / (from_mean * from_mean + mean * mean + 0.1);
                Some(pack((slope + step).clamp(0.0, 10.0), mean + 0.05 * from_mean))
            };
            let old = self.prompt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
            let (slope, mean) = unpack(old.unwrap_or(0));
            level = (seconds - slope * (input - mean)).max(seconds / 4.0);
        } else {
            self.prompt.store(pack(0.0, input), Ordering::Relaxed);
        }
        match trust {
            Trust::Usual => self.first.add(level, tick, FIRST_TOKEN),
            Trust::Probed => {
                self.first.reset(level, tick);
                self.window.fade();
            }
            Trust::Recovered => {
                self.first.reset(level, tick);
                self.window.forget();
            }
        }
        self.window.add(seconds, now);
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn thousands(tokens: u32) -> f32 {
    tokens as f32 / 1e3
}

pub(super) fn tick(millis: u64) -> u32 {
    u32::try_from((millis / TICK_MILLIS) & u64::from(u32::MAX)).unwrap_or(0)
}

fn pack(slope: f32, mean: f32) -> u64 {
    u64::from(slope.to_bits()) << 32 | u64::from(mean.to_bits())
}

#[expect(clippy::cast_possible_truncation, reason = "two halves")]
fn unpack(bits: u64) -> (f32, f32) {
    (f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32))
}
