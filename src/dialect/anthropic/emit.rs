//! Writes a streamed answer: deltas in, Anthropic's events out.
//!
//! The API promises its clients more order than other dialects give us: `message_start` before
//! everything, and blocks one after the other. OpenAI's providers may write two calls in turns, so
//! while a call's arguments are still open, whatever belongs to a later block waits. A call is done
//! when its JSON is: no dialect says so in another way before the answer ends.

use std::collections::VecDeque;

use super::{
    error,
    events::{self, Events, Piece, Start},
    marks, wire,
};
use crate::dialect::{ApiError, Delta, Encode, Usage, View, chat::Finish};

/// The block that the client is reading.
#[derive(Debug)]
enum Open {
    Call { number: usize, arguments: Arguments },
    Text,
    Thinking,
}

/// A block whose turn has not come.
#[derive(Debug)]
enum Waiting {
    Call { number: usize, id: String, name: String, arguments: String },
    Redacted { data: String },
    Text { text: String },
    Thinking { text: String, signature: Option<String> },
}

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Emitter {
    view: View,
    id: String,
    usage: Usage,
    finish: Finish,
    started: bool,
    ended: bool,
    called: bool,
    refused: bool,
    events: Events,
    open: Option<Open>,
    waiting: VecDeque<Waiting>,
}

impl Encode for Emitter {
    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match delta {
            Delta::Start { id, .. } => self.id = id,
            Delta::Usage(usage) => self.usage = self.usage.merged(usage),
            Delta::Logprobs(_) => {}
            Delta::Text(text) => self.text(text, out),
            Delta::Refusal(text) => {
                self.refused |= !text.is_empty();
                self.text(text, out);
            }
            Delta::Reasoning(text) => self.reasoning(text, out),
            Delta::ReasoningSignature(signature) => {
                self.signature(marks::write_signature(Some(&signature)), out);
            }
            Delta::RedactedReasoning(signature) => {
                let data = marks::write_signature(Some(&signature));
                self.admit(Waiting::Redacted { data }, out);
            }
            Delta::ToolCall { index, id, name, signature } => {
                self.called = true;
                let id = marks::write_id(&id, signature.as_ref());
                let arguments = String::new();
                self.admit(Waiting::Call { number: index, id, name, arguments }, out);
            }
            Delta::ToolArguments { index, fragment } => self.arguments(index, &fragment, out),
            Delta::Finish(finish) => {
                self.finish = finish;
                self.flush(out);
            }
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        self.flush(out);
        self.ended = true;
        let (reason, sequence) = wire::stop_reason(&self.finish, self.called, self.refused);
        events::end(reason, sequence, self.usage, out);
    }

    fn fail(&mut self, error: &ApiError, request_id: &str, out: &mut Vec<u8>) {
        if !self.ended {
            self.ended = true;
            out.append(&mut error::event(error, request_id));
        }
    }
}

impl Emitter {
    /// Starts a stream for this caller.
    pub(super) fn new(view: &View) -> Self {
        Self {
            view: view.clone(),
            id: String::new(),
            usage: Usage::default(),
            finish: Finish::Stop,
            started: false,
            ended: false,
            called: false,
            refused: false,
            events: Events::default(),
            open: None,
            waiting: VecDeque::new(),
        }
    }

    /// Whether a new block must wait: the open call's arguments are not whole.
    fn is_blocked(&self) -> bool {
        matches!(&self.open, Some(Open::Call { arguments, .. }) if !arguments.is_whole())
    }

    fn text(&mut self, text: String, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.is_blocked() {
            match self.waiting.back_mut() {
                Some(Waiting::Text { text: held }) => held.push_str(&text),
                _ => self.waiting.push_back(Waiting::Text { text }),
            }
            return;
        }
        if !matches!(self.open, Some(Open::Text)) {
            self.begin(Start::Text, Some(Open::Text), out);
        }
        self.events.piece(Piece::Text, &text, out);
    }

    fn reasoning(&mut self, text: String, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.is_blocked() {
            match self.waiting.back_mut() {
                Some(Waiting::Thinking { text: held, signature: None }) => held.push_str(&text),
                _ => self.waiting.push_back(Waiting::Thinking { text, signature: None }),
            }
            return;
        }
        self.begin_thinking(out);
        self.events.piece(Piece::Thinking, &text, out);
    }

    /// Signs the thinking so far and ends its block. A signature alone gets an empty block: models
    /// that hide their thinking send just that.
    fn signature(&mut self, word: String, out: &mut Vec<u8>) {
        if self.is_blocked() {
            if let Some(Waiting::Thinking { signature: unsigned @ None, .. }) =
                self.waiting.back_mut()
            {
                *unsigned = Some(word);
            } else {
                let text = String::new();
                self.waiting.push_back(Waiting::Thinking { text, signature: Some(word) });
            }
            return;
        }
        self.begin_thinking(out);
        self.events.piece(Piece::Signature, &word, out);
        self.events.stop_block(out);
        self.open = None;
    }

    fn arguments(&mut self, index: usize, fragment: &str, out: &mut Vec<u8>) {
        for waiting in &mut self.waiting {
            if let Waiting::Call { number, arguments, .. } = waiting
                && *number == index
            {
                arguments.push_str(fragment);
                return;
            }
        }
        // A call that is neither open nor waiting was whole: only white space can follow.
        if let Some(Open::Call { number, arguments }) = &mut self.open
            && *number == index
            && !fragment.is_empty()
        {
            arguments.scan(fragment);
            self.events.piece(Piece::Input, fragment, out);
            while !self.is_blocked()
                && let Some(block) = self.waiting.pop_front()
            {
                self.write(block, out);
            }
        }
    }

    /// Writes a block now, or keeps it until its turn.
    fn admit(&mut self, block: Waiting, out: &mut Vec<u8>) {
        if self.is_blocked() {
            self.waiting.push_back(block);
        } else {
            self.write(block, out);
        }
    }

    /// Writes a block before which nothing stands any more.
    fn write(&mut self, block: Waiting, out: &mut Vec<u8>) {
        match block {
            Waiting::Text { text } => self.text(text, out),
            Waiting::Thinking { text, signature } => {
                self.reasoning(text, out);
                if let Some(word) = signature {
                    self.signature(word, out);
                }
            }
            Waiting::Redacted { data } => {
                self.begin(Start::Redacted { data: &data }, None, out);
                self.events.stop_block(out);
            }
            Waiting::Call { number, id, name, arguments } => {
                let open = Open::Call { number, arguments: Arguments::default() };
                self.begin(Start::Call { id: &id, name: &name }, Some(open), out);
                self.arguments(number, &arguments, out);
            }
        }
    }

    /// Writes everything that waits and ends the last block.
    fn flush(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        while let Some(block) = self.waiting.pop_front() {
            self.close(out);
            self.write(block, out);
        }
        self.close(out);
    }

    /// Writes `message_start`, once. It waits for the first block, because the usage of the input
    /// often comes between the two.
    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            events::start(&self.id, &self.view, self.usage, out);
        }
    }

    fn begin_thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Thinking)) {
            self.begin(Start::Thinking, Some(Open::Thinking), out);
        }
    }

    fn begin(&mut self, start: Start<'_>, open: Option<Open>, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        self.events.start_block(start, out);
        self.open = open;
    }

    /// Ends the open block. Thinking that nobody signed gets our own mark: the SDKs demand one.
    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open.take() {
            None => return,
            Some(Open::Call { .. } | Open::Text) => {}
            Some(Open::Thinking) => {
                self.events.piece(Piece::Signature, &marks::write_signature(None), out);
            }
        }
        self.events.stop_block(out);
    }
}

/// Finds the end of an object that comes in pieces.
#[derive(Debug, Default)]
struct Arguments {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Arguments {
    fn is_whole(&self) -> bool {
        self.begun && self.depth == 0
    }

    fn scan(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{
        super::{
            super::{Dialect, ErrorKind, chat::Signature, sse},
            stream::tests::{STREAM, decode},
        },
        *,
    };

    fn view() -> View {
        View { model: "asked".to_owned(), created: 7, include_usage: true }
    }

    fn emit(deltas: Vec<Delta>) -> Vec<u8> {
        let (mut emitter, mut out) = (Emitter::new(&view()), Vec::new());
        for delta in deltas {
            emitter.delta(delta, &mut out);
        }
        emitter.complete(&mut out);
        out
    }

    fn data(out: &[u8]) -> Vec<Value> {
        sse::events(out)
            .map(|raw| serde_json::from_slice(&sse::Event::parse(raw).data).unwrap())
            .collect()
    }

    /// What a client builds from a stream, after checking that its blocks never overlap.
    fn blocks(out: &[u8]) -> Vec<(String, String)> {
        let mut built: Vec<(String, String)> = Vec::new();
        let mut open = false;
        for event in data(out) {
            let last = built.len().wrapping_sub(1);
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert!(!open);
                    assert_eq!(event["index"], built.len());
                    let block = &event["content_block"];
                    let id = block["id"].as_str().unwrap_or_default();
                    built
                        .push((format!("{} {id}", block["type"].as_str().unwrap()), String::new()));
                    open = true;
                }
                "content_block_delta" => {
                    assert!(open);
                    assert_eq!(event["index"], last);
                    let delta = event["delta"].as_object().unwrap();
                    let text = delta.iter().find(|(key, _)| *key != "type").unwrap().1;
                    built[last].1 += text.as_str().unwrap();
                }
                "content_block_stop" => {
                    assert!(open);
                    assert_eq!(event["index"], last);
                    open = false;
                }
                _ => assert!(!open),
            }
        }
        built
    }

    fn call(index: usize, id: &str) -> Delta {
        Delta::ToolCall { index, id: id.to_owned(), name: "f".to_owned(), signature: None }
    }

    fn arguments(index: usize, fragment: &str) -> Delta {
        Delta::ToolArguments { index, fragment: fragment.to_owned() }
    }

    fn text(text: &str) -> Delta {
        Delta::Text(text.to_owned())
    }

    fn pair(kind: &str, content: &str) -> (String, String) {
        (kind.to_owned(), content.to_owned())
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let (deltas, _) = decode(&[STREAM.as_bytes()]);
        let (mut again, end) = decode(&[&emit(deltas.clone())]);
        assert_eq!(end, Ok(()));
        assert_eq!(again[0], Delta::Start { id: "msg_1".into(), model: "asked".into() });
        again[0] = deltas[0].clone();
        // The closing usage is cumulative, so it repeats the input.
        let whole = |deltas: &[Delta]| {
            deltas.iter().fold(Usage::default(), |sum, delta| {
                if let Delta::Usage(usage) = delta { sum.merged(*usage) } else { sum }
            })
        };
        assert_eq!(whole(&again), whole(&deltas));
        let rest = |deltas: Vec<Delta>| -> Vec<Delta> {
            deltas.into_iter().filter(|delta| !matches!(delta, Delta::Usage(_))).collect()
        };
        assert_eq!(rest(again), rest(deltas));
    }

    #[test]
    fn message_start_comes_first_and_knows_the_input() {
        let usage = Usage { input: 9, cached: Some(4), output: 3, ..Usage::default() };
        let out = emit(vec![Delta::Usage(usage), call(0, "c"), arguments(0, "{}")]);
        let events = data(&out);
        assert_eq!(events[0]["type"], "message_start");
        assert_eq!(events[0]["message"]["id"], "msg_7");
        assert_eq!(events[0]["message"]["usage"]["input_tokens"], 5);
        let end = &events[events.len() - 2];
        assert_eq!(end["delta"]["stop_reason"], "tool_use");
        assert_eq!(end["usage"]["cache_read_input_tokens"], 4);
        assert_eq!(end["usage"]["output_tokens"], 3);
        assert_eq!(events.last().unwrap()["type"], "message_stop");
    }

    #[test]
    fn calls_that_come_in_turns_are_written_one_after_the_other() {
        let out = emit(vec![
            text("a"),
            call(0, "x"),
            arguments(0, "{\"q\":\"}"),
            call(1, "y"),
            arguments(1, "{\"r\""),
            text("b"),
            arguments(0, "\\\"\"}"),
            arguments(1, ":[]}"),
            text("c"),
            call(2, "z"),
            Delta::Finish(Finish::Stop),
        ]);
        let expected = [
            pair("text ", "a"),
            pair("tool_use x", "{\"q\":\"}\\\"\"}"),
            pair("tool_use y", "{\"r\":[]}"),
            pair("text ", "bc"),
            pair("tool_use z", ""),
        ];
        assert_eq!(blocks(&out), expected);
    }

    #[test]
    fn a_call_that_is_whole_lets_the_next_one_through_at_once() {
        let (mut emitter, mut out) = (Emitter::new(&view()), Vec::new());
        for delta in [call(0, "x"), arguments(0, "{}"), call(1, "y")] {
            emitter.delta(delta, &mut out);
        }
        assert!(blocks_begun(&out) == 2 && emitter.waiting.is_empty());
    }

    fn blocks_begun(out: &[u8]) -> usize {
        data(out).iter().filter(|event| event["type"] == "content_block_start").count()
    }

    #[test]
    fn thinking_is_always_signed() {
        let foreign = Signature { dialect: Dialect::Gemini, data: "g".to_owned() };
        let out = emit(vec![
            Delta::Reasoning("own ".to_owned()),
            Delta::ReasoningSignature(foreign.clone()),
            Delta::Reasoning("bare ".to_owned()),
            text("a"),
            Delta::RedactedReasoning(foreign.clone()),
            Delta::ReasoningSignature(foreign),
        ]);
        let expected = [
            pair("thinking ", "own trunkline.gemini.g"),
            pair("thinking ", "bare trunkline.none"),
            pair("text ", "a"),
            pair("redacted_thinking ", ""),
            pair("thinking ", "trunkline.gemini.g"),
        ];
        assert_eq!(blocks(&out), expected);
    }

    #[test]
    fn a_refusal_is_text_with_its_stop_reason() {
        let out = emit(vec![Delta::Refusal("No.".to_owned()), Delta::Finish(Finish::Stop)]);
        assert_eq!(blocks(&out), [pair("text ", "No.")]);
        let end = &data(&out)[4];
        assert_eq!(end["delta"]["stop_reason"], "refusal");
    }

    #[test]
    fn a_broken_answer_never_looks_complete() {
        let (mut emitter, mut out) = (Emitter::new(&view()), Vec::new());
        emitter.delta(text("half"), &mut out);
        let error = ApiError::new(ErrorKind::Overloaded, "upstream_cut", "the answer was cut off");
        emitter.fail(&error, "req_1", &mut out);
        emitter.complete(&mut out);
        emitter.delta(text("late"), &mut out);
        let last = data(&out).pop().unwrap();
        assert_eq!(last["error"]["type"], "overloaded_error");
        assert_eq!(last["request_id"], "req_1");
        assert!(!String::from_utf8(out).unwrap().contains("message_stop"));
    }

    #[test]
    fn an_answer_without_content_is_still_an_answer() {
        let events = data(&emit(vec![Delta::Finish(Finish::ContentFilter)]));
        let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["message_start", "message_delta", "message_stop"]);
        assert_eq!(events[1]["delta"]["stop_reason"], "refusal");
    }

    fn step() -> impl Strategy<Value = Delta> {
        prop_oneof![
            "[a-z\"\\\\]{0,3}".prop_map(Delta::Text),
            "[a-z]{0,3}".prop_map(Delta::Reasoning),
            Just(Delta::Refusal("r".to_owned())),
            (0..3_usize, "[{}\"a]{0,3}").prop_map(|(index, piece)| arguments(index, &piece)),
            Just(call(0, "?")),
        ]
    }

    proptest! {
        /// Whatever the order, blocks never overlap and no text is lost.
        #[test]
        fn any_order_of_deltas_gives_a_sound_stream(steps in prop::collection::vec(step(), 0..20)) {
            let mut calls = 0;
            let mut said = String::new();
            let deltas: Vec<Delta> = steps
                .into_iter()
                .map(|step| {
                    if !matches!(step, Delta::ToolCall { .. }) {
                        return step;
                    }
                    calls += 1;
                    call(calls - 1, &format!("c{calls}"))
                })
                .inspect(|delta| {
                    if let Delta::Text(text) | Delta::Refusal(text) = delta {
                        said.push_str(text);
                    }
                })
                .collect();
            let built = blocks(&emit(deltas));
            let texts = built.iter().filter(|(kind, _)| kind == "text ");
            let written: String = texts.map(|(_, text)| text.as_str()).collect();
            prop_assert_eq!(written, said);
            let begun = built.iter().filter(|(kind, _)| kind.starts_with("tool_use")).count();
            prop_assert_eq!(begun, calls);
        }
    }
}
