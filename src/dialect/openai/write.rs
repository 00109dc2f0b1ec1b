//! Writing a request for an OpenAI or compatible target: everything but the conversation, which
//! [`super::write_messages`] writes.
//!
//! Who asks for this speaks another dialect: a request in OpenAI's own passes untouched. So nothing
//! of [`ChatRequest::rest`] has a meaning here, and losses are named as such a client names them.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{schema, write_messages};
use crate::dialect::{
    ChatRequest, Encoded, Loss, Refusal, Target,
    chat::{Effort, OutputFormat, Reasoning, Sampling, Tool, ToolChoice},
    traits::{Thinking, Traits},
};

/// OpenAI takes four stop texts.
const MOST_STOPS: usize = 4;

/// The name of a schema whose author gave none; OpenAI wants one.
const SCHEMA_NAME: &str = "answer";

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    let several = request.choices.is_some_and(|choices| choices > 1);
    if several && request.stream {
        return Err(Refusal::at("n", "a translated stream has one answer; ask for one at a time"));
    }
    if !request.stop.is_empty() && !traits.stop_texts {
        return Err(Refusal::at("stop_sequences", "the model takes no texts that end its answer"));
    }
    let mut writer = Writer {
        body: Map::new(),
        losses: request.rest.keys().cloned().map(Loss::dropped).collect(),
    };
    writer.put("model", json!(target.model));
    let messages = write_messages::encode(request, traits, &mut writer.losses)?;
    writer.put("messages", Value::Array(messages));
    if request.stream {
        writer.put("stream", json!(true));
        // Asked for whether the client did or not: the bill needs it.
        writer.put("stream_options", json!({"include_usage": true}));
    }
    let limit = if traits.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    if request.max_output_tokens.is_some_and(|most| most > traits.max_output_tokens) {
        writer.losses.push(Loss::clamped("max_tokens"));
    }
    let most = request.max_output_tokens.map(|most| most.min(traits.max_output_tokens));
    writer.put(limit, json!(most));
    writer.sampling(&request.sampling, traits);
    if !request.stop.is_empty() {
        if request.stop.len() > MOST_STOPS {
            writer.losses.push(Loss::clamped("stop_sequences"));
        }
        writer.put("stop", json!(request.stop.iter().take(MOST_STOPS).collect::<Vec<_>>()));
    }
    if let Some(top) = request.logprobs {
        writer.put("logprobs", json!(true));
        writer.put("top_logprobs", if top > 0 { json!(top) } else { Value::Null });
    }
    writer.put("n", json!(request.choices));
    writer.put("user", json!(request.user));
    writer.tools(request, traits);
    writer.output(&request.output, traits);
    if let Some(reasoning) = &request.reasoning {
        writer.reasoning(reasoning, traits);
    }
    let Writer { body, losses } = writer;
    Ok(Encoded { body: Bytes::from(Value::Object(body).to_string()), losses })
}

struct Writer {
    body: Map<String, Value>,
    losses: Vec<Loss>,
}

impl Writer {
    fn put(&mut self, key: &str, value: Value) {
        if !value.is_null() {
            self.body.insert(key.to_owned(), value);
        }
    }

    /// Models without sampling take the defaults, so saying the default loses nothing.
    fn sampling(&mut self, sampling: &Sampling, traits: &Traits) {
        for (key, value, default) in [
            ("temperature", sampling.temperature, 1.0),
            ("top_p", sampling.top_p, 1.0),
            ("frequency_penalty", sampling.frequency_penalty, 0.0),
            ("presence_penalty", sampling.presence_penalty, 0.0),
        ] {
            match value {
                Some(value) if traits.sampling => self.put(key, json!(value)),
                Some(value) if (value - default).abs() > f64::EPSILON => {
                    self.losses.push(Loss::dropped(key));
                }
                Some(_) | None => {}
            }
        }
        if sampling.top_k.is_some() {
            self.losses.push(Loss::dropped("top_k"));
        }
        self.put("seed", json!(sampling.seed));
        self.put("logit_bias", json!(sampling.logit_bias));
    }

    fn tools(&mut self, request: &ChatRequest, traits: &Traits) {
        // Without tools OpenAI refuses to hear about their choice, and there is none.
        if request.tools.is_empty() {
            return;
        }
        let wished = |tool: &Tool| tool.strict == Some(true) && !is_enforced(tool);
        if request.tools.iter().any(wished) {
            self.losses.push(Loss::emulated("tools[].strict"));
        }
        self.put("tools", request.tools.iter().map(tool).collect());
        self.put("parallel_tool_calls", json!(request.parallel_tool_calls));
        let choice = match &request.tool_choice {
            None => Value::Null,
            Some(ToolChoice::Auto) => json!("auto"),
            Some(ToolChoice::None) => json!("none"),
            Some(ToolChoice::Required | ToolChoice::Tool(_)) if !traits.forced_tool_choice => {
                self.losses.push(Loss::emulated("tool_choice"));
                json!("auto")
            }
            Some(ToolChoice::Required) => json!("required"),
            Some(ToolChoice::Tool(name)) => json!({"type": "function", "function": {"name": name}}),
        };
        self.put("tool_choice", choice);
    }

    /// A server without schemas gets the schema as words (`write_messages` says them) and is held to JSON.
    fn output(&mut self, output: &OutputFormat, traits: &Traits) {
        let format = match output {
            OutputFormat::Text => Value::Null,
            OutputFormat::JsonSchema { name, description, schema, strict }
                if traits.json_schema =>
            {
                let name = name.as_deref().unwrap_or(SCHEMA_NAME);
                let enforced = strict.map(|strict| strict && schema::is_strict(schema));
                if enforced != *strict {
                    self.losses.push(Loss::emulated("output_config.format"));
                }
                let mut inner = Map::from_iter([
                    ("name".to_owned(), json!(name)),
                    ("schema".to_owned(), schema.clone()),
                ]);
                optional(&mut inner, "description", json!(description));
                optional(&mut inner, "strict", json!(enforced));
                json!({"type": "json_schema", "json_schema": inner})
            }
            OutputFormat::JsonObject => json!({"type": "json_object"}),
            OutputFormat::JsonSchema { .. } => {
                self.losses.push(Loss::emulated("output_config.format"));
                json!({"type": "json_object"})
            }
        };
        self.put("response_format", format);
    }

    fn reasoning(&mut self, reasoning: &Reasoning, traits: &Traits) {
        let Some(effort) = effort(reasoning) else { return };
        let effort = match traits.thinking {
            Thinking::None if effort == Effort::None => return,
            Thinking::None => return self.losses.push(Loss::dropped("thinking")),
            Thinking::Always if effort == Effort::None => {
                self.losses.push(Loss::clamped("thinking"));
                Effort::Low
            }
            Thinking::Always | Thinking::Budget | Thinking::Effort => effort,
        };
        self.put("reasoning_effort", json!(effort.as_str()));
    }
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

/// Whether OpenAI can hold the model to a tool's parameters.
fn is_enforced(tool: &Tool) -> bool {
    tool.parameters.as_ref().is_none_or(schema::is_strict)
}

fn tool(tool: &Tool) -> Value {
    let mut function = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    optional(&mut function, "description", json!(tool.description));
    optional(&mut function, "parameters", json!(tool.parameters));
    let strict = tool.strict.map(|strict| strict && is_enforced(tool));
    optional(&mut function, "strict", json!(strict));
    json!({"type": "function", "function": function})
}

fn optional(map: &mut Map<String, Value>, key: &str, value: Value) {
    if !value.is_null() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{chat::Tool, openai::request};

    fn encoded(request: &ChatRequest, traits: Traits) -> (Value, Vec<Loss>) {
        let target = Target { model: "target", traits: &traits, fetches_urls: true };
        let encoded = encode(request, &target).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.losses)
    }

    /// What OpenAI's own dialect says goes through the common form unchanged, but for the model and
    /// for the usage that is always asked for.
    #[test]
    fn a_request_of_openais_own_survives_the_common_form() {
        let user = json!({"role": "user", "content": "hi"});
        let tools = json!([
            {"type": "function", "function": {
                "name": "f", "description": "d", "strict": true,
                "parameters": {"type": "object", "additionalProperties": false},
            }},
            {"type": "function", "function": {"name": "g"}},
        ]);
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let asked =
            json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
        let told = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
        for body in [
            json!({"messages": [user], "max_tokens": 7, "n": 2, "stop": ["a"], "seed": 1,
                "temperature": 0.5, "top_p": 0.5, "frequency_penalty": 1.0, "user": "u",
                "presence_penalty": 1.0, "logit_bias": {"1": 2}, "reasoning_effort": "minimal",
                "logprobs": true, "top_logprobs": 3}),
            json!({"messages": [user], "stream": true, "stream_options": {"include_usage": true}}),
            json!({"messages": [user, asked, told("a"), told("b"), user], "tools": tools,
                "tool_choice": "required", "parallel_tool_calls": false}),
            json!({"messages": [user], "tools": tools,
                "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            json!({"messages": [user], "response_format": {"type": "json_object"}}),
            json!({"messages": [user], "response_format": {"type": "json_schema", "json_schema": {
                "name": "n", "description": "d", "schema": {"type": "object"}, "strict": false,
            }}}),
            json!({"messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "name": "ann", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url",
                     "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                    {"type": "file", "file": {
                        "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA==",
                    }},
                ]},
                {"role": "assistant", "content": "no", "refusal": "because"},
                user,
            ]}),
        ] {
            let mut body = body;
            body["model"] = json!("target");
            let request = request::decode(body.to_string().as_bytes()).unwrap();
            let (again, losses) = encoded(&request, Traits::default());
            assert_eq!(again, body);
            assert_eq!(losses, [], "{body}");
        }
    }

    #[test]
    fn what_the_target_cannot_take_is_left_out_and_named() {
        let request = ChatRequest {
            max_output_tokens: Some(5),
            sampling: Sampling {
                temperature: Some(0.2),
                top_p: Some(1.0),
                top_k: Some(4),
                ..Sampling::default()
            },
            stop: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
            reasoning: Some(Reasoning { budget: Some(0), ..Reasoning::default() }),
            tools: vec![Tool {
                name: "f".to_owned(),
                description: None,
                parameters: None,
                strict: None,
            }],
            tool_choice: Some(ToolChoice::Required),
            rest: Map::from_iter([("cache_control".to_owned(), Value::Null)]),
            ..ChatRequest::default()
        };
        let traits = Traits {
            sampling: false,
            forced_tool_choice: false,
            thinking: Thinking::Always,
            max_completion_tokens: true,
            ..Traits::default()
        };
        let (body, losses) = encoded(&request, traits);
        assert_eq!(
            body,
            json!({
                "model": "target", "messages": [], "max_completion_tokens": 5,
                "stop": ["a", "b", "c", "d"], "reasoning_effort": "low", "tool_choice": "auto",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            })
        );
        assert_eq!(
            losses,
            [
                Loss::dropped("cache_control"),
                Loss::dropped("temperature"),
                Loss::dropped("top_k"),
                Loss::clamped("stop_sequences"),
                Loss::emulated("tool_choice"),
                Loss::clamped("thinking"),
            ]
        );
    }

    #[test]
    fn a_target_without_schemas_is_told_in_words() {
        let request = ChatRequest {
            output: OutputFormat::JsonSchema {
                name: None,
                description: None,
                schema: json!({"type": "object"}),
                strict: None,
            },
            ..ChatRequest::default()
        };
        let (body, losses) = encoded(&request, Traits { json_schema: false, ..Traits::default() });
        assert_eq!(body["response_format"], json!({"type": "json_object"}));
        let words = body["messages"][0]["content"].as_str().unwrap();
        assert!(words.contains(r#"{"type":"object"}"#), "{words}");
        assert_eq!(losses, [Loss::emulated("output_config.format")]);
        let (body, losses) = encoded(&request, Traits::default());
        assert_eq!(body["response_format"]["json_schema"]["name"], SCHEMA_NAME);
        assert_eq!(losses, []);
    }

    #[test]
    fn a_budget_becomes_the_nearest_effort() {
        for (budget, word) in [(0, "none"), (1024, "low"), (4096, "medium"), (16_384, "high")] {
            let reasoning = Reasoning { budget: Some(budget), ..Reasoning::default() };
            let request = ChatRequest { reasoning: Some(reasoning), ..ChatRequest::default() };
            assert_eq!(encoded(&request, Traits::default()).0["reasoning_effort"], word);
        }
    }

    #[test]
    fn a_stream_of_several_answers_is_refused() {
        let request = ChatRequest { choices: Some(2), stream: true, ..ChatRequest::default() };
        let traits = Traits::default();
        let refusal = encode(&request, &Target { model: "m", traits: &traits, fetches_urls: true })
            .unwrap_err();
        assert_eq!(refusal.param, "n");
    }
}
