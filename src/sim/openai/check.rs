//! Whether OpenAI would take a request, and what it asks for.

use serde_json::Value;

use super::{
    error::{self, invalid, refuse},
    models::{self, Ways},
    shape::REQUEST,
};
use crate::sim::{
    Inbound, Provider, Refused,
    answer::{Asked, Choice, Output, Tool},
    image::{self, Bad},
    read::{count, given, is_name, list, number, text, texts},
    shape::{Step, What, Wrong, check},
};

pub(in crate::sim) fn asked(inbound: &Inbound<'_>) -> Result<Asked, Refused> {
    match inbound.key {
        None => {
            let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
            return Err(refuse(401, "invalid_api_key", None, message));
        }
        Some(key) if key.starts_with("wrong") => {
            let message = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.";
            return Err(refuse(401, "invalid_api_key", None, message));
        }
        Some(_) => {}
    }
    if inbound.path != "/v1/chat/completions" {
        let message = format!("Invalid URL ({} {})", inbound.method, inbound.path);
        return Err(refuse(404, "unknown_url", None, &message));
    }
    let Some(body) = inbound.body else {
        let message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)";
        return Err(refuse(400, "invalid_json", None, message));
    };
    check(&REQUEST, body, true).map_err(|wrong| error::shape(&wrong))?;
    let model = text(body, "model").unwrap_or_default();
    let Some(ways) = models::ways(model, inbound.config.names(Provider::OpenAi, model)) else {
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        return Err(refuse(404, "model_not_found", None, &message));
    };
    models::check(ways, body)?;
    together(body)?;
    tools(body)?;
    conversation(list(body, "messages"), ways)?;
    Ok(read(body, model, ways))
}

/// Parameters that need or exclude another one.
fn together(body: &Value) -> Result<(), Refused> {
    if list(body, "messages").is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(refuse(400, "empty_array", Some("messages"), message));
    }
    if given(body, "max_tokens") && given(body, "max_completion_tokens") {
        let message =
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(invalid("max_tokens", message));
    }
    let streams = body.get("stream") == Some(&Value::Bool(true));
    if given(body, "stream_options") && !streams {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(invalid("stream_options", message));
    }
    if given(body, "top_logprobs") && body.get("logprobs") != Some(&Value::Bool(true)) {
        let message = "'logprobs' must be true when 'top_logprobs' is specified.";
        return Err(invalid("top_logprobs", message));
    }
    for param in ["tool_choice", "parallel_tool_calls"] {
        if given(body, param) && list(body, "tools").is_empty() {
            let message = format!(
                "Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified."
            );
            return Err(invalid(param, &message));
        }
    }
    let format = body.get("response_format").unwrap_or(&Value::Null);
    let spoken = body.get("messages").map(|m| m.to_string().to_lowercase()).unwrap_or_default();
    if text(format, "type") == Some("json_object") && !spoken.contains("json") {
        let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
        return Err(invalid("messages", message));
    }
    let inner = format.get("json_schema").unwrap_or(&Value::Null);
    strict(inner, "schema", "response_format", "response_format.json_schema")
}

/// Names of tools, and schemas of strict ones.
fn tools(body: &Value) -> Result<(), Refused> {
    for (at, tool) in list(body, "tools").iter().enumerate() {
        let Some(function) = tool.get("function") else { continue };
        let name = text(function, "name").unwrap_or_default();
        if !is_name(name, "_-", 64) {
            let param = format!("tools[{at}].function.name");
            let message = format!(
                "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            );
            return Err(invalid(&param, &message));
        }
        strict(function, "parameters", "function", &format!("tools[{at}].function.parameters"))?;
    }
    let named = body.pointer("/tool_choice/function/name").and_then(Value::as_str);
    let has = |name: &str| {
        let mut names =
            list(body, "tools").iter().filter_map(|tool| tool.pointer("/function/name"));
        names.any(|found| found.as_str() == Some(name))
    };
    if let Some(name) = named.filter(|name| !has(name)) {
        let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
        return Err(invalid("tool_choice", &message));
    }
    Ok(())
}

/// A strict schema closes every object and requires every property.
fn strict(holder: &Value, key: &str, what: &str, param: &str) -> Result<(), Refused> {
    if holder.get("strict") != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let name = text(holder, "name").unwrap_or_default();
    let refuse = |problem: &str| {
        let message = format!("Invalid schema for {what} '{name}': {problem}");
        Err(refuse(400, "invalid_function_parameters", Some(param), &message))
    };
    match holder.get(key).and_then(open_object) {
        Some(problem) => refuse(problem),
        None => Ok(()),
    }
}

fn open_object(schema: &Value) -> Option<&'static str> {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("'additionalProperties' is required to be supplied and to be false.");
        }
        let required = list(schema, "required");
        if properties.keys().any(|name| !required.iter().any(|r| r.as_str() == Some(name))) {
            return Some(
                "'required' is required to be supplied and to be an array including every key in properties.",
            );
        }
    }
    match schema {
        Value::Object(map) => map.values().find_map(open_object),
        Value::Array(items) => items.iter().find_map(open_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Tool messages answer the calls of the turn before them, all of them, and images are images.
fn conversation(messages: &[Value], ways: Ways) -> Result<(), Refused> {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = text(message, "role").unwrap_or_default();
        if role == "tool" {
            let id = text(message, "tool_call_id").unwrap_or_default();
            let Some(found) = open.iter().position(|call| *call == id) else {
                let param = format!("messages.[{at}].role");
                let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return Err(invalid(&param, message));
            };
            open.remove(found);
            continue;
        }
        answered(&open, at)?;
        open = list(message, "tool_calls").iter().filter_map(|call| text(call, "id")).collect();
        if role == "assistant" {
            if ways != Ways::Compatible && given(message, "reasoning_content") {
                let steps = [
                    Step::Key("messages".to_owned()),
                    Step::Index(at),
                    Step::Key("reasoning_content".to_owned()),
                ];
                return Err(error::shape(&Wrong { at: steps.to_vec(), what: What::Unknown }));
            }
            let says = ["content", "tool_calls", "function_call", "refusal", "audio"];
            if !says.iter().any(|key| given(message, key)) {
                let param = format!("messages.[{at}].content");
                let message = "Invalid value for 'content': expected a string, got null.";
                return Err(invalid(&param, message));
            }
        }
        for part in list(message, "content") {
            picture(part, at)?;
        }
    }
    answered(&open, messages.len())
}

fn answered(open: &[&str], at: usize) -> Result<(), Refused> {
    if open.is_empty() {
        return Ok(());
    }
    let ids = open.join(", ");
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {ids}"
    );
    Err(invalid(&format!("messages.[{at}].role"), &message))
}

fn picture(part: &Value, at: usize) -> Result<(), Refused> {
    let Some(url) = part.pointer("/image_url/url").and_then(Value::as_str) else { return Ok(()) };
    let refuse = |code: &str, message: &str| {
        let param = format!("messages.[{at}].content");
        Err(refuse(400, code, Some(&param), message))
    };
    match image::data_url(url).map(|(media_type, data)| image::check(media_type, data)) {
        Some(Ok(())) => Ok(()),
        Some(Err(Bad::Data)) => refuse("invalid_base64", "Invalid base64 image_url."),
        Some(Err(Bad::Type | Bad::Mismatch)) => refuse(
            "invalid_image_format",
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg', 'gif', 'webp'].",
        ),
        None if url.starts_with("https://") || url.starts_with("http://") => Ok(()),
        None => refuse("invalid_image_url", "Invalid image_url: expected a URL or base64 data."),
    }
}

fn read(body: &Value, model: &str, ways: Ways) -> Asked {
    let messages = list(body, "messages");
    let from = messages.iter().rposition(|message| text(message, "role") != Some("tool"));
    let results = messages.get(from.map_or(0, |at| at + 1)..).unwrap_or_default();
    let results = results.iter().map(|result| texts(result.get("content")).concat()).collect();
    let last = messages.last().filter(|message| text(message, "role") == Some("user"));
    let said = last.map(|message| texts(message.get("content")).join(" ")).unwrap_or_default();
    let parts = last.map(|message| list(message, "content")).unwrap_or_default();
    let tools = list(body, "tools").iter().filter_map(|tool| tool.get("function"));
    let tools = tools.map(|function| Tool {
        name: text(function, "name").unwrap_or_default().to_owned(),
        schema: function.get("parameters").cloned().unwrap_or_default(),
    });
    let named = body.pointer("/tool_choice/function/name").and_then(Value::as_str);
    let choice = match (text(body, "tool_choice"), named) {
        (_, Some(name)) => Choice::Named(name.to_owned()),
        (Some("none"), None) => Choice::None,
        (Some("required"), None) => Choice::Any,
        (Some(_) | None, None) => Choice::Auto,
    };
    let schema = body.pointer("/response_format/json_schema/schema");
    let output = match (schema, body.pointer("/response_format/type").and_then(Value::as_str)) {
        (Some(schema), _) => Output::Schema(schema.clone()),
        (None, Some("json_object" | "json_schema")) => Output::Json,
        (None, Some(_) | None) => Output::Text,
    };
    let effort = text(body, "reasoning_effort");
    let reasons = match ways {
        Ways::Chat => false,
        Ways::Reasoning => effort != Some("none"),
        Ways::Compatible => effort.is_some_and(|effort| effort != "none"),
    };
    let stops = match body.get("stop") {
        Some(Value::String(stop)) => vec![stop.clone()],
        _ => list(body, "stop").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    let logprobs = body.get("logprobs") == Some(&Value::Bool(true));
    Asked {
        model: model.to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        prompt: body.get("messages").map_or(0, count),
        said,
        images: parts.iter().filter(|part| part.get("image_url").is_some()).count(),
        results,
        tools: tools.collect(),
        choice,
        parallel: body.get("parallel_tool_calls") != Some(&Value::Bool(false)),
        output,
        reasons,
        shows_reasoning: ways == Ways::Compatible,
        limit: number(body, "max_completion_tokens").or_else(|| number(body, "max_tokens")),
        stops,
        logprobs: logprobs.then(|| number(body, "top_logprobs").unwrap_or(0)),
        choices: number(body, "n").unwrap_or(1),
        include_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
    }
}
