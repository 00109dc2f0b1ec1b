//! Gemini's models, and what each refuses that others take.

use serde_json::Value;

use super::error::invalid;
use crate::sim::{
    Refused,
    read::{given, row, text},
};

/// What a model takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    sampling: bool,
    budget: bool,
    level: bool,
    /// Whether a call must come back with the signature of its thought.
    pub(super) signatures: bool,
    json_schema: bool,
}

/// `sim-…`, and a model that only the rehearsal names.
const ANY: Ways =
    Ways { sampling: true, budget: true, level: true, signatures: true, json_schema: true };

/// Gemini 2.5.
const BUDGET: Ways = Ways { level: false, signatures: false, ..ANY };

/// Gemini 2.0.
const PLAIN: Ways = Ways { budget: false, json_schema: false, ..BUDGET };

pub(super) const MODELS: &[(&str, Ways)] = &[
    ("gemini-2.0-flash", PLAIN),
    ("gemini-2.0-flash-lite", PLAIN),
    ("gemini-2.5-flash", BUDGET),
    ("gemini-2.5-flash-lite", BUDGET),
    ("gemini-2.5-pro", BUDGET),
    ("gemini-3-flash", ANY),
    ("gemini-3-flash-preview", ANY),
    ("gemini-3-pro", ANY),
    ("gemini-3-pro-preview", ANY),
    ("gemini-3.1-pro", ANY),
    ("gemini-3.5-flash", ANY),
    ("gemini-3.7-flash", Ways { sampling: false, ..ANY }),
    ("gemini-3.8-flash", Ways { sampling: false, ..ANY }),
    ("sim", ANY),
];

pub(super) fn ways(model: &str, named: bool) -> Option<Ways> {
    row(MODELS, model).copied().or_else(|| named.then_some(ANY))
}

impl Ways {
    /// Refuses what this model does not take.
    pub(super) fn check(self, body: &Value) -> Result<(), Refused> {
        let nothing = Value::Null;
        let config = body.get("generationConfig").unwrap_or(&nothing);
        let thinking = config.get("thinkingConfig").unwrap_or(&nothing);
        let (budget, level) = (given(thinking, "thinkingBudget"), given(thinking, "thinkingLevel"));
        if budget && level {
            return Err(invalid(
                "You can only set only one of thinking budget and thinking level.",
            ));
        }
        if level && !self.level {
            return Err(invalid("Thinking level is not supported for this model."));
        }
        if budget && !self.budget {
            return Err(invalid("Thinking is not supported for this model."));
        }
        let sampling = ["temperature", "topP", "topK"].iter().find(|key| given(config, key));
        if let Some(key) = sampling.filter(|_| !self.sampling) {
            return Err(invalid(&format!("{key} is not supported for this model.")));
        }
        if config.get("candidateCount").and_then(Value::as_u64).is_some_and(|count| count > 1) {
            return Err(invalid("Multiple candidates is not enabled for this model"));
        }
        let json = text(config, "responseMimeType") == Some("application/json");
        for key in ["responseSchema", "responseJsonSchema"] {
            if given(config, key) && !json {
                return Err(invalid(&format!(
                    "{key} is only allowed when responseMimeType is application/json"
                )));
            }
        }
        if given(config, "responseJsonSchema") && !self.json_schema {
            return Err(invalid("responseJsonSchema is not supported for this model."));
        }
        if given(config, "responseSchema") && given(config, "responseJsonSchema") {
            return Err(invalid("responseSchema and responseJsonSchema cannot both be set."));
        }
        if given(config, "logprobs") && config.get("responseLogprobs") != Some(&Value::Bool(true)) {
            return Err(invalid("logprobs is only allowed when responseLogprobs is true"));
        }
        Ok(())
    }
}

/// Whether the model thinks about a request that it takes.
pub(super) fn thinks(body: &Value) -> bool {
    let thinking = body.pointer("/generationConfig/thinkingConfig");
    let budget = thinking.and_then(|thinking| thinking.get("thinkingBudget"));
    let level = thinking.and_then(|thinking| text(thinking, "thinkingLevel"));
    match (budget.and_then(Value::as_i64), level) {
        (Some(budget), _) => budget != 0,
        (None, Some(level)) => level != "MINIMAL",
        (None, None) => thinking.is_some_and(|thinking| given(thinking, "includeThoughts")),
    }
}
