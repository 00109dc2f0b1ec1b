//! Whole answers, read and written.

use serde_json::{Map, Value, json};

use crate::dialect::{
    ChatResponse, Dialect, Model, StreamError, Usage, View,
    chat::{Choice, Finish, Part, ReasoningPart, Signature, TokenLogprob, ToolCall},
    json::{count, list, text},
};

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, StreamError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| StreamError::Malformed(error.to_string()))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(StreamError::Provider(super::error::of_value(0, error)));
    }
    let choices: Vec<Choice> = list(&value, "choices").iter().map(choice).collect();
    if choices.is_empty() {
        return Err(StreamError::Malformed("there is no choice".to_owned()));
    }
    Ok(ChatResponse {
        id: text(&value, "id").unwrap_or_default().to_owned(),
        model: text(&value, "model").unwrap_or_default().to_owned(),
        choices,
        usage: value.get("usage").and_then(usage),
    })
}

fn choice(value: &Value) -> Choice {
    let message = value.get("message").unwrap_or(&Value::Null);
    let mut parts = Vec::new();
    if let Some(words) = reasoning(message) {
        let words = words.to_owned();
        parts.push(Part::Reasoning(ReasoningPart { text: words, ..ReasoningPart::default() }));
    }
    if let Some(words) = text(message, "content").filter(|words| !words.is_empty()) {
        parts.push(Part::Text(words.to_owned()));
    }
    if let Some(words) = text(message, "refusal") {
        parts.push(Part::Refusal(words.to_owned()));
    }
    let calls = list(message, "tool_calls");
    for (at, call) in calls.iter().enumerate() {
        let function = call.get("function").unwrap_or(&Value::Null);
        parts.push(Part::ToolCall(ToolCall {
            id: text(call, "id").map_or_else(|| format!("call_{at}"), str::to_owned),
            name: text(function, "name").unwrap_or_default().to_owned(),
            arguments: match function.get("arguments") {
                Some(Value::String(text)) if !text.is_empty() => text.clone(),
                Some(object @ Value::Object(_)) => object.to_string(),
                _ => "{}".to_owned(),
            },
            signature: None,
        }));
    }
    Choice {
        parts,
        finish: finish(text(value, "finish_reason"), !calls.is_empty()),
        logprobs: value.get("logprobs").and_then(logprobs),
    }
}

/// The visible thinking, under either of its names.
pub(super) fn reasoning(message: &Value) -> Option<&str> {
    let words = text(message, "reasoning_content").or_else(|| text(message, "reasoning"));
    words.filter(|words| !words.is_empty())
}

/// Compatible servers write `""`, `eos` and more; what was written decides then.
pub(super) fn finish(reason: Option<&str>, called: bool) -> Finish {
    match reason {
        Some("length" | "model_length" | "max_tokens") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        Some("tool_calls" | "function_call") => Finish::ToolCalls,
        _ if called => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

pub(super) fn usage(value: &Value) -> Option<Usage> {
    Some(Usage {
        input: count(value, "prompt_tokens")?,
        output: count(value, "completion_tokens").unwrap_or(0),
        cached: value.get("prompt_tokens_details").and_then(|d| count(d, "cached_tokens")),
        cache_write: value
            .get("prompt_tokens_details")
            .and_then(|d| count(d, "cache_write_tokens")),
        reasoning: value
            .get("completion_tokens_details")
            .and_then(|d| count(d, "reasoning_tokens")),
    })
}

/// The usage of a chunk; Groq has a place of its own for it.
pub(super) fn chunk_usage(chunk: &Value) -> Option<Usage> {
    chunk.get("usage").and_then(usage).or_else(|| chunk.pointer("/x_groq/usage").and_then(usage))
}

pub(super) fn logprobs(value: &Value) -> Option<Vec<TokenLogprob>> {
    let content = value.get("content")?.as_array()?;
    let one =
        |entry: &Value| Some((text(entry, "token")?.to_owned(), entry.get("logprob")?.as_f64()?));
    let read = content.iter().filter_map(|entry| {
        let (token, logprob) = one(entry)?;
        let top = list(entry, "top_logprobs").iter().filter_map(one).collect();
        Some(TokenLogprob { token, logprob, top })
    });
    Some(read.collect())
}

pub(super) fn encode(response: &ChatResponse, view: &View) -> Vec<u8> {
    let choices: Vec<Value> = response
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index,
                "message": message(&choice.parts),
                "finish_reason": finish_word(&choice.finish),
                "logprobs": choice.logprobs.as_deref().map(write_logprobs),
            })
        })
        .collect();
    let mut value = json!({
        "id": response.id, "object": "chat.completion", "created": view.created,
        "model": view.model, "choices": choices,
    });
    if let (Some(usage), Some(map)) = (response.usage, value.as_object_mut()) {
        map.insert("usage".to_owned(), write_usage(usage));
    }
    value.to_string().into_bytes()
}

fn message(parts: &[Part]) -> Value {
    let (mut content, mut thought, mut refusal) = (None::<String>, String::new(), None);
    let (mut calls, mut details) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(words) => content.get_or_insert_default().push_str(words),
            Part::Refusal(words) => refusal = Some(words.clone()),
            Part::Reasoning(reasoning) => {
                thought.push_str(&reasoning.text);
                details.push(detail(reasoning, details.len()));
            }
            Part::ToolCall(call) => {
                let mut value = json!({
                    "id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                });
                if let (Some(signature), Some(map)) = (&call.signature, value.as_object_mut()) {
                    map.insert("extra_content".to_owned(), google(signature));
                }
                calls.push(value);
            }
            Part::Audio { .. } | Part::File { .. } | Part::Image { .. } | Part::ToolResult(_) => {}
        }
    }
    let mut value = Map::new();
    value.insert("role".to_owned(), json!("assistant"));
    value.insert("content".to_owned(), json!(content));
    value.insert("refusal".to_owned(), json!(refusal));
    if !calls.is_empty() {
        value.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    if !details.is_empty() {
        value.insert("reasoning_content".to_owned(), json!(thought));
        value.insert("reasoning".to_owned(), json!(thought));
        value.insert("reasoning_details".to_owned(), Value::Array(details));
    }
    Value::Object(value)
}

pub(super) fn google(signature: &Signature) -> Value {
    json!({"google": {"thought_signature": signature.data}})
}

fn detail(reasoning: &ReasoningPart, index: usize) -> Value {
    let signature = reasoning.signature.as_ref();
    match signature {
        Some(signature) if reasoning.redacted => json!({
            "type": "reasoning.encrypted", "data": signature.data,
            "format": format_word(signature.dialect), "index": index,
        }),
        Some(signature) => json!({
            "type": "reasoning.text", "text": reasoning.text, "signature": signature.data,
            "format": format_word(signature.dialect), "index": index,
        }),
        None => json!({"type": "reasoning.text", "text": reasoning.text, "index": index}),
    }
}

/// The names that `OpenRouter` gave to the owners of signatures.
pub(super) const fn format_word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::AnthropicMessages => "anthropic-claude-v1",
        Dialect::Gemini => "google-gemini-v1",
        Dialect::OpenAiChat => "openai-responses-v1",
    }
}

pub(super) const fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::ContentFilter => "content_filter",
        Finish::Length => "length",
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::ToolCalls => "tool_calls",
    }
}

pub(super) fn write_usage(usage: Usage) -> Value {
    let mut value = json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
    });
    let mut prompt = Map::new();
    for (key, part) in [("cached_tokens", usage.cached), ("cache_write_tokens", usage.cache_write)]
    {
        if let Some(part) = part {
            prompt.insert(key.to_owned(), json!(part));
        }
    }
    if let Some(map) = value.as_object_mut() {
        if !prompt.is_empty() {
            map.insert("prompt_tokens_details".to_owned(), Value::Object(prompt));
        }
        if let Some(reasoning) = usage.reasoning {
            let details = json!({"reasoning_tokens": reasoning});
            map.insert("completion_tokens_details".to_owned(), details);
        }
    }
    value
}

pub(super) fn write_logprobs(tokens: &[TokenLogprob]) -> Value {
    let one = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let content: Vec<Value> = tokens
        .iter()
        .map(|entry| {
            let mut value = one(&entry.token, entry.logprob);
            let top = entry.top.iter().map(|(token, logprob)| one(token, *logprob)).collect();
            if let Some(map) = value.as_object_mut() {
                map.insert("top_logprobs".to_owned(), top);
            }
            value
        })
        .collect();
    json!({"content": content, "refusal": null})
}

pub(super) fn model(model: &Model<'_>) -> Value {
    json!({"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner})
}
