//! Errors: `{"error": {"message", "type", "param", "code"}}`, and the shapes of compatible servers.

use serde_json::{Value, json};

use crate::dialect::{
    ApiError, ErrorClass, ErrorKind, ProviderError,
    json::{list, text, words},
};

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

/// What stands in for a piece of a key that a provider repeats to us.
const REDACTED: &str = "[redacted]";

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

/// Reads an error answer of OpenAI or of a server like it:
/// `{"error": {…}}`, `{"error": "…"}`, `{"detail": …}`, `{"object": "error", "message": …}`,
/// `[{"error": {…}}]`, or plain words.
pub(super) fn decode(status: u16, body: &[u8]) -> ProviderError {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        // Pages of a proxy in between say nothing that a client could use.
        let plain = std::str::from_utf8(body).ok().map(str::trim_ascii);
        let plain = plain.filter(|words| !words.starts_with('<')).unwrap_or_default();
        return of_value(status, status, &Value::from(plain));
    };
    let value = value.get(0).unwrap_or(&value);
    let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
    of_value(status, status, error)
}

/// Reads an error inside a stream. Its status is the one that the answer would have had.
pub(super) fn in_stream(error: &Value, status: Option<u64>) -> ProviderError {
    let told = error.get("code").and_then(Value::as_u64).or(status);
    let meant = told.and_then(|told| u16::try_from(told).ok()).unwrap_or(0);
    of_value(0, meant, error)
}

/// Reads the error object itself. `meant` is the status that decides where no word does.
fn of_value(status: u16, meant: u16, error: &Value) -> ProviderError {
    let message = message(error).unwrap_or_default();
    let kind = text(error, "type");
    let code = match error.get("code") {
        Some(Value::String(code)) => Some(code.clone()),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let class = class(meant, [code.as_deref(), kind], &message);
    let message = match class {
        ErrorClass::CredentialRejected => without_key(&message),
        ErrorClass::Billing
        | ErrorClass::ContentFilter
        | ErrorClass::ContextExceeded
        | ErrorClass::InvalidRequest
        | ErrorClass::ModelNotFound
        | ErrorClass::Overloaded
        | ErrorClass::RateLimited
        | ErrorClass::Server
        | ErrorClass::Timeout
        | ErrorClass::TooLarge => message,
    };
    ProviderError {
        class,
        status,
        message: words(&message),
        code: code.map(|code| words(&code)),
        param: text(error, "param").map(words),
        retry_after: None,
    }
}

fn message(error: &Value) -> Option<String> {
    if let Some(words) = error.as_str() {
        return Some(words.to_owned());
    }
    let plain = ["message", "detail", "msg", "error"].iter().find_map(|key| text(error, key));
    plain.map(str::to_owned).or_else(|| {
        // `FastAPI` lists every field at fault.
        let faults = list(error, "detail").iter().filter_map(|fault| text(fault, "msg"));
        Some(faults.collect::<Vec<_>>().join("; ")).filter(|faults| !faults.is_empty())
    })
}

/// The words without what may be a piece of our key: OpenAI repeats its beginning and end, other
/// servers all of it.
fn without_key(message: &str) -> String {
    let secret = |word: &str| {
        let long = word.len() >= 16 && word.bytes().any(|byte| byte.is_ascii_digit());
        word.contains('*') || word.starts_with("sk-") || (long && !word.contains("://"))
    };
    let bare = |word: &str| !secret(word.trim_matches(|c: char| !c.is_alphanumeric() && c != '*'));
    let words = message.split_whitespace().map(|word| if bare(word) { word } else { REDACTED });
    words.collect::<Vec<_>>().join(" ")
}

fn class(status: u16, said: [Option<&str>; 2], message: &str) -> ErrorClass {
    let by_word = said.into_iter().flatten().find_map(|word| {
        Some(match word {
            "context_length_exceeded" => ErrorClass::ContextExceeded,
            "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" => {
                ErrorClass::Billing
            }
            "content_filter" | "content_policy_violation" => ErrorClass::ContentFilter,
            "model_not_found" => ErrorClass::ModelNotFound,
            "invalid_api_key" | "authentication_error" | "permission_error" => {
                ErrorClass::CredentialRejected
            }
            "rate_limit_exceeded" | "rate_limit_error" => ErrorClass::RateLimited,
            "overloaded_error" | "overloaded" => ErrorClass::Overloaded,
            _ => return None,
        })
    });
    by_word.unwrap_or_else(|| by_status(status, said, message))
}

fn by_status(status: u16, said: [Option<&str>; 2], message: &str) -> ErrorClass {
    match status {
        401 | 403 => ErrorClass::CredentialRejected,
        402 => ErrorClass::Billing,
        // Compatible servers have no code for it, but all of them say so.
        400 | 413 | 422 if too_long(message) => ErrorClass::ContextExceeded,
        // A wrong path is the target's fault as much as a wrong name: another one may serve.
        404 => ErrorClass::ModelNotFound,
        408 | 504 => ErrorClass::Timeout,
        413 => ErrorClass::TooLarge,
        429 => ErrorClass::RateLimited,
        503 | 529 => ErrorClass::Overloaded,
        400..=499 => ErrorClass::InvalidRequest,
        // Inside a stream there may be no status, but the words of a refused request.
        0 if said.contains(&Some("invalid_request_error")) => ErrorClass::InvalidRequest,
        _ => ErrorClass::Server,
    }
}

/// What OpenAI, `vLLM`, `SGLang`, TGI and llama.cpp say of a prompt that does not fit.
fn too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["context length", "context window", "context size", "too many tokens", "prompt is too long"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_openai_and_of_those_like_it_are_understood() {
        for (status, body, class, message) in [
            (
                400,
                r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
                ErrorClass::ContextExceeded,
                "x",
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 9"}"#,
                ErrorClass::ContextExceeded,
                "This model's maximum context length is 9",
            ),
            (
                429,
                r#"{"error":{"message":"x","code":"insufficient_quota"}}"#,
                ErrorClass::Billing,
                "x",
            ),
            (
                429,
                r#"{"error":{"message":"x","type":"requests","code":null}}"#,
                ErrorClass::RateLimited,
                "x",
            ),
            (
                400,
                r#"{"error":{"message":"x","code":"content_policy_violation"}}"#,
                ErrorClass::ContentFilter,
                "x",
            ),
            (400, r#"{"error":"x","error_type":"validation"}"#, ErrorClass::InvalidRequest, "x"),
            (401, r#"{"error":"no key"}"#, ErrorClass::CredentialRejected, "no key"),
            (422, r#"{"detail":[{"msg":"x"},{"msg":"y"}]}"#, ErrorClass::InvalidRequest, "x; y"),
            (404, r#"{"detail":"Not Found"}"#, ErrorClass::ModelNotFound, "Not Found"),
            (502, "<html>bad gateway</html>", ErrorClass::Server, ""),
            (503, "no healthy upstream\n", ErrorClass::Overloaded, "no healthy upstream"),
            (503, r#"[{"error":{"message":"busy"}}]"#, ErrorClass::Overloaded, "busy"),
            (500, "", ErrorClass::Server, ""),
            (504, "{}", ErrorClass::Timeout, ""),
        ] {
            let error = decode(status, body.as_bytes());
            assert_eq!((error.class, error.message.as_str()), (class, message), "{body}");
            assert_eq!(error.status, status);
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_judged_by_the_status_it_would_have_had() {
        for (error, status, class) in [
            (json!({"code": 429, "message": "slow down"}), None, ErrorClass::RateLimited),
            (json!({"message": "busy"}), Some(503), ErrorClass::Overloaded),
            (json!("boom"), None, ErrorClass::Server),
            (json!({"type": "invalid_request_error"}), None, ErrorClass::InvalidRequest),
        ] {
            let read = in_stream(&error, status);
            assert_eq!((read.class, read.status), (class, 0), "{error}");
        }
    }

    #[test]
    fn no_piece_of_a_key_is_repeated() {
        for told in [
            "Incorrect API key provided: sk-proj-********abcd. See https://platform.openai.com.",
            "Invalid key \"0123456789abcdef0123\".",
            "Your api key: ****1234 is invalid",
        ] {
            let body = json!({"error": {"message": told, "code": "invalid_api_key"}}).to_string();
            let message = decode(401, body.as_bytes()).message;
            assert!(message.contains(REDACTED), "{message}");
            for piece in ["sk-", "abcd", "0123", "1234", "*"] {
                assert!(!message.contains(piece), "{message}");
            }
        }
        let body = json!({"error": {"message": "Country, region, or territory not supported"}});
        let message = decode(403, body.to_string().as_bytes()).message;
        assert_eq!(message, "Country, region, or territory not supported");
    }

    #[test]
    fn an_error_has_the_four_fields_that_the_sdks_read() {
        let error = ApiError::new(ErrorKind::NotFound, "model_not_found", "no such model");
        assert_eq!(
            encode(&error.with_param("model")),
            json!({"error": {
                "message": "no such model", "type": "invalid_request_error",
                "param": "model", "code": "model_not_found",
            }})
        );
    }
}
