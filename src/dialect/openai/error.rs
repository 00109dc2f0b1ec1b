//! Errors: `{"error": {"message", "type", "param", "code"}}`, and the shapes of compatible servers.

use serde_json::{Value, json};

use crate::dialect::{ApiError, ErrorClass, ErrorKind, ProviderError, json::words};

pub(super) const fn status(kind: ErrorKind) -> u16 {
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
        ErrorKind::Overloaded | ErrorKind::Unavailable => 503,
        ErrorKind::Timeout => 504,
    }
}

const fn kind_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "insufficient_quota",
        ErrorKind::InvalidRequest
        | ErrorKind::MethodNotAllowed
        | ErrorKind::NotFound
        | ErrorKind::TooLarge => "invalid_request_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Upstream | ErrorKind::Internal | ErrorKind::Unavailable => "server_error",
    }
}

pub(super) fn encode(error: &ApiError) -> Value {
    json!({"error": {
        "message": error.message,
        "type": kind_word(error.kind),
        "param": error.param,
        "code": error.code,
    }})
}

pub(super) fn decode(status: u16, body: &[u8]) -> ProviderError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let body = body.get(0).cloned().unwrap_or(body);
    of_value(status, body.get("error").unwrap_or(&body))
}

/// An event that is no JSON.
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

/// Reads the error object itself; `status` 0 inside a stream.
pub(super) fn of_value(status: u16, error: &Value) -> ProviderError {
    let field = |key: &str| error.get(key).and_then(Value::as_str);
    let message = field("message").or_else(|| field("detail")).or(error.as_str()).unwrap_or("");
    let code = match error.get("code") {
        Some(Value::String(code)) => Some(code.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => field("type").map(str::to_owned),
    };
    ProviderError {
        class: class(status, code.as_deref(), field("type"), message),
        status,
        message: words(message),
        code,
        param: field("param").map(str::to_owned),
        retry_after: None,
    }
}

fn class(status: u16, code: Option<&str>, kind: Option<&str>, message: &str) -> ErrorClass {
    for word in [code, kind].into_iter().flatten() {
        match word {
            "context_length_exceeded" => return ErrorClass::ContextExceeded,
            "insufficient_quota" | "billing_hard_limit_reached" => return ErrorClass::Billing,
            "content_filter" | "content_policy_violation" => return ErrorClass::ContentFilter,
            "model_not_found" => return ErrorClass::ModelNotFound,
            "invalid_api_key" => return ErrorClass::CredentialRejected,
            "rate_limit_exceeded" | "rate_limit_error" => return ErrorClass::RateLimited,
            "overloaded_error" => return ErrorClass::Overloaded,
            _ => {}
        }
    }
    match status {
        401 | 403 => ErrorClass::CredentialRejected,
        402 => ErrorClass::Billing,
        // Compatible servers have no code for it, but all of them say so.
        400 if message.contains("maximum context length") => ErrorClass::ContextExceeded,
        404 if message.contains("model") => ErrorClass::ModelNotFound,
        408 | 504 => ErrorClass::Timeout,
        413 => ErrorClass::TooLarge,
        429 => ErrorClass::RateLimited,
        503 | 529 => ErrorClass::Overloaded,
        400..=499 => ErrorClass::InvalidRequest,
        _ => ErrorClass::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_openai_and_of_those_like_it_are_understood() {
        for (status, body, class) in [
            (
                400,
                r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
                ErrorClass::ContextExceeded,
            ),
            (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, ErrorClass::Billing),
            (429, r#"{"error":{"message":"x","type":"requests"}}"#, ErrorClass::RateLimited),
            (401, r#"{"error":"no key"}"#, ErrorClass::CredentialRejected),
            (422, r#"{"detail":[{"msg":"x"}]}"#, ErrorClass::InvalidRequest),
            (
                404,
                r#"{"object":"error","message":"The model `m` does not exist"}"#,
                ErrorClass::ModelNotFound,
            ),
            (502, "<html>bad gateway</html>", ErrorClass::Server),
            (503, r#"[{"error":{"message":"busy"}}]"#, ErrorClass::Overloaded),
        ] {
            assert_eq!(decode(status, body.as_bytes()).class, class, "{body}");
        }
    }
}
