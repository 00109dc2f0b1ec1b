//! Anthropic's messages, from both sides.
//!
//! Source: the types of Anthropic's SDKs (Python 2.12, API versions 2023-06-01 and 2026-10-21,
//! November 2026).

mod error;
mod image;
mod request;
mod response;
mod stream;
mod watch;
mod write;

use super::{
    ApiError, ChatRequest, ChatResponse, Client, Decode, Encode, Encoded, ErrorKind, Model,
    ProviderError, Refusal, RequestError, StreamError, Target, Upstream, Usage, View, Watch, json,
};

/// The dialect of `POST /v1/messages`.
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
        Box::new(stream::Encoder::new(view))
    }

    fn encode_error(&self, error: &ApiError, request_id: &str) -> Vec<u8> {
        error::encode(error, request_id).to_string().into_bytes()
    }

    fn status(&self, kind: ErrorKind) -> u16 {
        error::status(kind)
    }

    fn stream_error(&self, error: &ApiError, request_id: &str) -> Vec<u8> {
        format!("event: error\ndata: {}\n\n", error::encode(error, request_id)).into_bytes()
    }

    fn list_models(&self, models: &[Model<'_>]) -> Vec<u8> {
        let data: Vec<_> = models.iter().map(response::model).collect();
        let id = |model: Option<&Model<'_>>| model.map(|model| model.id.to_owned());
        serde_json::json!({
            "data": data, "has_more": false,
            "first_id": id(models.first()), "last_id": id(models.last()),
        })
        .to_string()
        .into_bytes()
    }

    fn show_model(&self, model: &Model<'_>) -> Vec<u8> {
        response::model(model).to_string().into_bytes()
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
        json::last_usage(body, response::usage)
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> ProviderError {
        error::decode(status, body)
    }
}
