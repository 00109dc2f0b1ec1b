//! Writes the tools, what must be called, and the form of the answer: three fields that depend on
//! each other, because a model without JSON schemas gets its schema as a tool.
//!
//! The ways to a JSON answer, best first:
//!
//! 1. `output_config.format`, enforced by the provider;
//! 2. a call of a tool of ours that must be made; its arguments are the answer, and the decoders
//!    turn them into text;
//! 3. words in the system prompt, where no call can be forced or another call is.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    Losses,
    body::{Choice, Format, ToolSpec},
    decode::is_tool_name,
    schema,
};
use crate::dialect::{
    ChatRequest, Loss, Refusal, Traits,
    anthropic::wire::JSON_TOOL,
    chat::{OutputFormat, Part, Tool, ToolChoice},
};

const JSON_ONLY: &str = "Answer with one valid JSON object and nothing else: no words before or \
                         after it, no code fence.";

/// The three fields, and what has to be said in words instead.
#[derive(Debug, Default)]
pub(super) struct Tooling<'a> {
    pub tools: Vec<ToolSpec<'a>>,
    pub choice: Option<Choice<'a>>,
    pub format: Option<Format>,
    pub instruction: Option<String>,
}

/// Decides for a model. `thinks` says that the request turns thinking on: no call can be forced then.
pub(super) fn tooling<'a>(
    request: &'a ChatRequest,
    traits: &Traits,
    thinks: bool,
    losses: &mut Losses,
) -> Result<Tooling<'a>, Refusal> {
    let mut tooling = Tooling::default();
    for (index, tool) in request.tools.iter().enumerate() {
        tooling.tools.push(spec(tool, index, traits, losses)?);
    }
    let forcible = traits.forced_tool_choice && !thinks;
    if request.tools.is_empty() {
        tooling.remember(request, losses);
    } else {
        tooling.choose(request, forcible, losses);
    }
    tooling.shape(request, traits, forcible, losses);
    Ok(tooling)
}

impl<'a> Tooling<'a> {
    /// A conversation with calls needs the tools that were called, even if none may be called now.
    fn remember(&mut self, request: &'a ChatRequest, losses: &mut Losses) {
        for part in request.messages.iter().flat_map(|message| &message.parts) {
            if let Part::ToolCall(call) = part
                && !self.tools.iter().any(|tool| tool.name == call.name)
            {
                self.tools.push(ToolSpec {
                    name: &call.name,
                    description: None,
                    input_schema: Cow::Owned(json!({"type": "object"})),
                    strict: false,
                });
            }
        }
        if !self.tools.is_empty() {
            losses.add(Loss::emulated("tools"));
            self.choice = Some(choice("none"));
        }
    }

    fn choose(&mut self, request: &'a ChatRequest, forcible: bool, losses: &mut Losses) {
        let single = request.parallel_tool_calls == Some(false);
        let mut chosen = match &request.tool_choice {
            None if single => choice("auto"),
            None => return,
            Some(ToolChoice::None) => {
                self.choice = Some(choice("none"));
                return;
            }
            Some(ToolChoice::Auto) => choice("auto"),
            Some(ToolChoice::Required | ToolChoice::Tool(_)) if !forcible => {
                losses.add(Loss::emulated("tool_choice"));
                choice("auto")
            }
            Some(ToolChoice::Required) => choice("any"),
            Some(ToolChoice::Tool(name)) => Choice { name: Some(name), ..choice("tool") },
        };
        chosen.disable_parallel_tool_use = single;
        self.choice = Some(chosen);
    }

    fn shape(
        &mut self,
        request: &'a ChatRequest,
        traits: &Traits,
        forcible: bool,
        losses: &mut Losses,
    ) {
        let (description, schema) = match &request.output {
            OutputFormat::Text => return,
            OutputFormat::JsonObject => {
                losses.add(Loss::emulated("response_format"));
                self.instruction = Some(JSON_ONLY.to_owned());
                return;
            }
            OutputFormat::JsonSchema { description, schema, .. } => {
                (description.as_deref(), schema)
            }
        };
        if traits.json_schema {
            let (mut schema, weakened) = schema::adapt(schema);
            if weakened {
                losses.add(Loss::emulated("response_format"));
            }
            if let (Some(description), Some(fields)) = (description, schema.as_object_mut()) {
                fields.entry("description").or_insert_with(|| description.into());
            }
            self.format = Some(Format::JsonSchema { schema });
            return;
        }
        losses.add(Loss::emulated("response_format"));
        let elsewhere =
            matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        if forcible && !elsewhere && schema.get("type").is_some_and(|kind| kind == "object") {
            self.stand_in(request, description, schema);
        } else {
            let words = "The JSON must match this JSON Schema:";
            self.instruction = Some(format!("{JSON_ONLY} {words}\n{schema}"));
        }
    }

    /// Puts the schema in as a tool that must be called, or, beside tools that may be called, as one
    /// of them.
    fn stand_in(
        &mut self,
        request: &'a ChatRequest,
        description: Option<&'a str>,
        schema: &'a Value,
    ) {
        self.tools.push(ToolSpec {
            name: JSON_TOOL,
            description: Some(
                description.unwrap_or("Gives the final answer in the demanded form."),
            ),
            input_schema: Cow::Borrowed(schema),
            strict: false,
        });
        let alone = request.tools.is_empty() || request.tool_choice == Some(ToolChoice::None);
        self.choice = Some(if alone {
            Choice { name: Some(JSON_TOOL), disable_parallel_tool_use: true, ..choice("tool") }
        } else {
            let disable_parallel_tool_use = request.parallel_tool_calls == Some(false);
            Choice { disable_parallel_tool_use, ..choice("any") }
        });
    }
}

const fn choice(kind: &'static str) -> Choice<'static> {
    Choice { r#type: kind, name: None, disable_parallel_tool_use: false }
}

fn spec<'a>(
    tool: &'a Tool,
    index: usize,
    traits: &Traits,
    losses: &mut Losses,
) -> Result<ToolSpec<'a>, Refusal> {
    let path = format!("tools[{index}].function");
    if !is_tool_name(&tool.name) {
        let message = "the target takes tool names of 1 to 128 letters, digits, '_' and '-' only";
        return Err(Refusal::at(format!("{path}.name"), message));
    }
    let mut input_schema = object_schema(tool.parameters.as_ref()).ok_or_else(|| {
        let message = "the target takes only objects as a tool's parameters";
        Refusal::at(format!("{path}.parameters"), message)
    })?;
    let strict = tool.strict == Some(true) && traits.json_schema;
    if strict {
        let (adapted, weakened) = schema::adapt(&input_schema);
        if weakened {
            losses.add(Loss::emulated("tools[].function.strict"));
        }
        input_schema = Cow::Owned(adapted);
    } else if tool.strict == Some(true) {
        losses.add(Loss::dropped("tools[].function.strict"));
    }
    let description = tool.description.as_deref();
    Ok(ToolSpec { name: &tool.name, description, input_schema, strict })
}

/// A schema with the `type` that Anthropic demands; `None` where it says something else.
fn object_schema(parameters: Option<&Value>) -> Option<Cow<'_, Value>> {
    let empty = || json!({"type": "object", "properties": {}});
    let Some(schema) = parameters else { return Some(Cow::Owned(empty())) };
    let fields = schema.as_object()?;
    match fields.get("type") {
        Some(kind) => (kind == "object").then_some(Cow::Borrowed(schema)),
        None if fields.is_empty() => Some(Cow::Owned(empty())),
        None => {
            let mut typed = fields.clone();
            typed.insert("type".to_owned(), "object".into());
            Some(Cow::Owned(Value::Object(typed)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::chat::{Message, Role, ToolCall};

    fn tool(name: &str, parameters: Option<Value>, strict: Option<bool>) -> Tool {
        Tool { name: name.to_owned(), description: None, parameters, strict }
    }

    fn schema() -> Value {
        json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}})
    }

    fn request(choice: Option<ToolChoice>) -> ChatRequest {
        ChatRequest {
            tools: vec![tool("f", None, None)],
            tool_choice: choice,
            ..Default::default()
        }
    }

    fn asks_json(mut request: ChatRequest) -> ChatRequest {
        request.output = OutputFormat::JsonSchema {
            name: Some("n".to_owned()),
            description: None,
            schema: schema(),
            strict: Some(true),
        };
        request
    }

    const OLD: Traits = Traits {
        json_schema: false,
        json_beside_tools: true,
        prefill: true,
        stop_texts: true,
        sampling: true,
        forced_tool_choice: true,
        mid_system: false,
        thinking: crate::dialect::traits::Thinking::Budget,
        max_completion_tokens: false,
        developer_role: false,
        thought_signatures: false,
        full_json_schema: true,
        max_output_tokens: 8192,
    };

    fn chosen(request: &ChatRequest, traits: &Traits, thinks: bool) -> (Value, Vec<Loss>) {
        let mut losses = Losses::default();
        let tooling = tooling(request, traits, thinks, &mut losses).unwrap();
        (json!(tooling.choice), losses.0)
    }

    #[test]
    fn tool_choices_are_said_in_anthropics_words() {
        let rows = [
            (None, json!(null)),
            (Some(ToolChoice::Auto), json!({"type": "auto"})),
            (Some(ToolChoice::None), json!({"type": "none"})),
            (Some(ToolChoice::Required), json!({"type": "any"})),
            (Some(ToolChoice::Tool("f".to_owned())), json!({"type": "tool", "name": "f"})),
        ];
        for (choice, expected) in rows {
            assert_eq!(chosen(&request(choice), &Traits::default(), false), (expected, vec![]));
        }
        let single = ChatRequest { parallel_tool_calls: Some(false), ..request(None) };
        let expected = json!({"type": "auto", "disable_parallel_tool_use": true});
        assert_eq!(chosen(&single, &Traits::default(), false).0, expected);
    }

    #[test]
    fn a_call_that_cannot_be_forced_is_only_suggested() {
        let forced = request(Some(ToolChoice::Required));
        let expected = (json!({"type": "auto"}), vec![Loss::emulated("tool_choice")]);
        assert_eq!(chosen(&forced, &Traits::default(), true), expected);
        let unforced = Traits { forced_tool_choice: false, ..Traits::default() };
        assert_eq!(chosen(&forced, &unforced, false), expected);
    }

    #[test]
    fn a_schema_is_enforced_where_it_can_be() {
        let request = asks_json(ChatRequest::default());
        let mut losses = Losses::default();
        let native = tooling(&request, &Traits::default(), true, &mut losses).unwrap();
        assert_eq!(json!(native.format)["schema"]["additionalProperties"], false);
        assert_eq!(losses.0, [Loss::emulated("response_format")], "maxLength is only described");
    }

    #[test]
    fn a_schema_becomes_a_forced_tool_then_words() {
        let alone = asks_json(ChatRequest::default());
        let expected = json!({
            "type": "tool", "name": JSON_TOOL, "disable_parallel_tool_use": true});
        assert_eq!(chosen(&alone, &OLD, false).0, expected);
        let beside = asks_json(request(None));
        assert_eq!(chosen(&beside, &OLD, false).0, json!({"type": "any"}));
        for (request, thinks) in
            [(&alone, true), (&asks_json(request(Some(ToolChoice::Required))), false)]
        {
            let mut losses = Losses::default();
            let tooling = tooling(request, &OLD, thinks, &mut losses).unwrap();
            assert!(tooling.instruction.unwrap().contains("maxLength"));
            assert!(tooling.tools.iter().all(|tool| tool.name != JSON_TOOL));
            assert!(losses.0.contains(&Loss::emulated("response_format")));
        }
    }

    #[test]
    fn tools_have_an_object_schema_and_a_strictness_that_is_kept() {
        let request = ChatRequest {
            tools: vec![
                tool("a", None, None),
                tool("b", Some(json!({"properties": {}})), None),
                tool("c", Some(schema()), Some(true)),
            ],
            ..Default::default()
        };
        let mut losses = Losses::default();
        let tools = tooling(&request, &Traits::default(), false, &mut losses).unwrap().tools;
        assert_eq!(
            json!(tools[0]),
            json!({
            "name": "a", "input_schema": {"type": "object", "properties": {}}})
        );
        assert_eq!(tools[1].input_schema["type"], "object");
        assert_eq!(tools[2].input_schema["additionalProperties"], false);
        assert!(tools[2].strict);
        assert_eq!(losses.0, [Loss::emulated("tools[].function.strict")]);
    }

    #[test]
    fn a_tool_that_anthropic_would_refuse_is_refused() {
        for (tool, param) in [
            (tool("a b", None, None), "tools[0].function.name"),
            (tool("a", Some(json!({"type": "array"})), None), "tools[0].function.parameters"),
        ] {
            let request = ChatRequest { tools: vec![tool], ..Default::default() };
            let refusal = tooling(&request, &Traits::default(), false, &mut Losses::default());
            assert_eq!(refusal.unwrap_err().param, param);
        }
    }

    #[test]
    fn tools_that_were_called_are_declared() {
        let call = Part::ToolCall(ToolCall {
            id: "x".to_owned(),
            name: "f".to_owned(),
            arguments: String::new(),
            signature: None,
        });
        let parts = vec![call.clone(), call];
        let messages = vec![Message { role: Role::Assistant, name: None, parts }];
        let request = ChatRequest { messages, ..Default::default() };
        let mut losses = Losses::default();
        let tooling = tooling(&request, &Traits::default(), false, &mut losses).unwrap();
        let expected = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        assert_eq!(json!(tooling.tools), expected);
        assert_eq!(json!(tooling.choice), json!({"type": "none"}));
        assert_eq!(losses.0, [Loss::emulated("tools")]);
    }
}
