//! Writing a request for an OpenAI or compatible target from the common form.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::dialect::{
    ChatRequest, Encoded, Loss, Refusal, Target,
    chat::{
        Effort, Message, OutputFormat, Part, Reasoning, Role, Source, Tool, ToolChoice, ToolResult,
    },
    traits::Thinking,
};

/// OpenAI takes four stop texts.
const MOST_STOPS: usize = 4;

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    let mut losses: Vec<Loss> = request.rest.keys().cloned().map(Loss::dropped).collect();
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            body.insert(key.to_owned(), value);
        }
    };
    put("model", json!(target.model));
    let mut messages = Vec::new();
    for message in &request.messages {
        write_message(message, traits.developer_role, &mut messages, &mut losses)?;
    }
    put("messages", Value::Array(messages));
    if request.stream {
        put("stream", json!(true));
        put("stream_options", json!({"include_usage": true}));
    }
    let limit = if traits.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    put(limit, json!(request.max_output_tokens));
    let sampling = &request.sampling;
    for (key, value) in [
        ("temperature", json!(sampling.temperature)),
        ("top_p", json!(sampling.top_p)),
        ("frequency_penalty", json!(sampling.frequency_penalty)),
        ("presence_penalty", json!(sampling.presence_penalty)),
    ] {
        if traits.sampling || value.is_null() {
            put(key, value);
        } else {
            losses.push(Loss::dropped(key));
        }
    }
    put("seed", json!(sampling.seed));
    put("logit_bias", json!(sampling.logit_bias));
    if sampling.top_k.is_some() {
        losses.push(Loss::dropped("top_k"));
    }
    if !request.stop.is_empty() {
        if request.stop.len() > MOST_STOPS {
            losses.push(Loss::clamped("stop_sequences"));
        }
        put("stop", json!(request.stop.iter().take(MOST_STOPS).collect::<Vec<_>>()));
    }
    if let Some(top) = request.logprobs {
        put("logprobs", json!(true));
        put("top_logprobs", json!(top));
    }
    put("n", json!(request.choices));
    put("user", json!(request.user));
    if !request.tools.is_empty() {
        put("tools", request.tools.iter().map(tool).collect());
        put("parallel_tool_calls", json!(request.parallel_tool_calls));
    }
    put("tool_choice", choice(request.tool_choice.as_ref()));
    put("response_format", format(&request.output));
    if let Some(reasoning) = &request.reasoning {
        match traits.thinking {
            Thinking::None => losses.push(Loss::dropped("thinking")),
            Thinking::Always | Thinking::Budget | Thinking::Effort => {
                put("reasoning_effort", json!(effort(reasoning).map(Effort::as_str)));
            }
        }
    }
    Ok(Encoded { body: Bytes::from(Value::Object(body).to_string()), losses })
}

/// The ladder step, or the one nearest to a budget of tokens.
fn effort(reasoning: &Reasoning) -> Option<Effort> {
    reasoning.effort.or_else(|| {
        Some(match reasoning.budget? {
            0 => Effort::None,
            1..=2048 => Effort::Low,
            2049..=8192 => Effort::Medium,
            _ => Effort::High,
        })
    })
}

fn write_message(
    message: &Message,
    developer: bool,
    to: &mut Vec<Value>,
    losses: &mut Vec<Loss>,
) -> Result<(), Refusal> {
    match message.role {
        Role::System | Role::Developer => {
            let role = if developer { "developer" } else { "system" };
            to.push(json!({"role": role, "content": joined(&message.parts)}));
        }
        Role::User => {
            let mut content = Vec::new();
            for part in &message.parts {
                if let Part::ToolResult(result) = part {
                    to.push(tool_message(result, &mut content, losses)?);
                } else {
                    content.push(user_part(part)?);
                }
            }
            if !content.is_empty() {
                to.push(json!({"role": "user", "content": simplest(content)}));
            }
        }
        Role::Assistant => to.push(assistant(message, losses)),
    }
    Ok(())
}

fn assistant(message: &Message, losses: &mut Vec<Loss>) -> Value {
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut written = Map::from_iter([("role".to_owned(), json!("assistant"))]);
    for part in &message.parts {
        match part {
            Part::Text(words) => text.push_str(words),
            Part::Refusal(words) => {
                written.insert("refusal".to_owned(), json!(words));
            }
            Part::ToolCall(call) => calls.push(json!({
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Part::Reasoning(_) => note(losses, Loss::dropped("thinking")),
            Part::Audio { .. } | Part::File { .. } | Part::Image { .. } | Part::ToolResult(_) => {
                note(losses, Loss::dropped("content"));
            }
        }
    }
    let content = if text.is_empty() { Value::Null } else { Value::from(text) };
    written.insert("content".to_owned(), content);
    if !calls.is_empty() {
        written.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Value::Object(written)
}

/// A tool message takes text only: pictures go into the user's turn that follows.
fn tool_message(
    result: &ToolResult,
    after: &mut Vec<Value>,
    losses: &mut Vec<Loss>,
) -> Result<Value, Refusal> {
    let mut text = if result.is_error { "Error: ".to_owned() } else { String::new() };
    for part in &result.parts {
        if let Part::Text(words) = part {
            text.push_str(words);
        } else {
            after.push(user_part(part)?);
            note(losses, Loss::emulated("tool_result.content"));
        }
    }
    Ok(json!({"role": "tool", "tool_call_id": result.call_id, "content": text}))
}

fn user_part(part: &Part) -> Result<Value, Refusal> {
    Ok(match part {
        Part::Text(words) | Part::Refusal(words) => json!({"type": "text", "text": words}),
        Part::Image { source, detail } => {
            let mut image = json!({"url": url(source)?});
            if let (Some(detail), Some(image)) = (detail, image.as_object_mut()) {
                image.insert("detail".to_owned(), json!(detail));
            }
            json!({"type": "image_url", "image_url": image})
        }
        Part::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Part::File { name, source: Source::Text(words) } => {
            let title = name.as_deref().unwrap_or("document");
            json!({"type": "text", "text": format!("{title}:\n{words}")})
        }
        Part::File { name, source } => {
            let name = name.as_deref().unwrap_or("document.pdf");
            json!({"type": "file", "file": {"filename": name, "file_data": url(source)?}})
        }
        Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
            return Err(Refusal::at("messages", "this part cannot stand in a user's turn"));
        }
    })
}

fn url(source: &Source) -> Result<String, Refusal> {
    match source {
        Source::Base64 { media_type, data } => Ok(format!("data:{media_type};base64,{data}")),
        Source::Url(url) => Ok(url.clone()),
        Source::Text(_) | Source::FileId(_) => {
            Err(Refusal::at("source", "files of another provider's store cannot be sent here"))
        }
    }
}

/// A single text stands alone, as most servers expect it.
fn simplest(mut content: Vec<Value>) -> Value {
    if let [only] = content.as_mut_slice()
        && let Some(text) = only.get_mut("text")
    {
        return text.take();
    }
    Value::Array(content)
}

fn joined(parts: &[Part]) -> String {
    let texts =
        parts.iter().filter_map(|part| if let Part::Text(t) = part { Some(t) } else { None });
    texts.map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn tool(tool: &Tool) -> Value {
    let empty = || json!({"type": "object", "properties": {}});
    let mut function = json!({
        "name": tool.name,
        "parameters": tool.parameters.clone().unwrap_or_else(empty),
    });
    if let Some(map) = function.as_object_mut() {
        if let Some(description) = &tool.description {
            map.insert("description".to_owned(), json!(description));
        }
        if let Some(strict) = tool.strict {
            map.insert("strict".to_owned(), json!(strict));
        }
    }
    json!({"type": "function", "function": function})
}

fn choice(choice: Option<&ToolChoice>) -> Value {
    match choice {
        None => Value::Null,
        Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Tool(name)) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn format(output: &OutputFormat) -> Value {
    match output {
        OutputFormat::Text => Value::Null,
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema { name, description: _, schema, strict } => {
            let name = name.as_deref().unwrap_or("answer");
            let strict = strict.unwrap_or(true);
            json!({
                "type": "json_schema",
                "json_schema": {"name": name, "schema": schema, "strict": strict},
            })
        }
    }
}

/// Names a loss once, however many parts it befalls.
fn note(losses: &mut Vec<Loss>, loss: Loss) {
    if !losses.contains(&loss) {
        losses.push(loss);
    }
}
