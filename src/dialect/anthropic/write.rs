//! Writing a request for an Anthropic target from the common form.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{image::image, request::JSON_TOOL};
use crate::dialect::{
    ChatRequest, Dialect, Encoded, Loss, Refusal, Target,
    chat::{Effort, Message, OutputFormat, Part, Role, Source, ToolChoice, ToolResult},
    json::arguments,
    traits::{Thinking, Traits},
};

/// What a system text is put into where it must stand in a user's turn.
const SYSTEM_NOTE: &str = "[system] ";

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    refuse(request)?;
    let mut losses: Vec<Loss> = request.rest.keys().cloned().map(Loss::dropped).collect();
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(target.model));
    let mut system = Vec::new();
    let turns = turns(request, traits, &mut system, &mut losses)?;
    body.insert("messages".to_owned(), Value::Array(turns));
    let limit = request.max_output_tokens.unwrap_or(traits.max_output_tokens);
    if limit > traits.max_output_tokens {
        losses.push(Loss::clamped("max_tokens"));
    }
    let mut limit = limit.min(traits.max_output_tokens);
    let thinks = thinking(request, traits, &mut limit, &mut body, &mut losses);
    body.insert("max_tokens".to_owned(), json!(limit));
    sampling(request, traits, thinks, &mut body, &mut losses);
    let stops: Vec<&String> = request.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stops.len() < request.stop.len() {
        losses.push(Loss::dropped("stop"));
    }
    if !stops.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(stops));
    }
    if let Some(user) = &request.user {
        body.insert("metadata".to_owned(), json!({"user_id": user}));
    }
    if request.stream {
        body.insert("stream".to_owned(), json!(true));
    }
    tools(request, traits, &mut body, &mut losses);
    output(request, traits, &mut system, &mut body, &mut losses);
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    Ok(Encoded { body: Bytes::from(Value::Object(body).to_string()), losses })
}

/// What would silently change the meaning of the answer.
fn refuse(request: &ChatRequest) -> Result<(), Refusal> {
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(Refusal::at("n", "this provider writes one answer at a time"));
    }
    if request.logprobs.is_some() {
        return Err(Refusal::at("logprobs", "this provider reports no log probabilities"));
    }
    Ok(())
}

fn text_block(words: &str) -> Value {
    json!({"type": "text", "text": words})
}

/// The conversation as turns that alternate, and what stands before them as system text.
fn turns(
    request: &ChatRequest,
    traits: &Traits,
    system: &mut Vec<Value>,
    losses: &mut Vec<Loss>,
) -> Result<Vec<Value>, Refusal> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut add = |role: &'static str, blocks: Vec<Value>| match turns.last_mut() {
        Some((last, before)) if *last == role => before.extend(blocks),
        _ if blocks.is_empty() => {}
        _ => turns.push((role, blocks)),
    };
    let mut begun = false;
    for message in &request.messages {
        match message.role {
            Role::System | Role::Developer => {
                let words = texts(&message.parts);
                if !begun {
                    system.extend(words.map(text_block));
                } else if traits.mid_system {
                    add("system", words.map(text_block).collect());
                } else {
                    note(losses, Loss::emulated("messages.role"));
                    add("user", words.map(|w| text_block(&format!("{SYSTEM_NOTE}{w}"))).collect());
                }
            }
            Role::User => {
                begun = true;
                add("user", user(message, losses)?);
            }
            Role::Assistant => {
                begun = true;
                add("assistant", assistant(message, losses)?);
            }
        }
    }
    if turns.is_empty() {
        losses.push(Loss::emulated("messages"));
        turns.push(("user", vec![text_block(".")]));
    }
    let write = |(role, content): (&str, Vec<Value>)| json!({"role": role, "content": content});
    Ok(turns.into_iter().map(write).collect())
}

fn texts(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| match part {
        Part::Text(words) if !words.trim().is_empty() => Some(words.as_str()),
        _ => None,
    })
}

/// Results first: a turn that answers calls must begin with the answers.
fn user(message: &Message, losses: &mut Vec<Loss>) -> Result<Vec<Value>, Refusal> {
    let (mut results, mut rest) = (Vec::new(), Vec::new());
    for part in &message.parts {
        if let Part::ToolResult(result) = part {
            results.push(tool_result(result, losses)?);
        } else {
            rest.extend(block(part)?);
        }
    }
    if message.name.is_some() {
        note(losses, Loss::dropped("messages.name"));
    }
    results.extend(rest);
    Ok(results)
}

fn tool_result(result: &ToolResult, _losses: &mut Vec<Loss>) -> Result<Value, Refusal> {
    let mut content = Vec::new();
    for part in &result.parts {
        content.extend(block(part)?);
    }
    let mut value = json!({"type": "tool_result", "tool_use_id": result.call_id});
    if let Some(map) = value.as_object_mut() {
        if !content.is_empty() {
            map.insert("content".to_owned(), Value::Array(content));
        }
        if result.is_error {
            map.insert("is_error".to_owned(), json!(true));
        }
    }
    Ok(value)
}

/// Thinking first, and only what this dialect has signed: anything else is refused.
fn assistant(message: &Message, losses: &mut Vec<Loss>) -> Result<Vec<Value>, Refusal> {
    let (mut thoughts, mut rest) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Reasoning(reasoning) => match &reasoning.signature {
                Some(sign) if sign.dialect == Dialect::AnthropicMessages => {
                    thoughts.push(if reasoning.redacted {
                        json!({"type": "redacted_thinking", "data": sign.data})
                    } else {
                        json!({
                            "type": "thinking", "thinking": reasoning.text, "signature": sign.data,
                        })
                    });
                }
                _ => note(losses, Loss::dropped("reasoning_content")),
            },
            Part::ToolCall(call) => {
                let input = arguments(&call.arguments).unwrap_or_else(|| {
                    note(losses, Loss::emulated("tool_calls.function.arguments"));
                    json!({"_raw_arguments": call.arguments})
                });
                rest.push(json!({
                    "type": "tool_use", "id": call.id, "name": call.name, "input": input,
                }));
            }
            Part::Audio { .. }
            | Part::File { .. }
            | Part::Image { .. }
            | Part::Refusal(_)
            | Part::Text(_)
            | Part::ToolResult(_) => rest.extend(block(part)?),
        }
    }
    thoughts.extend(rest);
    Ok(thoughts)
}

/// A block of content; empty text is none.
fn block(part: &Part) -> Result<Option<Value>, Refusal> {
    Ok(Some(match part {
        Part::Text(words) | Part::Refusal(words) if words.trim().is_empty() => return Ok(None),
        Part::Text(words) | Part::Refusal(words) => text_block(words),
        Part::Image { source, detail: _ } => json!({"type": "image", "source": image(source)?}),
        Part::File { name, source } => {
            let source = match source {
                Source::Text(words) => {
                    json!({"type": "text", "media_type": "text/plain", "data": words})
                }
                Source::Base64 { media_type, data } => {
                    json!({"type": "base64", "media_type": media_type, "data": data})
                }
                Source::Url(url) => json!({"type": "url", "url": url}),
                Source::FileId(_) => {
                    let message = "files of another provider's store cannot be sent here";
                    return Err(Refusal::at("messages.content.file.file_id", message));
                }
            };
            let mut value = json!({"type": "document", "source": source});
            if let (Some(name), Some(map)) = (name, value.as_object_mut()) {
                map.insert("title".to_owned(), json!(name));
            }
            value
        }
        Part::Audio { .. } => {
            let message = "this provider takes no audio";
            return Err(Refusal::at("messages.content.input_audio", message));
        }
        Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
            return Err(Refusal::at("messages.content", "this part cannot stand here"));
        }
    }))
}

/// Turns thinking on or off, and says whether it is on.
fn thinking(
    request: &ChatRequest,
    traits: &Traits,
    limit: &mut u64,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> bool {
    let Some(reasoning) = &request.reasoning else { return traits.thinking == Thinking::Always };
    let effort = reasoning.effort.unwrap_or(match reasoning.budget {
        Some(0) => Effort::None,
        Some(1..=2048) => Effort::Low,
        Some(2049..=8192) | None => Effort::Medium,
        Some(_) => Effort::High,
    });
    match traits.thinking {
        Thinking::None => {
            losses.push(Loss::dropped("reasoning_effort"));
            false
        }
        Thinking::Effort if effort == Effort::None => {
            body.insert("thinking".to_owned(), json!({"type": "disabled"}));
            false
        }
        Thinking::Always | Thinking::Effort => {
            if effort == Effort::None {
                losses.push(Loss::clamped("reasoning_effort"));
            }
            let step = effort.max(Effort::Low).as_str();
            body.insert("thinking".to_owned(), json!({"type": "adaptive"}));
            body.insert("output_config".to_owned(), json!({"effort": step}));
            true
        }
        Thinking::Budget => {
            let budget = match (reasoning.budget, effort) {
                (_, Effort::None) => return false,
                (Some(budget), _) => budget.max(1024),
                (None, Effort::Minimal | Effort::Low) => 1024,
                (None, Effort::Medium) => 2048,
                (None, Effort::High) => 4096,
                (None, Effort::XHigh) => 8192,
                (None, Effort::Max) => 16_384,
            };
            // The budget is a part of the limit and must leave room for the answer.
            *limit = (*limit).max(budget + 1024);
            body.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": budget}));
            true
        }
    }
}

fn sampling(
    request: &ChatRequest,
    traits: &Traits,
    thinks: bool,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    let sampling = &request.sampling;
    let takes = traits.sampling && !thinks;
    for (key, value) in [
        ("temperature", sampling.temperature.map(|heat| json!(heat.min(1.0)))),
        ("top_p", sampling.top_p.map(|share| json!(share))),
        ("top_k", sampling.top_k.map(|most| json!(most))),
    ] {
        match value {
            Some(value) if takes => {
                body.insert(key.to_owned(), value);
            }
            Some(_) => losses.push(Loss::dropped(key)),
            None => {}
        }
    }
    if takes && sampling.temperature.is_some_and(|heat| heat > 1.0) {
        losses.push(Loss::clamped("temperature"));
    }
    for (key, given) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
        ("logit_bias", sampling.logit_bias.is_some()),
    ] {
        if given {
            losses.push(Loss::dropped(key));
        }
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
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let empty = || json!({"type": "object", "properties": {}});
            let schema = tool.parameters.clone().unwrap_or_else(empty);
            let mut value = json!({"name": tool.name, "input_schema": schema});
            if let (Some(words), Some(map)) = (&tool.description, value.as_object_mut()) {
                map.insert("description".to_owned(), json!(words));
            }
            value
        })
        .collect();
    body.insert("tools".to_owned(), Value::Array(tools));
    let forced = traits.forced_tool_choice;
    let mut choice = match &request.tool_choice {
        None if request.parallel_tool_calls == Some(false) => json!({"type": "auto"}),
        None => return,
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => json!({"type": "none"}),
        Some(ToolChoice::Required) if forced => json!({"type": "any"}),
        Some(ToolChoice::Tool(name)) if forced => json!({"type": "tool", "name": name}),
        Some(ToolChoice::Required | ToolChoice::Tool(_)) => {
            losses.push(Loss::emulated("tool_choice"));
            json!({"type": "auto"})
        }
    };
    if request.parallel_tool_calls == Some(false)
        && request.tool_choice != Some(ToolChoice::None)
        && let Some(map) = choice.as_object_mut()
    {
        map.insert("disable_parallel_tool_use".to_owned(), json!(true));
    }
    body.insert("tool_choice".to_owned(), choice);
}

fn output(
    request: &ChatRequest,
    traits: &Traits,
    system: &mut Vec<Value>,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => {
            losses.push(Loss::emulated("response_format"));
            system.push(text_block("Answer with one JSON object and nothing else."));
        }
        OutputFormat::JsonSchema { schema, .. } if traits.json_schema => {
            let format = json!({"type": "json_schema", "schema": closed(schema)});
            let config = body.entry("output_config").or_insert_with(|| json!({}));
            if let Some(map) = config.as_object_mut() {
                map.insert("format".to_owned(), format);
            }
        }
        OutputFormat::JsonSchema { schema, .. } => {
            let tool = json!({
                "name": JSON_TOOL, "input_schema": schema,
                "description": "Give the answer through this tool.",
            });
            if let Some(tools) = body.entry("tools").or_insert_with(|| json!([])).as_array_mut() {
                tools.push(tool);
            }
            // With tools of its own the model must stay free to call them.
            if request.tools.is_empty() && traits.forced_tool_choice {
                let choice = json!({"type": "tool", "name": JSON_TOOL});
                body.insert("tool_choice".to_owned(), choice);
            }
            losses.push(Loss::emulated("response_format"));
        }
    }
}

/// Structured outputs want every object closed.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut map: Map<String, Value> =
                map.iter().map(|(key, value)| (key.clone(), closed(value))).collect();
            if map.get("type").and_then(Value::as_str) == Some("object") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(map)
        }
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// Names a loss once, however many parts it befalls.
fn note(losses: &mut Vec<Loss>, loss: Loss) {
    if !losses.contains(&loss) {
        losses.push(loss);
    }
}
