//! Streams over real connections, for every pair of an upstream dialect and a client API: the
//! fixtures of the codec tests, in small pieces, to their end or to something else.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use trunkline::dialect::{Api, Dialect, sse};

use super::harness::{Answer, MILLIS, Play, Provider, Proxy, Setup, Step, body, local};

fn fixture(dialect: Dialect, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/codec");
    let file = folder.join(dialect.as_str()).join("streams").join(name).with_extension("sse");
    fs::read_to_string(file).unwrap()
}

/// The pieces of a text, cut without regard for events.
fn pieces(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(61.min(rest.len())));
        steps.push(Step::Say(piece.to_owned()));
        rest = after;
    }
    steps
}

fn provider(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::AnthropicMessages => ("AnthropicCompatible", "claude-sonnet-5"),
        Dialect::Gemini => ("GeminiCompatible", "gemini-3-pro"),
        Dialect::OpenAiChat => ("OpenAICompatible", "gpt-5"),
    }
}

async fn ask(proxy: &Proxy, api: Api) -> Answer {
    let path = match api {
        Api::ChatCompletions => "/v1/chat/completions",
        Api::Messages => "/v1/messages",
    };
    proxy.ask(path, &[], &body(json!({"stream": true, "max_tokens": 99}))).await
}

/// The names and data of the events, comments left out.
fn events(answer: &Answer) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let parsed = sse::events(answer.body.as_bytes()).map(sse::Event::parse);
    parsed.map(|event| (text(event.name), text(&event.data))).collect()
}

fn ends_well(api: Api, answer: &Answer) -> bool {
    events(answer).last().is_some_and(|(name, data)| match api {
        Api::ChatCompletions => data == "[DONE]",
        Api::Messages => name == "message_stop",
    })
}

fn ends_in_error(api: Api, answer: &Answer) -> bool {
    let events = events(answer);
    let never = events.iter().all(|(name, data)| data != "[DONE]" && name != "message_stop");
    never
        && events.last().is_some_and(|(name, data)| match api {
            Api::ChatCompletions => data.starts_with(r#"{"error":"#),
            Api::Messages => name == "error",
        })
}

fn pairs() -> impl Iterator<Item = (Dialect, Api)> {
    Dialect::ALL.into_iter().flat_map(|dialect| Api::ALL.map(|api| (dialect, api)))
}

async fn play(dialect: Dialect, api: Api, steps: Vec<Step>) -> (Answer, Provider) {
    let upstream = Provider::start(move |_| Play::Stream(steps.clone())).await;
    let (name, model) = provider(dialect);
    let setup = Setup::default().target(name, upstream.address, model, 1);
    let proxy = setup.with(json!({"timeouts": {"streamIdle": "300ms"}})).start();
    (ask(&proxy, api).await, upstream)
}

#[test]
fn a_complete_stream_ends_as_its_dialect_demands() {
    local(async {
        for (dialect, api) in pairs() {
            for name in ["text", "parallel_calls", "reasoning", "length"] {
                let (answer, _) = play(dialect, api, pieces(&fixture(dialect, name))).await;
                assert!(ends_well(api, &answer), "{dialect} {name}: {}", answer.body);
                assert_eq!(answer.header("content-type"), "text/event-stream");
                assert!(answer.whole);
            }
        }
    });
}

#[test]
fn a_stream_that_breaks_ends_in_the_dialects_own_error() {
    local(async {
        for (dialect, api) in pairs() {
            let cut = || slowly(&fixture(dialect, "cut"));
            let wait = Step::Wait(50 * MILLIS);
            let stall = Step::Wait(Duration::from_secs(9));
            for (what, steps) in [
                ("closed in order", cut()),
                ("broken off", [cut(), vec![wait, Step::Cut]].concat()),
                ("stalled", [cut(), vec![stall]].concat()),
                ("failed", slowly(&fixture(dialect, "error_inside"))),
                ("unreadable", slowly(&fixture(dialect, "malformed"))),
            ] {
                let (answer, upstream) = play(dialect, api, steps).await;
                let told = format!("{dialect} to {}, {what}: {}", api.as_str(), answer.body);
                assert_eq!(answer.status, 200, "{told}");
                assert!(ends_in_error(api, &answer) && answer.whole, "{told}");
                assert_eq!(upstream.asked(), 1, "{told}");
            }
        }
    });
}

/// The pieces with a pause after the first words, so that these have gone out before what follows is
/// known.
fn slowly(text: &str) -> Vec<Step> {
    let words = ["Hi", "One"].iter().find_map(|words| text.find(words)).unwrap();
    let (_, after) = text.split_at(words);
    let ends = ["\n\n", "\r\n\r\n"].map(|end| after.find(end).map(|at| at + end.len()));
    let end = ends.into_iter().flatten().min().unwrap();
    let (before, after) = text.split_at(words + end);
    let mut steps = pieces(before);
    steps.push(Step::Wait(50 * MILLIS));
    steps.extend(pieces(after));
    steps
}
