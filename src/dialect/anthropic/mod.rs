//! Anthropic's Messages API, both sides: `POST /v1/messages` as clients call it and as providers
//! serve it, whole and streamed, with its errors and its model listing.
//!
//! Source: the types of Anthropic's SDKs (Python 2.12, TypeScript 1.12, November 2026), which cover
//! the API versions `2023-06-01` and `2026-10-21`, and Anthropic's API documentation.
//!
//! ```text
//!  client ──► request::decode ──► ChatRequest ──► request::encode ──► provider
//!  client ◄── emit, response ◄── Delta, ChatResponse ◄── stream, response ◄── provider
//! ```
//!
//! Two things have no slot in this dialect and still must survive the trip to a client and back:
//! other providers' signatures of thinking and of tool calls. [`marks`] hides them in plain sight,
//! and takes them out again before Anthropic could see them.

mod emit;
mod error;
mod events;
pub mod marks;
mod models;
mod request;
mod response;
mod stream;
mod watch;
mod wire;

use super::{
    ApiError, ChatRequest, ChatResponse, Client, Decode, Encode, Encoded, ErrorKind, Model,
    ProviderError, Refusal, RequestError, StreamError, Target, Upstream, Usage, View, Watch,
};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Messages;

impl Client for Messages {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, RequestError> {
        request::decode(body)
    }

    fn encode_response(&self, response: &ChatResponse, view: &View) -> Vec<u8> {
        response::encode(response, view)
    }

    fn encode_stream(&self, view: &View) -> Box<dyn Encode> {
        Box::new(emit::Emitter::new(view))
    }

    fn encode_error(&self, error: &ApiError, request_id: &str) -> Vec<u8> {
        error::encode(error, request_id)
    }

    fn status(&self, kind: ErrorKind) -> u16 {
        error::status(kind)
    }

    fn stream_error(&self, error: &ApiError, request_id: &str) -> Vec<u8> {
        error::event(error, request_id)
    }

    fn stream_end(&self) -> &'static [u8] {
        events::STOP
    }

    fn own_name(&self, field: &str) -> String {
        request::own_name(field)
    }

    fn list_models(&self, models: &[Model<'_>]) -> Vec<u8> {
        models::list(models)
    }

    fn show_model(&self, model: &Model<'_>) -> Vec<u8> {
        models::show(model)
    }
}

impl Upstream for Messages {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/v1/messages".to_owned()
    }

    fn encode_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
    ) -> Result<Encoded, Refusal> {
        request::encode(request, target)
    }

    fn decode_response(&self, body: &[u8]) -> Result<ChatResponse, StreamError> {
        response::decode(body)
    }

    fn decode_stream(&self) -> Box<dyn Decode> {
        Box::new(stream::Decoder::default())
    }

    fn watch_stream(&self) -> Box<dyn Watch> {
        Box::new(watch::Watcher::default())
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        watch::last_usage(body)
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> ProviderError {
        error::decode(status, body)
    }
}
