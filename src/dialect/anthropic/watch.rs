//! Looking into an untouched stream: the event's name says nearly everything.

use memchr::memmem;
use serde_json::Value;

use super::{error, response};
use crate::dialect::{Seen, Usage, Watch, sse::Event};

#[derive(Debug, Default)]
pub(super) struct Watcher {
    begun: bool,
    terminal: bool,
    usage: Option<Usage>,
}

impl Watch for Watcher {
    fn event(&mut self, raw: &[u8]) -> Seen {
        // The tokens: one comparison, no parse.
        if raw.starts_with(b"event: content_block_delta") {
            self.begun = true;
            return Seen::Content;
        }
        let event = Event::parse(raw);
        match event.name {
            b"content_block_delta" => self.begun = true,
            b"content_block_start" => self.begun |= !is_empty_text(&event.data),
            b"message_start" => self.count(&event.data, "/message/usage"),
            b"message_delta" => {
                self.count(&event.data, "/usage");
                self.begun = true;
            }
            b"message_stop" => {
                self.terminal = true;
                return Seen::Terminal;
            }
            b"error" => {
                let value: Value = serde_json::from_slice(&event.data).unwrap_or_default();
                return Seen::Error(error::of_value(0, value.get("error").unwrap_or(&value)));
            }
            _ => {}
        }
        if self.begun { Seen::Content } else { Seen::Idle }
    }

    fn is_complete(&self) -> bool {
        self.terminal
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Watcher {
    fn count(&mut self, data: &[u8], at: &str) {
        let value: Value = serde_json::from_slice(data).unwrap_or_default();
        if let Some(usage) = value.pointer(at).and_then(response::usage) {
            self.usage = Some(self.usage.map_or(usage, |older| older.merged(usage)));
        }
    }
}

/// A block that begins empty says nothing yet, unless it is a tool call.
fn is_empty_text(data: &[u8]) -> bool {
    memmem::find(data, b"tool_use").is_none() && memmem::find(data, b"redacted").is_none()
}
