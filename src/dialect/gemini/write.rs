//! Writing a request for a Gemini target from the common form.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::read::MINTED;
use crate::dialect::{
    ChatRequest, Dialect, Encoded, Loss, Refusal, Target,
    chat::{Effort, Message, OutputFormat, Part, Role, Source, ToolCall, ToolChoice, ToolResult},
    json::arguments,
    traits::{Thinking, Traits},
};

/// What Google documents to stand for a signature that was lost.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Gemini takes five stop texts.
const MOST_STOPS: usize = 5;

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(Refusal::at("n", "this provider is asked for one answer at a time"));
    }
    let mut losses: Vec<Loss> = request.rest.keys().cloned().map(Loss::dropped).collect();
    let (mut system, mut contents) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    for message in &request.messages {
        let (role, parts) = match message.role {
            Role::System | Role::Developer if contents.is_empty() => {
                system.extend(texts(message).map(|words| json!({"text": words})));
                continue;
            }
            Role::System | Role::Developer => {
                note(&mut losses, Loss::emulated("messages.role"));
                let words =
                    texts(message).map(|words| json!({"text": format!("[system] {words}")}));
                ("user", words.collect())
            }
            Role::User => ("user", user(message)?),
            Role::Assistant => ("model", model(message, traits, &mut losses)?),
        };
        match contents.last_mut() {
            Some((last, before)) if *last == role => before.extend(parts),
            _ if parts.is_empty() => {}
            _ => contents.push((role, parts)),
        }
    }
    if contents.is_empty() {
        losses.push(Loss::emulated("messages"));
        contents.push(("user", vec![json!({"text": "."})]));
    }
    let write = |(role, parts): (&str, Vec<Value>)| json!({"role": role, "parts": parts});
    let mut body = Map::new();
    body.insert("contents".to_owned(), contents.into_iter().map(write).collect());
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    tools(request, traits, &mut body, &mut losses);
    let config = config(request, traits, &mut losses);
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    Ok(Encoded { body: Bytes::from(Value::Object(body).to_string()), losses })
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match part {
        Part::Text(words) if !words.is_empty() => Some(words.as_str()),
        Part::Text(_)
        | Part::Audio { .. }
        | Part::File { .. }
        | Part::Image { .. }
        | Part::Reasoning(_)
        | Part::Refusal(_)
        | Part::ToolCall(_)
        | Part::ToolResult(_) => None,
    })
}

fn user(message: &Message) -> Result<Vec<Value>, Refusal> {
    let mut parts = Vec::new();
    for part in &message.parts {
        match part {
            Part::ToolResult(result) => tool_result(result, &mut parts)?,
            Part::Text(words) | Part::Refusal(words) => parts.push(json!({"text": words})),
            Part::Image { source, .. } | Part::File { source, .. } => parts.push(media(source)?),
            Part::Audio { data, format } => {
                parts.push(inline(&format!("audio/{format}"), data));
            }
            Part::Reasoning(_) | Part::ToolCall(_) => {
                return Err(Refusal::at("messages.content", "this part cannot stand here"));
            }
        }
    }
    Ok(parts)
}

fn inline(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}

fn media(source: &Source) -> Result<Value, Refusal> {
    match source {
        Source::Base64 { media_type, data } => Ok(inline(media_type, data)),
        Source::Text(words) => Ok(json!({"text": words})),
        Source::Url(url) if url.starts_with("gs://") => Ok(json!({"fileData": {"fileUri": url}})),
        Source::Url(_) | Source::FileId(_) => {
            let message = "this provider does not fetch URLs; send the content as data";
            Err(Refusal::at("messages.content.image_url", message))
        }
    }
}

fn tool_result(result: &ToolResult, parts: &mut Vec<Value>) -> Result<(), Refusal> {
    let Some(name) = &result.name else {
        let message = format!("no call with the id `{}` comes before this result", result.call_id);
        return Err(Refusal::at("messages.tool_call_id", message));
    };
    let mut words = String::new();
    let mut pictures = Vec::new();
    for part in &result.parts {
        match part {
            Part::Text(text) => words.push_str(text),
            Part::Image { source, .. } | Part::File { source, .. } => pictures.push(media(source)?),
            Part::Audio { .. }
            | Part::Reasoning(_)
            | Part::Refusal(_)
            | Part::ToolCall(_)
            | Part::ToolResult(_) => {}
        }
    }
    let response = match serde_json::from_str::<Value>(&words) {
        _ if result.is_error => json!({"error": words}),
        Ok(object @ Value::Object(_)) => object,
        Ok(_) | Err(_) => json!({"output": words}),
    };
    let mut value = json!({"name": name, "response": response});
    if let (false, Some(map)) = (result.call_id.starts_with(MINTED), value.as_object_mut()) {
        map.insert("id".to_owned(), json!(result.call_id));
    }
    parts.push(json!({"functionResponse": value}));
    parts.extend(pictures);
    Ok(())
}

fn model(
    message: &Message,
    traits: &Traits,
    losses: &mut Vec<Loss>,
) -> Result<Vec<Value>, Refusal> {
    let mut parts = Vec::new();
    let mut called = false;
    for part in &message.parts {
        match part {
            Part::Text(words) | Part::Refusal(words) => parts.push(json!({"text": words})),
            Part::Reasoning(reasoning) => match &reasoning.signature {
                Some(signature) if signature.dialect == Dialect::Gemini => parts.push(json!({
                    "text": reasoning.text, "thought": true, "thoughtSignature": signature.data,
                })),
                _ => note(losses, Loss::dropped("reasoning_content")),
            },
            Part::ToolCall(call) => {
                parts.push(function_call(call, traits.thought_signatures && !called, losses));
                called = true;
            }
            Part::Image { source, .. } | Part::File { source, .. } => parts.push(media(source)?),
            Part::Audio { .. } | Part::ToolResult(_) => {
                return Err(Refusal::at("messages.content", "this part cannot stand here"));
            }
        }
    }
    Ok(parts)
}

/// `first`: only the first call of a turn is signed, and must be.
fn function_call(call: &ToolCall, first: bool, losses: &mut Vec<Loss>) -> Value {
    let args = arguments(&call.arguments).unwrap_or_else(|| {
        note(losses, Loss::emulated("tool_calls.function.arguments"));
        json!({"_raw_arguments": call.arguments})
    });
    let mut value = json!({"name": call.name, "args": args});
    if let (false, Some(map)) = (call.id.starts_with(MINTED), value.as_object_mut()) {
        map.insert("id".to_owned(), json!(call.id));
    }
    let own = call.signature.as_ref().filter(|sign| sign.dialect == Dialect::Gemini);
    match own.map(|sign| sign.data.as_str()).or_else(|| first.then_some(NO_SIGNATURE)) {
        Some(data) => json!({"functionCall": value, "thoughtSignature": data}),
        None => json!({"functionCall": value}),
    }
}

fn tools(
    request: &ChatRequest,
    traits: &Traits,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    if request.tools.is_empty() {
        return;
    }
    let declare = |tool: &crate::dialect::chat::Tool| {
        let mut value = json!({"name": tool.name});
        if let Some(map) = value.as_object_mut() {
            if let Some(words) = &tool.description {
                map.insert("description".to_owned(), json!(words));
            }
            if let Some(schema) = &tool.parameters {
                let (key, schema) = if traits.full_json_schema {
                    ("parametersJsonSchema", schema.clone())
                } else {
                    ("parameters", subset(schema))
                };
                map.insert(key.to_owned(), schema);
            }
        }
        value
    };
    let declared: Vec<Value> = request.tools.iter().map(declare).collect();
    body.insert("tools".to_owned(), json!([{"functionDeclarations": declared}]));
    if request.parallel_tool_calls == Some(false) {
        losses.push(Loss::dropped("parallel_tool_calls"));
    }
    let config = match &request.tool_choice {
        None => return,
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::Tool(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
}

/// What older models know of JSON Schema: keywords that they refuse are left out.
fn subset(schema: &Value) -> Value {
    const REFUSED: [&str; 5] = ["$schema", "additionalProperties", "$defs", "definitions", "const"];
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !REFUSED.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), subset(value))).collect())
        }
        Value::Array(items) => items.iter().map(subset).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

fn config(request: &ChatRequest, traits: &Traits, losses: &mut Vec<Loss>) -> Map<String, Value> {
    let mut config = Map::new();
    let sampling = &request.sampling;
    for (ours, theirs, value) in [
        ("temperature", "temperature", json!(sampling.temperature)),
        ("top_p", "topP", json!(sampling.top_p)),
        ("top_k", "topK", json!(sampling.top_k)),
        ("frequency_penalty", "frequencyPenalty", json!(sampling.frequency_penalty)),
        ("presence_penalty", "presencePenalty", json!(sampling.presence_penalty)),
    ] {
        if value.is_null() {
            continue;
        }
        if traits.sampling {
            config.insert(theirs.to_owned(), value);
        } else {
            losses.push(Loss::dropped(ours));
        }
    }
    for (field, given) in
        [("logit_bias", sampling.logit_bias.is_some()), ("user", request.user.is_some())]
    {
        if given {
            losses.push(Loss::dropped(field));
        }
    }
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            config.insert(key.to_owned(), value);
        }
    };
    put("seed", json!(sampling.seed));
    put("maxOutputTokens", json!(request.max_output_tokens));
    if request.stop.len() > MOST_STOPS {
        losses.push(Loss::clamped("stop"));
    }
    if !request.stop.is_empty() {
        put("stopSequences", request.stop.iter().take(MOST_STOPS).cloned().collect());
    }
    if let Some(top) = request.logprobs {
        put("responseLogprobs", json!(true));
        put("logprobs", json!(top.max(1)));
    }
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => put("responseMimeType", json!("application/json")),
        OutputFormat::JsonSchema { schema, .. } => {
            put("responseMimeType", json!("application/json"));
            if traits.full_json_schema {
                put("responseJsonSchema", schema.clone());
            } else {
                put("responseSchema", subset(schema));
            }
        }
    }
    put("thinkingConfig", thinking(request, traits, losses));
    config
}

fn thinking(request: &ChatRequest, traits: &Traits, losses: &mut Vec<Loss>) -> Value {
    let Some(reasoning) = &request.reasoning else { return Value::Null };
    let effort = reasoning.effort.unwrap_or(Effort::Medium);
    match traits.thinking {
        Thinking::None => {
            losses.push(Loss::dropped("reasoning_effort"));
            Value::Null
        }
        Thinking::Budget => {
            let budget = reasoning.budget.unwrap_or(match effort {
                Effort::None => 0,
                Effort::Minimal => 512,
                Effort::Low => 1024,
                Effort::Medium => 8192,
                Effort::High | Effort::XHigh | Effort::Max => 24_576,
            });
            json!({"thinkingBudget": budget, "includeThoughts": budget > 0})
        }
        Thinking::Always | Thinking::Effort => {
            if matches!(effort, Effort::None | Effort::XHigh | Effort::Max) {
                losses.push(Loss::clamped("reasoning_effort"));
            }
            let level = match effort {
                Effort::None | Effort::Minimal => "MINIMAL",
                Effort::Low => "LOW",
                Effort::Medium => "MEDIUM",
                Effort::High | Effort::XHigh | Effort::Max => "HIGH",
            };
            json!({"thinkingLevel": level, "includeThoughts": effort != Effort::None})
        }
    }
}

/// Names a loss once, however many parts it befalls.
fn note(losses: &mut Vec<Loss>, loss: Loss) {
    if !losses.contains(&loss) {
        losses.push(loss);
    }
}
