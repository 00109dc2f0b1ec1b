//! Reads a streamed answer: Anthropic's events in, deltas out.
//!
//! One event is parsed once, into one flat shape whose texts are borrowed from the bytes: this runs
//! for every token. Blocks come one after the other, but each is kept by its index, so that a
//! server which mixes them up is read correctly too. What this file does not know (server tools,
//! citations, events of next year) is passed over; only `message_stop` makes an answer complete.
//!
//! Source: the raw stream events of Anthropic's SDK types, November 2026.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error,
    wire::{self, Block, JSON_TOOL, StopDetails, WireUsage, text_or_null},
};
use crate::dialect::{
    Decode, Delta, Dialect, StreamError, Usage,
    chat::{Finish, Signature},
    sse::Event,
};

/// Any event of the stream. Each kind fills its own fields.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(default)]
    pub index: Option<u64>,
    #[serde(default, borrow)]
    pub delta: Option<Piece<'a>>,
    #[serde(default, borrow)]
    pub content_block: Option<Block<'a>>,
    #[serde(default, borrow)]
    pub message: Option<Head<'a>>,
    #[serde(default)]
    pub usage: Option<WireUsage>,
}

/// The `delta` of `content_block_delta` and of `message_delta`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(rename = "type", borrow, deserialize_with = "text_or_null")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub text: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub thinking: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub signature: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub partial_json: Cow<'a, str>,
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    pub stop_details: Option<StopDetails>,
}

/// The `message` of `message_start`, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head<'a> {
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub id: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub model: Cow<'a, str>,
    pub usage: Option<WireUsage>,
}

/// A block whose end has not come and of which more than its deltas must be known.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Anthropic's index of the block.
    index: u64,
    /// What it is.
    kind: OpenKind,
    /// Whether a piece of its input has come.
    filled: bool,
}

#[derive(Clone, Copy, Debug)]
enum OpenKind {
    /// A call of a client's tool, with our number of it.
    Call(usize),
    /// A call of the tool that stands in for a JSON schema.
    Json,
}

impl OpenKind {
    fn delta(self, fragment: String) -> Delta {
        match self {
            Self::Call(index) => Delta::ToolArguments { index, fragment },
            Self::Json => Delta::Text(fragment),
        }
    }
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The answer's id, once it has begun.
    id: Option<String>,
    open: Vec<Open>,
    calls: usize,
    finished: bool,
    complete: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        let data: &[u8] = &event.data;
        // Imitators end with OpenAI's marker; a comment has no data.
        if self.complete || data.is_empty() || event.name == b"ping" || data == b"[DONE]" {
            return Ok(());
        }
        if event.name == b"error" {
            return Err(StreamError::Provider(error::decode(0, data)));
        }
        let frame: Frame<'_> = serde_json::from_slice(data)
            .map_err(|problem| StreamError::Malformed(format!("unreadable event: {problem}")))?;
        match &*frame.kind {
            "content_block_delta" => self.piece(frame, out),
            "content_block_start" => self.start_block(frame, out),
            "content_block_stop" => self.stop_block(frame.index.unwrap_or(0), out),
            "message_start" => self.start(frame.message.unwrap_or_default(), out),
            "message_delta" => self.finish(frame, out),
            "message_stop" => self.stop(out),
            "error" => return Err(StreamError::Provider(error::decode(0, data))),
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn end(&mut self, _out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.complete { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

impl Decoder {
    fn start(&mut self, head: Head<'_>, out: &mut Vec<Delta>) {
        // Some proxies say it twice; the first one counts, and the counts of both.
        if self.id.is_none() {
            let id = head.id.into_owned();
            self.id = Some(id.clone());
            out.push(Delta::Start { id, model: head.model.into_owned() });
        }
        if let Some(usage) = head.usage {
            out.push(Delta::Usage(Usage::from(usage)));
        }
    }

    fn start_block(&mut self, frame: Frame<'_>, out: &mut Vec<Delta>) {
        let index = frame.index.unwrap_or(0);
        let block = frame.content_block.unwrap_or_default();
        match &*block.kind {
            "text" => push(out, Delta::Text, block.text),
            "thinking" => {
                push(out, Delta::Reasoning, block.thinking);
                push(out, |data| Delta::ReasoningSignature(own(data)), block.signature);
            }
            "redacted_thinking" => {
                push(out, |data| Delta::RedactedReasoning(own(data)), block.data);
            }
            "tool_use" => {
                let kind = self.start_call(&block, out);
                let input = block.input.map(RawValue::get).filter(|input| !is_empty_object(input));
                if let Some(input) = input {
                    out.push(kind.delta(input.to_owned()));
                }
                self.open.push(Open { index, kind, filled: input.is_some() });
            }
            _ => {}
        }
    }

    fn start_call(&mut self, block: &Block<'_>, out: &mut Vec<Delta>) -> OpenKind {
        if block.name == JSON_TOOL {
            return OpenKind::Json;
        }
        let index = self.calls;
        self.calls += 1;
        let id = call_id(&block.id, self.id.as_deref().unwrap_or_default(), index);
        out.push(Delta::ToolCall { index, id, name: (*block.name).to_owned(), signature: None });
        OpenKind::Call(index)
    }

    fn piece(&mut self, frame: Frame<'_>, out: &mut Vec<Delta>) {
        let piece = frame.delta.unwrap_or_default();
        match &*piece.kind {
            "text_delta" => push(out, Delta::Text, piece.text),
            "thinking_delta" => push(out, Delta::Reasoning, piece.thinking),
            "signature_delta" => {
                push(out, |data| Delta::ReasoningSignature(own(data)), piece.signature);
            }
            "input_json_delta" if !piece.partial_json.is_empty() => {
                let index = frame.index.unwrap_or(0);
                if let Some(open) = self.open.iter_mut().rfind(|open| open.index == index) {
                    open.filled = true;
                    out.push(open.kind.delta(piece.partial_json.into_owned()));
                }
            }
            _ => {}
        }
    }

    /// Ends a block. A call without input has the arguments `{}`: fragments join to JSON text.
    fn stop_block(&mut self, index: u64, out: &mut Vec<Delta>) {
        if let Some(at) = self.open.iter().rposition(|open| open.index == index) {
            let open = self.open.remove(at);
            if !open.filled {
                out.push(open.kind.delta("{}".to_owned()));
            }
        }
    }

    fn finish(&mut self, frame: Frame<'_>, out: &mut Vec<Delta>) {
        let piece = frame.delta.unwrap_or_default();
        if let Some(reason) = piece.stop_reason
            && !self.finished
        {
            if let Some(words) = piece.stop_details.and_then(|details| details.explanation) {
                push(out, Delta::Refusal, Cow::Owned(words));
            }
            self.end_with(wire::finish(&reason, piece.stop_sequence, self.calls > 0), out);
        }
        if let Some(usage) = frame.usage {
            out.push(Delta::Usage(Usage::from(usage)));
        }
    }

    fn stop(&mut self, out: &mut Vec<Delta>) {
        if !self.finished {
            self.end_with(Finish::Stop, out);
        }
        self.complete = true;
    }

    fn end_with(&mut self, finish: Finish, out: &mut Vec<Delta>) {
        while let Some(open) = self.open.first().map(|open| open.index) {
            self.stop_block(open, out);
        }
        self.finished = true;
        out.push(Delta::Finish(finish));
    }
}

/// A signature that Anthropic made.
pub(super) fn own(data: String) -> Signature {
    Signature { dialect: Dialect::AnthropicMessages, data }
}

/// A call's id; one is minted from the answer's where an imitator gives none.
pub(super) fn call_id(given: &str, answer: &str, index: usize) -> String {
    if given.is_empty() { format!("toolu_{answer}_{index}") } else { given.to_owned() }
}

fn push(out: &mut Vec<Delta>, delta: impl FnOnce(String) -> Delta, text: Cow<'_, str>) {
    if !text.is_empty() {
        out.push(delta(text.into_owned()));
    }
}

/// The placeholder that Anthropic writes before the pieces of an input come.
fn is_empty_object(input: &str) -> bool {
    input == "null" || input.bytes().all(|b| matches!(b, b'{' | b'}') || b.is_ascii_whitespace())
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::{
        error::ErrorClass,
        sse::{Framer, events},
    };

    /// Thinking, words, a call with pieces and one without, as the live API writes them.
    pub const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-x","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":18,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm \"ok\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüße"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"stop_details":null},"usage":{"output_tokens":42}}

event: message_stop
data: {"type":"message_stop"}

"#;

    /// Decodes a stream in these pieces: its deltas, and how it ended.
    pub fn decode(pieces: &[&[u8]]) -> (Vec<Delta>, Result<(), StreamError>) {
        let (mut framer, mut decoder, mut out) =
            (Framer::default(), Decoder::default(), Vec::new());
        for piece in pieces {
            let whole = framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            for raw in events(&whole) {
                if let Err(error) = decoder.event(&Event::parse(raw), &mut out) {
                    return (out, Err(error));
                }
            }
        }
        let end = decoder.end(&mut out);
        (out, end)
    }

    fn call(index: usize, id: &str, name: &str) -> Delta {
        Delta::ToolCall { index, id: id.into(), name: name.into(), signature: None }
    }

    fn arguments(index: usize, fragment: &str) -> Delta {
        Delta::ToolArguments { index, fragment: fragment.into() }
    }

    fn events_of(bodies: &[&str]) -> String {
        bodies.iter().flat_map(|body| ["data: ", body, "\n\n"]).collect()
    }

    #[test]
    fn a_stream_is_read_in_order() {
        let (deltas, end) = decode(&[STREAM.as_bytes()]);
        assert_eq!(end, Ok(()));
        let expected = [
            Delta::Start { id: "msg_1".into(), model: "claude-x".into() },
            Delta::Usage(Usage {
                input: 22,
                cached: Some(4),
                cache_write: Some(0),
                output: 1,
                ..Usage::default()
            }),
            Delta::Reasoning("Hm \"ok\"".into()),
            Delta::ReasoningSignature(own("EqQB".into())),
            Delta::Text("Grüße".into()),
            call(0, "toolu_1", "f"),
            arguments(0, "{\"x\""),
            arguments(0, ":1}"),
            call(1, "toolu_2", "g"),
            arguments(1, "{}"),
            Delta::Finish(Finish::ToolCalls),
            Delta::Usage(Usage { output: 42, ..Usage::default() }),
        ];
        assert_eq!(deltas, expected);
    }

    #[test]
    fn the_tool_that_stands_in_for_a_schema_is_text() {
        let stream = events_of(&[
            r#"{"type":"message_start","message":{"id":"msg_1","model":"m"}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"trunkline_json_output","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}"#,
            r#"{"type":"message_stop"}"#,
        ]);
        let (deltas, end) = decode(&[stream.as_bytes()]);
        assert_eq!(end, Ok(()));
        assert_eq!(deltas[1..3], [Delta::Text("{\"a\":1}".into()), Delta::Finish(Finish::Stop)]);
    }

    #[test]
    fn what_is_unknown_or_said_twice_is_passed_over() {
        let stream = events_of(&[
            r#"{"type":"message_start","message":{"id":"msg_1","model":"m"}}"#,
            r#"{"type":"message_start","message":{"id":"msg_2","model":"m"}}"#,
            r#"{"type":"weather_report"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":null}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn"},"usage":null}"#,
            r#"{"type":"message_stop"}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"late"}}"#,
            "[DONE]",
        ]);
        let (deltas, end) = decode(&[stream.as_bytes()]);
        assert_eq!(end, Ok(()));
        let expected =
            [Delta::Start { id: "msg_1".into(), model: "m".into() }, Delta::Finish(Finish::Stop)];
        assert_eq!(deltas, expected);
    }

    #[test]
    fn a_refusal_says_why() {
        let stream = events_of(&[
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","category":null,"explanation":"No."}},"usage":{"output_tokens":0}}"#,
            r#"{"type":"message_stop"}"#,
        ]);
        let (deltas, _) = decode(&[stream.as_bytes()]);
        let expected = [Delta::Refusal("No.".into()), Delta::Finish(Finish::ContentFilter)];
        assert_eq!(deltas[..2], expected);
    }

    #[test]
    fn an_error_event_is_the_providers_error() {
        for name in ["event: error\n", ""] {
            let stream = format!(
                "{name}data: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}}}\n\n"
            );
            let (_, end) = decode(&[stream.as_bytes()]);
            let Err(StreamError::Provider(error)) = end else { panic!("{end:?}") };
            assert_eq!((error.class, error.status), (ErrorClass::Overloaded, 0));
        }
    }

    #[test]
    fn bytes_that_are_no_event_are_malformed() {
        let (_, end) = decode(&[b"data: {\"type\":\"content_block_delta\",\n\n"]);
        assert!(matches!(end, Err(StreamError::Malformed(_))), "{end:?}");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_deltas(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> =
                cuts.windows(2).map(|ends| &STREAM.as_bytes()[ends[0]..ends[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[STREAM.as_bytes()]));
        }

        #[test]
        fn no_prefix_is_complete(cut in 0..STREAM.len()) {
            let (_, end) = decode(&[&STREAM.as_bytes()[..cut]]);
            prop_assert_eq!(end, Err(StreamError::Truncated));
        }

        #[test]
        fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let (deltas, _) = decode(&[b"data: ", &data, b"\n\n"]);
            prop_assert!(deltas.len() < 200);
        }
    }
}
