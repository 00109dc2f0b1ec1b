//! Errors: a provider's read into one class, ours written so that the SDKs raise their own exceptions.
//!
//! Anthropic's `type` names the kind, but three things hide behind `invalid_request_error` that a
//! router must tell apart: no money, a prompt too long for the model, and a filtered answer. Only
//! the message says which, so it is looked at; the words are those of the live API.
//!
//! Source: Anthropic's SDK error types, November 2026, and the error page of its documentation.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialect::{ApiError, ErrorKind, ProviderError, error::ErrorClass};

/// An event of a stream that nobody can read.
pub(super) fn unreadable() -> ProviderError {
    ProviderError {
        class: ErrorClass::Server,
        status: 0,
        message: "an event of the stream is unreadable".to_owned(),
        code: None,
        param: None,
        retry_after: None,
    }
}

/// The longest message that is kept of a provider's words, in bytes.
const MAX_MESSAGE: usize = 1000;

/// The HTTP status for an error of this kind.
pub const fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidRequest => 400,
        ErrorKind::Authentication => 401,
        ErrorKind::Billing => 402,
        ErrorKind::Permission => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::MethodNotAllowed => 405,
        ErrorKind::TooLarge => 413,
        ErrorKind::RateLimited => 429,
        ErrorKind::Internal => 500,
        ErrorKind::Upstream => 502,
        ErrorKind::Unavailable => 503,
        ErrorKind::Timeout => 504,
        ErrorKind::Overloaded => 529,
    }
}

const fn type_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::MethodNotAllowed => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Internal | ErrorKind::Upstream | ErrorKind::Unavailable => "api_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Overloaded => "overloaded_error",
    }
}

/// An error body. Our machine word stands where the API keeps its own, in `details.error_code`; the
/// field at fault has no slot, so the message names it, as the API's own messages do.
pub fn encode(error: &ApiError, request_id: &str) -> Vec<u8> {
    let message = match &error.param {
        Some(param) if !error.message.contains(param.as_str()) => {
            format!("{param}: {}", error.message)
        }
        _ => error.message.clone(),
    };
    let mut inner = json!({"type": type_of(error.kind), "message": message});
    if let (Some(code), Some(fields)) = (&error.code, inner.as_object_mut()) {
        fields.insert("details".to_owned(), json!({"error_code": code}));
    }
    json!({"type": "error", "error": inner, "request_id": request_id}).to_string().into_bytes()
}

/// The event that ends a broken stream.
pub fn event(error: &ApiError, request_id: &str) -> Vec<u8> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.append(&mut encode(error, request_id));
    event.extend_from_slice(b"\n\n");
    event
}

/// What providers write. Servers that only imitate the API are known to write a bare text as
/// `error`, or `detail`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Value,
    message: Value,
    detail: Value,
}

/// Reads an error answer, or with status 0 the error event of a stream.
pub fn decode(status: u16, body: &[u8]) -> ProviderError {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let words =
        [body.error.get("message"), Some(&body.error), Some(&body.message), Some(&body.detail)]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
            .filter(|words| !words.trim().is_empty());
    let message = match (words, status) {
        (Some(words), _) => bounded(words),
        (None, 0) => "the provider reported an error without a message".to_owned(),
        (None, _) => format!("the provider answered with status {status} and no readable message"),
    };
    let kind = body.error.get("type").and_then(Value::as_str);
    let code = body.error.pointer("/details/error_code").and_then(Value::as_str);
    ProviderError {
        class: class(kind, status, &message),
        status,
        param: param(&message),
        code: code.map(bounded),
        message,
        retry_after: None,
    }
}

fn class(kind: Option<&str>, status: u16, message: &str) -> ErrorClass {
    match kind {
        Some("invalid_request_error") if status < 500 => invalid_request(status, message),
        Some("authentication_error" | "permission_error") => ErrorClass::CredentialRejected,
        Some("billing_error") => ErrorClass::Billing,
        Some("not_found_error") => ErrorClass::ModelNotFound,
        Some("request_too_large") => ErrorClass::TooLarge,
        Some("rate_limit_error") => ErrorClass::RateLimited,
        Some("overloaded_error") => ErrorClass::Overloaded,
        Some("timeout_error") => ErrorClass::Timeout,
        // An unknown word, or `api_error`: the status knows better where there is one.
        _ => by_status(status, message),
    }
}

fn by_status(status: u16, message: &str) -> ErrorClass {
    match status {
        401 | 403 => ErrorClass::CredentialRejected,
        402 => ErrorClass::Billing,
        404 => ErrorClass::ModelNotFound,
        408 | 504 => ErrorClass::Timeout,
        413 => ErrorClass::TooLarge,
        429 => ErrorClass::RateLimited,
        503 | 529 => ErrorClass::Overloaded,
        400..500 => invalid_request(status, message),
        _ => ErrorClass::Server,
    }
}

/// What an `invalid_request_error` really is.
fn invalid_request(status: u16, message: &str) -> ErrorClass {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["prompt is too long", "exceed context limit", "context window", "context length"]) {
        ErrorClass::ContextExceeded
    } else if says(&["credit balance is too low"]) {
        ErrorClass::Billing
    } else if says(&["content filtering policy"]) {
        ErrorClass::ContentFilter
    } else if status == 413 {
        ErrorClass::TooLarge
    } else {
        ErrorClass::InvalidRequest
    }
}

/// The field at fault: the API begins its messages with the path, `messages.0.content: …`.
fn param(message: &str) -> Option<String> {
    let (path, _) = message.split_once(": ")?;
    let is_path = path.starts_with(|c: char| c.is_ascii_lowercase())
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    is_path.then(|| path.to_owned())
}

fn bounded(words: &str) -> String {
    words.get(..words.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, message: &str) -> Vec<u8> {
        json!({"type": "error", "error": {"type": kind, "message": message}}).to_string().into()
    }

    #[test]
    fn every_provider_error_has_its_class() {
        use ErrorClass::*;
        let rows = [
            (400, "invalid_request_error", "max_tokens: must be positive", InvalidRequest),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 9 tokens > 8 maximum",
                ContextExceeded,
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 3",
                ContextExceeded,
            ),
            (400, "invalid_request_error", "Your credit balance is too low to access", Billing),
            (
                400,
                "invalid_request_error",
                "Output blocked by content filtering policy",
                ContentFilter,
            ),
            (401, "authentication_error", "invalid x-api-key", CredentialRejected),
            (402, "billing_error", "pay", Billing),
            (403, "permission_error", "no", CredentialRejected),
            (404, "not_found_error", "model: claude-9", ModelNotFound),
            (413, "request_too_large", "big", TooLarge),
            (429, "rate_limit_error", "slow down", RateLimited),
            (500, "api_error", "Internal server error", Server),
            (504, "timeout_error", "late", Timeout),
            (529, "overloaded_error", "Overloaded", Overloaded),
            (0, "overloaded_error", "Overloaded", Overloaded),
            (0, "api_error", "oops", Server),
            (503, "a_word_of_next_year", "busy", Overloaded),
            (422, "a_word_of_next_year", "odd", InvalidRequest),
        ];
        for (status, kind, message, expected) in rows {
            let error = decode(status, &body(kind, message));
            assert_eq!(error.class, expected, "{status} {kind} {message}");
            assert_eq!((error.message.as_str(), error.code), (message, None));
        }
    }

    #[test]
    fn the_field_at_fault_and_the_stable_code_are_kept() {
        let body = br#"{"type":"error","error":{"type":"invalid_request_error","message":
            "messages.0.content.1.image: too large","details":{"error_code":"image_dimensions_too_large"}}}"#;
        let error = decode(400, body);
        assert_eq!(error.param.as_deref(), Some("messages.0.content.1.image"));
        assert_eq!(error.code.as_deref(), Some("image_dimensions_too_large"));
        let words = br#"{"error":{"message":"Not a path: x"}}"#;
        assert_eq!(decode(400, words).param, None);
    }

    #[test]
    fn an_unreadable_error_still_has_a_class_and_words() {
        let error = decode(502, b"<html>bad gateway</html>");
        assert_eq!(error.class, ErrorClass::Server);
        assert_eq!(error.message, "the provider answered with status 502 and no readable message");
        assert_eq!(decode(400, br#"{"error":"no such thing"}"#).message, "no such thing");
        assert_eq!(decode(422, br#"{"detail":"bad"}"#).message, "bad");
        let long = decode(400, &body("x", &"ä".repeat(2000)));
        assert_eq!(long.message.len(), MAX_MESSAGE);
    }

    #[test]
    fn our_errors_have_anthropics_shape() {
        let error = ApiError::new(ErrorKind::NotFound, "model_not_found", "no such model")
            .with_param("model");
        let value: Value = serde_json::from_slice(&encode(&error, "req_1")).unwrap();
        let expected = json!({"type": "error", "request_id": "req_1", "error": {
            "type": "not_found_error", "message": "no such model",
            "details": {"error_code": "model_not_found"}}});
        assert_eq!(value, expected);

        let error = ApiError { code: None, ..error }.with_param("messages[0].role");
        let value: Value = serde_json::from_slice(&encode(&error, "req_1")).unwrap();
        assert_eq!(
            value["error"],
            json!({
            "type": "not_found_error", "message": "messages[0].role: no such model"})
        );
        let event = event(&error, "req_1");
        assert!(event.starts_with(b"event: error\ndata: {") && event.ends_with(b"}\n\n"));
    }
}
