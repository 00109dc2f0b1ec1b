//! Whole answers, read and written.

use serde_json::{Map, Value, json};

use super::{
    reasoning::format_word,
    usage,
    wire::{self, Response, ResponseChoice},
};
use crate::dialect::{
    ChatResponse, Model, StreamError, View,
    chat::{Choice, Finish, Part, ReasoningPart, Signature, TokenLogprob, ToolCall},
};

/// What OpenAI writes for a token of next to no probability; JSON has no infinity.
const IMPOSSIBLE: f64 = -9999.0;

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, StreamError> {
    let response: Response = wire::read(body)?;
    if let Some(failure) = wire::failure(&response.error, &response.x_groq, &Value::Null) {
        return Err(StreamError::Provider(failure));
    }
    let choices = response.choices.unwrap_or_default();
    let choices = choices.into_iter().map(choice).collect::<Result<Vec<_>, _>>()?;
    if choices.is_empty() {
        return Err(StreamError::Malformed("the answer has no choices".to_owned()));
    }
    Ok(ChatResponse {
        id: wire::non_empty(response.id).unwrap_or_default(),
        model: wire::non_empty(response.model).unwrap_or_default(),
        choices,
        usage: usage::of_chunk(&response.usage, &response.x_groq, &response.service_tier),
    })
}

fn choice(choice: ResponseChoice) -> Result<Choice, StreamError> {
    let Some(mut message) = choice.message else {
        return Err(StreamError::Malformed("a choice has no message".to_owned()));
    };
    let mut parts = Vec::new();
    if let Some(text) = message.take_reasoning() {
        parts.push(Part::Reasoning(ReasoningPart { text, ..ReasoningPart::default() }));
    }
    parts.extend(message.take_content().map(Part::Text));
    parts.extend(message.take_refusal().map(Part::Refusal));
    let calls = message.take_calls();
    let called = !calls.is_empty();
    for (at, call) in calls.into_iter().enumerate() {
        let mut function = call.function.unwrap_or_default();
        let arguments = function.take_arguments();
        parts.push(Part::ToolCall(ToolCall {
            id: wire::non_empty(call.id).unwrap_or_else(|| format!("call_{at}")),
            name: wire::non_empty(function.name).unwrap_or_default(),
            arguments: if arguments.is_empty() { "{}".to_owned() } else { arguments },
            signature: None,
        }));
    }
    let finish = wire::finish(&choice.finish_reason)?;
    Ok(Choice {
        parts,
        finish: finish.unwrap_or_else(|| wire::finish_by_content(called)),
        logprobs: wire::logprobs(&choice.logprobs),
    })
}

pub(super) fn encode(response: &ChatResponse, view: &View) -> Vec<u8> {
    let choices = response.choices.iter().enumerate().map(|(index, choice)| {
        json!({
            "index": index,
            "message": message(&choice.parts),
            "finish_reason": finish_word(&choice.finish),
            "logprobs": choice.logprobs.as_deref().map(write_logprobs),
        })
    });
    let mut value = Map::from_iter([
        ("id".to_owned(), json!(*answer_id(&response.id, view))),
        ("object".to_owned(), json!("chat.completion")),
        ("created".to_owned(), json!(view.created)),
        ("model".to_owned(), json!(view.model)),
        ("choices".to_owned(), choices.collect()),
    ]);
    if let Some(usage) = response.usage {
        value.insert("usage".to_owned(), usage::write(usage));
    }
    Value::Object(value).to_string().into_bytes()
}

/// The id of an answer; the SDKs want one, and not every provider gives it.
pub(super) fn answer_id<'a>(id: &'a str, view: &View) -> std::borrow::Cow<'a, str> {
    if id.is_empty() { format!("chatcmpl-{:x}", view.created).into() } else { id.into() }
}

fn message(parts: &[Part]) -> Map<String, Value> {
    let (mut content, mut refusal) = (None::<String>, None::<String>);
    let (mut thought, mut details, mut calls) = (String::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(words) => content.get_or_insert_default().push_str(words),
            Part::Refusal(words) => refusal.get_or_insert_default().push_str(words),
            Part::Reasoning(ReasoningPart { text, signature, redacted }) => {
                thought.push_str(text);
                if let Some(signature) = signature {
                    let text = (!redacted).then_some(text.as_str());
                    details.push(detail(text, signature, details.len()));
                }
            }
            Part::ToolCall(call) => calls.push(write_call(call)),
            Part::Audio { .. } | Part::File { .. } | Part::Image { .. } | Part::ToolResult(_) => {}
        }
    }
    if content.is_none() && refusal.is_none() && calls.is_empty() {
        content = Some(String::new());
    }
    let mut value = Map::from_iter([
        ("role".to_owned(), json!("assistant")),
        ("content".to_owned(), json!(content)),
        ("refusal".to_owned(), json!(refusal)),
    ]);
    if !calls.is_empty() {
        value.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    if !thought.is_empty() {
        value.insert("reasoning_content".to_owned(), json!(thought));
        value.insert("reasoning".to_owned(), json!(thought));
    }
    if !details.is_empty() {
        value.insert("reasoning_details".to_owned(), Value::Array(details));
    }
    value
}

fn write_call(call: &ToolCall) -> Value {
    let mut written = Map::from_iter([
        ("id".to_owned(), json!(call.id)),
        ("type".to_owned(), json!("function")),
        ("function".to_owned(), json!({"name": call.name, "arguments": call.arguments})),
    ]);
    if let Some(signature) = &call.signature {
        written.insert("extra_content".to_owned(), google(signature));
    }
    Value::Object(written)
}

/// A signature beside a call, where Google's own OpenAI surface has it.
pub(super) fn google(signature: &Signature) -> Value {
    json!({"google": {"thought_signature": signature.data}})
}

/// A block of thinking that a client must give back as it is. Without `text` it is encrypted whole.
///
/// Always one entry a block, in streams too: a client may merge entries by index or only collect
/// them, and what it gives back is the same.
pub(super) fn detail(text: Option<&str>, signature: &Signature, index: usize) -> Value {
    let format = format_word(signature.dialect);
    match text {
        Some(text) => json!({
            "type": "reasoning.text", "text": text, "signature": signature.data,
            "format": format, "index": index,
        }),
        None => json!({
            "type": "reasoning.encrypted", "data": signature.data,
            "format": format, "index": index,
        }),
    }
}

pub(super) const fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::ContentFilter => "content_filter",
        Finish::Length => "length",
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::ToolCalls => "tool_calls",
    }
}

pub(super) fn write_logprobs(tokens: &[TokenLogprob]) -> Value {
    let one = |token: &str, logprob: f64| {
        [
            ("token".to_owned(), json!(token)),
            ("logprob".to_owned(), json!(logprob.max(IMPOSSIBLE))),
            ("bytes".to_owned(), json!(token.as_bytes())),
        ]
    };
    let content = tokens.iter().map(|entry| {
        let top = entry.top.iter().map(|(token, logprob)| Map::from_iter(one(token, *logprob)));
        let mut value = Map::from_iter(one(&entry.token, entry.logprob));
        value.insert("top_logprobs".to_owned(), top.collect());
        value
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

pub(super) fn model(model: &Model<'_>) -> Value {
    json!({"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Usage};

    fn view() -> View {
        View { model: "asked".to_owned(), created: 255, include_usage: false }
    }

    fn written(parts: Vec<Part>, finish: Finish) -> Value {
        let choices = vec![Choice { parts, finish, logprobs: None }];
        let response = ChatResponse { choices, ..ChatResponse::default() };
        serde_json::from_slice(&encode(&response, &view())).unwrap()
    }

    #[test]
    fn answers_of_every_server_are_read_alike() {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall {
                id: id.to_owned(),
                name: "f".to_owned(),
                arguments: arguments.to_owned(),
                signature: None,
            })
        };
        let thought = |text: &str| {
            Part::Reasoning(ReasoningPart { text: text.to_owned(), ..ReasoningPart::default() })
        };
        let text = || Part::Text("hi".to_owned());
        for (message, reason, parts, finish) in [
            (json!({"content": "hi", "refusal": null}), json!("stop"), vec![text()], Finish::Stop),
            (json!({"content": "hi"}), json!("eos"), vec![text()], Finish::Stop),
            (json!({"content": "hi"}), json!("length"), vec![text()], Finish::Length),
            (
                json!({"content": "hi", "reasoning_content": "hm", "reasoning": "hm"}),
                Value::Null,
                vec![thought("hm"), text()],
                Finish::Stop,
            ),
            (
                json!({"content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "hi"},
                ]}),
                json!("stop"),
                vec![thought("hm"), text()],
                Finish::Stop,
            ),
            (
                json!({"content": null, "refusal": "no"}),
                json!("content_filter"),
                vec![Part::Refusal("no".to_owned())],
                Finish::ContentFilter,
            ),
            (
                json!({"content": "", "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
                    {"function": {"name": "f", "arguments": ""}},
                ]}),
                json!(""),
                vec![call("a", "{\"x\":1}"), call("call_1", "{}")],
                Finish::ToolCalls,
            ),
            (
                json!({"function_call": {"name": "f", "arguments": "{}"}}),
                json!("function_call"),
                vec![call("call_0", "{}")],
                Finish::ToolCalls,
            ),
        ] {
            let body = json!({"choices": [{"message": message, "finish_reason": reason}]});
            let response = decode(body.to_string().as_bytes()).unwrap();
            assert_eq!(response.choices[0].parts, parts, "{body}");
            assert_eq!(response.choices[0].finish, finish, "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_repeats_nothing() {
        for body in
            ["", "{}", r#"{"choices":[]}"#, r#"{"choices":"secret"}"#, r#"{"choices":[{}]}"#]
        {
            match decode(body.as_bytes()) {
                Err(StreamError::Malformed(words)) => assert!(!words.contains("secret"), "{words}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        for body in [
            r#"{"error":{"message":"boom"}}"#,
            r#"{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}"#,
        ] {
            assert!(matches!(decode(body.as_bytes()), Err(StreamError::Provider(_))), "{body}");
        }
    }

    #[test]
    fn an_answer_is_written_as_openai_would() {
        let sign = |dialect, data: &str| Some(Signature { dialect, data: data.to_owned() });
        let claude = Dialect::AnthropicMessages;
        let thought =
            ReasoningPart { text: "hm".to_owned(), signature: sign(claude, "s"), redacted: false };
        let hidden =
            ReasoningPart { signature: sign(claude, "d"), redacted: true, ..thought.clone() };
        let value = written(
            vec![
                Part::Reasoning(thought),
                Part::Reasoning(ReasoningPart { text: String::new(), ..hidden }),
                Part::Text("a".to_owned()),
                Part::Text("b".to_owned()),
                Part::ToolCall(ToolCall {
                    id: "c".to_owned(),
                    name: "f".to_owned(),
                    arguments: "{}".to_owned(),
                    signature: sign(Dialect::Gemini, "g"),
                }),
            ],
            Finish::ToolCalls,
        );
        let message = json!({
            "role": "assistant", "content": "ab", "refusal": null,
            "tool_calls": [{
                "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "g"}},
            }],
            "reasoning_content": "hm", "reasoning": "hm",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "signature": "s",
                 "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.encrypted", "data": "d",
                 "format": "anthropic-claude-v1", "index": 1},
            ],
        });
        assert_eq!(
            value,
            json!({
                "id": "chatcmpl-ff", "object": "chat.completion", "created": 255, "model": "asked",
                "choices": [{
                    "index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": null,
                }],
            })
        );
    }

    #[test]
    fn content_is_null_only_where_something_stands_in_for_it() {
        let content = |parts| written(parts, Finish::Length)["choices"][0]["message"].clone();
        assert_eq!(content(vec![])["content"], "");
        let refused = content(vec![Part::Refusal("no".to_owned())]);
        assert_eq!((&refused["content"], &refused["refusal"]), (&Value::Null, &json!("no")));
    }

    #[test]
    fn probabilities_carry_their_bytes_and_usage_only_what_is_known() {
        let token = TokenLogprob {
            token: "é".to_owned(),
            logprob: f64::NEG_INFINITY,
            top: vec![("e".to_owned(), -0.5)],
        };
        let response = ChatResponse {
            id: "i".to_owned(),
            choices: vec![Choice { logprobs: Some(vec![token]), ..Choice::default() }],
            usage: Some(Usage { input: 1, output: 2, ..Usage::default() }),
            ..ChatResponse::default()
        };
        let value: Value = serde_json::from_slice(&encode(&response, &view())).unwrap();
        assert_eq!(
            value["choices"][0]["logprobs"]["content"],
            json!([{
                "token": "é", "logprob": -9999.0, "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -0.5, "bytes": [101]}],
            }])
        );
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        assert_eq!((&value["id"], &value["usage"]), (&json!("i"), &usage));
    }
}
