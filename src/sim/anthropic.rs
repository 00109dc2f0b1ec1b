//! Anthropic's messages, as a strict provider serves them.

#![expect(clippy::indexing_slicing, reason = "what is assigned into was made as a JSON object")]

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asked, Refused, count, unknown};

const KNOWN: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "stop_sequences",
    "stream",
    "metadata",
    "service_tier",
    "temperature",
    "top_p",
    "top_k",
    "cache_control",
];

pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    refuse(status, kind, &format!("simulated {status}")).1
}

fn refuse(status: u16, kind: &str, message: &str) -> Refused {
    let error = json!({"type": kind, "message": message});
    (status, json!({"type": "error", "error": error, "request_id": "req_sim"}))
}

pub(super) fn check(path: &str, headers: &HeaderMap, body: &Value) -> Result<Asked, Refused> {
    let invalid = |message: &str| refuse(400, "invalid_request_error", message);
    if path != "/v1/messages" {
        return Err(refuse(404, "not_found_error", "Not found"));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = text("x-api-key").or(bearer).unwrap_or_default();
    if key.is_empty() || key.starts_with("wrong") {
        return Err(refuse(401, "authentication_error", &format!("invalid x-api-key {key}")));
    }
    if text("anthropic-version").is_none() {
        return Err(invalid("anthropic-version: header is required"));
    }
    if let Some(field) = unknown(body, KNOWN) {
        return Err(invalid(&format!("{field}: Extra inputs are not permitted")));
    }
    if body.get("max_tokens").and_then(Value::as_u64).is_none() {
        return Err(invalid("max_tokens: Field required"));
    }
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    if !["claude-", "sim-"].iter().any(|known| model.starts_with(known)) {
        return Err(refuse(404, "not_found_error", &format!("model: {model}")));
    }
    let newer = model.ends_with("-5-5");
    if newer && ["temperature", "top_p", "top_k"].iter().any(|key| body.get(key).is_some()) {
        return Err(invalid("sampling parameters are not supported by this model"));
    }
    let messages = body.get("messages").and_then(Value::as_array);
    let Some(last) = messages.and_then(|messages| messages.last()) else {
        return Err(invalid("messages: Field required"));
    };
    let blocks = match last.get("content") {
        Some(Value::Array(blocks)) => blocks.clone(),
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        _ => return Err(invalid("messages: content: Field required")),
    };
    let empty = |block: &Value| block.get("text").and_then(Value::as_str) == Some("");
    if blocks.iter().any(empty) {
        return Err(invalid("messages: text content blocks must be non-empty"));
    }
    let said: Vec<&str> =
        blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
    let said = said.join(" ");
    let result =
        blocks.iter().find(|b| b.get("type").and_then(Value::as_str) == Some("tool_result"));
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let names = tools.filter_map(|tool| tool.get("name").and_then(Value::as_str));
    let calls =
        names.filter(|name| result.is_none() && said.contains(name)).map(str::to_owned).collect();
    let text = match result {
        Some(result) => format!("The tool said {}", result.get("content").unwrap_or(&Value::Null)),
        None if body.pointer("/output_config/format").is_some() => r#"{"name": "x"}"#.to_owned(),
        None => format!("Hello from {model}. You said: {said}"),
    };
    Ok(Asked {
        model: model.to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        include_usage: true,
        prompt: count(body.get("messages").unwrap_or(&Value::Null)),
        calls,
        text,
    })
}

fn message(asked: &Asked, content: &Value, reason: &Value, used: (u64, u64)) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": reason, "stop_sequence": null,
        "usage": {
            "input_tokens": used.0, "output_tokens": used.1,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
        },
    })
}

const fn reason(asked: &Asked) -> &'static str {
    if asked.calls.is_empty() { "end_turn" } else { "tool_use" }
}

pub(super) fn answer(asked: &Asked, words: &[String], used: (u64, u64)) -> Value {
    let calls = asked.calls.iter().enumerate();
    let mut content: Vec<Value> = calls
        .map(|(at, name)| {
            json!({"type": "tool_use", "id": format!("toolu_{at}"), "name": name, "input": {"x": 1}})
        })
        .collect();
    if content.is_empty() {
        content.push(json!({"type": "text", "text": words.concat()}));
    }
    message(asked, &Value::Array(content), &json!(reason(asked)), used)
}

pub(super) fn stream(asked: &Asked, words: &[String], used: (u64, u64)) -> Vec<String> {
    let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    let begin = message(asked, &json!([]), &Value::Null, (used.0, 1));
    let mut events = vec![
        event("message_start", json!({"type": "message_start", "message": begin})),
        event("ping", json!({"type": "ping"})),
    ];
    let mut block = |index: usize, content: Value, kind: &str, key: &str, pieces: &[String]| {
        let start =
            json!({"type": "content_block_start", "index": index, "content_block": content});
        events.push(event("content_block_start", start));
        for piece in pieces {
            let mut delta = json!({"type": kind});
            delta[key] = json!(piece);
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.push(event("content_block_delta", delta));
        }
        let stop = json!({"type": "content_block_stop", "index": index});
        events.push(event("content_block_stop", stop));
    };
    if asked.calls.is_empty() {
        block(0, json!({"type": "text", "text": ""}), "text_delta", "text", words);
    }
    for (at, name) in asked.calls.iter().enumerate() {
        let id = format!("toolu_{at}");
        let content = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let pieces = [String::new(), "{\"x\":".to_owned(), " 1}".to_owned()];
        block(at, content, "input_json_delta", "partial_json", &pieces);
    }
    let delta = json!({"stop_reason": reason(asked), "stop_sequence": null});
    let usage = json!({"output_tokens": used.1});
    events.push(event(
        "message_delta",
        json!({"type": "message_delta", "delta": delta, "usage": usage}),
    ));
    events.push(event("message_stop", json!({"type": "message_stop"})));
    events
}
