//! The cheapest target within the SLO, when latencies drift: against one who knows them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use trunkline::{
    provider::{Price, Pricing},
    select::{Flight, Targets, Tried, choose},
    table::{Choosing, Slo, Strategy},
};

use super::{
    policies::ASK,
    report::Report,
    routes::{Fresh, fresh},
    world::normal,
};

const TARGETS: usize = 8;
const SLO: f64 = 1.5;
const SIGMA: f64 = 0.5;
const RATE: f64 = 20.0;
const LENGTH: f64 = 7_200.0;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// The median of a target at a time: each drifts with a period of its own, from 15 to 50 minutes,
/// and is beyond the SLO for about a third of it.
fn median(target: usize, at: f64) -> f64 {
    let own = target as f64;
    let period = 900.0 + 300.0 * own;
    0.6 * (0.5 * (std::f64::consts::TAU * (at / period + own * 0.37)).sin()).exp()
}

/// Each is a quarter dearer than the one before.
fn pricing(target: usize) -> Pricing {
    let dollar = (1e6 * 1.25_f64.powf(target as f64)) as u64;
    Pricing::plain(Price::of_millionths(dollar), Price::of_millionths(dollar * 4))
}

fn cost(target: usize) -> f64 {
    pricing(target).estimate(u64::from(ASK.input_tokens), u64::from(ASK.output_tokens)).0 as f64
}

pub fn run(report: &mut Report) {
    report.section(
        "cheapest within SLO: eight drifting targets, first token p90 <= 1.5 s, 2 h, seeds 1 to 3",
    );
    let (mut spent, mut met, mut arrivals) = (0.0, 0_u32, Vec::new());
    for seed in SEEDS {
        let (cost, within, times) = serve(seed);
        spent += cost;
        met += within;
        arrivals.extend(times);
    }
    let attained = f64::from(met) / arrivals.len() as f64;
    let (optimum, its) = optimum(&arrivals, attained);
    let (strict, strict_its) = knowing(&arrivals, 0.9);
    println!("\n  {:<46} {:>9} {:>12}", "", "cost", "within SLO");
    let line = |name: &str, cost: f64, share: f64| {
        println!("  {name:<46} {:>9.4} {:>10.2} %", cost / strict, share * 100.0);
    };
    line("knows every latency, asks p90 <= SLO", strict, strict_its);
    line("knows every latency, attains the same", optimum, its);
    line("Cheapest with slo.firstToken", spent, attained);
    report.at_most("Cheapest: cost / optimum of equal attainment", spent / optimum, 1.02);
    report.at_least("Cheapest: first tokens within the SLO", attained, 0.9);
}

/// The share of first tokens of a target that come in time.
fn in_time(target: usize, at: f64) -> f64 {
    normal_below((SLO / median(target, at)).ln() / SIGMA)
}

/// What one who knows the latencies pays who always takes the cheapest target of which at least this
/// share comes in time, and what share then does.
fn knowing(arrivals: &[f64], least: f64) -> (f64, f64) {
    let (mut spent, mut met) = (0.0, 0.0);
    for at in arrivals {
        let holds = (0..TARGETS).find(|target| in_time(*target, *at) >= least);
        let best = || (0..TARGETS).max_by(|a, b| in_time(*a, *at).total_cmp(&in_time(*b, *at)));
        let target = holds.or_else(best).unwrap();
        spent += cost(target);
        met += in_time(target, *at);
    }
    (spent, met / arrivals.len() as f64)
}

/// The cheapest way to attain the same, by one who knows the latencies.
fn optimum(arrivals: &[f64], attained: f64) -> (f64, f64) {
    let (mut low, mut high) = (0.5, 0.999);
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        if knowing(arrivals, middle).1 < attained { low = middle } else { high = middle }
    }
    knowing(arrivals, high)
}

/// What the code that serves pays, how many first tokens come in time, and when requests arrived.
fn serve(seed: u64) -> (f64, u32, Vec<f64>) {
    let start = Instant::now();
    let choosing = Choosing {
        strategy: Strategy::Cheapest,
        tolerance_percent: 10,
        slo: Slo { first_token: Some(Duration::from_secs_f64(SLO)), ..Slo::default() },
        ..Choosing::default()
    };
    let Fresh { route, keys, health } = fresh(TARGETS, choosing, |at| Some(pricing(at)), start);
    let targets = Targets::new(&route, &keys, &health);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut draws = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut flights: HashMap<u64, Flight> = HashMap::new();
    let mut due: BinaryHeap<Reverse<(u64, u64, bool)>> = BinaryHeap::new();
    let (mut at, mut id) = (0.0, 0);
    let (mut spent, mut met, mut arrivals) = (0.0, 0, Vec::new());
    while at < LENGTH {
        at += -(1.0 - rng.f64()).ln() / RATE;
        while due.peek().is_some_and(|Reverse((when, ..))| *when as f64 / 1e6 <= at) {
            let Reverse((when, id, token)) = due.pop().unwrap();
            let when = start + Duration::from_micros(when);
            if token {
                flights.get_mut(&id).unwrap().answered(when);
            } else {
                flights.remove(&id).unwrap().finished(100, when);
            }
        }
        let now = start + Duration::from_secs_f64(at);
        let pick = choose(targets, &ASK, &Tried::default(), now, &mut || draws.f64()).unwrap();
        let policy = route.choosing.breaker;
        let known = Arc::clone(&health[pick.target]);
        id += 1;
        flights
            .insert(id, Flight::begin(known, policy, ASK.lane, ASK.input_tokens, pick.probe, now));
        let first = median(pick.target, at) * (SIGMA * normal(&mut rng)).exp();
        due.push(Reverse((((at + first) * 1e6) as u64, id, true)));
        due.push(Reverse((((at + first + 2.0) * 1e6) as u64, id, false)));
        spent += cost(pick.target);
        met += u32::from(first <= SLO);
        arrivals.push(at);
    }
    for (_, mut flight) in flights {
        flight.abandoned(start + Duration::from_secs_f64(LENGTH + 10.0));
    }
    (spent, met, arrivals)
}

/// The normal distribution, to seven digits (Abramowitz and Stegun, 26.2.17).
fn normal_below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let tail = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = tail.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let above = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z >= 0.0 { 1.0 - above } else { above }
}
