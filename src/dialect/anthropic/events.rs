//! The bytes of each event of a stream, put together from constant pieces: this runs for every
//! token, so no JSON tree is built. In which order they come is `emit`'s business.
//!
//! Source: the raw stream events of Anthropic's SDK types, November 2026.

use super::wire;
use crate::dialect::{Usage, View};

/// The last event of a complete stream.
pub(super) const STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// The pieces that a block is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    Input,
    Signature,
    Text,
    Thinking,
}

impl Piece {
    const fn head(self) -> &'static [u8] {
        match self {
            Self::Input => b"\"input_json_delta\",\"partial_json\":",
            Self::Signature => b"\"signature_delta\",\"signature\":",
            Self::Text => b"\"text_delta\",\"text\":",
            Self::Thinking => b"\"thinking_delta\",\"thinking\":",
        }
    }
}

/// A block as it begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Call { id: &'a str, name: &'a str },
    Redacted { data: &'a str },
    Text,
    Thinking,
}

/// Counts the blocks and writes their events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The index of the next block.
    next: u64,
}

impl Events {
    /// `content_block_start`.
    pub(super) fn start_block(&mut self, start: Start<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":",
        );
        wire::push_number(out, self.next);
        self.next += 1;
        out.extend_from_slice(b",\"content_block\":{\"type\":");
        match start {
            Start::Call { id, name } => {
                out.extend_from_slice(b"\"tool_use\",\"id\":");
                wire::push_string(out, id);
                out.extend_from_slice(b",\"name\":");
                wire::push_string(out, name);
                out.extend_from_slice(b",\"input\":{}");
            }
            Start::Redacted { data } => {
                out.extend_from_slice(b"\"redacted_thinking\",\"data\":");
                wire::push_string(out, data);
            }
            Start::Text => out.extend_from_slice(b"\"text\",\"text\":\"\""),
            Start::Thinking => {
                out.extend_from_slice(b"\"thinking\",\"thinking\":\"\",\"signature\":\"\"");
            }
        }
        out.extend_from_slice(b"}}\n\n");
    }

    /// `content_block_delta` of the block that began last.
    pub(super) fn piece(&self, piece: Piece, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        wire::push_number(out, self.next.saturating_sub(1));
        out.extend_from_slice(b",\"delta\":{\"type\":");
        out.extend_from_slice(piece.head());
        wire::push_string(out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    /// `content_block_stop` of the block that began last.
    pub(super) fn stop_block(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":",
        );
        wire::push_number(out, self.next.saturating_sub(1));
        out.extend_from_slice(b"}\n\n");
    }
}

/// `message_start`.
pub(super) fn start(id: &str, view: &View, usage: Usage, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":",
    );
    wire::push_string(out, &answer_id(id, view));
    out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    wire::push_string(out, &view.model);
    out.extend_from_slice(
        b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"container\":null,\"usage\":",
    );
    wire::push_usage(out, usage);
    out.extend_from_slice(b"}}\n\n");
}

/// `message_delta` and `message_stop`.
pub(super) fn end(reason: &str, sequence: Option<&str>, usage: Usage, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":",
    );
    wire::push_string(out, reason);
    out.extend_from_slice(b",\"stop_sequence\":");
    match sequence {
        Some(sequence) => wire::push_string(out, sequence),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"stop_details\":");
    out.extend_from_slice(stop_details(reason).as_bytes());
    out.extend_from_slice(b"},\"usage\":");
    wire::push_usage(out, usage);
    out.extend_from_slice(b"}\n\n");
    out.extend_from_slice(STOP);
}

/// What the API says beside `stop_reason`, as JSON. The words of a refusal stand in the text.
pub(super) fn stop_details(reason: &str) -> &'static str {
    match reason {
        "refusal" => r#"{"type":"refusal","category":null,"explanation":null}"#,
        _ => "null",
    }
}

/// The answer's id: the provider's own, or one from the time where it gave none.
pub(super) fn answer_id(given: &str, view: &View) -> String {
    if given.is_empty() { format!("msg_{}", view.created) } else { given.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dialect::sse::{self, Event};

    /// Each event's name is its data's type: the SDKs dispatch by either.
    #[test]
    fn every_event_is_named_for_its_type() {
        let view = View { model: "m\"1".to_owned(), created: 7, include_usage: true };
        let (mut events, mut out) = (Events::default(), Vec::new());
        start("", &view, Usage::default(), &mut out);
        for block in [
            Start::Call { id: "c", name: "f" },
            Start::Redacted { data: "d" },
            Start::Text,
            Start::Thinking,
        ] {
            events.start_block(block, &mut out);
            for piece in [Piece::Input, Piece::Signature, Piece::Text, Piece::Thinking] {
                events.piece(piece, "\"\n", &mut out);
            }
            events.stop_block(&mut out);
        }
        end("refusal", Some("E"), Usage::default(), &mut out);
        let mut count = 0;
        for raw in sse::events(&out) {
            let event = Event::parse(raw);
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            assert_eq!(data["type"].as_str().unwrap().as_bytes(), event.name);
            count += 1;
        }
        assert_eq!(count, 1 + 4 * 6 + 2);
    }
}
