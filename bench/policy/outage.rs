//! Four targets, one of them sick for 70 s: who notices, how soon, and who pays for it.

use tokio::time::Instant;
use trunkline::table::{Choosing, Hedge, Strategy};

use super::{
    policies::{LeastRequest, Oracle, RoundRobin, Served, TARGETS},
    policy::Policy,
    report::Report,
    world::{Play, Played, Sickness, play},
};

const MEDIANS: [f64; TARGETS] = [0.450, 0.500, 0.550, 0.900];
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
const SICK: (f64, f64) = (45.0, 115.0);
const LENGTH: f64 = 180.0;

/// What a policy came to over all seeds.
struct Figures {
    /// The p99 of first tokens of requests that arrived in the window, an error counting as forever.
    p99: f64,
    errors: usize,
    tries: f64,
    /// The largest share of any target in any 5 s, in fair shares.
    most: f64,
    /// The share of the healed target in the five seconds that begin within 10 s of its recovery.
    back: f64,
}

pub fn run(report: &mut Report) {
    report.section("one of four sick from 45 s to 115 s; 20 requests/s, 180 s, seeds 1 to 10");
    for (word, how, plain, hedged) in [
        ("a: 10x slower, 30 % errors", Sickness::Slow, 1.1, Some(0.9)),
        ("b: every answer an error in 1 ms", Sickness::Failing, 1.1, None),
        ("c: silent", Sickness::Silent, 3.0, Some(1.2)),
    ] {
        println!("\n{word}");
        println!(
            "  {:<28} {:>8} {:>9} {:>7} {:>7} {:>11} {:>9}",
            "", "p99 s", "x oracle", "errors", "tries", "most share", "back"
        );
        let oracle = figures(how, |_, _| Box::<Oracle>::default());
        let line = |name: &str, figures: &Figures| {
            println!(
                "  {name:<28} {:>8.2} {:>9.2} {:>7} {:>7.3} {:>9.2} x {:>7.1} %",
                figures.p99,
                figures.p99 / oracle.p99,
                figures.errors,
                figures.tries,
                figures.most,
                figures.back * 100.0
            );
        };
        line("oracle", &oracle);
        line("round robin", &figures(how, |_, _| Box::<RoundRobin>::default()));
        let least = |eject| {
            move |seed, now| -> Box<dyn Policy> { Box::new(LeastRequest::new(eject, seed, now)) }
        };
        line("least connections", &figures(how, least(false)));
        line("least request + ejection", &figures(how, least(true)));
        let fastest = figures(how, served(None));
        line("Fastest", &fastest);
        goals(report, word, "Fastest", &fastest, (oracle.p99, plain, 1.05));
        let with = figures(how, served(Some(Hedge { after: None, budget_percent: 8 })));
        line("Fastest, 8 % hedged", &with);
        if let Some(goal) = hedged {
            goals(report, word, "Fastest, hedged", &with, (oracle.p99, goal, 1.10));
        }
    }
}

fn served(hedge: Option<Hedge>) -> impl Fn(u64, Instant) -> Box<dyn Policy> {
    move |seed, now| {
        let choosing = Choosing {
            strategy: Strategy::Fastest,
            tolerance_percent: 10,
            hedge,
            ..Choosing::default()
        };
        Box::new(Served::new(choosing, TARGETS, seed, now))
    }
}

fn goals(
    report: &mut Report,
    word: &str,
    policy: &str,
    figures: &Figures,
    (oracle, p99, tries): (f64, f64, f64),
) {
    let letter = word.split(':').next().unwrap_or_default();
    let name = |what: &str| format!("{letter} {policy}: {what}");
    report.at_most(&name("p99 / oracle"), figures.p99 / oracle, p99);
    report.at_most(&name("errors to the client"), figures.errors as f64, 0.0);
    report.at_most(&name("tries a request"), figures.tries, tries);
    report.at_most(&name("largest share in 5 s / fair"), figures.most, 2.0);
    report.at_least(&name("healed target's share"), figures.back, 0.15);
}

fn figures(how: Sickness, policy: impl Fn(u64, Instant) -> Box<dyn Policy>) -> Figures {
    let start = Instant::now();
    let (mut window, mut errors, mut tries, mut requests) = (Vec::new(), 0, 0, 0);
    let (mut most, mut back) = (0.0_f64, Vec::new());
    for seed in SEEDS {
        let rules = Play {
            medians: &MEDIANS,
            sigma: 0.5,
            rate: 20.0,
            length: LENGTH,
            sick: (0, how, SICK.0, SICK.1),
        };
        let played = play(rules, policy(seed, start).as_mut(), start, seed);
        for request in &played.requests {
            requests += 1;
            tries += request.tries;
            errors += usize::from(request.first_token.is_none());
            if (SICK.0..SICK.1).contains(&request.arrived) {
                window.push(request.first_token.unwrap_or(f64::INFINITY));
            }
        }
        most = most.max(largest_share(&played));
        back.push(share(&played, 0, SICK.1 + 10.0, SICK.1 + 15.0));
    }
    window.sort_unstable_by(f64::total_cmp);
    Figures {
        p99: window[window.len() * 99 / 100],
        errors,
        tries: f64::from(tries) / f64::from(requests),
        most,
        back: back.iter().sum::<f64>() / back.len() as f64,
    }
}

/// The share of a target in the attempts between two times.
fn share(played: &Played, target: usize, from: f64, to: f64) -> f64 {
    let within = played.attempts.iter().filter(|(at, _)| (from..to).contains(at));
    let (mut all, mut own) = (0, 0);
    for (_, to) in within {
        all += 1;
        own += usize::from(*to == target);
    }
    own as f64 / f64::from(all).max(1.0)
}

/// A fair share is that of the targets that are well: a quarter, or a third in the window.
fn largest_share(played: &Played) -> f64 {
    let mut most = 0.0_f64;
    for from in 0..(LENGTH as u32 - 5) {
        let (from, to) = (f64::from(from), f64::from(from + 5));
        let sick = to > SICK.0 && from < SICK.1;
        let fair = if sick { 1.0 / 3.0 } else { 0.25 };
        for target in 0..TARGETS {
            most = most.max(share(played, target, from, to) / fair);
        }
    }
    most
}
