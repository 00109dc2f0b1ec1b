//! Reading a client's request into the common form: everything but the conversation, which
//! [`super::messages`] reads.
//!
//! As strict as OpenAI is: a request that works here only because a translation let it pass would
//! fail on the day on which its route gets an OpenAI target. What OpenAI takes and the common form
//! has no place for stays by name in [`ChatRequest::rest`]; nothing is passed over.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::messages;
use crate::dialect::{
    ChatRequest, RequestError,
    chat::{Effort, OutputFormat, Reasoning, Sampling, Tool, ToolChoice},
    json::{list, object, take, text},
};

/// The most stop texts of a request.
const MOST_STOPS: usize = 4;

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, RequestError> {
    let mut map = object(body)?;
    map.retain(|_, value| !value.is_null());
    let model = take(&mut map, "model", "a text", string)?.filter(|model| !model.is_empty());
    let mut request = ChatRequest {
        model: model.ok_or_else(|| RequestError::at("model", "`model` is missing"))?,
        stream: flag(&mut map, "stream")?.unwrap_or(false),
        choices: whole(&mut map, "n", 1..=128)?,
        max_output_tokens: limit(&mut map)?,
        sampling: sampling(&mut map)?,
        stop: stop(&mut map)?,
        logprobs: logprobs(&mut map)?,
        user: user(&mut map)?,
        reasoning: reasoning(&mut map)?,
        output: map.shift_remove("response_format").map_or(Ok(OutputFormat::Text), output)?,
        ..ChatRequest::default()
    };
    request.include_usage = include_usage(&mut map, request.stream)?;
    tools(&mut map, &mut request)?;
    let messages = map.shift_remove("messages");
    request.messages = messages::decode(messages.unwrap_or_default(), &mut map)?;
    request.rest = map;
    Ok(request)
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn flag(map: &mut Map<String, Value>, key: &str) -> Result<Option<bool>, RequestError> {
    take(map, key, "true or false", Value::as_bool)
}

fn whole(
    map: &mut Map<String, Value>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, RequestError> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    take(map, key, &expected, |value| value.as_u64().filter(|value| range.contains(value)))
}

fn number(
    map: &mut Map<String, Value>,
    key: &str,
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, RequestError> {
    let expected = format!("a number from {} to {}", range.start(), range.end());
    take(map, key, &expected, |value| value.as_f64().filter(|value| range.contains(value)))
}

/// The newer name wins: it says what the older one has come to mean.
fn limit(map: &mut Map<String, Value>) -> Result<Option<u64>, RequestError> {
    let mut positive = |key: &str| {
        take(map, key, "a positive whole number", |value| value.as_u64().filter(|most| *most > 0))
    };
    let older = positive("max_tokens")?;
    Ok(positive("max_completion_tokens")?.or(older))
}

fn sampling(map: &mut Map<String, Value>) -> Result<Sampling, RequestError> {
    Ok(Sampling {
        temperature: number(map, "temperature", 0.0..=2.0)?,
        top_p: number(map, "top_p", 0.0..=1.0)?,
        // Not OpenAI's, but every server that calls itself compatible takes it.
        top_k: take(map, "top_k", "a whole number", Value::as_u64)?,
        frequency_penalty: number(map, "frequency_penalty", -2.0..=2.0)?,
        presence_penalty: number(map, "presence_penalty", -2.0..=2.0)?,
        seed: take(map, "seed", "a whole number", Value::as_i64)?,
        logit_bias: take(map, "logit_bias", "an object", |value| value.as_object().cloned())?
            .filter(|bias| !bias.is_empty()),
    })
}

fn stop(map: &mut Map<String, Value>) -> Result<Vec<String>, RequestError> {
    let expected = format!("a text or a list of at most {MOST_STOPS} texts");
    let read = take(map, "stop", &expected, |value| match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) if many.len() <= MOST_STOPS => many.iter().map(string).collect(),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            None
        }
    })?;
    Ok(read.unwrap_or_default())
}

fn logprobs(map: &mut Map<String, Value>) -> Result<Option<u64>, RequestError> {
    let wanted = flag(map, "logprobs")?.unwrap_or(false);
    let top = whole(map, "top_logprobs", 0..=20)?;
    if top.is_some() && !wanted {
        let message = "`top_logprobs` is only allowed when `logprobs` is true";
        return Err(RequestError::at("top_logprobs", message));
    }
    Ok(wanted.then(|| top.unwrap_or(0)))
}

/// The newer name wins; an older one that says something else is kept as what it is.
fn user(map: &mut Map<String, Value>) -> Result<Option<String>, RequestError> {
    let older = take(map, "user", "a text", string)?;
    let newer = take(map, "safety_identifier", "a text", string)?;
    if let (Some(newer), Some(older)) = (&newer, &older)
        && newer != older
    {
        map.insert("user".to_owned(), Value::from(older.as_str()));
    }
    Ok(newer.or(older))
}

fn reasoning(map: &mut Map<String, Value>) -> Result<Option<Reasoning>, RequestError> {
    let expected = "none, minimal, low, medium, high, xhigh or max";
    let effort =
        take(map, "reasoning_effort", expected, |value| value.as_str().and_then(Effort::parse))?;
    Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }))
}

fn include_usage(map: &mut Map<String, Value>, stream: bool) -> Result<bool, RequestError> {
    let expected = "an object";
    let options = take(map, "stream_options", expected, |value| value.as_object().cloned())?;
    let Some(options) = options else { return Ok(false) };
    if !stream {
        let message = "`stream_options` is only allowed when `stream` is true";
        return Err(RequestError::at("stream_options", message));
    }
    let mut wanted = false;
    for (key, value) in options {
        match (key.as_str(), &value) {
            ("include_usage", Value::Bool(value)) => wanted = *value,
            // Our streams are never padded, which is what `false` asks for.
            (_, Value::Null) | ("include_obfuscation", Value::Bool(false)) => {}
            ("include_usage", _) => {
                let message = "`include_usage` must be true or false";
                return Err(RequestError::at("stream_options.include_usage", message));
            }
            _ => {
                map.insert(format!("stream_options.{key}"), value);
            }
        }
    }
    Ok(wanted)
}

fn output(mut format: Value) -> Result<OutputFormat, RequestError> {
    match text(&format, "type") {
        Some("text") => Ok(OutputFormat::Text),
        Some("json_object") => Ok(OutputFormat::JsonObject),
        Some("json_schema") => {
            let at = |key: &str| format!("response_format.json_schema.{key}");
            let missing = |key: &str| RequestError::at(at(key), format!("`{key}` is missing"));
            let inner = format.get_mut("json_schema").map(Value::take);
            let Some(Value::Object(mut inner)) = inner else {
                let message = "`json_schema` must be an object";
                return Err(RequestError::at("response_format.json_schema", message));
            };
            let mut word = |key: &str| match inner.remove(key) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(word)) => Ok(Some(word)),
                Some(_) => Err(RequestError::at(at(key), format!("`{key}` must be a text"))),
            };
            let name = Some(word("name")?.ok_or_else(|| missing("name"))?);
            let description = word("description")?;
            let schema = inner.remove("schema").filter(Value::is_object);
            let strict = inner.get("strict").and_then(Value::as_bool);
            let schema = schema.ok_or_else(|| missing("schema"))?;
            Ok(OutputFormat::JsonSchema { name, description, schema, strict })
        }
        _ => {
            let message = "`type` must be text, json_object or json_schema";
            Err(RequestError::at("response_format.type", message))
        }
    }
}

/// Tools and what may be done with them, in today's form or the one of 2023 (`functions`).
fn tools(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), RequestError> {
    request.parallel_tool_calls = flag(map, "parallel_tool_calls")?;
    for (key, legacy) in [("tools", false), ("functions", true)] {
        let Some(given) = map.shift_remove(key) else { continue };
        let Value::Array(given) = given else {
            return Err(RequestError::at(key, format!("`{key}` must be a list")));
        };
        for (at, tool) in given.into_iter().enumerate() {
            let at = format!("{key}[{at}]");
            request.tools.push(if legacy { function(tool, &at)? } else { one_tool(tool, &at)? });
        }
    }
    for (key, choice) in [
        ("tool_choice", map.shift_remove("tool_choice")),
        ("function_call", map.shift_remove("function_call")),
    ] {
        let Some(choice) = choice else { continue };
        if request.tools.is_empty() && choice != "none" {
            let message = format!("`{key}` is only allowed when there are tools");
            return Err(RequestError::at(key, message));
        }
        request.tool_choice = Some(tool_choice(&choice, key, &mut request.tools)?);
    }
    Ok(())
}

fn one_tool(mut tool: Value, at: &str) -> Result<Tool, RequestError> {
    match text(&tool, "type") {
        Some("function") => {
            let inner = tool.get_mut("function").map(Value::take).unwrap_or_default();
            function(inner, &format!("{at}.function"))
        }
        Some("custom") => {
            let message = "tools of type `custom` cannot be translated for this model; \
                           use a function with one text as its parameter";
            Err(RequestError::at(format!("{at}.type"), message))
        }
        _ => Err(RequestError::at(format!("{at}.type"), "`type` must be function")),
    }
}

fn function(value: Value, at: &str) -> Result<Tool, RequestError> {
    let Value::Object(mut map) = value else {
        return Err(RequestError::at(at, "a function must be an object"));
    };
    let name = match map.shift_remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => return Err(RequestError::at(format!("{at}.name"), "`name` is missing")),
    };
    let parameters = map.shift_remove("parameters").filter(|schema| !schema.is_null());
    if parameters.as_ref().is_some_and(|schema| !schema.is_object()) {
        let message = "`parameters` must be a JSON Schema";
        return Err(RequestError::at(format!("{at}.parameters"), message));
    }
    Ok(Tool {
        name,
        description: map.get("description").and_then(string),
        parameters,
        strict: map.get("strict").and_then(Value::as_bool),
    })
}

fn tool_choice(
    choice: &Value,
    at: &str,
    tools: &mut Vec<Tool>,
) -> Result<ToolChoice, RequestError> {
    match choice.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        _ => {}
    }
    let known = |name: &str| {
        let message = format!("`{name}` is not among the tools");
        if tools.iter().any(|tool| tool.name == name) {
            Ok(name.to_owned())
        } else {
            Err(RequestError::at(at, message))
        }
    };
    // The form of 2023 names the function at the top.
    let named = choice.get("function").unwrap_or(choice);
    if let Some(name) = text(named, "name") {
        return Ok(ToolChoice::Tool(known(name)?));
    }
    if let Some(allowed) = choice.get("allowed_tools") {
        let names = list(allowed, "tools").iter().filter_map(|tool| {
            tool.get("function").and_then(|function| text(function, "name")).map(known)
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        // What may not be called is not offered.
        tools.retain(|tool| names.contains(&tool.name));
        return match text(allowed, "mode") {
            _ if names.is_empty() => {
                Err(RequestError::at(at, "`allowed_tools.tools` must name a function"))
            }
            Some("auto") => Ok(ToolChoice::Auto),
            Some("required") => Ok(ToolChoice::Required),
            _ => Err(RequestError::at(at, "`allowed_tools.mode` must be auto or required")),
        };
    }
    let message = format!("`{at}` must be auto, none, required or name a function");
    Err(RequestError::at(at, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(fields: Value) -> Result<ChatRequest, RequestError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let map = body.as_object_mut().unwrap();
        let Value::Object(fields) = fields else { panic!("fields must be an object") };
        map.extend(fields);
        decode(body.to_string().as_bytes())
    }

    fn functions(names: &[&str]) -> Value {
        names.iter().map(|name| json!({"type": "function", "function": {"name": name}})).collect()
    }

    #[test]
    fn every_field_finds_its_place() {
        let request = with(json!({
            "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
            "max_tokens": 5, "max_completion_tokens": 7, "n": 2, "stop": "END",
            "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": -1, "logit_bias": {"7": -100},
            "frequency_penalty": -2, "presence_penalty": 2, "logprobs": true, "top_logprobs": 4,
            "reasoning_effort": "xhigh", "user": "old", "safety_identifier": "new",
            "parallel_tool_calls": false, "store": true, "metadata": null,
        }))
        .unwrap();
        assert_eq!((request.stream, request.include_usage), (true, true));
        assert_eq!((request.max_output_tokens, request.choices), (Some(7), Some(2)));
        assert_eq!((request.stop, request.logprobs), (vec!["END".to_owned()], Some(4)));
        assert_eq!(
            request.sampling,
            Sampling {
                temperature: Some(0.0),
                top_p: Some(0.5),
                top_k: Some(3),
                frequency_penalty: Some(-2.0),
                presence_penalty: Some(2.0),
                seed: Some(-1),
                logit_bias: Some(Map::from_iter([("7".to_owned(), json!(-100))])),
            }
        );
        assert_eq!(request.reasoning.unwrap().effort, Some(Effort::XHigh));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert_eq!(request.user.as_deref(), Some("new"));
        let rest = json!({"store": true, "user": "old"});
        assert_eq!(Value::Object(request.rest), rest);
    }

    #[test]
    fn a_schema_is_read_with_its_name() {
        let request = with(json!({"response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object"}, "strict": true, "description": null,
        }}}));
        assert_eq!(
            request.unwrap().output,
            OutputFormat::JsonSchema {
                name: Some("n".to_owned()),
                description: None,
                schema: json!({"type": "object"}),
                strict: Some(true),
            }
        );
    }

    #[test]
    fn the_functions_of_2023_are_tools() {
        let request = with(json!({
            "functions": [{"name": "f", "parameters": {"type": "object"}}],
            "function_call": {"name": "f"},
        }))
        .unwrap();
        assert_eq!(request.tools[0].name, "f");
        assert_eq!(request.tool_choice, Some(ToolChoice::Tool("f".to_owned())));
        assert!(request.rest.is_empty());
    }

    #[test]
    fn tools_that_are_not_allowed_are_not_offered() {
        let allowed = json!({"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": functions(&["b"]),
        }});
        let fields = json!({"tools": functions(&["a", "b", "c"]), "tool_choice": allowed});
        let request = with(fields).unwrap();
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
        assert_eq!(request.tools.len(), 1);
        assert_eq!(request.tools[0].name, "b");
    }

    #[test]
    fn what_openai_would_refuse_is_refused_by_its_path() {
        let schema = |inner: Value| json!({"response_format": {"type": "json_schema", "json_schema": inner}});
        for (fields, param) in [
            (json!({"model": ""}), "model"),
            (json!({"messages": []}), "messages"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (
                json!({"stream": true, "stream_options": {"include_usage": 1}}),
                "stream_options.include_usage",
            ),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"top_p": "1"}), "top_p"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
            (json!({"n": 0}), "n"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": [1]}), "stop"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"reasoning_effort": "huge"}), "reasoning_effort"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (schema(json!(null)), "response_format.json_schema"),
            (schema(json!({"schema": {}})), "response_format.json_schema.name"),
            (schema(json!({"name": "n"})), "response_format.json_schema.schema"),
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
            (json!({"tools": [{"type": "custom", "custom": {"name": "c"}}]}), "tools[0].type"),
            (json!({"tool_choice": "auto"}), "tool_choice"),
            (
                json!({"tools": functions(&["a"]), "tool_choice": functions(&["b"])[0]}),
                "tool_choice",
            ),
            (json!({"tools": functions(&["a"]), "tool_choice": "any"}), "tool_choice"),
        ] {
            let error = with(fields.clone()).expect_err(&fields.to_string());
            assert_eq!(error.param.as_deref(), Some(param), "{fields}: {}", error.message);
        }
        assert!(decode(b"[]").is_err() && decode(b"{").is_err());
    }
}
