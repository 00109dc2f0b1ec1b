//! The provider simulator: three native APIs on loopback, for rehearsals and tests.
//!
//! Strict as the providers are: it refuses what they refuse, in their words, and signs reasoning and
//! wants it back as they do. It shares no code with `dialect`, so that a mistake there is not mirrored
//! here. What a model does is set by a YAML file (`config`) or by its name (`behaviour`), and is the
//! same in every run.
//!
//! A request is checked by its provider's folder into an `Asked`, meets a rule, gets an `Answer`
//! (`answer`, pure), is written in the provider's words, and is sent by `server`, on time or broken (`body`).

mod answer;
mod anthropic;
mod behaviour;
mod body;
mod config;
mod gemini;
mod headers;
mod image;
mod journal;
mod limits;
mod mint;
mod openai;
mod read;
mod schema;
mod server;
mod shape;

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use self::{
    answer::{Answer, Asked},
    mint::{Signer, dice},
};
pub use self::{
    config::{Config, Invalid},
    journal::Journal,
    server::{Simulator, serve},
};

/// Whose API is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Provider {
    /// Anthropic's `POST /v1/messages`.
    Anthropic,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// OpenAI's `POST /v1/chat/completions`.
    #[serde(rename = "OpenAI")]
    OpenAi,
}

/// A refusal: status and body as the provider writes them.
#[derive(Debug)]
struct Refused {
    status: u16,
    body: Value,
}

/// What arrived.
#[derive(Debug)]
struct Inbound<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a HeaderMap,
    /// The API key, wherever this provider's clients put it.
    key: Option<&'a str>,
    /// None where the body is no JSON.
    body: Option<&'a Value>,
    config: &'a Config,
    signer: Signer,
}

impl Inbound<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        header(self.headers, name)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// One event of a stream, as it is on the wire.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    text: String,
    /// Whether it brings a token: faults count these, and waits lie between them.
    token: bool,
}

impl Event {
    fn frame(text: String) -> Self {
        Self { text, token: false }
    }

    fn token(text: String) -> Self {
        Self { text, token: true }
    }
}

impl Provider {
    /// A word for logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }

    /// The API key of a request.
    fn key<'a>(self, headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
        let bearer =
            header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = match self {
            Self::Anthropic => header(headers, "x-api-key").or(bearer),
            Self::OpenAi => bearer,
            Self::Gemini => header(headers, "x-goog-api-key").or_else(|| {
                query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("key="))
            }),
        };
        key.filter(|key| !key.is_empty())
    }

    fn listing(self, path: &str) -> Option<Value> {
        match (self, path) {
            (Self::Anthropic, "/v1/models") => Some(anthropic::listing()),
            (Self::Gemini, "/v1/models" | "/v1beta/models") => Some(gemini::listing()),
            (Self::OpenAi, "/v1/models") => Some(openai::listing()),
            _ => None,
        }
    }

    fn asked(self, inbound: &Inbound<'_>) -> Result<Asked, Refused> {
        match self {
            Self::Anthropic => anthropic::asked(inbound),
            Self::Gemini => gemini::asked(inbound),
            Self::OpenAi => openai::asked(inbound),
        }
    }

    fn failure(self, status: u16, after: Option<Duration>) -> Value {
        match self {
            Self::Anthropic => anthropic::failure(status),
            Self::Gemini => gemini::failure(status, after),
            Self::OpenAi => openai::failure(status),
        }
    }

    /// The provider's own error in the middle of a stream.
    fn error_event(self) -> String {
        match self {
            Self::Anthropic => format!("event: error\ndata: {}\n\n", anthropic::failure(529)),
            Self::Gemini => format!("data: {}\r\n\r\n", gemini::failure(503, None)),
            Self::OpenAi => format!("data: {}\n\n", openai::failure(500)),
        }
    }

    fn whole(self, asked: &Asked, answer: &Answer, signer: Signer) -> Value {
        match self {
            Self::Anthropic => anthropic::whole(asked, answer, signer),
            Self::Gemini => gemini::whole(asked, answer, signer),
            Self::OpenAi => openai::whole(asked, answer),
        }
    }

    fn events(self, asked: &Asked, answer: &Answer, signer: Signer) -> Vec<Event> {
        match self {
            Self::Anthropic => anthropic::events(asked, answer, signer),
            Self::Gemini => gemini::events(asked, answer, signer),
            Self::OpenAi => openai::events(asked, answer),
        }
    }
}
