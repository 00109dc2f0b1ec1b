//! OpenAI's models, and what each refuses that others take.

use serde_json::Value;

use super::error::refuse;
use crate::sim::{
    Refused,
    read::{given, row},
};

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// Sampling and no reasoning.
    Chat,
    /// Reasoning and no sampling.
    Reasoning,
    /// Both, and reasoning as text: a server that speaks OpenAI's dialect.
    Compatible,
}

/// A name with a date behind it is the same model.
pub(in crate::sim) const MODELS: &[(&str, Ways)] = &[
    ("gpt-4", Ways::Chat),
    ("gpt-4-turbo", Ways::Chat),
    ("gpt-4.1", Ways::Chat),
    ("gpt-4.1-mini", Ways::Chat),
    ("gpt-4.1-nano", Ways::Chat),
    ("gpt-4o", Ways::Chat),
    ("gpt-4o-mini", Ways::Chat),
    ("gpt-5", Ways::Reasoning),
    ("gpt-5-mini", Ways::Reasoning),
    ("gpt-5-nano", Ways::Reasoning),
    ("gpt-5.1", Ways::Reasoning),
    ("gpt-5.2", Ways::Reasoning),
    ("gpt-6-sol", Ways::Reasoning),
    ("o1", Ways::Reasoning),
    ("o3", Ways::Reasoning),
    ("o3-mini", Ways::Reasoning),
    ("o4-mini", Ways::Reasoning),
    ("sim", Ways::Compatible),
];

pub(super) fn ways(model: &str, named: bool) -> Option<Ways> {
    row(MODELS, model).copied().or_else(|| named.then_some(Ways::Compatible))
}

/// Refuses parameters that this model does not take.
pub(super) fn check(ways: Ways, body: &Value) -> Result<(), Refused> {
    let unsupported = |param: &str, message: &str| {
        Err(refuse(400, "unsupported_parameter", Some(param), message))
    };
    match ways {
        Ways::Chat if given(body, "reasoning_effort") => {
            let message = "Unrecognized request argument supplied: reasoning_effort";
            return unsupported("reasoning_effort", message);
        }
        Ways::Chat | Ways::Compatible => return Ok(()),
        Ways::Reasoning => {}
    }
    if given(body, "max_tokens") {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return unsupported("max_tokens", message);
    }
    for param in ["logit_bias", "logprobs", "stop", "top_logprobs"] {
        if given(body, param) {
            let message =
                format!("Unsupported parameter: '{param}' is not supported with this model.");
            return unsupported(param, &message);
        }
    }
    for (param, usual) in [
        ("temperature", 1.0),
        ("top_p", 1.0),
        ("presence_penalty", 0.0),
        ("frequency_penalty", 0.0),
    ] {
        let value = body.get(param).and_then(Value::as_f64).unwrap_or(usual);
        if (value - usual).abs() > f64::EPSILON {
            let message = format!(
                "Unsupported value: '{param}' does not support {value} with this model. Only the default ({usual}) value is supported."
            );
            return Err(refuse(400, "unsupported_value", Some(param), &message));
        }
    }
    Ok(())
}
