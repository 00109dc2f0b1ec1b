//! The policy in simulated time: servers that take a minute to start, and a load that jumps.
//!
//! One second is one step. A replica serves so many requests at once, each takes ten seconds; the rest
//! wait in line. It is told apart from a real system only by what nobody can promise: noise.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{Policy, Reading, Scaler};

const SECOND: Duration = Duration::from_secs(1);

/// Requests that a replica serves at once, and how long each takes, in seconds.
const SLOTS: usize = 20;
const SERVICE: u64 = 10;

/// How long a replica takes to start, in seconds.
const COLD_START: u64 = 60;

/// The limit for first tokens, in seconds of waiting in line.
const SLO: u64 = 2;

/// The servers and their line.
struct World {
    scaler: Scaler,
    policy: Policy,
    start: Instant,
    now: u64,
    asked: u32,
    /// When each replica is ready.
    ready: Vec<u64>,
    /// When each request arrived that waits, and when each that is served ends.
    line: VecDeque<u64>,
    served: VecDeque<u64>,
    arrivals: f64,
    /// What a second came to: replicas asked for, and the longest wait of who was begun in it.
    story: Vec<(u32, u64)>,
}

impl World {
    fn new(replicas: u32) -> Self {
        let policy = Policy {
            least: 0,
            most: 1000,
            // Half of what it can: the other half is for the minute until the next one has started.
            in_flight_per_replica: 10,
            first_token: Some(SECOND * 2),
            cold_start: SECOND * 60,
            calm: SECOND * 300,
        };
        Self {
            scaler: Scaler::default(),
            policy,
            start: Instant::now(),
            now: 0,
            asked: replicas,
            ready: vec![0; replicas as usize],
            line: VecDeque::new(),
            served: VecDeque::new(),
            arrivals: 0.0,
            story: Vec::new(),
        }
    }

    /// A second with so many arrivals; `read` says which of two proxies answer.
    fn step(&mut self, arrivals: f64, read: u32) {
        self.now += 1;
        self.arrivals += arrivals;
        while self.arrivals >= 1.0 {
            self.arrivals -= 1.0;
            self.line.push_back(self.now);
        }
        let before = self.served.len();
        self.served.retain(|end| *end > self.now);
        let ended = before - self.served.len();
        let slots = self.ready.iter().filter(|ready| **ready <= self.now).count() * SLOTS;
        let mut longest = 0;
        while self.served.len() < slots
            && let Some(arrived) = self.line.pop_front()
        {
            longest = longest.max(self.now - arrived);
            self.served.push_back(self.now + SERVICE);
        }
        let longest = longest.max(self.line.front().map_or(0, |arrived| self.now - arrived));
        // What a proxy sees: who waits in a server's line is in flight.
        let in_flight = (self.served.len() + self.line.len()) as u64;
        let reading = Reading {
            in_flight: in_flight * u64::from(read) / 2,
            arrived: arrivals,
            ended: f64::from(u32::try_from(ended).unwrap()),
            first_token: Some((SECOND * u32::try_from(longest).unwrap(), 100)),
            answered: read,
            proxies: 2,
            ..Reading::default()
        };
        let now = self.start + SECOND * u32::try_from(self.now).unwrap();
        self.scaler.read(Some(reading), now);
        let desired = self.scaler.decide(&self.policy, self.asked, now).desired;
        self.ready.resize(desired as usize, self.now + COLD_START);
        self.asked = desired;
        self.story.push((desired, longest));
    }

    fn run(&mut self, seconds: u32, arrivals: f64, read: u32) {
        (0..seconds).for_each(|_| self.step(arrivals, read));
    }
}

/// How often a number changes its direction.
fn reversals(story: &[(u32, u64)]) -> usize {
    let steps: Vec<bool> = story
        .windows(2)
        .filter(|pair| pair[0].0 != pair[1].0)
        .map(|pair| pair[1].0 > pair[0].0)
        .collect();
    steps.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn five_times_the_load_is_served_within_a_cold_start_and_a_minute_without_overshoot() {
    let mut world = World::new(2);
    world.run(600, 2.0, 2);
    assert_eq!(world.asked, 2, "twenty in flight, ten a replica");
    let step = world.story.len();
    world.run(1200, 10.0, 2);
    let after = &world.story[step..];
    let well = after.iter().rposition(|(_, wait)| *wait > SLO).map_or(0, |last| last + 1);
    assert!(well <= 120, "back within the limit after {well} s");
    let most = after.iter().map(|(desired, _)| *desired).max().unwrap();
    assert!((10..=12).contains(&most), "{most} replicas at most, ten are needed");
    assert!(reversals(&after[..600]) <= 2, "{}", reversals(&after[..600]));
    let end = after.last().unwrap().0;
    assert!((10..=11).contains(&end), "{end} replicas in the end");
}

#[test]
fn ten_minutes_without_half_of_the_metrics_change_nothing_downwards() {
    let mut world = World::new(10);
    world.run(900, 10.0, 2);
    let before = world.asked;
    world.run(600, 10.0, 1);
    world.run(600, 10.0, 0);
    assert!(world.asked >= before, "{} after {before}", world.asked);
    assert_eq!(reversals(&world.story[900..]), 0);
}

#[test]
fn a_quiet_service_sleeps_and_wakes_with_the_first_request() {
    let mut world = World::new(1);
    world.run(900, 0.0, 2);
    assert_eq!(world.asked, 0);
    world.step(1.0, 2);
    assert_eq!(world.asked, 1, "within the second in which it waits");
    world.run(70, 0.0, 2);
    assert!(world.line.is_empty(), "it was served when the replica was ready");
}
