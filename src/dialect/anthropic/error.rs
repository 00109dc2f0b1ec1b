//! Errors: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

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
        ErrorKind::Unavailable => 503,
        ErrorKind::Timeout => 504,
        ErrorKind::Overloaded => 529,
    }
}

const fn kind_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::InvalidRequest | ErrorKind::MethodNotAllowed => "invalid_request_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::Overloaded | ErrorKind::Unavailable => "overloaded_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::Upstream | ErrorKind::Internal => "api_error",
    }
}

pub(super) fn encode(error: &ApiError, request_id: &str) -> Value {
    let message = match &error.param {
        Some(param) if !error.message.contains(param.as_str()) => {
            format!("{param}: {}", error.message)
        }
        _ => error.message.clone(),
    };
    json!({
        "type": "error",
        "error": {
            "type": kind_word(error.kind), "message": message,
            "details": {"error_code": error.code},
        },
        "request_id": request_id,
    })
}

pub(super) fn decode(status: u16, body: &[u8]) -> ProviderError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    of_value(status, body.get("error").unwrap_or(&body))
}

/// Reads the error object itself; `status` 0 inside a stream.
pub(super) fn of_value(status: u16, error: &Value) -> ProviderError {
    let field = |key: &str| error.get(key).and_then(Value::as_str);
    let message = field("message").unwrap_or("");
    let kind = field("type");
    ProviderError {
        class: class(status, kind, message),
        status,
        message: words(message),
        code: kind.map(str::to_owned),
        param: None,
        retry_after: None,
    }
}

fn class(status: u16, kind: Option<&str>, message: &str) -> ErrorClass {
    match kind {
        Some("authentication_error" | "permission_error") => ErrorClass::CredentialRejected,
        Some("billing_error") => ErrorClass::Billing,
        Some("not_found_error") => ErrorClass::ModelNotFound,
        Some("rate_limit_error") => ErrorClass::RateLimited,
        Some("overloaded_error") => ErrorClass::Overloaded,
        Some("request_too_large") => ErrorClass::TooLarge,
        Some("timeout_error") => ErrorClass::Timeout,
        Some("api_error") => ErrorClass::Server,
        Some("invalid_request_error") if message.contains("prompt is too long") => {
            ErrorClass::ContextExceeded
        }
        Some("invalid_request_error") if message.contains("credit balance") => ErrorClass::Billing,
        Some("invalid_request_error") => ErrorClass::InvalidRequest,
        _ => match status {
            401 | 403 => ErrorClass::CredentialRejected,
            402 => ErrorClass::Billing,
            404 => ErrorClass::ModelNotFound,
            408 | 504 => ErrorClass::Timeout,
            413 => ErrorClass::TooLarge,
            429 => ErrorClass::RateLimited,
            503 | 529 => ErrorClass::Overloaded,
            400..=499 => ErrorClass::InvalidRequest,
            _ => ErrorClass::Server,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_decides_and_the_status_where_there_is_none() {
        let body = |kind: &str, message: &str| {
            json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
        };
        for (status, body, class) in [
            (529, body("overloaded_error", "Overloaded"), ErrorClass::Overloaded),
            (
                400,
                body("invalid_request_error", "prompt is too long: 9"),
                ErrorClass::ContextExceeded,
            ),
            (
                400,
                body("invalid_request_error", "max_tokens: required"),
                ErrorClass::InvalidRequest,
            ),
            (502, "bad gateway".to_owned(), ErrorClass::Server),
            (401, "{}".to_owned(), ErrorClass::CredentialRejected),
        ] {
            assert_eq!(decode(status, body.as_bytes()).class, class, "{body}");
        }
    }
}
