//! Gemini's `generateContent` and `streamGenerateContent`, as a strict provider serves them.

#![expect(clippy::indexing_slicing, reason = "what is assigned into was made as a JSON object")]

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asked, Refused, count, unknown};

const KNOWN: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "serviceTier",
];

pub(super) fn error(status: u16, after: Option<u64>) -> Value {
    let word = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let mut error = refuse(status, word, &format!("simulated {status}")).1;
    if let Some(after) = after {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        error["error"]["details"] = json!([{"@type": kind, "retryDelay": format!("{after}s")}]);
    }
    error
}

fn refuse(status: u16, word: &str, message: &str) -> Refused {
    (status, json!({"error": {"code": status, "message": message, "status": word}}))
}

pub(super) fn check(path: &str, headers: &HeaderMap, body: &Value) -> Result<Asked, Refused> {
    let invalid = |message: &str| refuse(400, "INVALID_ARGUMENT", message);
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"));
    let Some((model, method)) = rest.and_then(|rest| rest.split_once(':')) else {
        return Err(refuse(404, "NOT_FOUND", "Not found"));
    };
    let key = headers.get("x-goog-api-key").and_then(|value| value.to_str().ok());
    let key = key.unwrap_or_default();
    if key.is_empty() || key.starts_with("wrong") {
        return Err(invalid("API key not valid. Please pass a valid API key."));
    }
    if !["gemini-", "sim-"].iter().any(|known| model.starts_with(known)) {
        let message = format!("models/{model} is not found");
        return Err(refuse(404, "NOT_FOUND", &message));
    }
    if let Some(field) = unknown(body, KNOWN) {
        let message = format!("Invalid JSON payload received. Unknown name \"{field}\"");
        return Err(invalid(&message));
    }
    let contents = body.get("contents").and_then(Value::as_array);
    let Some(last) = contents.and_then(|contents| contents.last()) else {
        return Err(invalid("contents is not specified"));
    };
    let parts = last.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
    let said: Vec<&str> =
        parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
    let said = said.join(" ");
    let result = parts.iter().find_map(|part| part.pointer("/functionResponse/response"));
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let declared = tools.filter_map(|tool| tool.get("functionDeclarations")?.as_array()).flatten();
    let names = declared.filter_map(|tool| tool.get("name").and_then(Value::as_str));
    let calls =
        names.filter(|name| result.is_none() && said.contains(name)).map(str::to_owned).collect();
    let json = body.pointer("/generationConfig/responseMimeType").is_some();
    let text = match result {
        Some(result) => format!("The tool said {result}"),
        None if json => r#"{"name": "x"}"#.to_owned(),
        None => format!("Hello from {model}. You said: {said}"),
    };
    Ok(Asked {
        model: model.to_owned(),
        stream: method == "streamGenerateContent",
        include_usage: true,
        prompt: count(body.get("contents").unwrap_or(&Value::Null)),
        calls,
        text,
    })
}

fn chunk(asked: &Asked, parts: &Value, reason: Option<&str>, used: Option<(u64, u64)>) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if let Some(reason) = reason {
        candidate["finishReason"] = json!(reason);
    }
    let mut chunk =
        json!({"candidates": [candidate], "modelVersion": asked.model, "responseId": "r1"});
    if let Some((prompt, output)) = used {
        chunk["usageMetadata"] = json!({
            "promptTokenCount": prompt, "candidatesTokenCount": output,
            "totalTokenCount": prompt + output,
        });
    }
    chunk
}

fn calls(asked: &Asked) -> Vec<Value> {
    let calls = asked.calls.iter().enumerate();
    calls
        .map(|(at, name)| {
            let mut part = json!({"functionCall": {"name": name, "args": {"x": 1}}});
            if at == 0 {
                part["thoughtSignature"] = json!("c2ln");
            }
            part
        })
        .collect()
}

pub(super) fn answer(asked: &Asked, words: &[String], used: (u64, u64)) -> Value {
    let mut parts = calls(asked);
    if parts.is_empty() {
        parts.push(json!({"text": words.concat()}));
    }
    chunk(asked, &Value::Array(parts), Some("STOP"), Some(used))
}

pub(super) fn stream(asked: &Asked, words: &[String], used: (u64, u64)) -> Vec<String> {
    let event = |chunk: Value| format!("data: {chunk}\r\n\r\n");
    let mut events: Vec<String> = if asked.calls.is_empty() {
        words.iter().map(|word| event(chunk(asked, &json!([{"text": word}]), None, None))).collect()
    } else {
        vec![event(chunk(asked, &Value::Array(calls(asked)), None, None))]
    };
    events.push(event(chunk(asked, &json!([{"text": ""}]), Some("STOP"), Some(used))));
    events
}
