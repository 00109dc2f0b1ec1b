//! Anthropic's models, and what each refuses that others take.

use serde_json::Value;

use super::error::invalid;
use crate::sim::{
    Refused,
    read::{given, list, row, text},
};

/// What a model takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    sampling: bool,
    /// Thinking by a budget, as the model sees fit, and none at all.
    enabled: bool,
    adaptive: bool,
    disabled: bool,
    forced_tools: bool,
    prefill: bool,
    /// System text between the turns.
    pub(super) mid_system: bool,
    json_schema: bool,
}

/// Everything: `sim-…`, and a model that only the rehearsal names.
const ANY: Ways = Ways {
    sampling: true,
    enabled: true,
    adaptive: true,
    disabled: true,
    forced_tools: true,
    prefill: true,
    mid_system: true,
    json_schema: true,
};

/// Claude 4.5 and older.
const BUDGET: Ways = Ways { adaptive: false, mid_system: false, ..ANY };

/// Claude 4.6: the last with sampling and budgets, the first without prefill.
const BOTH: Ways = Ways { adaptive: true, prefill: false, ..BUDGET };

const ADAPTIVE: Ways = Ways { sampling: false, enabled: false, prefill: false, ..ANY };

/// Claude 5.5 and its like.
const ALWAYS: Ways = Ways { disabled: false, forced_tools: false, ..ADAPTIVE };

/// A name with a date behind it is the same model.
pub(super) const MODELS: &[(&str, Ways)] = &[
    ("claude-3-haiku", Ways { enabled: false, json_schema: false, ..BUDGET }),
    ("claude-3-5-haiku", Ways { enabled: false, json_schema: false, ..BUDGET }),
    ("claude-3-5-sonnet", Ways { enabled: false, json_schema: false, ..BUDGET }),
    ("claude-3-7-sonnet", Ways { json_schema: false, ..BUDGET }),
    ("claude-opus-4", Ways { json_schema: false, ..BUDGET }),
    ("claude-sonnet-4", Ways { json_schema: false, ..BUDGET }),
    ("claude-opus-4-1", BUDGET),
    ("claude-haiku-4-5", BUDGET),
    ("claude-opus-4-5", BUDGET),
    ("claude-sonnet-4-5", BUDGET),
    ("claude-opus-4-6", BOTH),
    ("claude-sonnet-4-6", BOTH),
    ("claude-opus-4-7", Ways { mid_system: false, ..ADAPTIVE }),
    ("claude-opus-4-8", ADAPTIVE),
    ("claude-haiku-5-5", ADAPTIVE),
    ("claude-opus-5", ADAPTIVE),
    ("claude-sonnet-5", ADAPTIVE),
    ("claude-fable-5", ALWAYS),
    ("claude-fable-5-1", ALWAYS),
    ("claude-mythos-5", ALWAYS),
    ("claude-mythos-5-1", ALWAYS),
    ("claude-opus-5-5", ALWAYS),
    ("claude-sonnet-5-5", ALWAYS),
    ("sim", ANY),
];

pub(super) fn ways(model: &str, named: bool) -> Option<Ways> {
    row(MODELS, model).copied().or_else(|| named.then_some(ANY))
}

impl Ways {
    /// Refuses what this model does not take.
    pub(super) fn check(self, body: &Value) -> Result<(), Refused> {
        let thinking = body.get("thinking").and_then(|thinking| text(thinking, "type"));
        self.check_sampling(body)?;
        let refused = match thinking {
            Some("enabled") => !self.enabled,
            Some("adaptive") => !self.adaptive,
            Some("disabled") => !self.disabled,
            Some(_) | None => false,
        };
        if let (true, Some(kind)) = (refused, thinking) {
            return Err(invalid(&format!(
                "\"thinking.type.{kind}\" is not supported for this model."
            )));
        }
        let thinks = matches!(thinking, Some("enabled" | "adaptive"));
        let choice = body.get("tool_choice").and_then(|choice| text(choice, "type"));
        if matches!(choice, Some("any" | "tool")) {
            if !self.forced_tools {
                return Err(invalid(
                    "tool_choice: forced tool use is not supported for this model.",
                ));
            }
            if thinks {
                let message = "Thinking may not be enabled when tool_choice forces tool use.";
                return Err(invalid(message));
            }
        }
        if thinks && body.get("temperature").and_then(Value::as_f64).is_some_and(|t| t < 1.0) {
            let message = "`temperature` may only be set to 1 when thinking is enabled.";
            return Err(invalid(message));
        }
        if !self.json_schema && body.pointer("/output_config/format/type").is_some() {
            return Err(invalid(
                "output_config.format: Structured outputs are not supported for this model.",
            ));
        }
        let last = list(body, "messages").last();
        let prefilled = last.is_some_and(|message| text(message, "role") == Some("assistant"));
        if prefilled && !self.prefill {
            let message = "This model does not support assistant message prefill. The conversation must end with a user message.";
            return Err(invalid(message));
        }
        Ok(())
    }

    fn check_sampling(self, body: &Value) -> Result<(), Refused> {
        if self.sampling {
            return Ok(());
        }
        let number = |key: &str| body.get(key).and_then(Value::as_f64);
        if number("temperature").is_some_and(|temperature| temperature < 1.0) {
            return Err(invalid("`temperature` is deprecated for this model."));
        }
        if number("top_p").is_some_and(|top_p| top_p < 0.99) {
            return Err(invalid("`top_p` is deprecated for this model."));
        }
        if given(body, "top_k") {
            return Err(invalid("`top_k` is deprecated for this model."));
        }
        Ok(())
    }

    /// Whether the model thinks about a request that it takes.
    pub(super) fn thinks(self, body: &Value) -> bool {
        match body.get("thinking").and_then(|thinking| text(thinking, "type")) {
            Some("enabled" | "adaptive" | "between_tools") => true,
            Some(_) => false,
            None => !self.disabled,
        }
    }
}
