//! Reading an upstream's stream.
//!
//! OpenAI's own streams are simple; compatible servers leave out what they please. So everything
//! that a stream may lack is made up for here: the number of a call, a finish reason that says
//! something, `[DONE]` itself. Only one thing is never made up: the end of an answer that was cut.

use serde_json::Value;

use super::{
    error, usage,
    wire::{self, Call, Chunk, ChunkChoice},
};
use crate::dialect::{Decode, Delta, StreamError, sse::Event};

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    /// The answer has ended, with a reason.
    finished: bool,
    /// The terminal marker has come.
    done: bool,
    /// The calls so far, in the order in which they began.
    calls: Vec<Known>,
}

/// A call as the upstream names it.
#[derive(Debug)]
struct Known {
    index: Option<u64>,
    id: Option<String>,
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.done || event.data.is_empty() {
            return Ok(());
        }
        if event.data.starts_with(b"[DONE]") {
            return self.terminal(out);
        }
        if event.name == b"error" {
            let told: Value = wire::read(&event.data)?;
            let told = told.get("error").unwrap_or(&told);
            return Err(StreamError::Provider(error::in_stream(told, None)));
        }
        let chunk: Chunk<'_> = wire::read(&event.data)?;
        if let Some(failure) = wire::failure(&chunk.error, &chunk.x_groq, &chunk.status_code) {
            return Err(StreamError::Provider(failure));
        }
        // Several answers to one request have no place in the common form: the first is taken.
        let mut choices = chunk.choices.unwrap_or_default().into_iter();
        let choice = choices.find(|choice| choice.index.as_u64().unwrap_or(0) == 0);
        if let Some(choice) = choice {
            // Azure's first chunk has no choices and an empty id: it begins nothing.
            if !self.started {
                self.started = true;
                let (id, model) = (wire::raw_text(chunk.id), wire::raw_text(chunk.model));
                out.push(Delta::Start { id, model });
            }
            self.choice(choice, out)?;
        }
        out.extend(
            usage::of_chunk(&chunk.usage, &chunk.x_groq, &chunk.service_tier).map(Delta::Usage),
        );
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }

    fn end(&mut self, _out: &mut Vec<Delta>) -> Result<(), StreamError> {
        // Some servers never write [DONE]; a finish reason then has to do.
        if self.done || self.finished { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

impl Decoder {
    fn terminal(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if !self.started {
            return Err(StreamError::Malformed("the stream ended before an answer".to_owned()));
        }
        self.done = true;
        if !self.finished {
            self.finished = true;
            out.push(Delta::Finish(wire::finish_by_content(!self.calls.is_empty())));
        }
        Ok(())
    }

    fn choice(&mut self, choice: ChunkChoice, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.finished {
            return Ok(());
        }
        let mut said = choice.delta.unwrap_or_default();
        out.extend(said.take_reasoning().map(Delta::Reasoning));
        out.extend(said.take_content().map(Delta::Text));
        out.extend(said.take_refusal().map(Delta::Refusal));
        for call in said.take_calls() {
            self.call(call, out);
        }
        out.extend(wire::logprobs(&choice.logprobs).map(Delta::Logprobs));
        // Some servers write `""` all the way: that ends nothing.
        if choice.finish_reason.as_str().is_some_and(|reason| !reason.is_empty()) {
            let finish = wire::finish(&choice.finish_reason)?;
            self.finished = true;
            let called = !self.calls.is_empty();
            out.push(Delta::Finish(finish.unwrap_or_else(|| wire::finish_by_content(called))));
        }
        Ok(())
    }

    fn call(&mut self, call: Call, out: &mut Vec<Delta>) {
        let id = wire::non_empty(call.id);
        let number = call.index.as_u64();
        let mut function = call.function.unwrap_or_default();
        let index = self.known(number, id.as_deref()).unwrap_or_else(|| {
            let index = self.calls.len();
            out.push(Delta::ToolCall {
                index,
                id: id.clone().unwrap_or_else(|| format!("call_{index}")),
                name: wire::non_empty(function.name.take()).unwrap_or_default(),
                signature: None,
            });
            self.calls.push(Known { index: number, id });
            index
        });
        let fragment = function.take_arguments();
        if !fragment.is_empty() {
            out.push(Delta::ToolArguments { index, fragment });
        }
    }

    /// Which call a piece belongs to. Some servers number no call, and some all of them 0: then a
    /// new id is a new call, and a piece without one belongs to the last.
    fn known(&self, number: Option<u64>, id: Option<&str>) -> Option<usize> {
        self.calls.iter().rposition(|known| {
            let same_number = number.is_none() || known.index.is_none() || known.index == number;
            let same_id = id.is_none() || known.id.is_none() || known.id.as_deref() == id;
            same_number && same_id
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::{
        Usage,
        chat::Finish,
        sse::{self, Framer},
    };

    type Read = (Vec<Delta>, Result<(), StreamError>);

    fn read(pieces: &[&[u8]]) -> Read {
        let (mut framer, mut decoder, mut out) = (Framer::default(), Decoder::default(), vec![]);
        for piece in pieces {
            let whole = framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            for raw in sse::events(&whole) {
                if let Err(error) = decoder.event(&Event::parse(raw), &mut out) {
                    return (out, Err(error));
                }
            }
        }
        let end = decoder.end(&mut out);
        (out, end)
    }

    /// A stream of chunks, each given as its choice.
    fn chunks(choices: &[&str]) -> String {
        let chunks = choices.iter().map(|choice| {
            format!("data: {{\"id\":\"i\",\"model\":\"m\",\"choices\":[{choice}]}}\n\n")
        });
        chunks.collect()
    }

    fn start() -> Delta {
        Delta::Start { id: "i".to_owned(), model: "m".to_owned() }
    }

    fn text(words: &str) -> Delta {
        Delta::Text(words.to_owned())
    }

    fn call(index: usize, id: &str) -> Delta {
        Delta::ToolCall { index, id: id.to_owned(), name: "f".to_owned(), signature: None }
    }

    fn arguments(index: usize, fragment: &str) -> Delta {
        Delta::ToolArguments { index, fragment: fragment.to_owned() }
    }

    const WHOLE: &str = concat!(
        ": OPENROUTER PROCESSING\n\n",
        r#"data: {"id":"","model":"","choices":[],"prompt_filter_results":[]}"#,
        "\n\n",
        r#"data: {"id":"i","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        "\r\n\r\n",
        r#"data: {"choices":[{"index":0,"delta":{"reasoning":"h\u00e9"},"finish_reason":null}],"usage":null}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{"content":"hi \"you\""}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        "\n\n",
        r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        "\n\ndata: [DONE]\n\n",
    );

    fn whole() -> Vec<Delta> {
        vec![
            start(),
            Delta::Reasoning("hé".to_owned()),
            text("hi \"you\""),
            Delta::Finish(Finish::Stop),
            Delta::Usage(Usage { input: 3, output: 2, ..Usage::default() }),
        ]
    }

    #[test]
    fn a_stream_is_read_whole() {
        assert_eq!(read(&[WHOLE.as_bytes()]), (whole(), Ok(())));
    }

    #[test]
    fn what_servers_leave_out_is_made_up_for() {
        let done = "data: [DONE]\n\n";
        for (name, stream, deltas) in [
            (
                "no [DONE]",
                chunks(&[r#"{"delta":{"content":"a"}}"#, r#"{"finish_reason":"length"}"#]),
                vec![text("a"), Delta::Finish(Finish::Length)],
            ),
            (
                "a finish reason that nobody knows, without a delta",
                chunks(&[
                    r#"{"delta":{"content":"a"}}"#,
                    r#"{"delta":null,"finish_reason":"eos"}"#,
                ]),
                vec![text("a"), Delta::Finish(Finish::Stop)],
            ),
            (
                "an empty finish reason all the way",
                chunks(&[
                    r#"{"delta":{"content":"a"},"finish_reason":""}"#,
                    r#"{"delta":{"content":"b"},"finish_reason":""}"#,
                ]) + done,
                vec![text("a"), text("b"), Delta::Finish(Finish::Stop)],
            ),
            (
                "stop after calls",
                chunks(&[
                    r#"{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}}"#,
                    r#"{"finish_reason":"stop"}"#,
                ]) + done,
                vec![call(0, "c"), arguments(0, "{}"), Delta::Finish(Finish::ToolCalls)],
            ),
            (
                "calls without numbers, arguments as an object",
                chunks(&[
                    r#"{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":{"x":1}}}]}}"#,
                    r#"{"delta":{"tool_calls":[{"id":"d","function":{"name":"f"}}]}}"#,
                    r#"{"delta":{"tool_calls":[{"function":{"arguments":"{}"}}]}}"#,
                ]) + done,
                vec![
                    call(0, "c"),
                    arguments(0, "{\"x\":1}"),
                    call(1, "d"),
                    arguments(1, "{}"),
                    Delta::Finish(Finish::ToolCalls),
                ],
            ),
            (
                "calls that all have the number 0",
                chunks(&[
                    r#"{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f"}}]}}"#,
                    r#"{"delta":{"tool_calls":[{"index":0,"id":"d","function":{"name":"f"}}]}}"#,
                ]) + done,
                vec![call(0, "c"), call(1, "d"), Delta::Finish(Finish::ToolCalls)],
            ),
            (
                "calls in turns, with ids repeated, and one without an id",
                chunks(&[
                    r#"{"delta":{"tool_calls":[{"index":2,"id":"c","function":{"name":"f"}},{"index":5,"function":{"name":"f"}}]}}"#,
                    r#"{"delta":{"tool_calls":[{"index":5,"function":{"arguments":"{"}},{"index":2,"id":"c","function":{"name":"f","arguments":"{"}}]}}"#,
                    r#"{"finish_reason":"tool_calls"}"#,
                ]) + done,
                vec![
                    call(0, "c"),
                    call(1, "call_1"),
                    arguments(1, "{"),
                    arguments(0, "{"),
                    Delta::Finish(Finish::ToolCalls),
                ],
            ),
            (
                "usage of Groq, and a second answer that was not asked for",
                chunks(&[
                    r#"{"index":1,"delta":{"content":"b"}}"#,
                    r#"{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}"#,
                ]) + "data: {\"x_groq\":{\"usage\":{\"prompt_tokens\":1}}}\n\n"
                    + done,
                vec![
                    text("a"),
                    Delta::Finish(Finish::Stop),
                    Delta::Usage(Usage { input: 1, ..Usage::default() }),
                ],
            ),
        ] {
            let mut expected = vec![start()];
            expected.extend(deltas);
            assert_eq!(read(&[stream.as_bytes()]), (expected, Ok(())), "{name}");
        }
    }

    #[test]
    fn a_failure_inside_a_stream_is_one_wherever_it_stands() {
        let begun = chunks(&[r#"{"delta":{"content":"a"}}"#]);
        for failed in [
            r#"data: {"error":{"message":"boom"}}"#,
            r#"data: {"error":"boom","choices":[]}"#,
            r#"data: {"x_groq":{"error":"boom"}}"#,
            r#"data: {"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#,
            "event: error\ndata: {\"message\":\"boom\"}",
        ] {
            let stream = format!("{begun}{failed}\n\ndata: [DONE]\n\n");
            let (deltas, end) = read(&[stream.as_bytes()]);
            assert!(matches!(end, Err(StreamError::Provider(_))), "{failed}");
            assert_eq!(deltas, [start(), text("a")], "{failed}");
        }
        for broken in ["data: {\n\n", "data: {\"choices\":\"secret\"}\n\n", "data: [DONE]\n\n"] {
            match read(&[broken.as_bytes()]).1 {
                Err(StreamError::Malformed(words)) => assert!(!words.contains("secret")),
                other => panic!("{broken}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_empty_finish_reason_ends_nothing() {
        let cut = chunks(&[r#"{"delta":{"content":"a"},"finish_reason":""}"#]);
        assert_eq!(read(&[cut.as_bytes()]).1, Err(StreamError::Truncated));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_deltas(cuts in prop::collection::vec(0..WHOLE.len(), 0..9)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&WHOLE.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&WHOLE.as_bytes()[from..]);
            prop_assert_eq!(read(&pieces), (whole(), Ok(())));
        }

        #[test]
        fn a_cut_stream_is_complete_only_after_its_finish(cut in 0..WHOLE.len()) {
            let (before, after) = WHOLE.split_once("\"stop\"").unwrap();
            let ends = before.len() + "\"stop\"".len() + after.find("\n\n").unwrap() + 2;
            let (deltas, end) = read(&[&WHOLE.as_bytes()[..cut]]);
            let finished = deltas.iter().any(|delta| matches!(delta, Delta::Finish(_)));
            prop_assert_eq!(finished, cut >= ends);
            prop_assert_eq!(end, if finished { Ok(()) } else { Err(StreamError::Truncated) });
        }

        #[test]
        fn arbitrary_events_are_no_danger(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _read = read(&[b"data: ", bytes.as_slice(), b"\n\n"]);
        }
    }
}
