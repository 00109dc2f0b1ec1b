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
mod exchange;
mod gemini;
mod headers;
mod image;
mod journal;
mod limits;
mod mint;
mod openai;
mod provider;
mod read;
mod schema;
mod server;
mod shape;

use std::time::Duration;

use serde_json::Value;

use self::{
    answer::{Answer, Asked},
    exchange::{Event, Inbound, Refused},
    mint::{Signer, dice},
};
pub use self::{
    config::{Config, Invalid},
    journal::Journal,
    provider::Provider,
    server::{Simulator, serve},
};

impl Provider {
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
