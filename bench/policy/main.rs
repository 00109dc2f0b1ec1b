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
mod report;
mod routes;
mod world;

fn main() {
    let mut report = report::Report::default();
    outage::run(&mut report);
    cheapest::run(&mut report);
    decision::run(&mut report);
    report.write();
}
