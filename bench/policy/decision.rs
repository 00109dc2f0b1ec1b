//! What one choice among 32 targets costs in real time, with every filter and score at work.

use std::{hint::black_box, sync::Arc, time::Duration};

use tokio::time::Instant;
use trunkline::{
    provider::{Price, Pricing},
    select::{Flight, Targets, Tried, choose},
    table::{Choosing, Shares, Slo, Strategy},
};

use super::{
    policies::ASK,
    report::Report,
    routes::{Fresh, fresh},
};

const TARGETS: usize = 32;
const ROUNDS: u32 = 20_000;

/// Of so many batches the fastest counts: a machine's neighbours only ever make one slower.
const BATCHES: usize = 10;

pub fn run(report: &mut Report) {
    report.section(
        "one choice among 32 targets, SLO and all scores on, four requests waiting at each",
    );
    println!();
    let shares = Shares { cost: 30, first_token: 40, per_token: 20, load: 10, quality: 0 };
    let mut worst = 0.0_f64;
    for strategy in [
        Strategy::Weighted,
        Strategy::Cheapest,
        Strategy::Fastest,
        Strategy::LeastBusy,
        Strategy::Balanced(shares),
    ] {
        let took = choice(strategy);
        println!("  {:<28} {took:>8.2} us", strategy.as_str());
        worst = worst.max(took);
    }
    report.at_most("one choice among 32 targets, microseconds", worst, 5.0);
}

/// Microseconds a choice.
fn choice(strategy: Strategy) -> f64 {
    let start = Instant::now();
    let second = Some(Duration::from_secs(1));
    let slo = Slo { first_token: second, per_output_token: second, success_per_10k: Some(9_900) };
    let choosing = Choosing { strategy, slo, tolerance_percent: 10, ..Choosing::default() };
    let price =
        |at| Some(Pricing::plain(Price::of_millionths(1 + at as u64), Price::of_millionths(2)));
    let Fresh { route, keys, health } = fresh(TARGETS, choosing, price, start);
    let policy = route.choosing.breaker;
    let fly = |known: &_| Flight::begin(Arc::clone(known), policy, ASK.lane, 1_000, false, start);
    for known in &health {
        for sample in 1..=40 {
            let mut flight = fly(known);
            let at = start + Duration::from_millis(10 * sample);
            flight.answered(at);
            flight.finished(100, at + Duration::from_secs(2));
        }
    }
    let mut waiting: Vec<Flight> = Vec::new();
    for known in &health {
        waiting.extend((0..4).map(|_| fly(known)));
    }
    let targets = Targets::new(&route, &keys, &health);
    let mut rng = fastrand::Rng::with_seed(1);
    let now = start + Duration::from_millis(500);
    let tried = Tried::default();
    let mut batch = || {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            black_box(choose(targets, &ASK, black_box(&tried), now, &mut || rng.f64()));
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
    };
    let fastest = (0..BATCHES).map(|_| batch()).fold(f64::INFINITY, f64::min);
    waiting.iter_mut().for_each(Flight::excused);
    fastest
}
