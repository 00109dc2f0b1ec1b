//! How good the choices are, in simulated time with fixed seeds: `make bench-policy`.
//!
//! Discrete events stand for providers and clients; what chooses is the very code that serves
//! (`select`), and what retries is the rule of `proxy::retry`. Baselines play the same traffic. The
//! table goes to stdout and the figures to `target/bench/policy.json`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at its first mistake")]
#![expect(clippy::indexing_slicing, reason = "a benchmark stops at its first mistake")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark counts to a few thousand"
)]

mod cheapest;
mod decision;
mod outage;
mod policies;
mod policy;
mod report;
mod routes;
mod scaling;
mod tiers;
mod world;

type Part = fn(&mut report::Report);

/// The parts, by the names that choose them: `make bench-policy PARTS="outage scaling"`.
const PARTS: [(&str, Part); 5] = [
    ("outage", outage::run),
    ("cheapest", cheapest::run),
    ("decision", decision::run),
    ("scaling", scaling::run),
    ("tiers", tiers::run),
];

fn main() {
    // Cargo adds flags of its own.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| part == name);
    let mut report = report::Report::default();
    for (_, run) in PARTS.iter().filter(|(name, _)| chosen(name)) {
        run(&mut report);
    }
    report.write();
}
