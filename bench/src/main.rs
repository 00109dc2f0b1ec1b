//! The benchmark: what a request costs in Trunkline, beside a bare proxy and other gateways.
//!
//! One binary plays every part that is not a gateway, each as a process of its own, so that each can
//! be pinned to a core and its processor time be read alone:
//!
//! * `mock`: the provider behind every gateway; it writes the time into each token it sends.
//! * `load`: the clients; they read the time out of each token.
//! * `floor`: the least that a proxy on the same HTTP library costs; the measure of all goals.
//! * `run`: starts all of them and the gateways, measures them in turns, and prints the table.
//!
//! It shares no code with the product and knows it only as one more gateway with a command line.

mod answers;
mod bodies;
mod clock;
mod floor;
mod load;
mod mock;
mod process;
mod run;
mod systems;
mod table;
mod wire;

use std::{error::Error, net::SocketAddr, process::ExitCode};

use clap::{Parser, Subcommand};

/// The floor has Trunkline's allocator, so that a comparison of the two is one of their code.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What goes wrong here is told and ends the process: there is nothing to recover.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures Trunkline beside a bare proxy and other gateways.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Pass every request on, and nothing more
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Play the clients and write what they saw
    Load(load::Args),
    /// Play the providers
    Mock {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Measure everything and print the table
    Run(run::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().part {
        Part::Floor { listen, upstream } => floor::serve(listen, upstream),
        Part::Load(args) => load::load(&args),
        Part::Mock { listen } => mock::serve(listen),
        Part::Run(args) => run::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("trunkline-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells how far the benchmark is; the table alone goes to stdout.
#[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// Writes a result.
#[expect(clippy::print_stdout, reason = "results go to stdout")]
fn say(text: &str) {
    println!("{text}");
}
