//! Phase 1: is this a request that we take, and here is its body.
//!
//! What a path and method ask for is decided before a byte of the body is read; a body that is
//! announced too large is refused without reading it, and one that grows too large is refused as it
//! does. Nothing here knows a route.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::headers;
use crate::dialect::{Api, ApiError, ErrorKind};

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// How long a client may be silent inside its body.
    pub body_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 32 << 20, body_idle: Duration::from_secs(30) }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A chat.
    Chat(Api),
    /// The models, in the shape of this API.
    ListModels(Api),
    /// One model, in the shape of this API.
    ShowModel(Api, String),
}

impl Asked {
    /// The API in whose shape the answer is.
    pub const fn api(&self) -> Api {
        match self {
            Self::Chat(api) | Self::ListModels(api) | Self::ShowModel(api, _) => *api,
        }
    }
}

/// Decides what a request asks for. The error comes with the API in whose shape it is to be told.
pub fn asked(head: &Parts) -> Result<Asked, (Api, ApiError)> {
    let api = caller(&head.headers);
    let path = head.uri.path();
    let (asked, method) = match path {
        "/v1/chat/completions" => (Asked::Chat(Api::ChatCompletions), Method::POST),
        "/v1/messages" => (Asked::Chat(Api::Messages), Method::POST),
        "/v1/models" => (Asked::ListModels(api), Method::GET),
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => (Asked::ShowModel(api, unescape(id)), Method::GET),
            _ => {
                let told = if path.starts_with("/v1/messages") { Api::Messages } else { api };
                let message = format!(
                    "there is no {} here; Trunkline serves POST /v1/chat/completions, \
                     POST /v1/messages, GET /v1/models and GET /v1/models/{{id}}",
                    bounded(path)
                );
                return Err((told, ApiError::new(ErrorKind::NotFound, "unknown_url", message)));
            }
        },
    };
    if head.method == method {
        return Ok(asked);
    }
    let told = asked.api();
    let message = format!("{} takes {method}, not {}", bounded(path), head.method);
    Err((told, ApiError::new(ErrorKind::MethodNotAllowed, "method_not_allowed", message)))
}

/// Which API a caller speaks where the path does not say: only Anthropic's SDKs send their version.
pub fn caller(headers: &HeaderMap) -> Api {
    if headers.contains_key(headers::name::ANTHROPIC_VERSION) {
        Api::Messages
    } else {
        Api::ChatCompletions
    }
}

/// Why a body did not arrive.
#[derive(Debug)]
pub enum BodyError {
    /// The client is told.
    Refused(ApiError),
    /// The client is gone; there is nobody to tell.
    Gone,
}

/// Reads a body within its limits.
///
/// # Errors
/// When it is too large, too slow, encoded, or ends early.
pub async fn body(
    headers: &HeaderMap,
    mut body: Incoming,
    limits: Limits,
) -> Result<Bytes, BodyError> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && coding.as_bytes() != b"identity"
    {
        let message = "the request body is compressed; send it without content-encoding";
        let refused = ApiError::new(ErrorKind::InvalidRequest, "unsupported_encoding", message);
        return Err(BodyError::Refused(refused));
    }
    let announced = hyper::body::Body::size_hint(&body);
    let too_large = || {
        let message = format!("the request body is larger than {} bytes", limits.body);
        BodyError::Refused(ApiError::new(ErrorKind::TooLarge, "request_too_large", message))
    };
    let limit = limits.body as u64;
    if announced.lower() > limit {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(limits.body_idle, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(BodyError::Gone),
            Ok(None) => return Ok(whole.freeze()),
            Err(_) => {
                let message = "the request body stopped arriving";
                let refused = ApiError::new(ErrorKind::InvalidRequest, "body_timeout", message);
                return Err(BodyError::Refused(refused));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limits.body {
            return Err(too_large());
        }
        if whole.is_empty() {
            // One frame is the whole of most bodies: nothing is copied then.
            if hyper::body::Body::is_end_stream(&body) {
                return Ok(data);
            }
            let expected = usize::try_from(announced.lower()).unwrap_or(0);
            whole.reserve(expected.max(data.len()));
        }
        whole.extend_from_slice(&data);
    }
}

/// A piece of a client's text that may stand in a message: short, and without control characters.
pub fn bounded(text: &str) -> String {
    const MOST: usize = 128;
    if text.len() <= MOST && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Undoes the percent-encoding that SDKs put on a model id in a path.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().filter(|_| *first == b'%');
        let decoded = hex
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let Some(byte) = decoded {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, path: &str, anthropic: bool) -> Parts {
        let mut request = http::Request::builder().method(method).uri(path);
        if anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn paths_and_methods_say_what_is_asked() {
        use Api::{ChatCompletions, Messages};
        for (path, anthropic, expected) in [
            ("/v1/chat/completions", true, Asked::Chat(ChatCompletions)),
            ("/v1/messages?beta=true", false, Asked::Chat(Messages)),
        ] {
            let found = asked(&head(Method::POST, path, anthropic)).unwrap();
            assert_eq!(found, expected, "{path}");
        }
        for (path, anthropic, expected) in [
            ("/v1/models", false, Asked::ListModels(ChatCompletions)),
            ("/v1/models?limit=20", true, Asked::ListModels(Messages)),
            ("/v1/models/a%2Fb%20", true, Asked::ShowModel(Messages, "a/b ".to_owned())),
        ] {
            let found = asked(&head(Method::GET, path, anthropic)).unwrap();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_in_the_callers_shape() {
        for (method, path, anthropic, api, kind) in [
            (Method::POST, "/v1/embeddings", false, Api::ChatCompletions, ErrorKind::NotFound),
            (Method::POST, "/v1/embeddings", true, Api::Messages, ErrorKind::NotFound),
            (Method::POST, "/v1/messages/batches", false, Api::Messages, ErrorKind::NotFound),
            (Method::GET, "/v1/models/", false, Api::ChatCompletions, ErrorKind::NotFound),
            (Method::GET, "/v1/messages", false, Api::Messages, ErrorKind::MethodNotAllowed),
        ] {
            let (told, error) = asked(&head(method, path, anthropic)).unwrap_err();
            assert_eq!((told, error.kind), (api, kind), "{path}");
        }
    }

    #[test]
    fn a_clients_text_is_cut_and_cleaned_before_it_is_repeated() {
        assert_eq!(bounded("a\r\nb"), "ab…");
        assert_eq!(bounded(&"x".repeat(500)).chars().count(), 129);
        assert_eq!(unescape("100%"), "100%");
    }
}
