//! Writing a client's stream.
//!
//! OpenAI's SDKs add the pieces up by simple rules, so what we write keeps a contract: the role
//! first; `id`, `name` and `type` of a call once; arguments that join to JSON; one finish reason and
//! nothing but usage after it; usage only where asked for, with no choices; `[DONE]` last and only
//! after a complete answer. The same id, time and model stand in every chunk.
//!
//! All of a chunk but its delta is prepared once. A token costs two copies and its own escaping.

use serde_json::Value;

use super::{error, response, usage};
use crate::dialect::{
    ApiError, Delta, Encode, Usage, View,
    chat::{Finish, Signature},
    json::push_string,
};

/// The last event of a complete stream.
pub(super) const END: &[u8] = b"data: [DONE]\n\n";

const CHOICE: &[u8] = br#""choices":[{"index":0,"delta":{"#;

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Encoder {
    view: View,
    /// A chunk up to its choices; empty until the answer begins.
    envelope: Vec<u8>,
    /// What ends a chunk.
    close: &'static [u8],
    /// For each call whether its arguments have begun.
    calls: Vec<bool>,
    /// The thinking of the open block: a signature is of no use without it.
    thought: String,
    /// Blocks of thinking that are done.
    blocks: usize,
    usage: Option<Usage>,
    finished: bool,
    ended: bool,
}

impl Encoder {
    pub(super) fn new(view: &View) -> Self {
        let close: &[u8] = if view.include_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" };
        Self {
            view: view.clone(),
            envelope: Vec::new(),
            close,
            calls: Vec::new(),
            thought: String::new(),
            blocks: 0,
            usage: None,
            finished: false,
            ended: false,
        }
    }

    /// Begins the answer, once.
    fn start(&mut self, id: &str, out: &mut Vec<u8>) {
        if !self.envelope.is_empty() {
            return;
        }
        self.envelope.extend_from_slice(b"data: {\"id\":");
        push_string(&mut self.envelope, &response::answer_id(id, &self.view));
        let created = format!(
            ",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":",
            self.view.created
        );
        self.envelope.extend_from_slice(created.as_bytes());
        push_string(&mut self.envelope, &self.view.model);
        self.envelope.push(b',');
        self.chunk(out, |out| {
            out.extend_from_slice(br#""role":"assistant","content":"","refusal":null"#);
        });
    }

    /// One chunk around what `delta` writes: the members of an object.
    fn chunk(&self, out: &mut Vec<u8>, delta: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.envelope);
        out.extend_from_slice(CHOICE);
        delta(out);
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":null}]"#);
        out.extend_from_slice(self.close);
    }

    fn text(&self, key: &[u8], text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.chunk(out, |out| {
                out.extend_from_slice(key);
                push_string(out, text);
            });
        }
    }

    /// Thinking goes out under both of its names: clients know one or the other.
    fn reasoning(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.thought.push_str(text);
        self.chunk(out, |out| {
            out.extend_from_slice(br#""reasoning_content":"#);
            let from = out.len();
            push_string(out, text);
            let to = out.len();
            out.extend_from_slice(br#","reasoning":"#);
            out.extend_from_within(from..to);
        });
    }

    /// Ends a block of thinking with its proof.
    fn detail(&mut self, signature: &Signature, redacted: bool, out: &mut Vec<u8>) {
        let thought = std::mem::take(&mut self.thought);
        let text = (!redacted).then_some(thought.as_str());
        let detail = response::detail(text, signature, self.blocks);
        self.blocks += 1;
        self.chunk(out, |out| {
            out.extend_from_slice(br#""reasoning_details":["#);
            push_value(out, &detail);
            out.push(b']');
        });
    }

    fn call(&mut self, id: &str, name: &str, signature: Option<&Signature>, out: &mut Vec<u8>) {
        let index = self.calls.len();
        self.calls.push(false);
        self.chunk(out, |out| {
            open_call(index, out);
            out.extend_from_slice(br#","id":"#);
            push_string(out, id);
            out.extend_from_slice(br#","type":"function","function":{"name":"#);
            push_string(out, name);
            out.extend_from_slice(br#","arguments":""}"#);
            if let Some(signature) = signature {
                out.extend_from_slice(br#","extra_content":"#);
                push_value(out, &response::google(signature));
            }
            out.extend_from_slice(b"}]");
        });
    }

    fn arguments(&mut self, index: usize, fragment: &str, out: &mut Vec<u8>) {
        // A piece of a call that never began would reach the client as a call without a name.
        let Some(begun) = self.calls.get_mut(index).filter(|_| !fragment.is_empty()) else {
            return;
        };
        *begun = true;
        self.chunk(out, |out| {
            open_call(index, out);
            out.extend_from_slice(br#","function":{"arguments":"#);
            push_string(out, fragment);
            out.extend_from_slice(b"}}]");
        });
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        let bare = self.calls.iter().enumerate().filter(|(_, begun)| !**begun);
        for index in bare.map(|(index, _)| index).collect::<Vec<_>>() {
            self.arguments(index, "{}", out);
        }
        self.finished = true;
        out.extend_from_slice(&self.envelope);
        out.extend_from_slice(CHOICE);
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(response::finish_word(finish).as_bytes());
        out.extend_from_slice(br#""}]"#);
        out.extend_from_slice(self.close);
    }
}

impl Encode for Encoder {
    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        if let Delta::Usage(newer) = delta {
            self.usage = Some(self.usage.map_or(newer, |older| older.merged(newer)));
            return;
        }
        if self.finished || self.ended {
            return;
        }
        if let Delta::Start { id, .. } = &delta {
            return self.start(id, out);
        }
        self.start("", out);
        match delta {
            Delta::Start { .. } | Delta::Usage(_) => {}
            Delta::Text(text) => self.text(br#""content":"#, &text, out),
            Delta::Refusal(text) => self.text(br#""refusal":"#, &text, out),
            Delta::Reasoning(text) => self.reasoning(&text, out),
            Delta::ReasoningSignature(signature) => self.detail(&signature, false, out),
            Delta::RedactedReasoning(signature) => self.detail(&signature, true, out),
            Delta::ToolCall { id, name, signature, .. } => {
                self.call(&id, &name, signature.as_ref(), out);
            }
            Delta::ToolArguments { index, fragment } => self.arguments(index, &fragment, out),
            Delta::Logprobs(tokens) => {
                out.extend_from_slice(&self.envelope);
                out.extend_from_slice(CHOICE);
                out.extend_from_slice(br#"},"finish_reason":null,"logprobs":"#);
                push_value(out, &response::write_logprobs(&tokens));
                out.extend_from_slice(b"}]");
                out.extend_from_slice(self.close);
            }
            Delta::Finish(finish) => self.finish(&finish, out),
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        if !self.finished {
            let called = !self.calls.is_empty();
            self.delta(Delta::Finish(super::wire::finish_by_content(called)), out);
        }
        self.ended = true;
        if let (true, Some(usage)) = (self.view.include_usage, self.usage) {
            out.extend_from_slice(&self.envelope);
            out.extend_from_slice(br#""choices":[],"usage":"#);
            push_value(out, &usage::write(usage));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(END);
    }

    fn fail(&mut self, error: &ApiError, _request_id: &str, out: &mut Vec<u8>) {
        if !self.ended {
            self.ended = true;
            out.extend_from_slice(&failed(error));
        }
    }
}

/// The event that ends a broken stream. The SDKs raise it as their own exception.
pub(super) fn failed(error: &ApiError) -> Vec<u8> {
    format!("data: {}\n\n", error::encode(error)).into_bytes()
}

fn open_call(index: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""tool_calls":[{"index":"#);
    out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
}

fn push_value(out: &mut Vec<u8>, value: &Value) {
    // Writing to a vector cannot fail, nor can a value that holds no foreign type.
    let _written = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::{
        Decode, Dialect, ErrorKind, chat::TokenLogprob, openai::stream::Decoder, sse,
    };

    fn view(include_usage: bool) -> View {
        View { model: "as\"ked".to_owned(), created: 7, include_usage }
    }

    fn start() -> Delta {
        Delta::Start { id: "i".to_owned(), model: "of the provider".to_owned() }
    }

    fn text(words: &str) -> Delta {
        Delta::Text(words.to_owned())
    }

    fn call(index: usize) -> Delta {
        let id = format!("c{index}");
        Delta::ToolCall { index, id, name: "f".to_owned(), signature: None }
    }

    fn arguments(index: usize, fragment: &str) -> Delta {
        Delta::ToolArguments { index, fragment: fragment.to_owned() }
    }

    fn written(view: &View, deltas: Vec<Delta>) -> String {
        let (mut encoder, mut out) = (Encoder::new(view), Vec::new());
        for delta in deltas {
            encoder.delta(delta, &mut out);
        }
        encoder.complete(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The chunks of a stream, all of which must be JSON but the last, which must be the end.
    fn chunks(stream: &str) -> Vec<Value> {
        let stream = stream.strip_suffix("data: [DONE]\n\n").expect(stream);
        let data = stream.split_terminator("\n\n").map(|event| event.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data.expect(stream)).unwrap()).collect()
    }

    #[test]
    fn a_stream_keeps_the_contract_of_the_sdks() {
        let usage = Usage { input: 5, output: 3, ..Usage::default() };
        for include_usage in [true, false] {
            let deltas = vec![
                Delta::Usage(usage),
                text("hi"),
                call(0),
                arguments(0, "{\"x\":1}"),
                Delta::Finish(Finish::ToolCalls),
                text("late"),
                Delta::Finish(Finish::Stop),
            ];
            let chunks = chunks(&written(&view(include_usage), deltas));
            for chunk in &chunks {
                assert_eq!(chunk["id"], "chatcmpl-7");
                assert_eq!((&chunk["created"], &chunk["model"]), (&json!(7), &json!("as\"ked")));
                assert_eq!(chunk["object"], "chat.completion.chunk");
            }
            let deltas: Vec<_> =
                chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta")).collect();
            let opened = json!({"tool_calls": [{
                "index": 0, "id": "c0", "type": "function",
                "function": {"name": "f", "arguments": ""},
            }]});
            let filled =
                json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":1}"}}]});
            assert_eq!(
                deltas,
                [
                    &json!({"role": "assistant", "content": "", "refusal": null}),
                    &json!({"content": "hi"}),
                    &opened,
                    &filled,
                    &json!({}),
                ]
            );
            let reasons: Vec<_> = chunks
                .iter()
                .filter_map(|chunk| chunk.pointer("/choices/0/finish_reason")?.as_str())
                .collect();
            assert_eq!(reasons, ["tool_calls"]);
            let last = chunks.last().unwrap();
            assert_eq!(last["choices"].as_array().unwrap().is_empty(), include_usage);
            let counted: Vec<_> = chunks.iter().filter(|chunk| !chunk["usage"].is_null()).collect();
            assert_eq!(counted.len(), usize::from(include_usage));
            assert!(!include_usage || counted[0]["usage"]["total_tokens"] == 8);
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let token = TokenLogprob { token: "h".to_owned(), logprob: -0.5, top: vec![] };
        let deltas = vec![
            start(),
            Delta::Reasoning("hm\n\u{1}".to_owned()),
            text("say \"hé\"\n"),
            Delta::Logprobs(vec![token]),
            Delta::Refusal("no".to_owned()),
            call(0),
            call(1),
            arguments(1, "{\"x\":"),
            arguments(0, "{}"),
            arguments(1, "1}"),
            Delta::Finish(Finish::ToolCalls),
            Delta::Usage(Usage { input: 5, cached: Some(2), output: 3, ..Usage::default() }),
        ];
        let stream = written(&view(true), deltas.clone());
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        for raw in sse::events(stream.as_bytes()) {
            decoder.event(&sse::Event::parse(raw), &mut found).unwrap();
        }
        assert!(decoder.is_complete());
        // The client sees the name that it asked for.
        let begun = Delta::Start { id: "i".to_owned(), model: "as\"ked".to_owned() };
        assert_eq!(found[0], begun);
        assert_eq!(found[1..], deltas[1..]);
    }

    #[test]
    fn a_call_without_arguments_owes_its_empty_object() {
        let deltas = vec![call(0), call(1), arguments(0, ""), arguments(1, "{\"x\":1}")];
        let chunks = chunks(&written(&view(false), deltas));
        let mut joined = [String::new(), String::new()];
        for call in chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
        {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            joined[index].push_str(call["function"]["arguments"].as_str().unwrap());
        }
        assert_eq!(joined, ["{}", "{\"x\":1}"]);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn a_signature_goes_out_with_the_thinking_that_it_proves() {
        let sign =
            |data: &str| Signature { dialect: Dialect::AnthropicMessages, data: data.to_owned() };
        let chunks = chunks(&written(
            &view(false),
            vec![
                Delta::Reasoning("a".to_owned()),
                Delta::Reasoning("b".to_owned()),
                Delta::ReasoningSignature(sign("s")),
                Delta::RedactedReasoning(sign("d")),
                Delta::Reasoning("c".to_owned()),
                Delta::ReasoningSignature(sign("t")),
            ],
        ));
        let delta = |n: usize| &chunks[n]["choices"][0]["delta"];
        assert_eq!(delta(1), &json!({"reasoning_content": "a", "reasoning": "a"}));
        let details: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/reasoning_details/0"))
            .collect();
        let format = "anthropic-claude-v1";
        assert_eq!(
            details,
            [
                &json!({"type": "reasoning.text", "text": "ab", "signature": "s",
                    "format": format, "index": 0}),
                &json!({"type": "reasoning.encrypted", "data": "d", "format": format, "index": 1}),
                &json!({"type": "reasoning.text", "text": "c", "signature": "t",
                    "format": format, "index": 2}),
            ]
        );
    }

    #[test]
    fn a_broken_stream_ends_with_an_error_and_nothing_else() {
        let (mut encoder, mut out) = (Encoder::new(&view(true)), Vec::new());
        encoder.delta(text("a"), &mut out);
        let from = out.len();
        let error = ApiError::new(ErrorKind::Upstream, "upstream_error", "cut");
        encoder.fail(&error, "r", &mut out);
        encoder.delta(text("late"), &mut out);
        encoder.complete(&mut out);
        let end = std::str::from_utf8(&out[from..]).unwrap();
        let value = end.strip_prefix("data: ").and_then(|end| end.strip_suffix("\n\n")).unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(value["error"]["message"], "cut");
    }
}
