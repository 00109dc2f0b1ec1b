//! Whether Anthropic would take a request, and what it asks for.

use serde_json::Value;

use super::{
    error::{self, invalid, refuse},
    models, schema,
    shape::REQUEST,
    turns,
};
use crate::sim::{
    Inbound, Provider, Refused,
    answer::{Asked, Choice, Output, Tool},
    read::{count, is_name, list, number, text, texts},
    shape::check,
};

/// Versions of the API that exist.
const VERSIONS: [&str; 3] = ["2023-01-01", "2023-06-01", "2026-10-21"];

pub(in crate::sim) fn asked(inbound: &Inbound<'_>) -> Result<Asked, Refused> {
    match inbound.key {
        None => {
            let message = "x-api-key header is required";
            return Err(refuse(401, "authentication_error", message));
        }
        Some(key) if key.starts_with("wrong") => {
            return Err(refuse(401, "authentication_error", "invalid x-api-key"));
        }
        Some(_) => {}
    }
    match inbound.header("anthropic-version") {
        None => return Err(invalid("anthropic-version: header is required")),
        Some(version) if !VERSIONS.contains(&version) => {
            let message = format!("anthropic-version: \"{version}\" is not a valid version");
            return Err(invalid(&message));
        }
        Some(_) => {}
    }
    if inbound.path != "/v1/messages" {
        return Err(refuse(404, "not_found_error", "Not found"));
    }
    let Some(body) = inbound.body else {
        return Err(invalid("The request body is not valid JSON."));
    };
    check(&REQUEST, body, false).map_err(|wrong| error::shape(&wrong))?;
    let model = text(body, "model").unwrap_or_default();
    let named = inbound.config.names(Provider::Anthropic, model);
    let Some(ways) = models::ways(model, named) else {
        return Err(refuse(404, "not_found_error", &format!("model: {model}")));
    };
    ways.check(body)?;
    limits(body)?;
    tools(body)?;
    if let Some(schema) = body.pointer("/output_config/format/schema") {
        schema::check(schema)
            .map_err(|problem| invalid(&format!("output_config.format.schema: {problem}")))?;
    }
    turns::check(body, ways, inbound.signer)?;
    Ok(read(body, model, ways))
}

/// Numbers and texts that must fit each other.
fn limits(body: &Value) -> Result<(), Refused> {
    let max = body.get("max_tokens").and_then(Value::as_u64).unwrap_or_default();
    let budget = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64);
    if budget.is_some_and(|budget| budget >= max) {
        return Err(invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    let stops = list(body, "stop_sequences").iter().filter_map(Value::as_str);
    if stops.into_iter().any(|stop| stop.trim().is_empty()) {
        return Err(invalid("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    let marks = marks(body);
    if marks > 4 {
        let message =
            format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}.");
        return Err(invalid(&message));
    }
    Ok(())
}

/// Cache marks on blocks and tools; schemas and inputs may have a key of that name.
fn marks(body: &Value) -> usize {
    let own = |value: &Value| usize::from(value.get("cache_control").is_some_and(Value::is_object));
    let blocks = list(body, "messages").iter().flat_map(|message| list(message, "content"));
    let inner = blocks.clone().flat_map(|block| list(block, "content"));
    list(body, "tools").iter().chain(list(body, "system")).chain(blocks).chain(inner).map(own).sum()
}

fn tools(body: &Value) -> Result<(), Refused> {
    let tools = list(body, "tools");
    for (at, tool) in tools.iter().enumerate() {
        let name = text(tool, "name").unwrap_or_default();
        if !is_name(name, "_-", 128) {
            let message = format!(
                "tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            );
            return Err(invalid(&message));
        }
        let schema = tool.get("input_schema").unwrap_or(&Value::Null);
        if text(schema, "type") != Some("object") {
            let message = format!("tools.{at}.custom.input_schema.type: Input should be 'object'");
            return Err(invalid(&message));
        }
        if tool.get("strict") == Some(&Value::Bool(true)) {
            schema::check(schema)
                .map_err(|problem| invalid(&format!("tools.{at}.custom: {problem}")))?;
        }
        if tools.iter().take(at).any(|before| text(before, "name") == Some(name)) {
            return Err(invalid("tools: Tool names must be unique."));
        }
    }
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    if tools.is_empty() {
        return Err(invalid("tool_choice: may only be specified while providing tools."));
    }
    let named = text(choice, "name");
    if named.is_some() && !tools.iter().any(|tool| text(tool, "name") == named) {
        let name = named.unwrap_or_default();
        return Err(invalid(&format!("Tool '{name}' not found in provided tools")));
    }
    Ok(())
}

fn read(body: &Value, model: &str, ways: models::Ways) -> Asked {
    let last = list(body, "messages").last().unwrap_or(&Value::Null);
    let blocks = list(last, "content");
    let of =
        |kind: &'static str| blocks.iter().filter(move |block| text(block, "type") == Some(kind));
    let from_user = text(last, "role") == Some("user");
    let said = if from_user { texts(last.get("content")).join(" ") } else { String::new() };
    let results = of("tool_result").map(|result| texts(result.get("content")).concat());
    let tools = list(body, "tools").iter().map(|tool| Tool {
        name: text(tool, "name").unwrap_or_default().to_owned(),
        schema: tool.get("input_schema").cloned().unwrap_or_default(),
    });
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let stops = list(body, "stop_sequences").iter().filter_map(Value::as_str);
    let schema = body.pointer("/output_config/format/schema").cloned();
    let serial = choice.get("disable_parallel_tool_use") == Some(&Value::Bool(true));
    let prompt = ["system", "messages"].into_iter().filter_map(|key| body.get(key)).map(count);
    Asked {
        model: model.to_owned(),
        stream: body.get("stream") == Some(&Value::Bool(true)),
        prompt: prompt.sum(),
        said,
        images: of("image").count(),
        results: results.collect(),
        tools: tools.collect(),
        choice: match text(choice, "type") {
            Some("any") => Choice::Any,
            Some("none") => Choice::None,
            Some("tool") => Choice::Named(text(choice, "name").unwrap_or_default().to_owned()),
            Some(_) | None => Choice::Auto,
        },
        parallel: !serial,
        output: schema.map_or(Output::Text, Output::Schema),
        reasons: ways.thinks(body),
        shows_reasoning: body.pointer("/thinking/display").and_then(Value::as_str)
            != Some("omitted"),
        limit: number(body, "max_tokens"),
        stops: stops.map(str::to_owned).collect(),
        logprobs: None,
        choices: 1,
        include_usage: true,
    }
}
