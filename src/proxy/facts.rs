//! Phase 2: what a chat asks for, read from as few bytes as possible.
//!
//! A body is scanned once, for the three fields that routing needs. It is parsed whole only when a
//! target speaks another dialect, and then once for all attempts.

use std::cell::OnceCell;

use bytes::Bytes;
use http::HeaderMap;

use crate::dialect::{
    Api, ApiError, ChatRequest, ErrorKind, RequestError,
    peek::{self, Peek, PeekError},
};

/// A chat request, as far as it is known.
#[derive(Debug)]
pub struct Chat {
    /// The API that was called.
    pub api: Api,
    /// The client's headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// Where its fields stand.
    pub peek: Peek,
    /// The model asked for.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    common: OnceCell<Result<ChatRequest, RequestError>>,
}

impl Chat {
    /// Looks into a body.
    ///
    /// # Errors
    /// When it is no JSON object, or `model` or `stream` are not what they must be.
    pub fn read(api: Api, headers: HeaderMap, body: Bytes) -> Result<Self, ApiError> {
        let peek = peek::peek(&body).map_err(|error| malformed(&error))?;
        let model = match peek::model_name(&body, &peek) {
            Some(model) if !model.is_empty() => model.into_owned(),
            Some(_) | None => {
                let message = "`model` is missing, or not a text; name the model to ask";
                let error = ApiError::new(ErrorKind::InvalidRequest, "missing_model", message);
                return Err(error.with_param("model"));
            }
        };
        let Ok(stream) = peek::stream_flag(&body, &peek) else {
            let message = "`stream` must be true or false";
            let error = ApiError::new(ErrorKind::InvalidRequest, "invalid_type", message);
            return Err(error.with_param("stream"));
        };
        let common = OnceCell::new();
        Ok(Self { api, headers, body, peek, model, stream, common })
    }

    /// Whether the client wants a stream to end with usage; some dialects always do.
    pub fn wants_usage(&self) -> bool {
        match self.api {
            Api::ChatCompletions => peek::ask_usage(&self.body, &self.peek).is_none(),
            Api::Messages => true,
        }
    }

    /// The request in the common form; parsed at the first call.
    pub fn common(&self) -> Result<&ChatRequest, &RequestError> {
        self.common.get_or_init(|| self.api.client().decode_request(&self.body)).as_ref()
    }
}

fn malformed(error: &PeekError) -> ApiError {
    let code = match error {
        PeekError::TooDeep => "too_deep",
        PeekError::Malformed(_) => "invalid_json",
    };
    ApiError::new(ErrorKind::InvalidRequest, code, error.to_string())
}
