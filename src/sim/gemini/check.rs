//! Whether Gemini would take a request, and what it asks for.

use serde_json::Value;

use super::{
    error::{bad_key, invalid, refuse, shape},
    models, names,
    shape::{PROPERTY, REQUEST},
    turns,
};
use crate::sim::{
    Inbound, Provider, Refused,
    answer::{Asked, Choice, Output, Tool},
    read::{count, list, number, text, texts},
    shape::{Step, check},
};

pub(in crate::sim) fn asked(inbound: &Inbound<'_>) -> Result<Asked, Refused> {
    match inbound.key {
        None => {
            let message = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.";
            return Err(refuse(403, message));
        }
        Some(key) if key.starts_with("wrong") => return Err(bad_key()),
        Some(_) => {}
    }
    let rest = ["/v1beta/models/", "/v1/models/"].iter().find_map(|p| inbound.path.strip_prefix(p));
    let Some((model, method)) = rest.and_then(|rest| rest.split_once(':')) else {
        return Err(refuse(404, "Requested entity was not found."));
    };
    let stream = match method {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return Err(refuse(404, "Requested entity was not found.")),
    };
    let named = inbound.config.names(Provider::Gemini, model);
    let Some(ways) = models::ways(model, named) else {
        let message = format!(
            "models/{model} is not found for API version v1beta, or is not supported for {method}. Call ListModels to see the list of available models and their supported methods."
        );
        return Err(refuse(404, &message));
    };
    let Some(body) = inbound.body else {
        return Err(invalid("Invalid JSON payload received. Unexpected token."));
    };
    let body = &names::camel(body);
    check(&REQUEST, body, true).map_err(shape)?;
    ways.check(body)?;
    tools(body)?;
    properties(
        body.pointer("/generationConfig/responseSchema"),
        "generationConfig.responseSchema",
    )?;
    turns::check(body, ways, inbound.signer)?;
    Ok(read(body, model, stream))
}

fn declared(body: &Value) -> impl Iterator<Item = &Value> {
    list(body, "tools").iter().flat_map(|tool| list(tool, "functionDeclarations"))
}

fn tools(body: &Value) -> Result<(), Refused> {
    for (at, function) in declared(body).enumerate() {
        let name = text(function, "name").unwrap_or_default();
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !crate::sim::read::is_name(name, "_.:-", 128) {
            let message = format!(
                "* GenerateContentRequest.tools[0].function_declarations[{at}].name: Invalid function name. Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.\n"
            );
            return Err(invalid(&message));
        }
        if function.get("parameters").is_some() && function.get("parametersJsonSchema").is_some() {
            return Err(invalid("parameters and parametersJsonSchema cannot both be set."));
        }
        let place = format!("tools[0].functionDeclarations[{at}].parameters");
        properties(function.get("parameters"), &place)?;
    }
    let config = body.pointer("/toolConfig/functionCallingConfig").unwrap_or(&Value::Null);
    let allowed = list(config, "allowedFunctionNames").iter().filter_map(Value::as_str);
    let has = |name: &str| declared(body).any(|function| text(function, "name") == Some(name));
    if let Some(name) = allowed.into_iter().find(|name| !has(name)) {
        return Err(invalid(&format!("Allowed function name {name} is not declared.")));
    }
    Ok(())
}

/// The properties of `OpenAPI` schemas are schemas.
fn properties(schema: Option<&Value>, place: &str) -> Result<(), Refused> {
    let Some(schema) = schema else { return Ok(()) };
    let inner = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, inner) in inner {
        let place = format!("{place}.properties.{name}");
        check(PROPERTY, inner, true).map_err(|mut wrong| {
            wrong.at.insert(0, Step::Key(place.clone()));
            shape(wrong)
        })?;
        properties(Some(inner), &place)?;
    }
    properties(schema.get("items"), &format!("{place}.items"))
}

fn read(body: &Value, model: &str, stream: bool) -> Asked {
    let nothing = Value::Null;
    let config = body.get("generationConfig").unwrap_or(&nothing);
    let last = list(body, "contents").last().unwrap_or(&nothing);
    let parts = list(last, "parts");
    let from_user = text(last, "role") != Some("model");
    let results = parts.iter().filter_map(|part| part.pointer("/functionResponse/response"));
    let results = results.map(|response| match response.get("output") {
        Some(Value::String(text)) => text.clone(),
        _ => response.to_string(),
    });
    let schema = |function: &Value| {
        let keys = ["parametersJsonSchema", "parameters"];
        keys.iter().find_map(|key| function.get(key)).cloned().unwrap_or_default()
    };
    let tools = declared(body).map(|function| Tool {
        name: text(function, "name").unwrap_or_default().to_owned(),
        schema: schema(function),
    });
    let calling = body.pointer("/toolConfig/functionCallingConfig").unwrap_or(&nothing);
    let choice = match (text(calling, "mode"), list(calling, "allowedFunctionNames")) {
        (Some("NONE"), _) => Choice::None,
        (Some("ANY"), [Value::String(only)]) => Choice::Named(only.clone()),
        (Some("ANY"), _) => Choice::Any,
        (Some(_) | None, _) => Choice::Auto,
    };
    let wanted = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    let output = match (wanted, text(config, "responseMimeType")) {
        (Some(schema), _) => Output::Schema(schema.clone()),
        (None, Some("application/json")) => Output::Json,
        (None, Some(_) | None) => Output::Text,
    };
    let stops = list(config, "stopSequences").iter().filter_map(Value::as_str);
    let logprobs = config.get("responseLogprobs") == Some(&Value::Bool(true));
    let image = |part: &&Value| part.get("inlineData").or_else(|| part.get("fileData")).is_some();
    let prompt = ["systemInstruction", "contents"].into_iter().filter_map(|key| body.get(key));
    Asked {
        model: model.to_owned(),
        stream,
        prompt: prompt.map(count).sum(),
        said: if from_user { texts(last.get("parts")).join(" ") } else { String::new() },
        images: parts.iter().filter(image).count(),
        results: results.collect(),
        tools: tools.collect(),
        choice,
        parallel: true,
        output,
        reasons: models::thinks(body),
        shows_reasoning: config.pointer("/thinkingConfig/includeThoughts")
            == Some(&Value::Bool(true)),
        limit: number(config, "maxOutputTokens"),
        stops: stops.map(str::to_owned).collect(),
        logprobs: logprobs.then(|| number(config, "logprobs").unwrap_or(0)),
        choices: 1,
        include_usage: true,
    }
}
