//! OpenAI's chat completions, from both sides.
//!
//! Source: the types of OpenAI's SDKs (Python 3.54, November 2026), and what servers that call
//! themselves compatible really send, which is read tolerantly and never written.

mod error;
mod fields;
pub mod marks;
mod messages;
mod parts;
mod reasoning;
mod request;
mod response;
mod schema;
mod stream;
mod usage;
mod watch;
mod wire;
mod write;
mod write_messages;
mod write_stream;

use super::{
    ApiError, ChatRequest, ChatResponse, Client, Decode, Encode, Encoded, ErrorKind, Model,
    ProviderError, Refusal, RequestError, StreamError, Target, Upstream, Usage, View, Watch,
};

/// The dialect of `POST /v1/chat/completions`.
#[derive(Clone, Copy, Debug)]
pub struct ChatCompletions;

impl Client for ChatCompletions {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, RequestError> {
        request::decode(body)
    }

    fn encode_response(&self, response: &ChatResponse, view: &View) -> Vec<u8> {
        response::encode(response, view)
    }

    fn encode_stream(&self, view: &View) -> Box<dyn Encode> {
        Box::new(write_stream::Encoder::new(view))
    }

    fn encode_error(&self, error: &ApiError, _request_id: &str) -> Vec<u8> {
        error::encode(error).to_string().into_bytes()
    }

    fn status(&self, kind: ErrorKind) -> u16 {
        error::status(kind)
    }

    fn stream_error(&self, error: &ApiError, _request_id: &str) -> Vec<u8> {
        write_stream::failed(error)
    }

    fn stream_end(&self) -> &'static [u8] {
        write_stream::END
    }

    fn own_name(&self, field: &str) -> String {
        field.to_owned()
    }

    fn list_models(&self, models: &[Model<'_>]) -> Vec<u8> {
        let data: Vec<_> = models.iter().map(response::model).collect();
        serde_json::json!({"object": "list", "data": data}).to_string().into_bytes()
    }

    fn show_model(&self, model: &Model<'_>) -> Vec<u8> {
        response::model(model).to_string().into_bytes()
    }
}

impl Upstream for ChatCompletions {
    fn path(&self, _model: &str, _stream: bool) -> String {
        "/chat/completions".to_owned()
    }

    fn encode_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
    ) -> Result<Encoded, Refusal> {
        write::encode(request, target)
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
        usage::in_body(body)
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> ProviderError {
        error::decode(status, body)
    }
}
