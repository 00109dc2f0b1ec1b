//! Wiring: arguments to rooms, one subcommand a file. No logic lives here.

mod args;
mod check;
mod crds;
mod operator;
mod plane;
mod proxy;
mod run;
mod sim;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};

/// Why a subcommand could not go on, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    match Args::parse().command {
        Command::Check(args) => check::check(&args),
        Command::Crds(args) => crds::crds(&args),
        Command::Operator(args) => match operator::operator(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say_error(&format!("trunkline: {error}"));
                ExitCode::FAILURE
            }
        },
        Command::Proxy(args) => match proxy::proxy(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say_error(&format!("trunkline: {error}"));
                ExitCode::FAILURE
            }
        },
        Command::Run(args) => match run::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say_error(&format!("trunkline: {error}"));
                ExitCode::FAILURE
            }
        },
        Command::Sim(args) => match sim::simulate(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say_error(&format!("trunkline: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}

#[expect(clippy::print_stdout, reason = "what a person or script asked for goes to stdout")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a failure to start is told before there is a log")]
fn say_error(text: &str) {
    eprintln!("{text}");
}

/// The environment, for keys that name a variable.
#[expect(clippy::disallowed_methods, reason = "app/ is the one reader of the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
