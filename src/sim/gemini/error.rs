//! Refusals and failures in Google's words.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::{
    Refused,
    shape::{What, Wrong},
};

pub(super) fn refuse(status: u16, message: &str) -> Refused {
    Refused { status, body: body(status, message, None) }
}

pub(super) fn invalid(message: &str) -> Refused {
    refuse(400, message)
}

/// An unusable key: Google answers 400 and says why in the details.
pub(super) fn bad_key() -> Refused {
    let details = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
        "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"},
    }]);
    let message = "API key not valid. Please pass a valid API key.";
    Refused { status: 400, body: body(400, message, Some(details)) }
}

fn body(status: u16, message: &str, details: Option<Value>) -> Value {
    let word = match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    };
    let mut error = json!({"code": status, "message": message, "status": word});
    if let (Some(details), Some(map)) = (details, error.as_object_mut()) {
        map.insert("details".to_owned(), details);
    }
    json!({"error": error})
}

/// A failure that the simulator was told to have. Google has no `Retry-After`: the wait is in the body.
pub(in crate::sim) fn failure(status: u16, after: Option<Duration>) -> Value {
    let message = match status {
        400 => {
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
        }
        401 => "Request had invalid authentication credentials.",
        403 => "Permission denied on resource project.",
        404 => "Requested entity was not found.",
        429 => "You exceeded your current quota, please check your plan and billing details.",
        503 => "The model is overloaded. Please try again later.",
        _ => "An internal error has occurred.",
    };
    let details = after.map(|wait| {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        json!([{"@type": kind, "retryDelay": format!("{}s", wait.as_secs_f64())}])
    });
    body(status, message, details)
}

/// A shape that does not fit.
pub(super) fn shape(mut wrong: Wrong) -> Refused {
    let message = match &wrong.what {
        What::Unknown => {
            let name = match wrong.at.pop() {
                Some(crate::sim::shape::Step::Key(name)) => name,
                Some(crate::sim::shape::Step::Index(_)) | None => String::new(),
            };
            let place = wrong.bracketed();
            let place = if place.is_empty() { place } else { format!(" at '{place}'") };
            format!(
                "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
            )
        }
        What::Missing => {
            let at = wrong.bracketed();
            format!("* GenerateContentRequest.{at}: {at} is not specified\n")
        }
        What::Type(expected, found) => {
            format!("Invalid value at '{}' (expected {expected}, found {found})", wrong.bracketed())
        }
        What::Word(found, _) => {
            format!("Invalid value at '{}' (TYPE_ENUM), \"{found}\"", wrong.bracketed())
        }
        What::Below(least, found) => {
            format!("* {}: must be at least {least}, but was {found}\n", wrong.bracketed())
        }
        What::Above(most, found) => {
            format!("* {}: must be at most {most}, but was {found}\n", wrong.bracketed())
        }
        What::Long(most, found) => {
            format!("* {}: at most {most} are allowed, but there were {found}\n", wrong.bracketed())
        }
    };
    invalid(&message)
}
