//! Looks into a stream, or into a whole answer, whose bytes pass untouched.
//!
//! Nearly every event is a piece of text, and its name says so: it is looked at, not parsed. JSON is
//! read only where a number or a failure is in it, and for the few events before the first content,
//! where it matters whether a piece is empty.

use memchr::{memchr, memmem};
use serde::Deserialize;

use super::{
    error,
    stream::{Frame, Piece},
    wire::{Block, WireUsage},
};
use crate::dialect::{Seen, Usage, Watch, sse::Event};

/// Watches one stream.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    usage: Option<Usage>,
    /// Whether a part of the answer has come: from then on a piece need not be looked into.
    begun: bool,
    complete: bool,
}

impl Watch for Watcher {
    fn event(&mut self, raw: &[u8]) -> Seen {
        match name(raw) {
            b"content_block_delta" | b"content_block_start" | b"content_block_stop"
                if self.begun =>
            {
                // Half an object is worse than none: a client's parser would fail on it.
                let whole = raw.trim_ascii_end().ends_with(b"}");
                if whole { Seen::Content } else { Seen::Error(error::unreadable()) }
            }
            b"content_block_delta" | b"content_block_start" => self.begin(raw),
            b"message_start" => {
                self.count(raw);
                Seen::Idle
            }
            b"message_delta" => {
                self.count(raw);
                Seen::Content
            }
            b"message_stop" => {
                self.complete = true;
                Seen::Terminal
            }
            b"error" => Seen::Error(error::decode(0, &Event::parse(raw).data)),
            _ => Seen::Idle,
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Watcher {
    /// Judges a block's first event or piece.
    fn begin(&mut self, raw: &[u8]) -> Seen {
        let event = Event::parse(raw);
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(&event.data) else {
            return Seen::Error(error::unreadable());
        };
        self.begun = frame.content_block.is_some_and(|block| is_meaningful_block(&block))
            || frame.delta.is_some_and(|piece| is_meaningful_piece(&piece));
        if self.begun { Seen::Content } else { Seen::Idle }
    }

    fn count(&mut self, raw: &[u8]) {
        let event = Event::parse(raw);
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(&event.data) else { return };
        let wire = frame.usage.or_else(|| frame.message.and_then(|head| head.usage));
        if let Some(wire) = wire {
            self.usage = Some(self.usage.unwrap_or_default().merged(Usage::from(wire)));
        }
    }
}

/// A text or thinking block begins empty; any other block is something in itself.
fn is_meaningful_block(block: &Block<'_>) -> bool {
    match &*block.kind {
        "text" => !block.text.is_empty(),
        "thinking" => !block.thinking.is_empty(),
        _ => true,
    }
}

fn is_meaningful_piece(piece: &Piece<'_>) -> bool {
    match &*piece.kind {
        "text_delta" => !piece.text.is_empty(),
        "thinking_delta" => !piece.thinking.is_empty(),
        "signature_delta" => false,
        _ => true,
    }
}

/// The event's name; where an imitator gives none, the first `type` of its data.
fn name(raw: &[u8]) -> &[u8] {
    let line = raw.strip_prefix(b"event:").or_else(|| {
        let at = memmem::find(raw, b"\nevent:")?;
        raw.get(at + b"\nevent:".len()..)
    });
    if let Some(line) = line {
        return line
            .get(..memchr(b'\n', line).unwrap_or(line.len()))
            .unwrap_or_default()
            .trim_ascii();
    }
    quoted_after(raw, b"\"type\"").unwrap_or_default()
}

/// The string value of the first such key.
fn quoted_after<'a>(raw: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let value = raw.get(memmem::find(raw, key)? + key.len()..)?.trim_ascii_start();
    let value = value.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    value.get(..memchr(b'"', value)?)
}

/// The usage of a whole answer: the last object of that name which counts output.
///
/// It stands behind the content, so the search goes backwards and usually ends at once; the same
/// word in a tool's input is not fooled by, because it counts nothing.
pub(super) fn last_usage(body: &[u8]) -> Option<Usage> {
    const KEY: &[u8] = b"\"usage\"";
    memmem::rfind_iter(body, KEY).find_map(|at| {
        let value = body.get(at + KEY.len()..)?.trim_ascii_start().strip_prefix(b":")?;
        let mut reader = serde_json::Deserializer::from_slice(value);
        let wire = WireUsage::deserialize(&mut reader).ok()?;
        wire.output_tokens.is_some().then(|| Usage::from(wire))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::sse::events, stream::tests::STREAM},
        *,
    };
    use crate::dialect::error::ErrorClass;

    fn seen(stream: &str) -> (Vec<Seen>, Watcher) {
        let mut watcher = Watcher::default();
        let seen = events(stream.as_bytes()).map(|raw| watcher.event(raw)).collect();
        (seen, watcher)
    }

    #[test]
    fn nothing_counts_as_content_before_there_is_some() {
        let (seen, watcher) = seen(STREAM);
        let first = seen.iter().position(|seen| *seen == Seen::Content);
        assert_eq!(first, Some(3), "message_start, an empty block and a ping come before");
        assert_eq!(seen.last(), Some(&Seen::Terminal));
        assert!(watcher.is_complete());
    }

    #[test]
    fn usage_is_added_up() {
        let (_, watcher) = seen(STREAM);
        let expected = Usage {
            input: 22,
            cached: Some(4),
            cache_write: Some(0),
            output: 42,
            ..Usage::default()
        };
        assert_eq!(watcher.usage(), Some(expected));
    }

    #[test]
    fn a_call_is_content_at_once_and_an_empty_piece_is_not() {
        let nameless = concat!(
            "data: {\"type\": \"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "data: {\"type\": \"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}\n\n",
            "data: {\"type\": \"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\"}}\n\n",
            "data: {\"type\": \"content_block_stop\",\"index\":1}\n\n",
            ": comment\n\n",
        );
        let (seen, watcher) = seen(nameless);
        assert_eq!(seen, [Seen::Idle, Seen::Idle, Seen::Content, Seen::Content, Seen::Idle]);
        assert!(!watcher.is_complete());
    }

    #[test]
    fn half_an_event_is_an_error_before_and_after_the_beginning() {
        let broken = "event: content_block_delta\ndata: {\"type\":\n\n";
        let text = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
        for stream in [broken.to_owned(), format!("{text}{broken}")] {
            let (seen, _) = seen(&stream);
            assert!(matches!(seen.last(), Some(Seen::Error(_))), "{stream}");
        }
    }

    #[test]
    fn an_error_event_is_an_error() {
        let (seen, _) = seen(
            "event: error\r\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\r\n\r\n",
        );
        let [Seen::Error(error)] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Overloaded, "Overloaded"));
    }

    #[test]
    fn the_answers_own_usage_is_found() {
        let body = br#"{"usage":{"input_tokens":3,"output_tokens":4},"content":[
            {"type":"tool_use","input":{"usage":{"hours":5},"say":"\"usage\":{\"output_tokens\":9}"}}]}"#;
        assert_eq!(last_usage(body), Some(Usage { input: 3, output: 4, ..Usage::default() }));
        assert_eq!(last_usage(b"{\"usage\":null}"), None);
        assert_eq!(last_usage(b"{}"), None);
    }
}
