//! Looking into an untouched stream: a few searches an event, a parse where one is due.
//!
//! Most events are one delta of text among hundreds. They are recognised by what they lack, so a
//! token costs three searches of some two hundred bytes.

use memchr::memmem;
use serde_json::Value;

use super::{error, response};
use crate::dialect::{Seen, Usage, Watch, sse::Event};

#[derive(Debug, Default)]
pub(super) struct Watcher {
    begun: bool,
    finished: bool,
    terminal: bool,
    usage: Option<Usage>,
}

impl Watch for Watcher {
    fn event(&mut self, raw: &[u8]) -> Seen {
        if raw.starts_with(b"data: [DONE]") || raw.starts_with(b"data:[DONE]") {
            self.terminal = true;
            return Seen::Terminal;
        }
        let suspicious = !self.begun
            || has_value(raw, b"\"usage\"")
            || has_value(raw, b"\"finish_reason\"")
            || has_value(raw, b"\"error\"");
        if !suspicious {
            // Half an object is worse than none: a client's parser would fail on it.
            let whole = raw.starts_with(b":") || raw.trim_ascii_end().ends_with(b"}");
            return if whole { Seen::Content } else { Seen::Error(error::unreadable()) };
        }
        let event = Event::parse(raw);
        let Ok(chunk) = serde_json::from_slice::<Value>(&event.data) else { return Seen::Idle };
        self.read(&chunk)
    }

    fn is_complete(&self) -> bool {
        // Some servers never write [DONE]; a finish reason then has to do.
        self.terminal || self.finished
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Watcher {
    fn read(&mut self, chunk: &Value) -> Seen {
        if let Some(failure) = chunk.get("error").filter(|error| !error.is_null()) {
            return Seen::Error(error::of_value(0, failure));
        }
        if let Some(usage) = response::chunk_usage(chunk) {
            self.usage = Some(usage);
        }
        let Some(choice) = chunk.get("choices").and_then(|choices| choices.get(0)) else {
            return if self.usage.is_some() { Seen::Usage } else { Seen::Idle };
        };
        let ended = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        self.finished |= ended;
        let content = choice.get("delta").and_then(Value::as_object).is_some_and(|delta| {
            delta.iter().any(|(key, value)| key != "role" && !is_empty(value))
        });
        self.begun |= ended || content;
        if self.begun { Seen::Content } else { Seen::Idle }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Whether the key stands there with something other than null.
fn has_value(raw: &[u8], key: &[u8]) -> bool {
    memmem::find_iter(raw, key).any(|at| {
        let rest = raw.get(at + key.len()..).unwrap_or_default();
        let rest = rest.trim_ascii_start();
        let Some(value) = rest.strip_prefix(b":") else { return false };
        !value.trim_ascii_start().starts_with(b"null")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: &str, finish: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
        )
    }

    #[test]
    fn a_stream_is_idle_until_its_first_content_and_complete_at_its_end() {
        let mut watch = Watcher::default();
        let role = chunk(r#"{"role":"assistant","content":""}"#, "null");
        assert_eq!(watch.event(role.as_bytes()), Seen::Idle);
        assert_eq!(watch.event(b": ping\n\n"), Seen::Idle);
        let word = chunk(r#"{"content":"say \"usage\": 1"}"#, "null");
        assert_eq!(watch.event(word.as_bytes()), Seen::Content);
        assert!(!watch.is_complete());
        assert_eq!(watch.event(chunk("{}", r#""stop""#).as_bytes()), Seen::Content);
        assert!(watch.is_complete());
        let usage =
            b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
        assert_eq!(watch.event(usage), Seen::Usage);
        assert_eq!(watch.usage().unwrap().output, 2);
        assert_eq!(watch.event(b"data: [DONE]\n\n"), Seen::Terminal);
    }

    #[test]
    fn an_error_inside_a_stream_is_seen_after_its_beginning() {
        let mut watch = Watcher::default();
        watch.event(chunk(r#"{"content":"a"}"#, "null").as_bytes());
        let error = b"data: {\"error\":{\"message\":\"boom\"}}\n\n";
        assert!(matches!(watch.event(error), Seen::Error(_)));
    }
}
