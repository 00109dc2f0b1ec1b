//! Writing a request for a Gemini target from the common form: everything but the conversation,
//! which [`super::contents`] writes.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    contents::{self, note},
    schema,
};
use crate::dialect::{
    ChatRequest, Encoded, Loss, Refusal, Target,
    chat::{Effort, OutputFormat, Reasoning, Tool, ToolChoice},
    traits::{Thinking, Traits},
};

/// Gemini takes five stop texts.
const MOST_STOPS: usize = 5;

/// It writes eight answers to a request at most.
const MOST_CHOICES: u64 = 8;

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    refuse(request)?;
    let mut losses: Vec<Loss> = request.rest.keys().cloned().map(Loss::dropped).collect();
    let mut body = Map::new();
    let apart = request.tools.is_empty() || traits.json_beside_tools;
    let instruction = if apart { None } else { form_in_words(&request.output, &mut losses) };
    contents::write(request, target, instruction, &mut body, &mut losses)?;
    tools(request, traits, &mut body, &mut losses)?;
    let config = config(request, traits, &mut losses);
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    Ok(Encoded { body: Bytes::from(Value::Object(body).to_string()), losses })
}

/// Refuses what cannot be left out without changing what the answer means.
fn refuse(request: &ChatRequest) -> Result<(), Refusal> {
    let choices = request.choices.unwrap_or(1);
    if choices > 1 && request.stream {
        return Err(Refusal::at("n", "a translated stream has one answer; ask for one at a time"));
    }
    if choices > MOST_CHOICES {
        let message = format!("the target writes at most {MOST_CHOICES} answers to a request");
        return Err(Refusal::at("n", message));
    }
    Ok(())
}

fn tools(
    request: &ChatRequest,
    traits: &Traits,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> Result<(), Refusal> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let mut declared = Vec::with_capacity(request.tools.len());
    for (at, tool) in request.tools.iter().enumerate() {
        if !is_name(&tool.name) {
            let message = "the target takes names that begin with a letter or '_' and have at most \
                           128 letters, digits, '_', '-', '.' and ':'";
            return Err(Refusal::at(format!("tools[{at}].function.name"), message));
        }
        declared.push(declaration(tool, traits, losses));
    }
    body.insert("tools".to_owned(), json!([{"functionDeclarations": declared}]));
    if request.parallel_tool_calls == Some(false) {
        losses.push(Loss::dropped("parallel_tool_calls"));
    }
    let strict = request.tools.iter().any(|tool| tool.strict == Some(true));
    let config = match &request.tool_choice {
        None | Some(ToolChoice::Auto) if strict => json!({"mode": "VALIDATED"}),
        None => return Ok(()),
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::Tool(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

fn declaration(tool: &Tool, traits: &Traits, losses: &mut Vec<Loss>) -> Value {
    let mut value = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    if let Some(words) = &tool.description {
        value.insert("description".to_owned(), json!(words));
    }
    match &tool.parameters {
        Some(parameters) if schema::is_empty(parameters) => {}
        Some(parameters) if traits.full_json_schema => {
            value.insert("parametersJsonSchema".to_owned(), parameters.clone());
        }
        Some(parameters) => {
            let (adapted, weakened) = schema::adapt(parameters);
            if weakened {
                note(losses, Loss::emulated("tools[].function.parameters"));
            }
            value.insert("parameters".to_owned(), adapted);
        }
        None => {}
    }
    Value::Object(value)
}

fn config(request: &ChatRequest, traits: &Traits, losses: &mut Vec<Loss>) -> Map<String, Value> {
    let mut config = Map::new();
    sampling(request, traits, &mut config, losses);
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            config.insert(key.to_owned(), value);
        }
    };
    put("seed", json!(request.sampling.seed));
    if request.max_output_tokens.is_some_and(|most| most > traits.max_output_tokens) {
        losses.push(Loss::clamped("max_tokens"));
    }
    let most = request.max_output_tokens.map(|most| most.min(traits.max_output_tokens));
    put("maxOutputTokens", json!(most));
    put("candidateCount", json!(request.choices.filter(|choices| *choices > 1)));
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
        _ if !traits.json_beside_tools && !request.tools.is_empty() => {}
        OutputFormat::JsonObject => put("responseMimeType", json!("application/json")),
        OutputFormat::JsonSchema { schema, .. } if traits.full_json_schema => {
            put("responseMimeType", json!("application/json"));
            put("responseJsonSchema", schema.clone());
        }
        OutputFormat::JsonSchema { schema, .. } => {
            let (adapted, weakened) = schema::adapt(schema);
            if weakened {
                note(losses, Loss::emulated("response_format"));
            }
            put("responseMimeType", json!("application/json"));
            put("responseSchema", adapted);
        }
    }
    let thinking = request.reasoning.as_ref().map(|asked| thinking(asked, traits, losses));
    put("thinkingConfig", thinking.unwrap_or_default());
    config
}

/// The form of the answer as words, for models that take none beside tools.
fn form_in_words(output: &OutputFormat, losses: &mut Vec<Loss>) -> Option<String> {
    const FORM: &str = "When you call no function, answer with one valid JSON object and nothing \
                        else: no words before or after it, no code fence.";
    let words = match output {
        OutputFormat::Text => return None,
        OutputFormat::JsonObject => FORM.to_owned(),
        OutputFormat::JsonSchema { schema, .. } => {
            format!("{FORM} The JSON must match this JSON Schema:\n{schema}")
        }
    };
    losses.push(Loss::emulated("response_format"));
    Some(words)
}

/// A value that is the default anyway is no loss where the model takes none.
fn sampling(
    request: &ChatRequest,
    traits: &Traits,
    config: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    let sampling = &request.sampling;
    let unless = |value: Option<f64>, default: f64| {
        (value, value.is_some_and(|value| (value - default).abs() > f64::EPSILON))
    };
    for (ours, theirs, (value, matters)) in [
        ("temperature", "temperature", unless(sampling.temperature, 1.0)),
        ("top_p", "topP", unless(sampling.top_p, 1.0)),
        ("frequency_penalty", "frequencyPenalty", unless(sampling.frequency_penalty, 0.0)),
        ("presence_penalty", "presencePenalty", unless(sampling.presence_penalty, 0.0)),
    ] {
        match value {
            Some(value) if traits.sampling => {
                config.insert(theirs.to_owned(), json!(value));
            }
            Some(_) if matters => losses.push(Loss::dropped(ours)),
            Some(_) | None => {}
        }
    }
    match sampling.top_k {
        Some(top_k) if traits.sampling => {
            config.insert("topK".to_owned(), json!(top_k));
        }
        Some(_) => losses.push(Loss::dropped("top_k")),
        None => {}
    }
    for (field, given) in
        [("logit_bias", sampling.logit_bias.is_some()), ("user", request.user.is_some())]
    {
        if given {
            losses.push(Loss::dropped(field));
        }
    }
}

/// Thoughts are asked for unless the client wants none: Gemini shows none by itself.
fn thinking(asked: &Reasoning, traits: &Traits, losses: &mut Vec<Loss>) -> Value {
    let off = asked.effort == Some(Effort::None) || asked.budget == Some(0);
    let visible = !off && asked.visible != Some(false);
    match traits.thinking {
        Thinking::None => {
            if !off {
                losses.push(Loss::dropped("reasoning_effort"));
            }
            Value::Null
        }
        Thinking::Budget => {
            // -1 leaves it to the model.
            let budget =
                asked.budget.map_or(-1, |budget| i64::try_from(budget).unwrap_or(i64::MAX));
            let budget = asked.effort.map_or(budget, budget_of);
            json!({"thinkingBudget": budget, "includeThoughts": visible})
        }
        Thinking::Always | Thinking::Effort => {
            let mut value = Map::new();
            if let Some(level) = level(asked, losses) {
                value.insert("thinkingLevel".to_owned(), json!(level));
            }
            value.insert("includeThoughts".to_owned(), json!(visible));
            Value::Object(value)
        }
    }
}

const fn budget_of(effort: Effort) -> i64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 512,
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High | Effort::XHigh | Effort::Max => 24_576,
    }
}

/// The level nearest to what the client asked; `None` leaves it to the model.
fn level(asked: &Reasoning, losses: &mut Vec<Loss>) -> Option<&'static str> {
    let effort = match (asked.effort, asked.budget) {
        (Some(effort), _) => effort,
        (None, None) => return None,
        (None, Some(budget)) => {
            losses.push(Loss::emulated("thinking.budget_tokens"));
            match budget {
                0..=2048 => Effort::Low,
                2049..=8192 => Effort::Medium,
                _ => Effort::High,
            }
        }
    };
    if matches!(effort, Effort::None | Effort::XHigh | Effort::Max) {
        losses.push(Loss::clamped("reasoning_effort"));
    }
    Some(match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::XHigh | Effort::Max => "HIGH",
    })
}
