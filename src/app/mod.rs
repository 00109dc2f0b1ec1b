//! Wiring: arguments to rooms, one subcommand a file. No logic lives here.

mod args;
mod catalogue;
mod check;
mod crds;
mod explain;
mod operator;
mod plane;
mod price;
mod probe;
mod proxy;
mod run;
mod sim;
mod spend;
mod terminal;
mod traces;

use std::process::ExitCode;

use clap::Parser;

use self::{
    args::{Args, Command},
    terminal::{Failure, environment, say, say_error},
};

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    match Args::parse().command {
        Command::Catalogue(args) => catalogue::show(&args),
        Command::Check(args) => check::check(&args),
        Command::Crds(args) => crds::crds(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Operator(args) => ended(operator::operator(&args)),
        Command::Price(args) => price::price(&args),
        Command::Proxy(args) => ended(proxy::proxy(&args)),
        Command::Probe(args) => ended(probe::probe(&args)),
        Command::Run(args) => ended(run::run(&args)),
        Command::Sim(args) => ended(sim::simulate(&args)),
    }
}

/// How a command that serves until it is told to stop has ended.
fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&format!("trunkline: {error}"));
            ExitCode::FAILURE
        }
    }
}
