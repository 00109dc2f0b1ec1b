//! What arrives and what goes out, whoever is played: a request, a refusal, an event of a stream.

use http::HeaderMap;
use serde_json::Value;

use super::{config::Config, mint::Signer, provider::header};

/// A refusal: status and body as the provider writes them.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// What arrived.
#[derive(Debug)]
pub(super) struct Inbound<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// The API key, wherever this provider's clients put it.
    pub(super) key: Option<&'a str>,
    /// None where the body is no JSON.
    pub(super) body: Option<&'a Value>,
    pub(super) config: &'a Config,
    pub(super) signer: Signer,
}

impl Inbound<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(self.headers, name)
    }
}

/// One event of a stream, as it is on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) text: String,
    /// Whether it brings a token: faults count these, and waits lie between them.
    pub(super) token: bool,
}

impl Event {
    pub(super) fn frame(text: String) -> Self {
        Self { text, token: false }
    }

    pub(super) fn token(text: String) -> Self {
        Self { text, token: true }
    }
}
