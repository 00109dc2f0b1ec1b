//! `trunkline sim`, and the same inside `trunkline run --sim`: the simulated providers, each on a
//! thread of its own.

use std::{
    error::Error,
    fs, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{args::SimArgs, say};
use crate::sim::{self, Config, Journal, Provider, Simulator};

type Failure = Box<dyn Error + Send + Sync>;

/// A simulated provider that serves.
pub(super) struct Played {
    provider: Provider,
    address: SocketAddr,
    thread: JoinHandle<io::Result<()>>,
}

pub(super) fn simulate(args: &SimArgs) -> Result<(), Failure> {
    let played = play(args)?;
    for Played { provider, address, .. } in &played {
        say(&format!("{} http://{address}", provider.as_str()));
    }
    for Played { provider, thread, .. } in played {
        thread.join().map_err(|_panic| format!("the simulated {} failed", provider.as_str()))??;
    }
    Ok(())
}

/// Starts the simulated providers.
pub(super) fn play(args: &SimArgs) -> Result<Vec<Played>, Failure> {
    let SimArgs { openai, anthropic, gemini, config, journal } = args;
    let config = match config {
        Some(path) => {
            let named = |error: &dyn Error| format!("{}: {error}", path.display());
            let text = fs::read_to_string(path).map_err(|error| named(&error))?;
            Config::parse(&text).map_err(|error| named(&error))?
        }
        None => Config::default(),
    };
    let journal = match journal {
        Some(path) => {
            Some(Journal::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => None,
    };
    let simulator = Arc::new(Simulator::new(config, journal));
    let mut played = Vec::new();
    for (provider, address) in [
        (Provider::OpenAi, *openai),
        (Provider::Anthropic, *anthropic),
        (Provider::Gemini, *gemini),
    ] {
        let socket = TcpListener::bind(address)
            .map_err(|error| format!("{address} cannot be listened on: {error}"))?;
        let address = socket.local_addr()?;
        let simulator = Arc::clone(&simulator);
        let thread = thread::Builder::new()
            .name(format!("sim-{}", provider.as_str()))
            .spawn(move || sim::serve(socket, provider, simulator))?;
        played.push(Played { provider, address, thread });
    }
    Ok(played)
}
