//! OpenAI's chat completions, as a strict provider serves them.

#![expect(clippy::indexing_slicing, reason = "what is assigned into was made as a JSON object")]

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asked, Refused, count, unknown};

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "n",
    "stop",
    "logprobs",
    "top_logprobs",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "verbosity",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
];

pub(super) fn error(status: u16) -> Value {
    let (kind, code) = match status {
        400 => ("invalid_request_error", "context_length_exceeded"),
        401 => ("invalid_request_error", "invalid_api_key"),
        404 => ("invalid_request_error", "model_not_found"),
        429 => ("requests", "rate_limit_exceeded"),
        _ => ("server_error", "server_error"),
    };
    json!({"error": {"message": format!("simulated {status}"), "type": kind, "param": null, "code": code}})
}

fn refuse(status: u16, code: &str, message: &str) -> Refused {
    let kind = "invalid_request_error";
    (status, json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

pub(super) fn check(path: &str, headers: &HeaderMap, body: &Value) -> Result<Asked, Refused> {
    if path != "/v1/chat/completions" {
        return Err(refuse(404, "unknown_url", "Invalid URL"));
    }
    let key = headers.get("authorization").and_then(|value| value.to_str().ok());
    let key = key.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if key.is_empty() || key.starts_with("wrong") {
        return Err(refuse(401, "invalid_api_key", &format!("Incorrect API key provided: {key}")));
    }
    if let Some(field) = unknown(body, KNOWN) {
        let message = format!("Unrecognized request argument supplied: {field}");
        return Err(refuse(400, "unknown_parameter", &message));
    }
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    if model.starts_with("gpt-5") && body.get("max_tokens").is_some() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(refuse(400, "unsupported_parameter", message));
    }
    let messages = body.get("messages").and_then(Value::as_array);
    let Some(last) = messages.and_then(|messages| messages.last()) else {
        return Err(refuse(
            400,
            "missing_required_parameter",
            "Missing required parameter: 'messages'.",
        ));
    };
    if !["gpt-", "o3", "sim-"].iter().any(|known| model.starts_with(known)) {
        let message = format!("The model `{model}` does not exist");
        return Err(refuse(404, "model_not_found", &message));
    }
    let said = match last.get("content") {
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    let result = last.get("role").and_then(Value::as_str) == Some("tool");
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let names = tools.filter_map(|tool| tool.pointer("/function/name").and_then(Value::as_str));
    let calls = names.filter(|name| !result && said.contains(name)).map(str::to_owned).collect();
    let text = if result {
        format!("The tool said {said}")
    } else if body.get("response_format").is_some() {
        r#"{"name": "x"}"#.to_owned()
    } else {
        format!("Hello from {model}. You said: {said}")
    };
    let include_usage = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    Ok(Asked {
        model: model.to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        include_usage,
        prompt: count(body.get("messages").unwrap_or(&Value::Null)),
        calls,
        text,
    })
}

fn usage((prompt, output): (u64, u64)) -> Value {
    json!({
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn call(at: usize, name: &str) -> Value {
    json!({
        "id": format!("call_{at}"), "type": "function",
        "function": {"name": name, "arguments": "{\"x\": 1}"},
    })
}

pub(super) fn answer(asked: &Asked, words: &[String], used: (u64, u64)) -> Value {
    let calls: Vec<Value> =
        asked.calls.iter().enumerate().map(|(at, name)| call(at, name)).collect();
    let (message, reason) = if calls.is_empty() {
        (json!({"role": "assistant", "content": words.concat(), "refusal": null}), "stop")
    } else {
        (json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls")
    };
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}],
        "usage": usage(used),
    })
}

pub(super) fn stream(asked: &Asked, words: &[String], used: (u64, u64)) -> Vec<String> {
    let chunk = |delta: Value, reason: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
            "model": asked.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}],
        });
        if let (true, Some(map)) = (asked.include_usage, chunk.as_object_mut()) {
            map.insert("usage".to_owned(), Value::Null);
        }
        format!("data: {chunk}\n\n")
    };
    let mut events =
        vec![chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null)];
    if asked.calls.is_empty() {
        events.extend(words.iter().map(|word| chunk(json!({"content": word}), Value::Null)));
    }
    for (at, name) in asked.calls.iter().enumerate() {
        let mut begin = call(at, name);
        begin["index"] = json!(at);
        begin["function"]["arguments"] = json!("");
        events.push(chunk(json!({"tool_calls": [begin]}), Value::Null));
        for piece in ["{\"x\":", " 1}"] {
            let delta = json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]});
            events.push(chunk(delta, Value::Null));
        }
    }
    let reason = if asked.calls.is_empty() { "stop" } else { "tool_calls" };
    events.push(chunk(json!({}), json!(reason)));
    if asked.include_usage {
        let last = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
            "model": asked.model, "choices": [], "usage": usage(used),
        });
        events.push(format!("data: {last}\n\n"));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
