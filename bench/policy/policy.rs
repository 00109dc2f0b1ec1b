//! What the simulated world and those who choose say to each other.

use std::time::Duration;

use tokio::time::Instant;

/// A choice.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub target: usize,
    pub probe: bool,
    pub patience: Option<Duration>,
    pub hedge_after: Option<Duration>,
}

impl Choice {
    pub fn of(target: usize) -> Self {
        Self { target, probe: false, patience: None, hedge_after: None }
    }
}

/// One try.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub request: usize,
    pub choice: Choice,
    pub sent: Instant,
    pub open: bool,
}

/// What the simulated world tells and asks.
pub trait Policy {
    /// Chooses a target that is not in `tried`; `sick` is for those that know.
    fn choose(&mut self, tried: &[usize], sick: Option<usize>, now: Instant) -> Option<Choice>;
    /// An attempt is sent.
    fn sent(&mut self, _id: usize, _choice: Choice, _now: Instant) {}
    /// Its first token has come.
    fn answered(&mut self, _id: usize, _attempt: &Attempt, _now: Instant) {}
    /// It has failed.
    fn failed(&mut self, _id: usize, _attempt: &Attempt, _now: Instant) {}
    /// Another attempt was faster.
    fn abandoned(&mut self, _id: usize, _now: Instant) {}
    /// Its answer is through.
    fn finished(&mut self, _id: usize, _attempt: &Attempt, _now: Instant) {}
    /// Whether a second target may be asked.
    fn may_hedge(&mut self) -> bool {
        false
    }
}
