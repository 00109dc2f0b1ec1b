//! Streams, read and written.
//!
//! Blocks of this dialect follow one another and never interleave; other dialects' parallel calls do.
//! So what belongs to a later call waits until the earlier one is closed.

use serde_json::{Value, json};

use super::{
    error, request,
    response::{self, write_usage},
};
use crate::dialect::{
    ApiError, Decode, Delta, Dialect, Encode, StreamError, Usage, View,
    chat::{Finish, Signature},
    json::{push_string, text},
    sse::Event,
};

/// Reads an upstream's stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    calls: usize,
    open: Open,
}

/// What the open block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    /// A call that stands for a JSON answer.
    Answer,
    /// A call.
    Call,
    /// Text, thinking, or something of no interest.
    #[default]
    Other,
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.done || event.data.is_empty() || event.name == b"ping" {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|error| StreamError::Malformed(error.to_string()))?;
        match text(&value, "type") {
            Some("message_start") if !self.started => {
                self.started = true;
                let message = value.get("message").unwrap_or(&Value::Null);
                let field = |key| text(message, key).unwrap_or_default().to_owned();
                out.push(Delta::Start { id: field("id"), model: field("model") });
                out.extend(message.get("usage").and_then(response::usage).map(Delta::Usage));
            }
            Some("content_block_start") => {
                self.block(value.get("content_block").unwrap_or(&Value::Null), out);
            }
            Some("content_block_delta") => {
                self.delta(value.get("delta").unwrap_or(&Value::Null), out);
            }
            Some("message_delta") => {
                out.extend(value.get("usage").and_then(response::usage).map(Delta::Usage));
                let delta = value.get("delta").unwrap_or(&Value::Null);
                if let Some(reason) = text(delta, "stop_reason") {
                    let sequence = text(delta, "stop_sequence");
                    let finish = response::finish(Some(reason), sequence, self.calls == 0);
                    out.push(Delta::Finish(finish));
                }
            }
            Some("message_stop") => self.done = true,
            Some("error") => {
                let error = value.get("error").unwrap_or(&Value::Null);
                return Err(StreamError::Provider(error::of_value(0, error)));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }

    fn end(&mut self, _out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.done { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

impl Decoder {
    fn block(&mut self, block: &Value, out: &mut Vec<Delta>) {
        let words = |key| text(block, key).unwrap_or_default().to_owned();
        self.open = Open::Other;
        match text(block, "type") {
            Some("tool_use") if text(block, "name") == Some(request::JSON_TOOL) => {
                self.open = Open::Answer;
            }
            Some("tool_use") => {
                self.open = Open::Call;
                let index = self.calls;
                self.calls += 1;
                let call = Delta::ToolCall {
                    index,
                    id: words("id"),
                    name: words("name"),
                    signature: None,
                };
                out.push(call);
            }
            Some("redacted_thinking") => out.push(Delta::RedactedReasoning(sign(words("data")))),
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<Delta>) {
        let words = |key| text(delta, key).filter(|words| !words.is_empty()).map(str::to_owned);
        match text(delta, "type") {
            Some("text_delta") => out.extend(words("text").map(Delta::Text)),
            Some("thinking_delta") => out.extend(words("thinking").map(Delta::Reasoning)),
            Some("signature_delta") => {
                out.extend(words("signature").map(sign).map(Delta::ReasoningSignature));
            }
            Some("input_json_delta") => {
                let index = self.calls.saturating_sub(1);
                out.extend(words("partial_json").and_then(|fragment| match self.open {
                    Open::Answer => Some(Delta::Text(fragment)),
                    Open::Call => Some(Delta::ToolArguments { index, fragment }),
                    Open::Other => None,
                }));
            }
            _ => {}
        }
    }
}

const fn sign(data: String) -> Signature {
    Signature { dialect: Dialect::AnthropicMessages, data }
}

/// Writes a client's stream.
#[derive(Debug)]
pub(super) struct Encoder {
    model: String,
    started: bool,
    /// Blocks begun so far; the open one is the last.
    blocks: usize,
    open: Option<Block>,
    /// Deltas of calls that must wait until the open call is closed.
    waiting: Vec<Delta>,
    called: bool,
    usage: Usage,
    finish: Option<Finish>,
}

/// The open block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Call(usize),
    Text,
    Thinking { signed: bool },
}

impl Encoder {
    pub(super) fn new(view: &View) -> Self {
        Self {
            model: view.model.clone(),
            started: false,
            blocks: 0,
            open: None,
            waiting: Vec::new(),
            called: false,
            usage: Usage::default(),
            finish: None,
        }
    }

    fn start(&mut self, id: &str, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": write_usage(self.usage),
        });
        event(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    /// Opens a block unless it is open already.
    fn open(&mut self, block: Block, content: &Value, out: &mut Vec<u8>) {
        self.close(out);
        self.open = Some(block);
        let index = self.blocks;
        self.blocks += 1;
        let value =
            json!({"type": "content_block_start", "index": index, "content_block": content});
        event(out, "content_block_start", &value);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        if block == (Block::Thinking { signed: false }) {
            let signature = request::UNSIGNED;
            self.block_delta("signature_delta", "signature", signature, out);
        }
        let index = self.blocks.saturating_sub(1);
        event(out, "content_block_stop", &json!({"type": "content_block_stop", "index": index}));
    }

    /// One delta of the open block: written by hand, for there is one a token.
    fn block_delta(&self, kind: &str, key: &str, words: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: content_block_delta\n");
        out.extend_from_slice(br#"data: {"type":"content_block_delta","index":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.blocks.saturating_sub(1)).as_bytes());
        for text in [r#","delta":{"type":""#, kind, r#"",""#, key, r#"":"#] {
            out.extend_from_slice(text.as_bytes());
        }
        push_string(out, words);
        out.extend_from_slice(b"}}\n\n");
    }

    fn text(&mut self, words: &str, out: &mut Vec<u8>) {
        if self.open != Some(Block::Text) {
            self.open(Block::Text, &json!({"type": "text", "text": ""}), out);
        }
        self.block_delta("text_delta", "text", words, out);
    }

    fn thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Block::Thinking { .. })) {
            let content = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.open(Block::Thinking { signed: false }, &content, out);
        }
    }

    fn call(&mut self, delta: Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::ToolCall { index, id, name, signature } => {
                self.called = true;
                let id = request::hide_signature(&id, signature.as_ref());
                let content = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.open(Block::Call(index), &content, out);
            }
            Delta::ToolArguments { index, fragment } if self.open == Some(Block::Call(index)) => {
                self.block_delta("input_json_delta", "partial_json", &fragment, out);
            }
            other => self.waiting.push(other),
        }
    }

    /// Writes what waited: call after call, each with all of its arguments.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some(at) = waiting.iter().position(|d| matches!(d, Delta::ToolCall { .. })) {
            let call = waiting.remove(at);
            let Delta::ToolCall { index, .. } = call else { break };
            self.call(call, out);
            waiting.retain(|delta| match delta {
                Delta::ToolArguments { index: of, fragment } if *of == index => {
                    self.block_delta("input_json_delta", "partial_json", fragment, out);
                    false
                }
                _ => true,
            });
        }
        self.close(out);
    }
}

impl Encode for Encoder {
    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Usage(usage) => return self.usage = self.usage.merged(usage),
            Delta::Start { id, .. } => return self.start(&id, out),
            Delta::Finish(_)
            | Delta::Logprobs(_)
            | Delta::Reasoning(_)
            | Delta::ReasoningSignature(_)
            | Delta::RedactedReasoning(_)
            | Delta::Refusal(_)
            | Delta::Text(_)
            | Delta::ToolCall { .. }
            | Delta::ToolArguments { .. } => self.start("msg_0", out),
        }
        match delta {
            Delta::Text(words) | Delta::Refusal(words) => self.text(&words, out),
            Delta::Reasoning(words) => {
                self.thinking(out);
                self.block_delta("thinking_delta", "thinking", &words, out);
            }
            Delta::ReasoningSignature(signature) => {
                self.thinking(out);
                let word = response::signature_word(Some(&signature));
                self.block_delta("signature_delta", "signature", word, out);
                self.open = Some(Block::Thinking { signed: true });
                self.close(out);
            }
            Delta::RedactedReasoning(signature) => {
                if signature.dialect == Dialect::AnthropicMessages {
                    let content = json!({"type": "redacted_thinking", "data": signature.data});
                    self.open(Block::Text, &content, out);
                    self.close(out);
                }
            }
            Delta::ToolCall { .. } if matches!(self.open, Some(Block::Call(_))) => {
                self.waiting.push(delta);
            }
            Delta::ToolCall { .. } | Delta::ToolArguments { .. } => self.call(delta, out),
            Delta::Finish(finish) => self.finish = Some(finish),
            // This dialect has no place for them; they were refused before the request was sent.
            Delta::Logprobs(_) | Delta::Start { .. } | Delta::Usage(_) => {}
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>) {
        self.start("msg_0", out);
        self.flush(out);
        let finish = self.finish.take().unwrap_or_default();
        let (reason, sequence) = response::reason(&finish, self.called);
        let value = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": write_usage(self.usage),
        });
        event(out, "message_delta", &value);
        event(out, "message_stop", &json!({"type": "message_stop"}));
    }

    fn fail(&mut self, error: &ApiError, request_id: &str, out: &mut Vec<u8>) {
        event(out, "error", &error::encode(error, request_id));
    }
}

fn event(out: &mut Vec<u8>, name: &str, data: &Value) {
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::sse;

    #[test]
    fn interleaved_calls_are_written_one_after_the_other_and_read_back() {
        let view = View { model: "m".to_owned(), created: 1, include_usage: true };
        let call = |index: usize| Delta::ToolCall {
            index,
            id: format!("c{index}"),
            name: "f".to_owned(),
            signature: None,
        };
        let piece =
            |index, fragment: &str| Delta::ToolArguments { index, fragment: fragment.to_owned() };
        let mut encoder = Encoder::new(&view);
        let mut bytes = Vec::new();
        for delta in [
            Delta::Start { id: "a".to_owned(), model: "u".to_owned() },
            Delta::Reasoning("hm".to_owned()),
            Delta::Text("hi".to_owned()),
            call(0),
            piece(0, "{\"a\""),
            call(1),
            piece(1, "{}"),
            piece(0, ":1}"),
            Delta::Finish(Finish::Stop),
            Delta::Usage(Usage { input: 5, output: 3, ..Usage::default() }),
        ] {
            encoder.delta(delta, &mut bytes);
        }
        encoder.complete(&mut bytes);
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for raw in sse::events(&bytes) {
            decoder.event(&Event::parse(raw), &mut found).unwrap();
        }
        decoder.end(&mut found).unwrap();
        let calls: Vec<_> = found
            .into_iter()
            .filter(|d| {
                matches!(d, Delta::ToolCall { .. } | Delta::ToolArguments { .. } | Delta::Finish(_))
            })
            .collect();
        let expected = vec![
            call(0),
            piece(0, "{\"a\""),
            piece(0, ":1}"),
            call(1),
            piece(1, "{}"),
            Delta::Finish(Finish::ToolCalls),
        ];
        assert_eq!(calls, expected);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(request::UNSIGNED) && text.ends_with("\"message_stop\"}\n\n"));
    }
}
