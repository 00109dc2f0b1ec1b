//! The process's own log: where it goes and how much of it.
//!
//! Libraries below us log what they send: hyper and h2 print headers at `trace`, rustls prints
//! handshakes. They are held at `info` whatever the filter says, so that no level shows a key or a
//! prompt.

use tracing_subscriber::{EnvFilter, filter::Directive, fmt, prelude::*};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Targets that would print what must not be printed.
const HELD: [&str; 5] =
    ["h2=info", "hyper=info", "hyper_util=info", "rustls=info", "tokio_rustls=info"];

/// Starts logging to stderr. `filter` is in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let mut levels = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("the log filter `{filter}` cannot be read: {error}"))?;
    for held in HELD {
        let directive: Directive = held.parse().map_err(|error| format!("{held}: {error}"))?;
        levels = levels.add_directive(directive);
    }
    let registry = tracing_subscriber::registry().with(levels);
    let started = match format {
        Format::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
        Format::Text => {
            registry.with(fmt::layer().with_target(false).with_writer(std::io::stderr)).try_init()
        }
    };
    started.map_err(|error| error.to_string())
}
