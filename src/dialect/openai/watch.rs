//! Looking into an untouched stream: a few searches an event, a parse where one is due.
//!
//! Most events are one delta of text among hundreds. Once the answer has begun they are recognised
//! by what they lack, so a token costs one search of some two hundred bytes. The search cannot be
//! fooled by what the model writes: inside a string its quotes are escaped.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use serde_json::Value;

use super::{
    error, usage,
    wire::{self, Chunk, Said},
};
use crate::dialect::{Seen, StreamError, Usage, Watch, sse::Event};

/// Finds the keys whose value decides what an event is, unless it is null. Set up once for all
/// streams; `None` on a processor without vector instructions, where each event is parsed instead.
static TELLING: LazyLock<Option<Searcher>> =
    LazyLock::new(|| Searcher::new(["\"usage\"", "\"finish_reason\"", "\"error\""]));

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    begun: bool,
    finished: bool,
    terminal: bool,
    usage: Option<Usage>,
}

impl Watch for Watcher {
    fn event(&mut self, raw: &[u8]) -> Seen {
        let data = raw.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start);
        if data.is_some_and(|data| data.starts_with(b"[DONE]")) {
            self.terminal = true;
            return Seen::Terminal;
        }
        // An event that begins with another field is rare, and one of them is an error.
        if self.begun && data.is_some() && !is_telling(raw) {
            // Half an object is worse than none: a client's parser would fail on it.
            let whole = raw.trim_ascii_end().ends_with(b"}");
            return if whole { Seen::Content } else { Seen::Error(error::unreadable()) };
        }
        let event = Event::parse(raw);
        if event.data.is_empty() {
            return Seen::Idle;
        }
        if event.data.starts_with(b"[DONE]") {
            self.terminal = true;
            return Seen::Terminal;
        }
        if event.name == b"error" {
            let told = serde_json::from_slice::<Value>(&event.data).unwrap_or_default();
            return Seen::Error(error::in_stream(told.get("error").unwrap_or(&told), None));
        }
        match wire::read(&event.data) {
            Ok(chunk) => self.chunk(chunk),
            Err(_) => Seen::Error(error::unreadable()),
        }
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
    fn chunk(&mut self, chunk: Chunk<'_>) -> Seen {
        if let Some(failure) = wire::failure(&chunk.error, &chunk.x_groq, &chunk.status_code) {
            return Seen::Error(failure);
        }
        let usage = usage::of_chunk(&chunk.usage, &chunk.x_groq, &chunk.service_tier);
        self.usage = usage.or(self.usage);
        let choices = chunk.choices.unwrap_or_default();
        if choices.is_empty() {
            return if usage.is_some() { Seen::Usage } else { Seen::Idle };
        }
        for choice in choices {
            if choice.finish_reason.as_str().is_some_and(|reason| !reason.is_empty()) {
                if let Err(StreamError::Provider(failure)) = wire::finish(&choice.finish_reason) {
                    return Seen::Error(failure);
                }
                self.finished = true;
            }
            self.begun |= self.finished || choice.delta.is_some_and(says_something);
        }
        if self.begun { Seen::Content } else { Seen::Idle }
    }
}

fn says_something(mut said: Said) -> bool {
    said.take_reasoning().is_some()
        || said.take_content().is_some()
        || said.take_refusal().is_some()
        || !said.take_calls().is_empty()
}

/// Whether one of the telling keys stands there with something other than null.
fn is_telling(raw: &[u8]) -> bool {
    let Some(keys) = &*TELLING else { return true };
    keys.find_iter(raw).any(|key| {
        let rest = raw.get(key.end()..).unwrap_or_default();
        // Without a colon it is a value that reads like a key.
        let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { return false };
        !value.trim_ascii_start().starts_with(b"null")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ErrorClass;

    fn chunk(delta: &str, finish: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}],\
             \"usage\":null}}\n\n"
        )
    }

    #[test]
    fn a_stream_is_idle_until_its_first_content_and_complete_at_its_end() {
        let mut watch = Watcher::default();
        for idle in [
            chunk(r#"{"role":"assistant","content":""}"#, "null"),
            chunk(r#"{"content":null,"tool_calls":[]}"#, r#""""#),
            ": ping\n\n".to_owned(),
            "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n".to_owned(),
        ] {
            assert_eq!(watch.event(idle.as_bytes()), Seen::Idle, "{idle}");
        }
        let word = chunk(r#"{"content":"say \"usage\": 1, \"error\": 2"}"#, "null");
        assert_eq!(watch.event(word.as_bytes()), Seen::Content);
        assert!(!watch.is_complete());
        assert_eq!(watch.event(chunk("{}", r#""stop""#).as_bytes()), Seen::Content);
        assert!(watch.is_complete());
        let usage =
            b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
        assert_eq!(watch.event(usage), Seen::Usage);
        assert_eq!(watch.usage().unwrap().output, 2);
        let empty = b"data: {\"choices\":[],\"usage\":null,\"error\":\"\"}\n\n";
        assert_eq!(watch.event(empty), Seen::Idle);
        assert_eq!(watch.event(b"data: [DONE]\n\n"), Seen::Terminal);
    }

    #[test]
    fn every_kind_of_content_begins_an_answer() {
        for delta in [
            r#"{"content":"a"}"#,
            r#"{"reasoning":"a"}"#,
            r#"{"reasoning_content":"a"}"#,
            r#"{"refusal":"a"}"#,
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
        ] {
            let seen = Watcher::default().event(chunk(delta, "null").as_bytes());
            assert_eq!(seen, Seen::Content, "{delta}");
        }
    }

    #[test]
    fn an_error_is_seen_wherever_it_stands() {
        for (error, class) in [
            ("data: {\"error\":{\"message\":\"boom\"}}\n\n", ErrorClass::Server),
            ("data: {\"error\":{\"code\":429}}\n\n", ErrorClass::RateLimited),
            ("data: {\"x_groq\":{\"error\":\"boom\"}}\n\n", ErrorClass::Server),
            ("event: error\ndata: {\"message\":\"boom\"}\n\n", ErrorClass::Server),
            ("data: {\"choices\":[{\"delta\":\n\n", ErrorClass::Server),
            (
                "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
                ErrorClass::Server,
            ),
        ] {
            for begun in [false, true] {
                let mut watch = Watcher { begun, ..Watcher::default() };
                let Seen::Error(found) = watch.event(error.as_bytes()) else { panic!("{error}") };
                assert_eq!(found.class, class, "{error}");
                assert!(!watch.is_complete());
            }
        }
    }

    #[test]
    fn usage_beside_content_is_counted_and_stays() {
        let mut watch = Watcher::default();
        let both = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\
            \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
        assert_eq!(watch.event(both), Seen::Content);
        assert_eq!(watch.usage().unwrap().input, 3);
    }
}
