//! How well it scales: a load that jumps, a start from zero, and minutes in which not all is told.

mod figures;
mod hpa;
mod world;

use std::time::Duration;

use tokio::time::Instant;
use trunkline::autoscale::{Policy, Scaler};

use self::{
    figures::figures,
    hpa::Hpa,
    world::{Decides, Play, Served, play},
};
use super::report::Report;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

/// First tokens are late after so many seconds.
const SLO: f64 = 2.0;

/// When the load jumps, how long a new replica takes, and how many seconds a request does.
const STEP_AT: f64 = 300.0;
const COLD_START: f64 = 60.0;
const TAKES: f64 = 10.0;

/// Requests in flight that a replica is to have: half of what it has places for.
const PER_REPLICA: u32 = 10;
const SLOTS: usize = 20;

pub fn run(report: &mut Report) {
    step(report);
    from_zero(report);
    in_the_dark(report);
}

/// A quiet hour.
fn calm() -> Play {
    Play {
        rates: vec![(0.0, 2.0)],
        length: 1500.0,
        takes: TAKES,
        slots: SLOTS,
        cold_start: COLD_START,
        queue: (64, 120.0),
        replicas: 2,
        proxies: 4,
        silent: (0, 0.0, 0.0),
        lag: 0.0,
    }
}

fn served(least: u32) -> Served {
    let policy = Policy {
        least,
        most: 1000,
        in_flight_per_replica: PER_REPLICA,
        first_token: Some(Duration::from_secs_f64(SLO)),
        cold_start: Duration::from_secs_f64(COLD_START),
        calm: Duration::from_mins(5),
    };
    Served { policy, scaler: Scaler::default() }
}

/// The worst of all seeds.
#[derive(Default)]
struct Worst {
    late: f64,
    overshoot: f64,
    reversals: f64,
    below: f64,
    refused: f64,
}

fn worst(played: &Play, needed: f64, decides: impl Fn() -> Box<dyn Decides>) -> Worst {
    let mut worst = Worst::default();
    for seed in SEEDS {
        let play = play(played, decides().as_mut(), Instant::now(), seed);
        let after = figures(&play, (STEP_AT, played.length), PER_REPLICA, SLO);
        // The way up is one direction, what comes in the ten minutes after it another.
        let constant = figures(&play, (STEP_AT, STEP_AT + 720.0), PER_REPLICA, SLO);
        worst.late = worst.late.max(after.late_until - STEP_AT);
        worst.overshoot = worst.overshoot.max((f64::from(after.most) / needed - 1.0) * 100.0);
        worst.reversals = worst.reversals.max(constant.reversals as f64);
        worst.below = worst.below.max(after.below as f64);
        worst.refused = worst.refused.max(after.refused as f64);
    }
    worst
}

fn step(report: &mut Report) {
    report.section(
        "scaling: 2 to 10 requests/s at 300 s, 10 s each, 4 proxies, cold start 60 s, seeds 1 to 10",
    );
    let step = Play { rates: vec![(0.0, 2.0), (STEP_AT, 10.0)], ..calm() };
    let needed = 10.0 * TAKES / f64::from(PER_REPLICA);
    println!(
        "  {:<32} {:>8} {:>11} {:>11} {:>7}",
        "the worst of each", "late for", "overshoot", "reversals", "below"
    );
    let line = |name: &str, worst: &Worst| {
        let Worst { late, overshoot, reversals, below, refused: _ } = worst;
        println!("  {name:<32} {late:>6.0} s {overshoot:>9.0} % {reversals:>11} {below:>7}");
    };
    let ours = worst(&step, needed, || Box::new(served(1)));
    line("ModelAutoscaler", &ours);
    let theirs = worst(&step, needed, || Box::<Hpa>::default());
    line("HorizontalPodAutoscaler", &theirs);
    report.at_most("5x step: seconds late, without the cold start", ours.late - COLD_START, 60.0);
    report.at_most("5x step: overshoot, percent", ours.overshoot, 25.0);
    report.at_most("5x step: reversals in 10 min of constant load", ours.reversals, 2.0);
    report.at_most("5x step: lowered below what is in flight", ours.below, 0.0);
    report.at_most("5x step: refused", ours.refused, 0.0);
}

fn from_zero(report: &mut Report) {
    report.section("scaling from zero: a request every 2 s after ten quiet minutes");
    let (rates, queue) = (vec![(0.0, 0.0), (600.0, 0.5)], (64, 120.0));
    let quiet = Play { rates, queue, replicas: 0, length: 900.0, ..calm() };
    let small = Play { queue: (8, 30.0), ..quiet.clone() };
    let (mut acts, mut idle) = (0.0_f64, 0);
    for (name, quiet) in [("served", &quiet), ("served or refused in time", &small)] {
        let (mut refused, mut late, mut open) = (0, 0, 0);
        for seed in SEEDS {
            let played = play(quiet, &mut served(0), Instant::now(), seed);
            let arrived = played.requests.iter().map(|request| request.arrived);
            let first = arrived.fold(f64::INFINITY, f64::min);
            let woken = played.looks.iter().find(|look| look.desired > 0);
            acts = acts.max(woken.map_or(f64::INFINITY, |look| look.at) - first);
            idle += played.looks.iter().filter(|look| look.at < first && look.desired > 0).count();
            refused += played.requests.iter().filter(|one| one.first_token.is_none()).count();
            let limit = quiet.queue.1 + 1.0;
            let waited = played.requests.iter().filter_map(|one| one.first_token);
            late += waited.filter(|waited| *waited > limit).count();
            // Who came in the last seconds is still being served.
            open += played.open;
        }
        let (places, seconds) = quiet.queue;
        println!(
            "  {places} may wait for {seconds} s: {refused} refused, {open} left without answer"
        );
        report.at_most(&format!("zero, {name}: neither"), (late + open) as f64, 0.0);
        if name == "served" {
            report.at_most("zero, served: refused", refused as f64, 0.0);
        }
    }
    println!("  acts within {acts:.2} s of the first request that waits");
    report.at_most("zero: seconds until it acts", acts, 1.0);
    report.at_most("zero: looks with replicas and nothing to do", idle as f64, 0.0);
}

fn in_the_dark(report: &mut Report) {
    report.section("scaling in the dark: 10 requests/s, ten minutes in which not all is told");
    let busy = Play { rates: vec![(0.0, 10.0)], replicas: 10, ..calm() };
    let silent = |proxies| Play { silent: (proxies, 600.0, 1200.0), ..busy.clone() };
    for (name, dark) in [
        ("no proxy answers", silent(4)),
        ("half of the proxies answer", silent(2)),
        ("replica counts 60 s late", Play { lag: 60.0, ..busy.clone() }),
    ] {
        let (mut lowered, mut reversals) = (0, 0);
        for seed in SEEDS {
            let played = play(&dark, &mut served(1), Instant::now(), seed);
            let looks = played.looks.iter().filter(|look| (600.0..1200.0).contains(&look.at));
            let numbers: Vec<u32> = looks.map(|look| look.desired).collect();
            lowered += numbers.windows(2).filter(|two| two[1] < two[0] && dark.lag == 0.0).count();
            let all = figures(&played, (600.0, 1500.0), PER_REPLICA, SLO);
            reversals = reversals.max(all.reversals);
            lowered += all.below;
        }
        println!("  {name:<28} lowered {lowered} times, {reversals} reversals at most");
        report.at_most(&format!("{name}: lowered"), lowered as f64, 0.0);
        report.at_most(&format!("{name}: reversals in 15 min"), reversals as f64, 2.0);
    }
}
