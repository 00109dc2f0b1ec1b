//! Whole answers, read and written.

use serde_json::{Map, Value, json};

use super::request::{JSON_TOOL, hide_signature};
use crate::dialect::{
    ChatResponse, Dialect, Model, StreamError, Usage, View,
    chat::{Choice, Finish, Part, ReasoningPart, Signature, ToolCall},
    json::{arguments, count, list, text},
};

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, StreamError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| StreamError::Malformed(error.to_string()))?;
    if text(&value, "type") == Some("error") {
        let error = value.get("error").unwrap_or(&Value::Null);
        return Err(StreamError::Provider(super::error::of_value(0, error)));
    }
    let Some(reason) = value.get("stop_reason") else {
        return Err(StreamError::Malformed("there is no stop_reason".to_owned()));
    };
    let parts: Vec<Part> = list(&value, "content").iter().filter_map(block).collect();
    let emulated = !parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let finish = finish(reason.as_str(), text(&value, "stop_sequence"), emulated);
    Ok(ChatResponse {
        id: text(&value, "id").unwrap_or_default().to_owned(),
        model: text(&value, "model").unwrap_or_default().to_owned(),
        choices: vec![Choice { parts, finish, logprobs: None }],
        usage: value.get("usage").and_then(usage),
    })
}

fn block(block: &Value) -> Option<Part> {
    let words = |key| text(block, key).unwrap_or_default().to_owned();
    let sign = |key| {
        let data = text(block, key).filter(|data| !data.is_empty())?.to_owned();
        Some(Signature { dialect: Dialect::AnthropicMessages, data })
    };
    Some(match text(block, "type")? {
        "text" => Part::Text(words("text")),
        "thinking" => Part::Reasoning(ReasoningPart {
            text: words("thinking"),
            signature: sign("signature"),
            redacted: false,
        }),
        "redacted_thinking" => Part::Reasoning(ReasoningPart {
            text: String::new(),
            signature: sign("data"),
            redacted: true,
        }),
        "tool_use" => {
            let input = block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            if text(block, "name") == Some(JSON_TOOL) {
                return Some(Part::Text(input));
            }
            Part::ToolCall(ToolCall {
                id: words("id"),
                name: words("name"),
                arguments: input,
                signature: None,
            })
        }
        // Tools that the provider runs itself are no calls of the client's.
        _ => return None,
    })
}

/// `emulated`: no tool of the client's was called, so a tool call is the JSON answer.
pub(super) fn finish(reason: Option<&str>, sequence: Option<&str>, emulated: bool) -> Finish {
    match reason {
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("tool_use") if !emulated => Finish::ToolCalls,
        Some("refusal") => Finish::ContentFilter,
        Some("stop_sequence") => Finish::StopSequence(sequence.map(str::to_owned)),
        _ => Finish::Stop,
    }
}

/// Anthropic counts cached tokens apart; see [`Usage`].
pub(super) fn usage(value: &Value) -> Option<Usage> {
    let cached = count(value, "cache_read_input_tokens");
    let cache_write = count(value, "cache_creation_input_tokens");
    let fresh = count(value, "input_tokens");
    let output = count(value, "output_tokens");
    if fresh.is_none() && output.is_none() {
        return None;
    }
    let details = value.get("output_tokens_details");
    let input = fresh.map_or(0, |fresh| fresh + cached.unwrap_or(0) + cache_write.unwrap_or(0));
    Some(Usage {
        input,
        cached,
        cache_write,
        output: output.unwrap_or(0),
        reasoning: details.and_then(|details| count(details, "thinking_tokens")),
    })
}

pub(super) fn encode(response: &ChatResponse, view: &View) -> Vec<u8> {
    let empty = Choice::default();
    let choice = response.choices.first().unwrap_or(&empty);
    let content: Vec<Value> = choice.parts.iter().filter_map(write_block).collect();
    let called = choice.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let (reason, sequence) = reason(&choice.finish, called);
    json!({
        "id": response.id, "type": "message", "role": "assistant", "model": view.model,
        "content": content, "stop_reason": reason, "stop_sequence": sequence,
        "usage": write_usage(response.usage.unwrap_or_default()),
    })
    .to_string()
    .into_bytes()
}

fn write_block(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text(words) | Part::Refusal(words) => json!({"type": "text", "text": words}),
        Part::Reasoning(reasoning) => match &reasoning.signature {
            Some(signature)
                if reasoning.redacted && signature.dialect == Dialect::AnthropicMessages =>
            {
                json!({"type": "redacted_thinking", "data": signature.data})
            }
            signature => json!({
                "type": "thinking", "thinking": reasoning.text,
                "signature": signature_word(signature.as_ref()),
            }),
        },
        Part::ToolCall(call) => json!({
            "type": "tool_use", "id": hide_signature(&call.id, call.signature.as_ref()),
            "name": call.name,
            "input": arguments(&call.arguments).unwrap_or_else(|| json!({})),
        }),
        Part::Audio { .. } | Part::File { .. } | Part::Image { .. } | Part::ToolResult(_) => {
            return None;
        }
    })
}

/// Anthropic's own signature, or a word that tells us on the way back that there was none.
pub(super) fn signature_word(signature: Option<&Signature>) -> &str {
    match signature {
        Some(signature) if signature.dialect == Dialect::AnthropicMessages => &signature.data,
        _ => super::request::UNSIGNED,
    }
}

pub(super) fn reason(finish: &Finish, called: bool) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Length => ("max_tokens", None),
        Finish::ContentFilter => ("refusal", None),
        Finish::ToolCalls => ("tool_use", None),
        Finish::Stop | Finish::StopSequence(_) if called => ("tool_use", None),
        Finish::StopSequence(Some(sequence)) => ("stop_sequence", Some(sequence)),
        Finish::Stop | Finish::StopSequence(None) => ("end_turn", None),
    }
}

pub(super) fn write_usage(usage: Usage) -> Value {
    let mut value = Map::new();
    value.insert("input_tokens".to_owned(), json!(usage.fresh()));
    value.insert("output_tokens".to_owned(), json!(usage.output));
    if let Some(cached) = usage.cached {
        value.insert("cache_read_input_tokens".to_owned(), json!(cached));
    }
    if let Some(written) = usage.cache_write {
        value.insert("cache_creation_input_tokens".to_owned(), json!(written));
    }
    if let Some(reasoning) = usage.reasoning {
        value.insert("output_tokens_details".to_owned(), json!({"thinking_tokens": reasoning}));
    }
    Value::Object(value)
}

pub(super) fn model(model: &Model<'_>) -> Value {
    let created = i64::try_from(model.created).unwrap_or(0);
    let created = jiff::Timestamp::from_second(created).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    json!({
        "type": "model", "id": model.id, "display_name": model.id,
        "created_at": created.to_string(),
    })
}
