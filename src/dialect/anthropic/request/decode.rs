//! Reads a client's request: everything but its messages, which `blocks` reads.
//!
//! Both API versions are read: `2023-06-01` with `temperature`, `top_p` and `top_k`, and
//! `2026-10-21` without. What the common form has no place for goes to `rest` by name. Two of these
//! deserve a word: `cache_control` changes price and not meaning; a *server tool* (`web_search_…`)
//! is run by Anthropic and nobody else, so elsewhere the model answers without it, and the client is
//! told under the tool's type.

use serde_json::{Map, Value};

use super::{
    blocks::Conversation,
    fields::{Fields, lose},
};
use crate::dialect::{
    ChatRequest, RequestError,
    chat::{Effort, Message, OutputFormat, Reasoning, Role, Tool, ToolChoice},
};

/// The most messages in a request.
const MAX_MESSAGES: usize = 100_000;

/// The least budget for thinking, in tokens.
const MIN_BUDGET: u64 = 1024;

/// Reads a request.
pub fn decode(body: &[u8]) -> Result<ChatRequest, RequestError> {
    let value: Value = serde_json::from_slice(body).map_err(|problem| RequestError {
        message: format!("the request body is not valid JSON: {problem}"),
        param: None,
    })?;
    let mut fields = Fields::of(value, "").map_err(|problem| RequestError {
        message: format!("the request body {}", problem.message),
        param: None,
    })?;
    let mut request = ChatRequest {
        model: fields.required_string("model")?,
        max_output_tokens: Some(
            fields
                .count("max_tokens")?
                .ok_or_else(|| fields.error("max_tokens", "field required"))?,
        ),
        ..ChatRequest::default()
    };
    if request.model.is_empty() {
        return Err(fields.error("model", "must not be empty"));
    }
    request.messages = messages(&mut fields, &mut request.rest)?;
    tools(&mut fields, &mut request)?;
    tool_choice(&mut fields, &mut request)?;
    output_config(&mut fields, &mut request)?;
    thinking(&mut fields, &mut request)?;
    request.sampling.temperature = fields.share("temperature")?;
    request.sampling.top_p = fields.share("top_p")?;
    request.sampling.top_k = fields.count("top_k")?;
    request.stop = stop_sequences(&mut fields)?;
    request.user = user(&mut fields, &mut request.rest)?;
    request.stream = fields.flag("stream")?.unwrap_or(false);
    request.include_usage = request.stream;
    request.rest.extend(fields.rest());
    Ok(request)
}

fn messages(
    fields: &mut Fields,
    rest: &mut Map<String, Value>,
) -> Result<Vec<Message>, RequestError> {
    let mut conversation = Conversation::new(rest);
    let system = match fields.take("system") {
        None => Vec::new(),
        Some(Value::String(text)) if text.trim().is_empty() => Vec::new(),
        Some(content) => conversation.content(content, Role::System, "system")?,
    };
    let list = fields.list("messages")?;
    if list.is_empty() {
        return Err(fields.error("messages", "at least one message is required"));
    }
    if list.len() > MAX_MESSAGES {
        return Err(
            fields.error("messages", format!("at most {MAX_MESSAGES} messages are allowed"))
        );
    }
    let mut messages = Vec::with_capacity(list.len() + 1);
    if !system.is_empty() {
        messages.push(Message { role: Role::System, name: None, parts: system });
    }
    let last = list.len() - 1;
    for (index, message) in list.into_iter().enumerate() {
        messages.push(conversation.message(message, index, index == last)?);
    }
    conversation.end(last)?;
    Ok(messages)
}

fn tools(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), RequestError> {
    for (index, value) in fields.list("tools")?.into_iter().enumerate() {
        let mut tool = Fields::of(value, format!("tools[{index}]"))?;
        match tool.string("type")? {
            None => {}
            Some(kind) if kind == "custom" => {}
            Some(kind) => {
                request.rest.insert(format!("tools.{kind}"), Value::Bool(true));
                continue;
            }
        }
        let name = tool.required_string("name")?;
        if !is_tool_name(&name) {
            return Err(tool.error("name", "must be 1 to 128 letters, digits, '_' or '-'"));
        }
        if request.tools.iter().any(|other| other.name == name) {
            return Err(tool.error("name", "tool names must be unique"));
        }
        let parameters = match tool.take("input_schema") {
            Some(schema @ Value::Object(_)) => schema,
            Some(_) => return Err(tool.error("input_schema", "must be an object")),
            None => return Err(tool.error("input_schema", "field required")),
        };
        request.tools.push(Tool {
            name,
            description: tool.string("description")?,
            parameters: Some(parameters),
            strict: tool.flag("strict")?,
        });
        lose(&mut request.rest, "tools", tool);
    }
    Ok(())
}

/// Whether a tool may have this name.
pub(super) fn is_tool_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn tool_choice(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), RequestError> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok(()) };
    let kind = choice.required_string("type")?;
    request.parallel_tool_calls = choice.flag("disable_parallel_tool_use")?.map(|off| !off);
    request.tool_choice = Some(match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Tool(choice.required_string("name")?),
        _ => return Err(choice.error("type", "must be one of auto, any, none, tool")),
    });
    // A choice that only a server tool could satisfy is lost with that tool.
    let servers = request.rest.keys().any(|key| key.starts_with("tools."));
    let satisfiable = match &request.tool_choice {
        Some(ToolChoice::Required) => !request.tools.is_empty(),
        Some(ToolChoice::Tool(name)) => request.tools.iter().any(|tool| tool.name == *name),
        Some(ToolChoice::Auto | ToolChoice::None) | None => true,
    };
    if !satisfiable && servers {
        request.tool_choice = None;
        request.rest.insert("tool_choice".to_owned(), Value::String(kind));
    } else if !satisfiable {
        return Err(RequestError::at(
            "tool_choice",
            "asks for a tool that `tools` does not define",
        ));
    }
    Ok(())
}

/// Reads effort and format. `output_format` is what the beta called the latter.
fn output_config(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), RequestError> {
    let mut format = fields.object("output_format")?;
    if let Some(mut config) = fields.object("output_config")? {
        if let Some(word) = config.string("effort")? {
            let effort = Effort::parse(&word).filter(|effort| *effort >= Effort::Low);
            let effort = effort.ok_or_else(|| {
                config.error("effort", "must be one of low, medium, high, xhigh, max")
            })?;
            request.reasoning = Some(Reasoning { effort: Some(effort), ..Reasoning::default() });
        }
        format = config.object("format")?.or(format);
        lose(&mut request.rest, "output_config", config);
    }
    let Some(mut format) = format else { return Ok(()) };
    if format.required_string("type")? != "json_schema" {
        return Err(format.error("type", "must be json_schema"));
    }
    let schema = format.take("schema").filter(Value::is_object);
    let schema = schema.ok_or_else(|| format.error("schema", "must be a JSON Schema object"))?;
    request.output =
        OutputFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) };
    Ok(())
}

fn thinking(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), RequestError> {
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(()) };
    let mut reasoning = request.reasoning.take().unwrap_or_default();
    match thinking.required_string("type")?.as_str() {
        "adaptive" => {}
        // Elsewhere nobody can think between tools alone: think as usual, and say so.
        "between_tools" => {
            request.rest.insert("thinking.type".to_owned(), Value::from("between_tools"));
        }
        "disabled" => reasoning.effort = Some(Effort::None),
        "enabled" => {
            let budget = thinking
                .count("budget_tokens")?
                .ok_or_else(|| thinking.error("budget_tokens", "field required"))?;
            if budget < MIN_BUDGET {
                return Err(thinking.error("budget_tokens", "must be at least 1024"));
            }
            if request.max_output_tokens.is_some_and(|limit| budget >= limit) {
                return Err(thinking.error("budget_tokens", "must be less than max_tokens"));
            }
            reasoning.budget = Some(budget);
        }
        _ => {
            let expected = "must be one of adaptive, enabled, disabled, between_tools";
            return Err(thinking.error("type", expected));
        }
    }
    reasoning.visible = match thinking.string("display")?.as_deref() {
        None => None,
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        Some(_) => return Err(thinking.error("display", "must be summarized or omitted")),
    };
    request.reasoning = Some(reasoning);
    lose(&mut request.rest, "thinking", thinking);
    Ok(())
}

fn stop_sequences(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    let list = fields.list("stop_sequences")?;
    let texts = list.into_iter().enumerate().map(|(index, value)| {
        if let Value::String(text) = value
            && !text.trim().is_empty()
        {
            return Ok(text);
        }
        let path = format!("stop_sequences[{index}]");
        Err(RequestError::at(path, "must be a string that is not only white space"))
    });
    texts.collect()
}

fn user(
    fields: &mut Fields,
    rest: &mut Map<String, Value>,
) -> Result<Option<String>, RequestError> {
    let Some(mut metadata) = fields.object("metadata")? else { return Ok(None) };
    let user = metadata.string("user_id")?;
    lose(rest, "metadata", metadata);
    Ok(user)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(extra: Value) -> Result<ChatRequest, RequestError> {
        let mut body = json!({"model": "m", "max_tokens": 4096,
            "messages": [{"role": "user", "content": "hi"}]});
        let fields = body.as_object_mut().unwrap();
        let Value::Object(extra) = extra else { panic!() };
        fields.extend(extra);
        decode(body.to_string().as_bytes())
    }

    fn lost(request: &ChatRequest) -> Vec<&str> {
        request.rest.keys().map(String::as_str).collect()
    }

    #[test]
    fn both_versions_are_read() {
        let request = read(json!({
            "system": "s", "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
            "stop_sequences": ["END"], "metadata": {"user_id": "u"},
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": true}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "output_config": {"effort": "high",
                "format": {"type": "json_schema", "schema": {"type": "object"}}},
            "thinking": {"type": "adaptive", "display": "omitted"},
        }))
        .unwrap();
        assert_eq!(request.messages[0].role, Role::System);
        assert!(request.stream && request.include_usage);
        assert_eq!(request.max_output_tokens, Some(4096));
        assert_eq!((request.sampling.temperature, request.sampling.top_k), (Some(0.5), Some(5)));
        assert_eq!((request.stop, request.user), (vec!["END".to_owned()], Some("u".to_owned())));
        assert_eq!(request.tools[0].strict, Some(true));
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert!(matches!(request.output, OutputFormat::JsonSchema { .. }));
        let expected = Reasoning { effort: Some(Effort::High), budget: None, visible: Some(false) };
        assert_eq!(request.reasoning, Some(expected));
        assert!(request.rest.is_empty());
    }

    #[test]
    fn what_only_anthropic_knows_is_lost_by_name() {
        let request = read(json!({
            "cache_control": {"type": "ephemeral"}, "service_tier": "auto", "speed": null,
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "tools": [
                {"name": "f", "input_schema": {}, "input_examples": [{}], "type": "custom"},
                {"name": "web_search", "type": "web_search_20260318"},
            ],
            "tool_choice": {"type": "tool", "name": "web_search"},
            "metadata": {"user_id": null, "team": "a"},
            "thinking": {"type": "between_tools"},
        }))
        .unwrap();
        let expected = [
            "cache_control",
            "tools.input_examples",
            "tools.web_search_20260318",
            "tool_choice",
            "thinking.type",
            "metadata.team",
            "service_tier",
        ];
        assert_eq!(lost(&request), expected);
        assert_eq!((request.tools.len(), request.tool_choice), (1, None));
    }

    #[test]
    fn thinking_is_a_budget_or_an_effort_or_off() {
        let reasoning = |extra| read(extra).unwrap().reasoning.unwrap();
        let budget = reasoning(json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}));
        assert_eq!(budget.budget, Some(2048));
        let off = reasoning(json!({"thinking": {"type": "disabled"}}));
        assert_eq!(off.effort, Some(Effort::None));
        let adaptive = reasoning(json!({"thinking": {"type": "adaptive"}}));
        assert_eq!(adaptive, Reasoning::default());
    }

    #[test]
    fn what_anthropic_refuses_is_refused_with_its_place() {
        let rows = [
            (json!({"model": null}), "model"),
            (json!({"max_tokens": null}), "max_tokens"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "hi"}), "messages"),
            (json!({"temperature": 1.5}), "temperature"),
            (json!({"stop_sequences": [" "]}), "stop_sequences[0]"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
            (json!({"tools": [{"name": "f f", "input_schema": {}}]}), "tools[0].name"),
            (
                json!({"tools": [{"name": "f", "input_schema": {}}, {"name": "f", "input_schema": {}}]}),
                "tools[1].name",
            ),
            (json!({"tool_choice": {"type": "maybe"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "tool", "name": "g"}}), "tool_choice"),
            (json!({"output_config": {"effort": "minimal"}}), "output_config.effort"),
            (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format.type"),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
                "thinking.budget_tokens",
            ),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
                "thinking.budget_tokens",
            ),
            (json!({"system": [{"type": "text", "text": ""}]}), "system[0].text"),
        ];
        for (extra, param) in rows {
            let error = read(extra.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{extra}");
        }
        assert!(decode(b"[1]").unwrap_err().message.contains("must be an object"));
        assert!(decode(b"{").unwrap_err().message.contains("not valid JSON"));
    }
}
