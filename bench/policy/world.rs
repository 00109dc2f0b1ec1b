//! Simulated time: targets that answer late, wrongly or not at all, and clients that retry.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use tokio::time::Instant;
use trunkline::{
    dialect::ErrorClass,
    proxy::retry::{self, Allowance, Failure, Next, Progress},
    table::FailoverOn,
};

use super::{
    policy::{Attempt, Choice, Policy},
    routes::FIRST_TOKEN,
};

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sickness {
    /// Ten times slower, and three answers of ten are errors.
    Slow,
    /// Every answer is an error, after a millisecond.
    Failing,
    /// It accepts and never answers.
    Silent,
}

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Play<'a> {
    /// The medians of first tokens, in seconds.
    pub medians: &'a [f64],
    /// σ of their logarithms.
    pub sigma: f64,
    /// Requests a second, at random.
    pub rate: f64,
    /// How long, in seconds.
    pub length: f64,
    /// Which target is sick, how, from when to when.
    pub sick: (usize, Sickness, f64, f64),
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Request {
    pub arrived: f64,
    pub tries: u32,
    /// Seconds to the first token; `None` for an error.
    pub first_token: Option<f64>,
    tried: Vec<usize>,
    open: Vec<usize>,
    done: bool,
}

/// What was played.
#[derive(Debug, Default)]
pub struct Played {
    pub requests: Vec<Request>,
    /// When and where each attempt went.
    pub attempts: Vec<(f64, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Token(usize),
    Error(usize),
    Deadline(usize),
    Hedge(usize),
    Done(usize),
    Again(usize, usize),
}

struct World<'a> {
    play: Play<'a>,
    policy: &'a mut dyn Policy,
    start: Instant,
    /// In microseconds.
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    rng: fastrand::Rng,
    in_flight: Vec<u32>,
    attempts: Vec<Attempt>,
    choices: Vec<Choice>,
    played: Played,
}

/// Plays it.
pub fn play(play: Play<'_>, policy: &mut dyn Policy, start: Instant, seed: u64) -> Played {
    let mut world = World {
        play,
        policy,
        start,
        now: 0,
        events: BinaryHeap::new(),
        sequence: 0,
        rng: fastrand::Rng::with_seed(seed),
        in_flight: vec![0; play.medians.len()],
        attempts: Vec::new(),
        choices: Vec::new(),
        played: Played::default(),
    };
    world.after(0.0, Event::Arrive);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        world.step(event);
    }
    world.played
}

/// A normally distributed number (Box and Muller).
pub fn normal(rng: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

impl World<'_> {
    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn seconds(&self) -> f64 {
        self.now as f64 / 1e6
    }

    fn after(&mut self, seconds: f64, event: Event) {
        let at = self.now + (seconds * 1e6) as u64;
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn sickness(&self, target: usize) -> Option<Sickness> {
        let (sick, how, from, to) = self.play.sick;
        (sick == target && (from..to).contains(&self.seconds())).then_some(how)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                let gap = -(1.0 - self.rng.f64()).ln() / self.play.rate;
                if self.seconds() + gap < self.play.length {
                    self.after(gap, Event::Arrive);
                }
                let request = self.played.requests.len();
                self.played.requests.push(Request {
                    arrived: self.seconds(),
                    tries: 0,
                    first_token: None,
                    tried: Vec::new(),
                    open: Vec::new(),
                    done: false,
                });
                self.next_target(request);
            }
            Event::Token(id) if self.attempts[id].open => self.token(id),
            Event::Error(id) if self.attempts[id].open => {
                let class = ErrorClass::Server;
                self.failed(id, &Failure::Provider { class, status: 500, retry_after: None });
            }
            Event::Deadline(id) if self.attempts[id].open => {
                self.failed(id, &Failure::FirstTokenTimeout);
            }
            Event::Hedge(id) if self.attempts[id].open => self.hedge(id),
            Event::Done(id) => {
                let attempt = self.attempts[id];
                self.in_flight[attempt.choice.target] -= 1;
                self.policy.finished(id, &attempt, self.instant());
            }
            Event::Again(request, target) => {
                let again = self.choices.iter().rev().find(|choice| choice.target == target);
                self.send(request, *again.unwrap());
            }
            Event::Token(_) | Event::Error(_) | Event::Deadline(_) | Event::Hedge(_) => {}
        }
    }

    /// Sends a request to the target that the policy chooses; gives whether there was one.
    fn next_target(&mut self, request: usize) -> bool {
        let sick = (0..self.in_flight.len()).find(|target| self.sickness(*target).is_some());
        let now = self.instant();
        let tried = self.played.requests[request].tried.clone();
        let Some(choice) = self.policy.choose(&tried, sick, now) else { return false };
        self.send(request, choice);
        true
    }

    fn send(&mut self, request: usize, choice: Choice) {
        let id = self.attempts.len();
        let now = self.instant();
        self.choices.push(choice);
        self.attempts.push(Attempt { request, choice, sent: now, open: true });
        self.played.attempts.push((self.seconds(), choice.target));
        let one = &mut self.played.requests[request];
        one.tries += 1;
        one.open.push(id);
        let target = choice.target;
        self.in_flight[target] += 1;
        self.policy.sent(id, choice, now);
        // Latency grows with load: half as much again for each 20 requests above the first 20.
        let load = 1.0 + f64::from(self.in_flight[target].saturating_sub(20)) / 40.0;
        let time =
            self.play.medians[target] * (self.play.sigma * normal(&mut self.rng)).exp() * load;
        let fails = self.rng.f64() < 0.3;
        match self.sickness(target) {
            None => self.after(time, Event::Token(id)),
            Some(Sickness::Slow) if fails => self.after(time * 10.0, Event::Error(id)),
            Some(Sickness::Slow) => self.after(time * 10.0, Event::Token(id)),
            Some(Sickness::Failing) => self.after(0.001, Event::Error(id)),
            Some(Sickness::Silent) => {}
        }
        let patience = choice.patience.unwrap_or(FIRST_TOKEN).min(FIRST_TOKEN);
        self.after(patience.as_secs_f64(), Event::Deadline(id));
        if let (Some(wait), 1) = (choice.hedge_after, self.played.requests[request].tries) {
            self.after(wait.as_secs_f64(), Event::Hedge(id));
        }
    }

    fn token(&mut self, id: usize) {
        let attempt = self.close(id);
        let (now, seconds) = (self.instant(), self.seconds());
        self.policy.answered(id, &attempt, now);
        // About a hundred tokens of 20 ms.
        let rest = 2.0 * (0.5 * normal(&mut self.rng)).exp();
        self.after(rest, Event::Done(id));
        let one = &mut self.played.requests[attempt.request];
        one.first_token = Some(seconds - one.arrived);
        one.done = true;
        for loser in std::mem::take(&mut one.open) {
            let attempt = self.close(loser);
            self.in_flight[attempt.choice.target] -= 1;
            self.policy.abandoned(loser, now);
        }
    }

    fn failed(&mut self, id: usize, failure: &Failure) {
        let attempt = self.close(id);
        let now = self.instant();
        let target = attempt.choice.target;
        self.in_flight[target] -= 1;
        self.policy.failed(id, &attempt, now);
        let one = &mut self.played.requests[attempt.request];
        one.tried.push(target);
        if !one.open.is_empty() {
            return;
        }
        let at_target = one.tried.iter().filter(|tried| **tried == target).count();
        let progress = Progress {
            attempts: one.tries,
            at_target: at_target as u32,
            committed: false,
            alternatives: true,
            trusted: !attempt.choice.probe && now - attempt.sent < Duration::from_secs(1),
        };
        let allowance = Allowance {
            attempts: 3,
            deadline: self.start + Duration::from_secs_f64(one.arrived + 30.0),
            on: FailoverOn::ALL.into_iter().collect(),
            budget: true,
        };
        match retry::next(failure, progress, allowance, now, self.rng.f64()) {
            Next::GiveUp => {}
            Next::Move => {
                self.next_target(attempt.request);
            }
            Next::Stay(wait) => {
                self.after(wait.as_secs_f64(), Event::Again(attempt.request, target));
            }
        }
    }

    fn hedge(&mut self, id: usize) {
        let Attempt { request, choice, .. } = self.attempts[id];
        if self.policy.may_hedge() {
            self.played.requests[request].tried.push(choice.target);
            self.next_target(request);
        }
    }

    fn close(&mut self, id: usize) -> Attempt {
        self.attempts[id].open = false;
        let request = self.attempts[id].request;
        self.played.requests[request].open.retain(|open| *open != id);
        self.attempts[id]
    }
}
