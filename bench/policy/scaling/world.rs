//! Simulated time for scaling: requests that come at random, proxies that tell what they have, replicas
//! that take time to start, and whoever decides how many there are.
//!
//! `make bench-policy` measures with it and `tests/it/autoscale.rs` asserts with it. Both play the very
//! code that decides in a cluster, told by as many proxies, as often, and in the same words.
//!
//! A request goes to a replica at once, and waits in the server's own line when all places are taken:
//! proxies count it as in flight. Only when no replica is ready does it wait at its proxy, in a bounded
//! line and for a bounded time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;
use trunkline::autoscale::{Policy, Reading, Scaler, Told, fleet};

/// How long a step of time is, in seconds.
const STEP: f64 = 0.05;

/// How often the proxies are asked, in steps.
const ASKED_EVERY: u64 = 10;

/// The time to a first token once a request has a place, in seconds.
const FIRST_TOKEN: f64 = 0.3;

/// How long proxies remember a first token, in seconds.
const REMEMBERED: f64 = 60.0;

/// What is played. Times are seconds.
#[derive(Clone, Debug)]
pub struct Play {
    /// Requests a second: from each time on, so many.
    pub rates: Vec<(f64, f64)>,
    pub length: f64,
    /// How long a request takes on average: half of it always, the rest at random.
    pub takes: f64,
    /// Requests that a replica serves at a time.
    pub slots: usize,
    /// How long a replica takes to start.
    pub cold_start: f64,
    /// How many requests may wait at the proxies while there is no replica, and for how long.
    pub queue: (usize, f64),
    /// The replicas at the beginning.
    pub replicas: u32,
    pub proxies: usize,
    /// So many proxies do not answer, from when to when.
    pub silent: (usize, f64, f64),
    /// By how much the workload's own count of replicas is late.
    pub lag: f64,
}

/// Who decides how many replicas there are.
pub trait Decides {
    fn desired(&mut self, reading: Reading, current: u32, now: Instant) -> u32;
}

/// The policy that serves.
#[derive(Debug)]
pub struct Served {
    pub policy: Policy,
    pub scaler: Scaler,
}

impl Decides for Served {
    fn desired(&mut self, reading: Reading, current: u32, now: Instant) -> u32 {
        self.scaler.read((reading.answered > 0).then_some(reading), now);
        self.scaler.decide(&self.policy, current, now).desired
    }
}

/// One decision, and what there really was when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: f64,
    pub desired: u32,
    pub in_flight: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub arrived: f64,
    /// Seconds to its first token; none when it was refused.
    pub first_token: Option<f64>,
}

/// What was played.
#[derive(Debug, Default)]
pub struct Played {
    pub looks: Vec<Look>,
    pub requests: Vec<Request>,
    /// Requests that were neither served nor refused when the play ended.
    pub open: usize,
}

/// One proxy.
#[derive(Clone, Debug, Default)]
struct Proxy {
    told: Told,
    /// When first tokens came, and after how many milliseconds.
    first_tokens: VecDeque<(f64, f64)>,
}

impl Proxy {
    fn tell(&mut self, now: f64) -> Told {
        while self.first_tokens.front().is_some_and(|(at, _)| at + REMEMBERED < now) {
            self.first_tokens.pop_front();
        }
        let mut millis: Vec<f64> = self.first_tokens.iter().map(|(_, millis)| *millis).collect();
        millis.sort_by(f64::total_cmp);
        let p95 = millis.get(millis.len() * 95 / 100).copied();
        Told { first_token: p95.map(|p95| (p95, millis.len() as u32)), ..self.told }
    }
}

struct World<'a> {
    play: &'a Play,
    random: fastrand::Rng,
    now: f64,
    /// When each replica serves from.
    replicas: Vec<f64>,
    /// Who was sent and has a place: through which proxy, and when it ends.
    served: Vec<(usize, f64)>,
    /// Who was sent and stands in the server's line, and when it arrived.
    line: VecDeque<(usize, f64)>,
    /// Who waits at a proxy because there is no replica, and since when.
    waiting: VecDeque<(usize, f64)>,
    proxies: Vec<Proxy>,
    played: Played,
}

/// Plays it.
pub fn play(play: &Play, decides: &mut dyn Decides, start: Instant, seed: u64) -> Played {
    let mut world = World {
        play,
        random: fastrand::Rng::with_seed(seed),
        now: 0.0,
        replicas: vec![0.0; play.replicas as usize],
        served: Vec::new(),
        line: VecDeque::new(),
        waiting: VecDeque::new(),
        proxies: vec![Proxy::default(); play.proxies],
        played: Played::default(),
    };
    let mut before: Option<(BTreeMap<String, Option<Told>>, Instant)> = None;
    let mut counts = VecDeque::new();
    for step in 0..(play.length / STEP) as u64 {
        world.now = step as f64 * STEP;
        world.step();
        if step % ASKED_EVERY != 0 {
            continue;
        }
        let now = start + Duration::from_secs_f64(world.now);
        let round = world.ask();
        let since = before.as_ref().map(|(round, at)| (round, now - *at));
        let reading = fleet::reading(&round, since);
        before = Some((round, now));
        counts.push_back((world.now, world.replicas.len() as u32));
        while counts.get(1).is_some_and(|(at, _)| at + play.lag <= world.now) {
            counts.pop_front();
        }
        let current = counts.front().map_or(play.replicas, |(_, count)| *count);
        let desired = decides.desired(reading, current, now);
        // A decision that changes nothing of what it saw writes nothing.
        if desired != current {
            world.scale(desired);
        }
        let in_flight = world.served.len() + world.line.len();
        let desired = world.replicas.len() as u32;
        world.played.looks.push(Look { at: world.now, desired, in_flight });
    }
    world.played.open = world.waiting.len() + world.line.len();
    world.played
}

impl World<'_> {
    fn ask(&mut self) -> BTreeMap<String, Option<Told>> {
        let (silent, from, to) = self.play.silent;
        let (now, mut round) = (self.now, BTreeMap::new());
        for (at, proxy) in self.proxies.iter_mut().enumerate() {
            let answers = at >= silent || !(from..to).contains(&now);
            round.insert(format!("proxy-{at}"), answers.then(|| proxy.tell(now)));
        }
        round
    }

    fn ready(&self) -> usize {
        self.replicas.iter().filter(|from| **from <= self.now).count()
    }

    fn scale(&mut self, desired: u32) {
        while self.replicas.len() < desired as usize {
            self.replicas.push(self.now + self.play.cold_start);
        }
        // Those that do not serve yet go first; those that do finish what they have.
        self.replicas.truncate(desired as usize);
    }

    fn step(&mut self) {
        let now = self.now;
        let proxies = &mut self.proxies;
        self.served.retain(|(proxy, ends)| {
            let ended = *ends <= now;
            proxies[*proxy].told.in_flight -= u64::from(ended);
            !ended
        });
        let rates = self.play.rates.iter().take_while(|(from, _)| *from <= now);
        let mut expected = rates.last().map_or(0.0, |(_, rate)| *rate) * STEP;
        // So few are expected in a step that one a throw is as good as a Poisson process.
        while expected > 0.0 {
            if self.random.f64() < expected.min(0.25) {
                self.arrive();
            }
            expected -= 0.25;
        }
        if self.ready() > 0 {
            while let Some((proxy, arrived)) = self.waiting.pop_front() {
                self.proxies[proxy].told.queued -= 1;
                self.send(proxy, arrived);
            }
        }
        while self.waiting.front().is_some_and(|(_, since)| since + self.play.queue.1 < now) {
            if let Some((proxy, arrived)) = self.waiting.pop_front() {
                self.proxies[proxy].told.queued -= 1;
                self.played.requests.push(Request { arrived, first_token: None });
            }
        }
        let places = self.ready() * self.play.slots;
        while self.served.len() < places
            && let Some((proxy, arrived)) = self.line.pop_front()
        {
            self.begin(proxy, arrived);
        }
    }

    fn arrive(&mut self) {
        let proxy = self.random.usize(..self.proxies.len());
        if self.ready() > 0 {
            self.send(proxy, self.now);
        } else if self.waiting.len() < self.play.queue.0 {
            self.proxies[proxy].told.queued += 1;
            self.waiting.push_back((proxy, self.now));
        } else {
            self.played.requests.push(Request { arrived: self.now, first_token: None });
        }
    }

    fn send(&mut self, proxy: usize, arrived: f64) {
        self.proxies[proxy].told.in_flight += 1;
        self.proxies[proxy].told.started += 1;
        self.line.push_back((proxy, arrived));
    }

    fn begin(&mut self, proxy: usize, arrived: f64) {
        let chance = -self.random.f64().max(1e-12).ln();
        let takes = self.play.takes * (0.5 + 0.5 * chance);
        self.served.push((proxy, self.now + takes));
        let first_token = self.now - arrived + FIRST_TOKEN;
        self.proxies[proxy].first_tokens.push_back((self.now, first_token * 1e3));
        self.played.requests.push(Request { arrived, first_token: Some(first_token) });
    }
}
