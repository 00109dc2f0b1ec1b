//! The process's own log: where it goes and how much of it.
//!
//! Libraries below us log what they send: hyper and h2 print headers at `trace`, rustls prints
//! handshakes, clients of an API print addresses. So everything that is not ours is held at `info`,
//! whatever the filter says. It is a rule and not a list of names, because a list would miss the
//! library that is added next year.

use std::io::IsTerminal;

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn},
    fmt::{self, MakeWriter},
    prelude::*,
};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Starts logging to stderr. `filter` is in the syntax of `RUST_LOG`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, colours, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    colours: bool,
    out: W,
) -> Result<impl Subscriber + Send + Sync, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let levels = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("the log filter `{filter}` cannot be read: {error}"))?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => fmt::layer().json().with_writer(out).boxed(),
        Format::Text => fmt::layer().with_ansi(colours).with_target(false).with_writer(out).boxed(),
    };
    let held = FilterFn::new(may_be_shown).with_max_level_hint(LevelFilter::TRACE);
    Ok(tracing_subscriber::registry().with(lines.with_filter(levels.and(held))))
}

/// Whether a line is ours, or quiet enough not to hold what was sent.
fn may_be_shown(line: &Metadata<'_>) -> bool {
    let ours = line.target().split("::").next() == Some(env!("CARGO_PKG_NAME"));
    ours || *line.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, pipe},
        sync::Arc,
    };

    use super::*;

    fn logged(format: Format, filter: &str) -> String {
        let (mut lines, out) = pipe().unwrap();
        let subscriber = subscriber(format, filter, false, Arc::new(out)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "hyper::proto::h1::io", "authorization: sk-canary");
            tracing::debug!(target: "h2::codec", "header sk-canary");
            tracing::debug!(target: "trunklinex", "sk-canary: not ours, though it begins like it");
            tracing::info!(target: "hyper", "a library's notice");
            tracing::trace!(target: "trunkline::proxy", "our own detail");
        });
        let mut text = String::new();
        lines.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn no_filter_makes_a_library_print_what_it_sends() {
        for filter in ["trace", "trace,hyper::proto=trace,h2=debug", "hyper::proto::h1::io=trace"] {
            for format in [Format::Text, Format::Json] {
                let text = logged(format, filter);
                assert!(!text.contains("canary"), "{filter}: {text}");
            }
        }
        let text = logged(Format::Text, "trace");
        assert!(text.contains("our own detail") && text.contains("a library's notice"), "{text}");
    }

    #[test]
    fn a_filter_that_asks_for_less_gets_less() {
        assert_eq!(logged(Format::Text, "warn"), "");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        assert!(start(Format::Text, "trunkline=loud").unwrap_err().contains("trunkline=loud"));
    }
}
