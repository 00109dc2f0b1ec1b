//! Reading a client's request into the common form.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::dialect::{
    ChatRequest, Dialect, RequestError,
    chat::{
        Effort, Message, OutputFormat, Part, Reasoning, ReasoningPart, Role, Signature, Source,
        Tool, ToolCall, ToolChoice, ToolResult,
    },
    json::{list, object, take, text},
};

/// The tool through which a JSON answer is asked for where a model has no native way.
pub(super) const JSON_TOOL: &str = "trunkline_json_answer";

/// Stands where a client expects a signature and the thinking has none that Anthropic knows.
pub(super) const UNSIGNED: &str = "trunkline.unsigned";

/// Parts a tool call's id from the signature of another dialect that it carries.
const CARRIED: &str = "_tlsig_";

/// A tool call's id that carries the signature of another dialect: the id is the one field that
/// every client of this API gives back unchanged, and this API has no place for a signature there.
pub(super) fn hide_signature(id: &str, signature: Option<&Signature>) -> String {
    match signature {
        Some(signature) if signature.dialect == Dialect::Gemini => {
            format!("{id}{CARRIED}{}", URL_SAFE_NO_PAD.encode(&signature.data))
        }
        _ => id.to_owned(),
    }
}

/// The id and the signature that it carried.
fn show_signature(id: &str) -> (String, Option<Signature>) {
    let carried = id.split_once(CARRIED).and_then(|(id, data)| {
        let data = String::from_utf8(URL_SAFE_NO_PAD.decode(data).ok()?).ok()?;
        Some((id.to_owned(), Some(Signature { dialect: Dialect::Gemini, data })))
    });
    carried.unwrap_or_else(|| (id.to_owned(), None))
}

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, RequestError> {
    let mut map = object(body)?;
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let mut request = ChatRequest {
        model: take(&mut map, "model", "a text", string)?.unwrap_or_default(),
        stream: take(&mut map, "stream", "true or false", Value::as_bool)?.unwrap_or(false),
        max_output_tokens: take(&mut map, "max_tokens", "a whole number", Value::as_u64)?,
        // This dialect always ends a stream with usage.
        include_usage: true,
        ..ChatRequest::default()
    };
    if request.max_output_tokens.is_none() {
        return Err(RequestError::at("max_tokens", "`max_tokens` is missing"));
    }
    let sampling = &mut request.sampling;
    sampling.temperature = take(&mut map, "temperature", "a number", Value::as_f64)?;
    sampling.top_p = take(&mut map, "top_p", "a number", Value::as_f64)?;
    sampling.top_k = take(&mut map, "top_k", "a whole number", Value::as_u64)?;
    request.stop = take(&mut map, "stop_sequences", "a list of texts", |value| {
        value.as_array()?.iter().map(string).collect()
    })?
    .unwrap_or_default();
    if let Some(Value::Object(mut metadata)) = map.remove("metadata") {
        request.user = metadata.remove("user_id").as_ref().and_then(string);
    }
    let mut cached = false;
    if let Some(system) = map.remove("system") {
        let parts = content(&system, "system", &[], &mut cached)?;
        request.messages.push(Message { role: Role::System, name: None, parts });
    }
    let messages = map.remove("messages");
    let messages = messages
        .as_ref()
        .and_then(Value::as_array)
        .ok_or_else(|| RequestError::at("messages", "`messages` must be a list of messages"))?;
    for (at, value) in messages.iter().enumerate() {
        let at = format!("messages[{at}]");
        let role = match text(value, "role") {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                let message = "`role` must be user, assistant or system";
                return Err(RequestError::at(format!("{at}.role"), message));
            }
        };
        let value = value.get("content").unwrap_or(&Value::Null);
        let at = format!("{at}.content");
        let parts = content(value, &at, &request.messages, &mut cached)?;
        request.messages.push(Message { role, name: None, parts });
    }
    if messages.is_empty() {
        return Err(RequestError::at("messages", "`messages` must not be empty"));
    }
    for (at, tool) in map.remove("tools").iter().filter_map(|t| t.as_array()).flatten().enumerate()
    {
        cached |= tool.get("cache_control").is_some();
        request.tools.push(read_tool(tool, &format!("tools[{at}]"))?);
    }
    if let Some(choice) = map.remove("tool_choice").filter(|choice| !choice.is_null()) {
        tool_choice(&choice, &mut request)?;
    }
    thinking(&mut map, &mut request)?;
    map.retain(|_, value| !value.is_null());
    if cached {
        map.insert("cache_control".to_owned(), Value::Null);
    }
    request.rest = map;
    Ok(request)
}

fn read_tool(tool: &Value, at: &str) -> Result<Tool, RequestError> {
    let custom = matches!(text(tool, "type"), None | Some("custom"));
    let (true, Some(name)) = (custom, text(tool, "name")) else {
        let message = "only tools with a name and an input schema of your own can be used here";
        return Err(RequestError::at(at, message));
    };
    Ok(Tool {
        name: name.to_owned(),
        description: text(tool, "description").map(str::to_owned),
        parameters: tool.get("input_schema").cloned(),
        strict: tool.get("strict").and_then(Value::as_bool),
    })
}

fn tool_choice(choice: &Value, request: &mut ChatRequest) -> Result<(), RequestError> {
    request.tool_choice = Some(match (text(choice, "type"), text(choice, "name")) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("any"), _) => ToolChoice::Required,
        (Some("none"), _) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Tool(name.to_owned()),
        _ => {
            let message = "`type` must be auto, any, none, or tool with a name";
            return Err(RequestError::at("tool_choice", message));
        }
    });
    let alone = choice.get("disable_parallel_tool_use").and_then(Value::as_bool);
    request.parallel_tool_calls = alone.map(|alone| !alone);
    Ok(())
}

fn thinking(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), RequestError> {
    let mut reasoning = Reasoning::default();
    if let Some(thinking) = map.remove("thinking").filter(|thinking| !thinking.is_null()) {
        match text(&thinking, "type") {
            Some("disabled") => reasoning.effort = Some(Effort::None),
            Some("enabled") => {
                reasoning.budget = thinking.get("budget_tokens").and_then(Value::as_u64);
                reasoning.visible = Some(true);
            }
            Some("adaptive" | "between_tools") => reasoning.visible = Some(true),
            _ => {
                let message = "`type` must be adaptive, enabled, between_tools or disabled";
                return Err(RequestError::at("thinking.type", message));
            }
        }
    }
    if let Some(config) = map.remove("output_config") {
        if let Some(word) = text(&config, "effort") {
            reasoning.effort = reasoning.effort.or_else(|| Effort::parse(word));
        }
        if let Some(schema) = config.pointer("/format/schema") {
            request.output = OutputFormat::JsonSchema {
                name: None,
                description: None,
                schema: schema.clone(),
                strict: Some(true),
            };
        }
    }
    request.reasoning = (reasoning != Reasoning::default()).then_some(reasoning);
    Ok(())
}

/// Reads a text or a list of blocks. `before` are the messages in which a result finds its call.
fn content(
    value: &Value,
    at: &str,
    before: &[Message],
    cached: &mut bool,
) -> Result<Vec<Part>, RequestError> {
    match value {
        Value::String(words) => Ok(vec![Part::Text(words.clone())]),
        Value::Array(blocks) => {
            let mut parts = Vec::with_capacity(blocks.len());
            for (n, item) in blocks.iter().enumerate() {
                *cached |= item.get("cache_control").is_some_and(|mark| !mark.is_null());
                parts.push(block(item, &format!("{at}[{n}]"), before, cached)?);
            }
            Ok(parts)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err(RequestError::at(at, "`content` must be a text or a list of blocks"))
        }
    }
}

fn block(
    item: &Value,
    at: &str,
    before: &[Message],
    cached: &mut bool,
) -> Result<Part, RequestError> {
    let missing =
        |what: &str| RequestError::at(format!("{at}.{what}"), format!("`{what}` is missing"));
    let words = |key: &str| text(item, key).map(str::to_owned).ok_or_else(|| missing(key));
    let signed = |data: String| {
        let known = data != UNSIGNED && !data.is_empty();
        known.then_some(Signature { dialect: Dialect::AnthropicMessages, data })
    };
    Ok(match text(item, "type") {
        Some("text") => Part::Text(words("text")?),
        Some("image") => Part::Image { source: source(item, at)?, detail: None },
        Some("document") => {
            Part::File { name: text(item, "title").map(str::to_owned), source: source(item, at)? }
        }
        Some("thinking") => Part::Reasoning(ReasoningPart {
            text: words("thinking")?,
            signature: signed(words("signature")?),
            redacted: false,
        }),
        Some("redacted_thinking") => Part::Reasoning(ReasoningPart {
            text: String::new(),
            signature: signed(words("data")?),
            redacted: true,
        }),
        Some("tool_use") => {
            let (id, signature) = show_signature(&words("id")?);
            let arguments = item.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            Part::ToolCall(ToolCall { id, name: words("name")?, arguments, signature })
        }
        Some("tool_result") => {
            let (call_id, _) = show_signature(&words("tool_use_id")?);
            let calls = before.iter().rev().flat_map(|message| &message.parts);
            let name = calls.into_iter().find_map(|part| match part {
                Part::ToolCall(call) if call.id == call_id => Some(call.name.clone()),
                _ => None,
            });
            let parts = match item.get("content") {
                None | Some(Value::Null) => Vec::new(),
                Some(value) => content(value, &format!("{at}.content"), before, cached)?,
            };
            let is_error = item.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            Part::ToolResult(ToolResult { call_id, name, parts, is_error })
        }
        kind => {
            let kind = kind.unwrap_or("nothing");
            let message = format!("blocks of type `{kind}` cannot be used with this model");
            return Err(RequestError::at(format!("{at}.type"), message));
        }
    })
}

fn source(item: &Value, at: &str) -> Result<Source, RequestError> {
    let source = item.get("source").unwrap_or(&Value::Null);
    let words = |key: &str| text(source, key).map(str::to_owned);
    let read = match text(source, "type") {
        Some("base64") => words("media_type")
            .zip(words("data"))
            .map(|(media_type, data)| Source::Base64 { media_type, data }),
        Some("url") => words("url").map(Source::Url),
        Some("text") => words("data").map(Source::Text),
        Some("content") => {
            let texts = list(source, "content").iter().filter_map(|block| text(block, "text"));
            Some(Source::Text(texts.collect::<Vec<_>>().join("\n")))
        }
        Some("file") => words("file_id").map(Source::FileId),
        _ => None,
    };
    read.ok_or_else(|| {
        let message = "`source` must be base64 with media_type and data, url, text or file";
        RequestError::at(format!("{at}.source"), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_signature_survives_the_way_through_a_client() {
        let signature = Signature { dialect: Dialect::Gemini, data: "Ci/+=".to_owned() };
        let id = hide_signature("call_1", Some(&signature));
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
        assert_eq!(show_signature(&id), ("call_1".to_owned(), Some(signature)));
        assert_eq!(show_signature("toolu_1"), ("toolu_1".to_owned(), None));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (body, param) in [
            (r#"{"model":"m","messages":[]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":9,"messages":[]}"#, "messages"),
            (r#"{"model":"m","max_tokens":9,"messages":[{"role":"bot"}]}"#, "messages[0].role"),
            (
                r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
                "messages[0].content[0].text",
            ),
        ] {
            assert_eq!(decode(body.as_bytes()).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
