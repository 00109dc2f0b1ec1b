//! The clients: one process, one thread, one kind of load.
//!
//! What a load has seen goes to stdout as one line of JSON, a [`Sample`]. The processor time of the
//! gateway is read here, at the edges of the measured window, and not by whoever started us.

mod client;
mod closed;
mod hold;
mod open;

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, LocalOptions};

use crate::{
    Failure,
    bodies::{self, Api, Pace},
    note, process, say,
};

/// The shape of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Whole answers: each connection asks again when it has its answer.
    Whole,
    /// Streams of two tokens, in the same way: the time is that of the first token.
    First,
    /// Streams that begin at a fixed rate, however late the others are.
    Open,
    /// Streams that are held open, with hardly a token.
    Hold,
}

/// What to send where.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// The gateway
    #[arg(long)]
    pub(crate) to: SocketAddr,
    #[arg(long)]
    pub(crate) shape: Shape,
    #[arg(long, default_value = "chat")]
    pub(crate) api: Api,
    #[arg(long)]
    pub(crate) model: String,
    /// Bytes of a request's body
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Connections (`whole`, `first`), or streams (`hold`)
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Milliseconds of the measured window; 0 when `count` bounds it
    #[arg(long, default_value_t = 0)]
    pub(crate) millis: u64,
    /// Requests of each connection in the measured window; 0 when `millis` bounds it
    #[arg(long, default_value_t = 0)]
    pub(crate) count: usize,
    /// Streams a second (`open`)
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
    /// Tokens of a stream, and the microseconds between them (`open`)
    #[arg(long, default_value_t = 100)]
    pub(crate) tokens: usize,
    #[arg(long, default_value_t = 10_000)]
    pub(crate) gap: u64,
    /// The gateway's processes, whose processor time is read
    #[arg(long, value_delimiter = ',')]
    pub(crate) ids: Vec<u32>,
}

impl Args {
    /// The request that is sent over and over.
    fn request(&self) -> Vec<u8> {
        let pace = match self.shape {
            Shape::Whole => None,
            Shape::First => Some(Pace { tokens: 2, gap: 0 }),
            Shape::Open => Some(Pace { tokens: self.tokens, gap: self.gap }),
            Shape::Hold => Some(hold::PACE),
        };
        bodies::request(self.api, &self.model, self.size, pace)
    }

    /// The measured window, and one before it in which nothing is measured.
    fn windows(&self) -> (Duration, Duration) {
        let measured = Duration::from_millis(self.millis);
        (measured / 4, measured)
    }
}

/// What a load has seen. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Answers that were complete and right.
    pub(crate) done: u64,
    /// Everything else.
    pub(crate) errors: u64,
    /// Tokens seen.
    pub(crate) tokens: u64,
    /// Tokens that came in one piece with another.
    pub(crate) coalesced: u64,
    /// How long the measured window was.
    pub(crate) seconds: f64,
    /// Processor time of the gateway.
    pub(crate) cpu_us: f64,
    /// Time to the whole answer, or to the first token of a stream.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) worst_us: f64,
    /// How long tokens were under way.
    pub(crate) token_p50_us: f64,
    pub(crate) token_p99_us: f64,
}

/// What is counted while a load runs.
#[derive(Debug, Default)]
struct Seen {
    done: u64,
    errors: u64,
    tokens: u64,
    coalesced: u64,
    /// Nanoseconds, unsorted.
    times: Vec<u64>,
    delays: Vec<u64>,
}

impl Seen {
    /// Counts a failure, and tells the first one.
    fn fail(&mut self, to: SocketAddr, error: &std::io::Error) {
        if self.errors == 0 {
            note(&format!("  {to}: {error}"));
        }
        self.errors += 1;
    }

    fn sample(mut self, cpu: u64, nanos: u64) -> Sample {
        self.times.sort_unstable();
        self.delays.sort_unstable();
        Sample {
            done: self.done,
            errors: self.errors,
            tokens: self.tokens,
            coalesced: self.coalesced,
            seconds: micros(nanos) / 1e6,
            cpu_us: micros(cpu),
            p50_us: quantile(&self.times, 50),
            p99_us: quantile(&self.times, 99),
            worst_us: quantile(&self.times, 100),
            token_p50_us: quantile(&self.delays, 50),
            token_p99_us: quantile(&self.delays, 99),
        }
    }
}

/// The value below which so many percent of sorted nanoseconds lie, in microseconds.
fn quantile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |nanos| micros(*nanos))
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of nanoseconds are weeks")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Runs a load and writes what it saw.
pub(crate) fn load(args: &Args) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        match args.shape {
            Shape::Whole | Shape::First => tell(&closed::run(args).await?),
            Shape::Open => tell(&open::run(args).await?),
            Shape::Hold => hold::run(args).await,
        }
    })
}

fn tell(sample: &Sample) -> Result<(), Failure> {
    say(&serde_json::to_string(sample)?);
    Ok(())
}

/// Processor time of the gateway so far.
fn cpu(args: &Args) -> u64 {
    process::cpu(&args.ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "thousands divide exactly")]
    fn a_quantile_is_the_smallest_value_that_covers_the_share() {
        let sorted: Vec<u64> = (1..=200).map(|n| n * 1000).collect();
        assert_eq!(quantile(&sorted, 50), 100.0);
        assert_eq!(quantile(&sorted, 99), 198.0);
        assert_eq!(quantile(&sorted, 100), 200.0);
        assert_eq!(quantile(&[], 50), 0.0);
    }
}
