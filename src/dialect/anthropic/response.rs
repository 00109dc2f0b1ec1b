//! Whole answers, read and written.
//!
//! Source: `Message` of Anthropic's SDK types, November 2026.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    error, events, marks, stream,
    wire::{self, Block, JSON_TOOL, StopDetails, WireUsage},
};
use crate::dialect::{
    ChatResponse, StreamError, Usage, View,
    chat::{Choice, Part, ReasoningPart, ToolCall},
};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default, borrow)]
    content: Option<Vec<Block<'a>>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

/// Reads an answer. Server tools' blocks are the provider's own affair and passed over.
pub fn decode(body: &[u8]) -> Result<ChatResponse, StreamError> {
    let message: Message<'_> = serde_json::from_slice(body)
        .map_err(|problem| StreamError::Malformed(format!("unreadable answer: {problem}")))?;
    if message.kind == "error" {
        return Err(StreamError::Provider(error::decode(0, body)));
    }
    let Some(blocks) = message.content else {
        return Err(StreamError::Malformed("the answer has no content".to_owned()));
    };
    let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
    let mut calls = 0;
    for block in blocks {
        if let Some(part) = part(block, &message.id, calls) {
            calls += usize::from(matches!(part, Part::ToolCall(_)));
            parts.push(part);
        }
    }
    if let Some(words) = message.stop_details.and_then(|details| details.explanation) {
        parts.push(Part::Refusal(words));
    }
    let reason = message.stop_reason.unwrap_or_default();
    let finish = wire::finish(&reason, message.stop_sequence, calls > 0);
    Ok(ChatResponse {
        id: message.id,
        model: message.model,
        choices: vec![Choice { parts, finish, logprobs: None }],
        usage: message.usage.map(Usage::from),
    })
}

fn part(block: Block<'_>, answer: &str, calls: usize) -> Option<Part> {
    let signed = |text: String, data: String, redacted| {
        let signature = (!data.is_empty()).then(|| stream::own(data));
        Part::Reasoning(ReasoningPart { text, signature, redacted })
    };
    match &*block.kind {
        "text" if !block.text.is_empty() => Some(Part::Text(block.text.into_owned())),
        "thinking" => {
            Some(signed(block.thinking.into_owned(), block.signature.into_owned(), false))
        }
        "redacted_thinking" => Some(signed(String::new(), block.data.into_owned(), true)),
        "tool_use" => {
            let arguments = block.input.map_or("{}", RawValue::get).to_owned();
            if block.name == JSON_TOOL {
                return Some(Part::Text(arguments));
            }
            Some(Part::ToolCall(ToolCall {
                id: stream::call_id(&block.id, answer, calls),
                name: block.name.into_owned(),
                arguments,
                signature: None,
            }))
        }
        _ => None,
    }
}

/// An answer as a client gets it.
#[derive(Serialize)]
struct Answer<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Written<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    stop_details: Value,
    container: (),
    usage: WireUsage,
}

/// A block as a client gets it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written<'a> {
    Text { text: &'a str, citations: () },
    Thinking { thinking: &'a str, signature: String },
    RedactedThinking { data: String },
    ToolUse { id: String, name: &'a str, input: Cow<'a, RawValue> },
}

/// Writes an answer. Of several choices the first is written: a request of this dialect asks for one.
pub fn encode(response: &ChatResponse, view: &View) -> Vec<u8> {
    let nothing = Choice::default();
    let choice = response.choices.first().unwrap_or(&nothing);
    let called = choice.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let refused = choice.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let (stop_reason, stop_sequence) = wire::stop_reason(&choice.finish, called, refused);
    let answer = Answer {
        id: events::answer_id(&response.id, view),
        r#type: "message",
        role: "assistant",
        model: &view.model,
        content: choice.parts.iter().filter_map(written).collect(),
        stop_reason,
        stop_sequence,
        stop_details: serde_json::from_str(events::stop_details(stop_reason)).unwrap_or_default(),
        container: (),
        usage: WireUsage::from(response.usage.unwrap_or_default()),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn written(part: &Part) -> Option<Written<'_>> {
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            (!text.is_empty()).then_some(Written::Text { text, citations: () })
        }
        Part::Reasoning(ReasoningPart { signature, redacted: true, .. }) => {
            Some(Written::RedactedThinking { data: marks::write_signature(signature.as_ref()) })
        }
        Part::Reasoning(ReasoningPart { text, signature, redacted: false }) => {
            let signature = marks::write_signature(signature.as_ref());
            Some(Written::Thinking { thinking: text, signature })
        }
        Part::ToolCall(call) => Some(Written::ToolUse {
            id: marks::write_id(&call.id, call.signature.as_ref()),
            name: &call.name,
            input: wire::input(&call.arguments).0,
        }),
        // No provider answers a chat with these, and this dialect has no slot for them.
        Part::Audio { .. } | Part::File { .. } | Part::Image { .. } | Part::ToolResult(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::{
        Dialect,
        chat::{Finish, Signature},
    };

    const VIEW: fn() -> View =
        || View { model: "asked".to_owned(), created: 7, include_usage: true };

    const ANSWER: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
        {"type":"thinking","thinking":"hm","signature":"EqQB"},
        {"type":"redacted_thinking","data":"secret"},
        {"type":"text","text":"Hi","citations":null},
        {"type":"server_tool_use","id":"s","name":"web_search","input":{"q":"x"}},
        {"type":"web_search_tool_result","tool_use_id":"s","content":[]},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{"b":1,"a":2}}],
        "stop_reason":"tool_use","stop_sequence":null,
        "usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":9}}"#;

    #[test]
    fn an_answer_is_read_in_order() {
        let response = decode(ANSWER.as_bytes()).unwrap();
        let signed = |text: &str, data: &str, redacted| {
            let signature = Some(stream::own(data.to_owned()));
            Part::Reasoning(ReasoningPart { text: text.to_owned(), signature, redacted })
        };
        let expected = Choice {
            parts: vec![
                signed("hm", "EqQB", false),
                signed("", "secret", true),
                Part::Text("Hi".to_owned()),
                Part::ToolCall(ToolCall {
                    id: "toolu_1".to_owned(),
                    name: "f".to_owned(),
                    arguments: "{\"b\":1,\"a\":2}".to_owned(),
                    signature: None,
                }),
            ],
            finish: Finish::ToolCalls,
            logprobs: None,
        };
        assert_eq!(response.choices, [expected]);
        let usage = Usage { input: 7, cached: Some(2), output: 9, ..Usage::default() };
        assert_eq!(response.usage, Some(usage));
    }

    #[test]
    fn an_answer_that_is_written_reads_the_same() {
        let response = decode(ANSWER.as_bytes()).unwrap();
        let mut again = decode(&encode(&response, &VIEW())).unwrap();
        assert_eq!(again.model, "asked");
        again.model.clone_from(&response.model);
        assert_eq!(again, response);
    }

    #[test]
    fn the_schemas_stand_in_is_text_and_a_stop() {
        let body = br#"{"content":[{"type":"tool_use","id":"t","name":"trunkline_json_output",
            "input":{"a":1}}],"stop_reason":"tool_use"}"#;
        let response = decode(body).unwrap();
        assert_eq!(response.choices[0].parts, [Part::Text("{\"a\":1}".to_owned())]);
        assert_eq!(response.choices[0].finish, Finish::Stop);
        assert_eq!(response.usage, None);
    }

    #[test]
    fn foreign_proofs_and_broken_arguments_are_written_in_anthropics_shape() {
        let foreign = Signature { dialect: Dialect::Gemini, data: "g".to_owned() };
        let response = ChatResponse {
            choices: vec![Choice {
                parts: vec![
                    Part::Reasoning(ReasoningPart { text: "hm".to_owned(), ..Default::default() }),
                    Part::ToolCall(ToolCall {
                        id: "c".to_owned(),
                        name: "f".to_owned(),
                        arguments: "{\"a\":".to_owned(),
                        signature: Some(foreign),
                    }),
                ],
                finish: Finish::Stop,
                logprobs: None,
            }],
            ..ChatResponse::default()
        };
        let value: Value = serde_json::from_slice(&encode(&response, &VIEW())).unwrap();
        let expected = json!({
            "id": "msg_7", "type": "message", "role": "assistant", "model": "asked",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "trunkline.none"},
                {"type": "tool_use", "id": "c--tlg1--Zw", "name": "f",
                 "input": {"_raw_arguments": "{\"a\":"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null,
            "container": null,
            "usage": {"input_tokens": 0, "output_tokens": 0,
                "cache_creation_input_tokens": null, "cache_read_input_tokens": null},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_refusal_is_said_in_words_and_in_the_stop_reason() {
        let choice = Choice { parts: vec![Part::Refusal("No.".to_owned())], ..Choice::default() };
        let response = ChatResponse { choices: vec![choice], ..ChatResponse::default() };
        let value: Value = serde_json::from_slice(&encode(&response, &VIEW())).unwrap();
        assert_eq!(value["content"][0]["text"], "No.");
        assert_eq!(value["stop_reason"], "refusal");
        assert_eq!(value["stop_details"]["type"], "refusal");
    }

    #[test]
    fn an_error_or_nonsense_is_no_answer() {
        let error = br#"{"type":"error","error":{"type":"api_error","message":"oops"}}"#;
        assert!(matches!(decode(error), Err(StreamError::Provider(_))));
        assert!(matches!(decode(b"{\"id\":"), Err(StreamError::Malformed(_))));
        assert!(matches!(decode(b"{}"), Err(StreamError::Malformed(_))));
    }
}
