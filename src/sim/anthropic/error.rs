//! Refusals and failures in Anthropic's words.

use serde_json::{Value, json};

use crate::sim::{
    Refused,
    shape::{What, Wrong},
};

pub(super) fn refuse(status: u16, kind: &str, message: &str) -> Refused {
    Refused { status, body: body(kind, message) }
}

/// The commonest refusal.
pub(super) fn invalid(message: &str) -> Refused {
    refuse(400, "invalid_request_error", message)
}

fn body(kind: &str, message: &str) -> Value {
    let error = json!({"type": kind, "message": message});
    json!({"type": "error", "error": error, "request_id": "req_simulated"})
}

/// A failure that the simulator was told to have.
pub(in crate::sim) fn failure(status: u16) -> Value {
    let (kind, message) = match status {
        400 => ("invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low to access the Anthropic API."),
        403 => (
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your organization's rate limit."),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        ..=499 => ("invalid_request_error", "Invalid request"),
        _ => ("api_error", "Internal server error"),
    };
    body(kind, message)
}

/// A shape that does not fit.
pub(super) fn shape(wrong: &Wrong) -> Refused {
    let at = wrong.dotted();
    let problem = match &wrong.what {
        What::Unknown => "Extra inputs are not permitted".to_owned(),
        What::Missing => "Field required".to_owned(),
        What::Type(expected, _) => {
            let word = match *expected {
                "an object" => "a valid dictionary",
                "an array" => "a valid list",
                "a string" => "a valid string",
                "an integer" => "a valid integer",
                "a decimal" => "a valid number",
                "a boolean" => "a valid boolean",
                other => other,
            };
            format!("Input should be {word}")
        }
        What::Word(_, allowed) => {
            let allowed: Vec<String> = allowed.iter().map(|word| format!("'{word}'")).collect();
            format!("Input should be {}", allowed.join(" or "))
        }
        What::Below(least, _) => format!("Input should be greater than or equal to {least}"),
        What::Above(most, _) => format!("Input should be less than or equal to {most}"),
        What::Long(most, found) => {
            format!("List should have at most {most} items after validation, not {found}")
        }
    };
    invalid(&format!("{at}: {problem}"))
}
