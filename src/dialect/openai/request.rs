//! Reading a client's request into the common form.

use serde_json::Value;

use crate::dialect::{
    ChatRequest, Dialect, RequestError,
    chat::{
        Effort, Message, OutputFormat, Part, Reasoning, ReasoningPart, Role, Signature, Source,
        Tool, ToolCall, ToolChoice, ToolResult,
    },
    json::{list, object, take, text},
};

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, RequestError> {
    let mut map = object(body)?;
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let mut request = ChatRequest {
        model: take(&mut map, "model", "a text", string)?.unwrap_or_default(),
        stream: take(&mut map, "stream", "true or false", Value::as_bool)?.unwrap_or(false),
        choices: take(&mut map, "n", "a whole number", Value::as_u64)?,
        parallel_tool_calls: take(
            &mut map,
            "parallel_tool_calls",
            "true or false",
            Value::as_bool,
        )?,
        ..ChatRequest::default()
    };
    let older = take(&mut map, "max_tokens", "a whole number", Value::as_u64)?;
    let newer = take(&mut map, "max_completion_tokens", "a whole number", Value::as_u64)?;
    request.max_output_tokens = newer.or(older);
    let sampling = &mut request.sampling;
    sampling.temperature = take(&mut map, "temperature", "a number", Value::as_f64)?;
    sampling.top_p = take(&mut map, "top_p", "a number", Value::as_f64)?;
    sampling.frequency_penalty = take(&mut map, "frequency_penalty", "a number", Value::as_f64)?;
    sampling.presence_penalty = take(&mut map, "presence_penalty", "a number", Value::as_f64)?;
    sampling.seed = take(&mut map, "seed", "a whole number", Value::as_i64)?;
    sampling.logit_bias =
        take(&mut map, "logit_bias", "an object", |value| value.as_object().cloned())?;
    request.stop = take(&mut map, "stop", "a text or a list of texts", texts)?.unwrap_or_default();
    let wanted = take(&mut map, "logprobs", "true or false", Value::as_bool)?.unwrap_or(false);
    let top = take(&mut map, "top_logprobs", "a whole number", Value::as_u64)?;
    request.logprobs = wanted.then(|| top.unwrap_or(0));
    request.include_usage = map
        .remove("stream_options")
        .is_some_and(|options| options.get("include_usage") == Some(&Value::Bool(true)));
    let user = take(&mut map, "user", "a text", string)?;
    request.user = take(&mut map, "safety_identifier", "a text", string)?.or(user);
    if let Some(word) = take(&mut map, "reasoning_effort", "a text", string)? {
        let effort = Effort::parse(&word).ok_or_else(|| {
            RequestError::at("reasoning_effort", format!("`{word}` is no reasoning effort"))
        })?;
        request.reasoning = Some(Reasoning { effort: Some(effort), ..Reasoning::default() });
    }
    if let Some(format) = map.remove("response_format").filter(|format| !format.is_null()) {
        request.output = output(&format)?;
    }
    if let Some(tools) = map.remove("tools").filter(|tools| !tools.is_null()) {
        request.tools = read_tools(&tools)?;
    }
    if let Some(choice) = map.remove("tool_choice").filter(|choice| !choice.is_null()) {
        request.tool_choice = Some(tool_choice(&choice)?);
    }
    let messages = map.remove("messages");
    let messages = messages
        .as_ref()
        .and_then(Value::as_array)
        .ok_or_else(|| RequestError::at("messages", "`messages` must be a list of messages"))?;
    if messages.is_empty() {
        return Err(RequestError::at("messages", "`messages` must not be empty"));
    }
    for (at, value) in messages.iter().enumerate() {
        message(value, &format!("messages[{at}]"), &mut request.messages)?;
    }
    map.retain(|_, value| !value.is_null());
    request.rest = map;
    Ok(request)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn output(format: &Value) -> Result<OutputFormat, RequestError> {
    match text(format, "type") {
        Some("text") => Ok(OutputFormat::Text),
        Some("json_object") => Ok(OutputFormat::JsonObject),
        Some("json_schema") => {
            let inner = format.get("json_schema").unwrap_or(&Value::Null);
            let schema =
                inner.get("schema").filter(|schema| schema.is_object()).ok_or_else(|| {
                    RequestError::at(
                        "response_format.json_schema.schema",
                        "a JSON Schema is missing",
                    )
                })?;
            Ok(OutputFormat::JsonSchema {
                name: text(inner, "name").map(str::to_owned),
                description: text(inner, "description").map(str::to_owned),
                schema: schema.clone(),
                strict: inner.get("strict").and_then(Value::as_bool),
            })
        }
        _ => Err(RequestError::at(
            "response_format.type",
            "`type` must be text, json_object or json_schema",
        )),
    }
}

fn read_tools(tools: &Value) -> Result<Vec<Tool>, RequestError> {
    let tools =
        tools.as_array().ok_or_else(|| RequestError::at("tools", "`tools` must be a list"))?;
    let read = tools.iter().enumerate().map(|(at, tool)| {
        let function = tool.get("function");
        let name = function.and_then(|function| text(function, "name"));
        let (Some(function), Some(name)) = (function, name) else {
            let message = "only tools of type `function` with a name can be used here";
            return Err(RequestError::at(format!("tools[{at}]"), message));
        };
        Ok(Tool {
            name: name.to_owned(),
            description: text(function, "description").map(str::to_owned),
            parameters: function.get("parameters").filter(|schema| !schema.is_null()).cloned(),
            strict: function.get("strict").and_then(Value::as_bool),
        })
    });
    read.collect()
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, RequestError> {
    let named = choice.get("function").and_then(|function| text(function, "name"));
    match (choice.as_str(), named) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (_, Some(name)) => Ok(ToolChoice::Tool(name.to_owned())),
        _ => Err(RequestError::at(
            "tool_choice",
            "`tool_choice` must be auto, none, required or name a function",
        )),
    }
}

fn message(value: &Value, at: &str, to: &mut Vec<Message>) -> Result<(), RequestError> {
    let name = text(value, "name").map(str::to_owned);
    let role = match text(value, "role") {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => return tool_message(value, at, to),
        _ => {
            let message = "`role` must be system, developer, user, assistant or tool";
            return Err(RequestError::at(format!("{at}.role"), message));
        }
    };
    let mut parts = Vec::new();
    if role == Role::Assistant {
        reasoning(value, &mut parts);
    }
    content(value.get("content"), &format!("{at}.content"), &mut parts)?;
    if let Some(refusal) = text(value, "refusal") {
        parts.push(Part::Refusal(refusal.to_owned()));
    }
    for (n, call) in list(value, "tool_calls").iter().enumerate() {
        parts.push(Part::ToolCall(tool_call(call, &format!("{at}.tool_calls[{n}]"))?));
    }
    if parts.is_empty() && role != Role::Assistant {
        return Err(RequestError::at(format!("{at}.content"), "`content` is missing"));
    }
    to.push(Message { role, name, parts });
    Ok(())
}

/// A result joins those before it: together they are one turn.
fn tool_message(value: &Value, at: &str, to: &mut Vec<Message>) -> Result<(), RequestError> {
    let Some(call_id) = text(value, "tool_call_id") else {
        let message = "`tool_call_id` must say which call this answers";
        return Err(RequestError::at(format!("{at}.tool_call_id"), message));
    };
    let calls = to.iter().rev().flat_map(|message| &message.parts);
    let name = calls.filter_map(as_call).find(|call| call.id == call_id).map(|c| c.name.clone());
    let mut parts = Vec::new();
    content(value.get("content"), &format!("{at}.content"), &mut parts)?;
    let result =
        Part::ToolResult(ToolResult { call_id: call_id.to_owned(), name, parts, is_error: false });
    match to.last_mut() {
        Some(last)
            if last.role == Role::User
                && last.parts.iter().all(|part| matches!(part, Part::ToolResult(_))) =>
        {
            last.parts.push(result);
        }
        _ => to.push(Message { role: Role::User, name: None, parts: vec![result] }),
    }
    Ok(())
}

const fn as_call(part: &Part) -> Option<&ToolCall> {
    if let Part::ToolCall(call) = part { Some(call) } else { None }
}

fn tool_call(call: &Value, at: &str) -> Result<ToolCall, RequestError> {
    let function = call.get("function").unwrap_or(&Value::Null);
    let (Some(id), Some(name)) = (text(call, "id"), text(function, "name")) else {
        return Err(RequestError::at(at, "a tool call needs `id` and `function.name`"));
    };
    let signature = call
        .pointer("/extra_content/google/thought_signature")
        .and_then(Value::as_str)
        .map(|data| Signature { dialect: Dialect::Gemini, data: data.to_owned() });
    Ok(ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: text(function, "arguments").unwrap_or("{}").to_owned(),
        signature,
    })
}

fn content(value: Option<&Value>, at: &str, parts: &mut Vec<Part>) -> Result<(), RequestError> {
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) => {
            parts.push(Part::Text(text.clone()));
            Ok(())
        }
        Some(Value::Array(items)) => {
            for (n, item) in items.iter().enumerate() {
                parts.push(part(item, &format!("{at}[{n}]"))?);
            }
            Ok(())
        }
        Some(_) => Err(RequestError::at(at, "`content` must be a text or a list of parts")),
    }
}

fn part(item: &Value, at: &str) -> Result<Part, RequestError> {
    let inner = |key: &str| item.get(key).unwrap_or(&Value::Null);
    let missing = |what: &str| RequestError::at(at, format!("`{what}` is missing"));
    match text(item, "type") {
        Some("text") => {
            Ok(Part::Text(text(item, "text").ok_or_else(|| missing("text"))?.to_owned()))
        }
        Some("refusal") => Ok(Part::Refusal(text(item, "refusal").unwrap_or_default().to_owned())),
        Some("image_url") => {
            let image = inner("image_url");
            let url = text(image, "url").ok_or_else(|| missing("image_url.url"))?;
            Ok(Part::Image {
                source: source(url),
                detail: text(image, "detail").map(str::to_owned),
            })
        }
        Some("input_audio") => {
            let audio = inner("input_audio");
            Ok(Part::Audio {
                data: text(audio, "data").ok_or_else(|| missing("input_audio.data"))?.to_owned(),
                format: text(audio, "format").unwrap_or("wav").to_owned(),
            })
        }
        Some("file") => {
            let file = inner("file");
            let source = match (text(file, "file_data"), text(file, "file_id")) {
                (Some(data), _) => source(data),
                (None, Some(id)) => Source::FileId(id.to_owned()),
                (None, None) => return Err(missing("file.file_data")),
            };
            Ok(Part::File { name: text(file, "filename").map(str::to_owned), source })
        }
        _ => Err(RequestError::at(
            format!("{at}.type"),
            "`type` must be text, image_url, input_audio, file or refusal",
        )),
    }
}

/// A `data:` URL is content; any other is an address.
fn source(url: &str) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => {
            Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => Source::Url(url.to_owned()),
    }
}

/// Thinking in any of the ways in which clients carry it back; signed ways first.
fn reasoning(value: &Value, parts: &mut Vec<Part>) {
    let before = parts.len();
    for detail in list(value, "reasoning_details") {
        let dialect = match text(detail, "format") {
            Some("google-gemini-v1") => Dialect::Gemini,
            Some(format) if format.starts_with("openai") => Dialect::OpenAiChat,
            _ => Dialect::AnthropicMessages,
        };
        let sign = |data: &str| Signature { dialect, data: data.to_owned() };
        let redacted = text(detail, "type") == Some("reasoning.encrypted");
        let signature = text(detail, if redacted { "data" } else { "signature" }).map(sign);
        let words = text(detail, "text").or_else(|| text(detail, "summary")).unwrap_or_default();
        parts.push(Part::Reasoning(ReasoningPart { text: words.to_owned(), signature, redacted }));
    }
    for block in list(value, "thinking_blocks") {
        if parts.len() > before {
            break;
        }
        let dialect = Dialect::AnthropicMessages;
        let sign = |data: &str| Signature { dialect, data: data.to_owned() };
        let redacted = text(block, "type") == Some("redacted_thinking");
        let signature = text(block, if redacted { "data" } else { "signature" }).map(sign);
        let words = text(block, "thinking").unwrap_or_default().to_owned();
        parts.push(Part::Reasoning(ReasoningPart { text: words, signature, redacted }));
    }
    let plain = text(value, "reasoning_content").or_else(|| text(value, "reasoning"));
    if let Some(words) = plain.filter(|words| !words.is_empty() && parts.len() == before) {
        parts.push(Part::Reasoning(ReasoningPart {
            text: words.to_owned(),
            ..ReasoningPart::default()
        }));
    }
}
