//! What each fuzz target runs. The bodies stand here and not in the targets, so that `make test`
//! runs them too, on every fixture (`tests/it/codec/fuzz.rs`).
//!
//! A body takes any bytes and must not panic; where it can say more than that, it asserts it.

use std::collections::VecDeque;

use bytes::Bytes;
use trunkline::{
    dialect::{
        Api, Dialect, Target, View, anthropic, openai,
        peek::{self, Edit},
        sse::{self, Event, Framer},
    },
    provider::models,
    proxy::feed::Feed,
};

/// A model of each generation in each dialect.
const MODELS: [(Dialect, &str); 6] = [
    (Dialect::AnthropicMessages, "claude-sonnet-5-5"),
    (Dialect::AnthropicMessages, "claude-3-5-haiku"),
    (Dialect::Gemini, "gemini-3-pro"),
    (Dialect::Gemini, "gemini-2.0-flash"),
    (Dialect::OpenAiChat, "gpt-5"),
    (Dialect::OpenAiChat, "llama-4"),
];

fn view() -> View {
    View { model: "asked".to_owned(), created: 7, include_usage: true }
}

/// A client's request, read and written for every target. What is written must be JSON.
pub fn requests(data: &[u8]) {
    for api in Api::ALL {
        let Ok(request) = api.client().decode_request(data) else { continue };
        for (dialect, model) in MODELS {
            let traits = models::traits(dialect, model);
            for fetches_urls in [true, false] {
                let target = Target { model, traits: &traits, fetches_urls };
                if let Ok(encoded) = dialect.upstream().encode_request(&request, &target) {
                    let read = serde_json::from_slice::<serde_json::Value>(&encoded.body);
                    assert!(read.is_ok_and(|body| body.is_object()));
                }
            }
        }
    }
}

/// A provider's whole answer or error, told to every client.
pub fn answers(data: &[u8]) {
    for dialect in Dialect::ALL {
        let upstream = dialect.upstream();
        for status in [0, 200, 400, 401, 429, 500, 529] {
            let error = upstream.decode_error(status, data);
            assert!(error.message.len() <= 4096);
        }
        let _usage = upstream.usage(data);
        let Ok(answer) = upstream.decode_response(data) else { continue };
        for api in Api::ALL {
            let written = api.client().encode_response(&answer, &view());
            assert!(serde_json::from_slice::<serde_json::Value>(&written).is_ok());
        }
    }
}

/// A provider's stream, relayed to every client: in one piece and in pieces of a few bytes it must
/// read the same, and what was cut must not look complete.
pub fn streams(data: &[u8]) {
    for dialect in Dialect::ALL {
        for api in Api::ALL {
            let whole = relay(dialect, api, &[data]);
            let pieces: Vec<_> = data.chunks(7).collect();
            assert_eq!(relay(dialect, api, &pieces), whole);
        }
    }
}

fn relay(dialect: Dialect, api: Api, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (upstream, client) = (dialect.upstream(), api.client());
    let mut feed = if api.dialect() == dialect {
        Feed::pass(upstream, client, true)
    } else {
        Feed::translate(upstream, client, &view())
    };
    let mut out = VecDeque::new();
    let mut read = Ok(());
    for piece in pieces {
        read = feed.push(&Bytes::copy_from_slice(piece), &mut out);
        if read.is_err() {
            break;
        }
    }
    let ended = read.and_then(|()| feed.end(&mut out)).is_ok();
    let out: Vec<u8> = out.into_iter().flatten().collect();
    if !ended && api.dialect() != dialect {
        assert!(!out.ends_with(b"data: [DONE]\n\n"));
        assert!(!out.windows(12).any(|at| at == b"message_stop"));
    }
    (out, ended)
}

/// A body that is looked into and changed without being parsed.
pub fn bodies(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let _cleaned = (anthropic::marks::cleaned(&body), openai::marks::cleaned(&body));
    let Ok(found) = peek::peek(&body) else {
        // Whatever a real parser takes as an object, unless it is too deep, this one does.
        let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(data);
        assert!(parsed.is_err() || peek::peek(&body) == Err(peek::PeekError::TooDeep));
        return;
    };
    let edits: Vec<Edit> = peek::ask_usage(&body, &found).into_iter().collect();
    let spliced = peek::splice(&body, &edits).concat();
    if serde_json::from_slice::<serde_json::Value>(data).is_ok() {
        assert!(serde_json::from_slice::<serde_json::Value>(&spliced).is_ok());
    }
    let set = [("x".to_owned(), "1".to_owned())];
    let _changed = peek::override_fields(&body, &set, &["model".to_owned()]);
    let _named = (peek::model_name(&body, &found), peek::stream_flag(&body, &found));
}

/// Bytes as events: whole events come out once each, and nothing is lost between them.
pub fn events(data: &[u8]) {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    for piece in data.chunks(5) {
        let Ok(whole) = framer.push(&Bytes::copy_from_slice(piece)) else { return };
        for raw in sse::events(&whole) {
            let _event = Event::parse(raw);
            out.extend_from_slice(raw);
        }
    }
    out.extend_from_slice(framer.rest());
    assert_eq!(out, data);
}
