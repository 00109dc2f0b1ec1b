//! Wire formats: bytes and values in, bytes and values out.
//!
//! A *dialect* is one provider's way to write a chat request, its answer, its stream and its errors.
//! Each has a folder; all of them meet in one common form ([`chat`]), so that M client APIs and
//! N upstream dialects need M + N codecs, not M × N converters. Where both sides speak the same
//! dialect nothing here re-serialises anything: [`peek`] finds the few bytes that matter, and
//! [`Watch`] looks into a stream without changing it.
//!
//! Nothing in this room opens a socket, reads a clock or knows a route. That is what makes every
//! codec a table of inputs and outputs, testable byte by byte and safe to fuzz.
//!
//! To add a dialect: write its folder, add the variant to [`Dialect`] (and to [`Api`] if clients may
//! speak it), and follow the compiler to the two matches in this file.

pub mod anthropic;
pub mod chat;
mod codec;
pub mod error;
pub mod gemini;
mod json;
pub mod lead;
mod media;
mod name;
pub mod openai;
pub mod peek;
pub mod sse;
pub mod stream;
pub mod traits;
pub mod usage;

pub use self::{
    chat::{ChatRequest, ChatResponse},
    codec::{Client, Encoded, Model, Target, Upstream, View},
    error::{
        ApiError, ErrorClass, ErrorKind, Loss, LossKind, ProviderError, Refusal, RequestError,
    },
    name::{Api, Dialect},
    stream::{Decode, Delta, Encode, Seen, StreamError, Watch},
    traits::Traits,
    usage::{ServiceTier, Usage},
};

impl Dialect {
    /// How to speak to an upstream in this dialect.
    pub const fn upstream(self) -> &'static dyn Upstream {
        match self {
            Self::AnthropicMessages => &anthropic::Messages,
            Self::Gemini => &gemini::GenerateContent,
            Self::OpenAiChat => &openai::ChatCompletions,
        }
    }
}

impl Api {
    /// How to speak to a client of this API.
    pub const fn client(self) -> &'static dyn Client {
        match self {
            Self::ChatCompletions => &openai::ChatCompletions,
            Self::Messages => &anthropic::Messages,
        }
    }
}
