//! One input, every dialect: the input and all that becomes of it stand in one snapshot, to be read
//! side by side. A change of a codec shows here as what a provider or a client will see.

use std::fmt::Write;

use insta::assert_snapshot;
use serde_json::Value;
use trunkline::{
    dialect::{Api, Client, Dialect, Loss, LossKind, Target, sse},
    provider::models,
    proxy::{
        error::{Broken, NoAnswer, Said, Tried, of_broken, of_no_answer},
        feed::Feed,
        outbound::in_own_words,
        retry::Failure,
    },
};

use super::{fixtures, view};

/// One model of each generation, newest first: what they take differs as much as dialects do.
pub(super) fn generations(dialect: Dialect) -> [&'static str; 3] {
    match dialect {
        Dialect::AnthropicMessages => {
            ["claude-sonnet-5-5", "claude-sonnet-4-5", "claude-3-5-haiku"]
        }
        Dialect::Gemini => ["gemini-3-pro", "gemini-2.5-flash", "gemini-2.0-flash"],
        Dialect::OpenAiChat => ["gpt-5", "gpt-4o", "llama-4"],
    }
}

/// Puts a snapshot where its fixture says.
fn compare(dialect: Dialect, kind: &str, name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../snapshots/codec",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        assert_snapshot!(format!("{dialect}.{kind}.{name}"), text);
    });
}

fn pretty(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn lost(client: &dyn Client, losses: Vec<Loss>) -> String {
    let one = |loss: &Loss| match loss.kind {
        LossKind::Dropped => loss.field.to_string(),
        LossKind::Clamped | LossKind::Emulated => format!("{};{}", loss.field, loss.kind.as_str()),
    };
    let losses: Vec<_> = in_own_words(client, losses).iter().map(one).collect();
    if losses.is_empty() { String::new() } else { format!("lost: {}\n", losses.join(", ")) }
}

/// What one target is sent, or why it is not asked.
fn request_for(api: Api, body: &str, dialect: Dialect, model: &str) -> String {
    let request = api.client().decode_request(body.as_bytes()).unwrap();
    let traits = models::traits(dialect, model);
    let target = Target { model, traits: &traits, fetches_urls: true };
    let client = api.client();
    match dialect.upstream().encode_request(&request, &target) {
        Ok(encoded) => format!("{}{}", lost(client, encoded.losses), pretty(&encoded.body)),
        Err(refusal) => {
            format!("refused: {}: {}", client.own_name(&refusal.param), refusal.message)
        }
    }
}

#[test]
fn requests_in_every_other_dialect() {
    for api in Api::ALL {
        for (name, body) in fixtures(api.dialect(), "requests") {
            let text = match api.client().decode_request(body.as_bytes()) {
                Ok(_) => format!("{body}{}", for_every_target(api, &body)),
                Err(error) => {
                    let param = error.param.unwrap_or_default();
                    format!("{body}\n=== malformed: {param}: {}\n", error.message)
                }
            };
            compare(api.dialect(), "requests", &name, &text);
        }
    }
}

/// A request for every generation of every other dialect; what is the same is said once.
fn for_every_target(api: Api, body: &str) -> String {
    let mut text = String::new();
    for dialect in Dialect::ALL.into_iter().filter(|other| *other != api.dialect()) {
        let mut seen: Vec<(&str, String)> = Vec::new();
        for model in generations(dialect) {
            let sent = request_for(api, body, dialect, model);
            // Where the model's name stands in the body, it is no difference.
            let bare = sent.replace(model, "MODEL");
            let same = seen.iter().find(|(_, before)| *before == bare);
            let sent = same.map_or(sent, |(same, _)| format!("as {same}"));
            write!(text, "\n=== {dialect} {model}\n{sent}\n").unwrap();
            seen.push((model, bare));
        }
    }
    text
}

#[test]
fn answers_in_every_other_dialect() {
    for dialect in Dialect::ALL {
        for (name, body) in fixtures(dialect, "responses") {
            let mut text = body.clone();
            for api in Api::ALL.into_iter().filter(|api| api.dialect() != dialect) {
                let told = match dialect.upstream().decode_response(body.as_bytes()) {
                    Ok(answer) => pretty(&api.client().encode_response(&answer, &view())),
                    Err(error) => format!("no answer: {error}"),
                };
                write!(text, "\n=== {}\n{told}\n", api.as_str()).unwrap();
            }
            compare(dialect, "responses", &name, &text);
        }
    }
}

#[test]
fn streams_in_every_other_dialect() {
    for dialect in Dialect::ALL {
        for (name, body) in fixtures(dialect, "streams") {
            let mut text = body.replace("\r\n", "\n");
            for api in Api::ALL.into_iter().filter(|api| api.dialect() != dialect) {
                let told = relayed(dialect, api, &body);
                write!(text, "=== {}\n{told}", api.as_str()).unwrap();
            }
            compare(dialect, "streams", &name, &text);
        }
    }
}

/// What a client reads of a stream, up to its end, whatever that is.
fn relayed(dialect: Dialect, api: Api, body: &str) -> String {
    let mut feed = Feed::translate(dialect.upstream(), api.client(), &view());
    let mut out = std::collections::VecDeque::new();
    let read = feed.push(&body.to_owned().into(), &mut out).and_then(|()| feed.end(&mut out));
    if let Err(error) = read {
        let (_, told) = of_broken(&Broken::Read(error));
        feed.fail(&told, "req_1", &mut out);
    }
    let out: Vec<_> = out.into_iter().flatten().collect();
    // Every event is whole, whatever the end was.
    assert!(sse::events(&out).all(|event| event.ends_with(b"\n\n")));
    String::from_utf8(out).unwrap()
}

#[test]
fn errors_in_the_shape_of_every_api() {
    for dialect in Dialect::ALL {
        for (name, fixture) in fixtures(dialect, "errors") {
            let read: Value = serde_json::from_str(&fixture).unwrap();
            let status = u16::try_from(read["status"].as_u64().unwrap()).unwrap();
            let body = &read["body"];
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let error = dialect.upstream().decode_error(status, body.as_bytes());
            let mut text = fixture.clone();
            let wait = error.retry_after.map_or_else(String::new, |w| format!(", after {w:?}"));
            write!(text, "\n=== {}{wait}\n", error.class.as_str()).unwrap();
            for api in Api::ALL {
                let class = error.class;
                let failure = Failure::Provider { class, status, retry_after: error.retry_after };
                let message = Some(error.message.clone()).filter(|words| !words.is_empty());
                let said = Said { message, code: error.code.clone(), param: error.param.clone() };
                let own = api.dialect() == dialect;
                let said = if own { said } else { said.for_strangers() };
                let tried = Tried { target: "main".into(), failure, said };
                let budget = std::time::Duration::from_secs(30);
                let (told, outcome) = of_no_answer(NoAnswer::Failed(vec![tried]), "asked", budget);
                let client = api.client();
                let status = client.status(told.kind);
                let body = pretty(&client.encode_error(&told, "req_1"));
                let heading = format!("{} {status}, counted as {}", api.as_str(), outcome.as_str());
                write!(text, "\n=== {heading}\n{body}\n").unwrap();
            }
            compare(dialect, "errors", &name, &text);
        }
    }
}

/// Whoever adds a dialect without fixtures would have no golden test of it.
#[test]
fn every_dialect_has_fixtures_of_every_kind() {
    for dialect in Dialect::ALL {
        for kind in ["responses", "streams", "errors"] {
            assert!(!fixtures(dialect, kind).is_empty(), "{dialect} has no {kind}");
        }
    }
    for api in Api::ALL {
        assert!(
            !fixtures(api.dialect(), "requests").is_empty(),
            "{} has no requests",
            api.as_str()
        );
    }
}
