//! Refusals and failures in OpenAI's words.

use serde_json::{Value, json};

use crate::sim::{
    Refused,
    shape::{What, Wrong},
};

/// A refusal of the request.
pub(super) fn refuse(status: u16, code: &str, param: Option<&str>, message: &str) -> Refused {
    let kind = "invalid_request_error";
    let error = json!({"message": message, "type": kind, "param": param, "code": code});
    Refused { status, body: json!({"error": error}) }
}

/// The commonest refusal: a parameter with a value that cannot be.
pub(super) fn invalid(param: &str, message: &str) -> Refused {
    refuse(400, "invalid_value", Some(param), message)
}

/// A failure that the simulator was told to have.
pub(in crate::sim) fn failure(status: u16) -> Value {
    let (message, kind, code) = match status {
        400 => (
            "This model's maximum context length is 128000 tokens. Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        401 => ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
        403 => (
            "You are not allowed to sample from this model",
            "invalid_request_error",
            "model_not_available",
        ),
        404 => (
            "The model does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        413 => ("Request too large", "invalid_request_error", "request_too_large"),
        429 => ("Rate limit reached for requests", "requests", "rate_limit_exceeded"),
        503 => (
            "The engine is currently overloaded, please try again later",
            "server_error",
            "server_overloaded",
        ),
        _ => (
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            "server_error",
        ),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// A shape that does not fit.
pub(super) fn shape(wrong: &Wrong) -> Refused {
    let at = wrong.bracketed();
    let (code, message) = match &wrong.what {
        What::Unknown => ("unknown_parameter", format!("Unknown parameter: '{at}'.")),
        What::Missing => {
            ("missing_required_parameter", format!("Missing required parameter: '{at}'."))
        }
        What::Type(expected, found) => (
            "invalid_type",
            format!("Invalid type for '{at}': expected {expected}, but got {found} instead."),
        ),
        What::Word(found, allowed) => {
            let allowed: Vec<String> = allowed.iter().map(|word| format!("'{word}'")).collect();
            let allowed = allowed.join(", ");
            ("invalid_value", format!("Invalid value: '{found}'. Supported values are: {allowed}."))
        }
        What::Below(least, found) => (
            "decimal_below_min_value",
            format!(
                "Invalid '{at}': decimal below minimum value. Expected a value >= {least}, but got {found} instead."
            ),
        ),
        What::Above(most, found) => (
            "decimal_above_max_value",
            format!(
                "Invalid '{at}': decimal above maximum value. Expected a value <= {most}, but got {found} instead."
            ),
        ),
        What::Long(most, found) => (
            "array_above_max_length",
            format!(
                "Invalid '{at}': array too long. Expected an array with maximum length {most}, but got an array with length {found} instead."
            ),
        ),
    };
    refuse(400, code, Some(&at), &message)
}
