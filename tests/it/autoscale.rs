//! Scaling in simulated time, by the code that decides in a cluster. `make bench-policy` measures the same
//! world with more seeds.

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a simulation counts to a few thousand, and stops at its first mistake"
)]
#[path = "../../bench/policy/scaling/world.rs"]
mod world;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "as above"
)]
#[path = "../../bench/policy/scaling/figures.rs"]
mod figures;

use std::time::Duration;

use tokio::time::Instant;
use trunkline::autoscale::{Policy, Scaler};

use self::{
    figures::figures,
    world::{Play, Played, Served, play},
};

const SLO: f64 = 2.0;
const COLD_START: f64 = 60.0;

/// Ten in flight a replica, which has twenty places; ten seconds a request.
const PER_REPLICA: u32 = 10;

fn busy() -> Play {
    Play {
        rates: vec![(0.0, 10.0)],
        length: 1500.0,
        takes: 10.0,
        slots: 20,
        cold_start: COLD_START,
        queue: (64, 120.0),
        replicas: 10,
        proxies: 4,
        silent: (0, 0.0, 0.0),
        lag: 0.0,
    }
}

fn played(what: &Play, least: u32, seed: u64) -> Played {
    let policy = Policy {
        least,
        most: 1000,
        in_flight_per_replica: PER_REPLICA,
        first_token: Some(Duration::from_secs_f64(SLO)),
        cold_start: Duration::from_secs_f64(COLD_START),
        calm: Duration::from_mins(5),
    };
    play(what, &mut Served { policy, scaler: Scaler::default() }, Instant::now(), seed)
}

#[test]
fn five_times_the_load_is_served_within_a_cold_start_and_a_minute_without_overshoot() {
    let step = Play { rates: vec![(0.0, 2.0), (300.0, 10.0)], replicas: 2, ..busy() };
    for seed in 1..=3 {
        let played = played(&step, 1, seed);
        let after = figures(&played, (300.0, 1500.0), PER_REPLICA, SLO);
        assert!(after.late_until <= 300.0 + COLD_START + 60.0, "{seed}: {after:?}");
        assert!((10..=12).contains(&after.most), "{seed}: ten are needed: {after:?}");
        assert_eq!((after.below, after.refused), (0, 0), "{seed}");
        let constant = figures(&played, (300.0, 1020.0), PER_REPLICA, SLO);
        assert!(constant.reversals <= 2, "{seed}: {constant:?}");
    }
}

#[test]
fn ten_minutes_in_which_not_all_proxies_answer_take_no_replica_away() {
    for silent in [4, 2] {
        let dark = Play { silent: (silent, 600.0, 1200.0), ..busy() };
        let played = played(&dark, 1, 1);
        let looks = played.looks.iter().filter(|look| (600.0..1200.0).contains(&look.at));
        let numbers: Vec<u32> = looks.map(|look| look.desired).collect();
        assert!(numbers.is_sorted(), "{silent} say nothing: {numbers:?}");
        let all = figures(&played, (600.0, 1500.0), PER_REPLICA, SLO);
        assert!(all.reversals <= 2 && all.below == 0, "{silent} say nothing: {all:?}");
    }
}

#[test]
fn a_late_count_of_replicas_makes_no_flapping() {
    let all =
        figures(&played(&Play { lag: 60.0, ..busy() }, 1, 1), (600.0, 1500.0), PER_REPLICA, SLO);
    assert!(all.reversals <= 2 && all.below == 0, "{all:?}");
}

#[test]
fn who_waits_at_zero_is_seen_within_a_second_and_served_or_refused_in_time() {
    let quiet =
        Play { rates: vec![(0.0, 0.0), (600.0, 0.5)], replicas: 0, length: 900.0, ..busy() };
    for (queue, all_served) in [((64, 120.0), true), ((8, 30.0), false)] {
        let played = played(&Play { queue, ..quiet.clone() }, 0, 1);
        let first = played.requests.iter().map(|one| one.arrived).fold(f64::INFINITY, f64::min);
        let woken = played.looks.iter().find(|look| look.desired > 0).expect("it wakes").at;
        assert!((0.0..=1.0).contains(&(woken - first)), "first {first}, woken {woken}");
        assert_eq!(played.open, 0);
        let refused = played.requests.iter().filter(|one| one.first_token.is_none()).count();
        assert_eq!(refused == 0, all_served, "{refused} refused");
        let slowest = played.requests.iter().filter_map(|one| one.first_token).fold(0.0, f64::max);
        assert!(slowest <= queue.1 + 1.0, "waited {slowest} s");
    }
}
