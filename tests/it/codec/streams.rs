//! What must hold for every pair of an upstream dialect and a client API, for every stream that the
//! fixtures have: however the bytes are split, wherever they are cut, whatever is put between them.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use trunkline::{
    dialect::{Api, Dialect, StreamError, sse},
    proxy::{
        error::{Broken, of_broken},
        feed::Feed,
    },
};

use super::{fixtures, view};

/// A stream as a provider writes it, and who reads it.
#[derive(Clone, Debug)]
struct Case {
    dialect: Dialect,
    api: Api,
    name: String,
    bytes: Bytes,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        for (name, text) in fixtures(dialect, "streams") {
            for api in Api::ALL {
                let bytes = Bytes::from(text.clone());
                cases.push(Case { dialect, api, name: name.clone(), bytes });
            }
        }
    }
    cases
}

/// One of the cases whose stream is complete.
fn whole_case() -> impl Strategy<Value = Case> {
    let whole: Vec<_> = cases().into_iter().filter(|case| case.read(&[]).1.is_ok()).collect();
    assert!(whole.len() > 30, "{}", whole.len());
    prop::sample::select(whole)
}

impl Case {
    /// What a client reads when the bytes come in pieces, and how the stream ended.
    fn read(&self, cuts: &[Index]) -> (Vec<u8>, Result<(), StreamError>) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(self.bytes.len() + 1)).collect();
        cuts.extend([0, self.bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| self.bytes.slice(ends[0]..ends[1]));
        self.relay(pieces)
    }

    fn relay(&self, pieces: impl Iterator<Item = Bytes>) -> (Vec<u8>, Result<(), StreamError>) {
        let (upstream, client) = (self.dialect.upstream(), self.api.client());
        let mut feed = if self.api.dialect() == self.dialect {
            Feed::pass(upstream, client, false)
        } else {
            Feed::translate(upstream, client, &view())
        };
        let mut out = VecDeque::new();
        let mut read = Ok(());
        for piece in pieces {
            read = feed.push(&piece, &mut out);
            if read.is_err() {
                break;
            }
        }
        let end = read.and_then(|()| feed.end(&mut out));
        if let Err(error) = &end {
            let (_, told) = of_broken(&Broken::Read(error.clone()));
            feed.fail(&told, "req_1", &mut out);
        }
        (out.into_iter().flatten().collect(), end)
    }
}

/// Whether a client would take this for a complete answer.
fn looks_complete(api: Api, out: &[u8]) -> bool {
    let events: Vec<_> = sse::events(out).map(sse::Event::parse).collect();
    match api {
        Api::ChatCompletions => events.iter().any(|event| event.data.starts_with(b"[DONE]")),
        Api::Messages => events.iter().any(|event| event.name == b"message_stop"),
    }
}

/// Whether the last event is the dialect's own error.
fn ends_in_error(api: Api, out: &[u8]) -> bool {
    let Some(last) = sse::events(out).last().map(sse::Event::parse) else { return false };
    let Ok(data) = serde_json::from_slice::<serde_json::Value>(&last.data) else { return false };
    match api {
        Api::ChatCompletions => data["error"]["message"].is_string(),
        Api::Messages => last.name == b"error" && data["error"]["message"].is_string(),
    }
}

#[test]
fn a_stream_that_fails_ends_in_an_error_and_one_that_does_not_in_its_end() {
    const BROKEN: [&str; 3] = ["cut", "error_inside", "malformed"];
    for case in cases() {
        let (out, end) = case.read(&[]);
        let told = String::from_utf8_lossy(&out);
        let Case { dialect, api, name, .. } = &case;
        let broken = BROKEN.iter().any(|word| name.starts_with(word));
        assert_eq!(end.is_err(), broken, "{dialect} {name} for {}: {told}", api.as_str());
        assert_eq!(looks_complete(*api, &out), !broken, "{dialect} {name}: {told}");
        assert_eq!(ends_in_error(*api, &out), broken, "{dialect} {name}: {told}");
    }
}

#[test]
fn bytes_of_the_clients_own_dialect_pass_as_they_came() {
    for case in cases().into_iter().filter(|case| case.api.dialect() == case.dialect) {
        let (out, end) = case.read(&[]);
        if end.is_ok() && case.name == "without_done" {
            // What the provider owed is added; nothing else is touched.
            assert_eq!(out, [&case.bytes[..], b"data: [DONE]\n\n"].concat());
        } else if end.is_ok() {
            assert_eq!(out, case.bytes, "{}", case.name);
        }
    }
}

#[test]
fn an_endless_event_is_an_error_and_not_an_endless_buffer() {
    for case in cases().into_iter().filter(|case| case.name == "text") {
        let endless = std::iter::repeat_n(Bytes::from(vec![b'x'; 1 << 20]), 64);
        let start = Bytes::from_static(b"data: {\"x\":\"");
        let (out, end) = case.relay(std::iter::once(start).chain(endless));
        assert!(matches!(end, Err(StreamError::Malformed(_))), "{end:?}");
        assert!(out.len() < 1024 && ends_in_error(case.api, &out));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_gives_the_same_bytes(
        case in prop::sample::select(cases()),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        prop_assert_eq!(case.read(&cuts), case.read(&[]));
    }

    #[test]
    fn a_cut_stream_never_looks_complete(case in whole_case(), cut in any::<Index>()) {
        let (whole, _) = case.read(&[]);
        let cut = cut.index(case.bytes.len());
        let part = Case { bytes: case.bytes.slice(..cut), ..case.clone() };
        let (out, end) = part.read(&[]);
        let complete = looks_complete(case.api, &out);
        if end.is_ok() {
            // Only what follows the end of the answer was cut: usage at most.
            prop_assert!(complete);
            prop_assert!(tells_the_same(&out, &whole), "{}", String::from_utf8_lossy(&out));
        } else {
            prop_assert!(!complete && ends_in_error(case.api, &out));
        }
    }

    #[test]
    fn comments_and_pings_change_nothing_that_a_client_reads(
        case in whole_case(),
        at in any::<Index>(),
    ) {
        let events: Vec<_> = sse::events(&case.bytes).collect();
        let (before, after) = events.split_at(at.index(events.len()));
        let bytes = [&before.concat()[..], b": ping\n\n", &after.concat()[..]].concat();
        let noisy = Case { bytes: bytes.into(), ..case.clone() };
        let (out, end) = noisy.read(&[]);
        prop_assert!(end.is_ok());
        prop_assert_eq!(said(&out), said(&case.read(&[]).0));
    }

    #[test]
    fn an_unreadable_event_is_no_part_of_an_answer(
        case in whole_case(),
        at in any::<Index>(),
        junk in "\\{\"[a-z\":,\\[{]{0,20}",
    ) {
        prop_assume!(serde_json::from_str::<serde_json::Value>(&junk).is_err());
        let events: Vec<_> = sse::events(&case.bytes).collect();
        let (before, after) = events.split_at(at.index(events.len()));
        let junk = format!("data: {junk}\n\n");
        let bytes = [&before.concat()[..], junk.as_bytes(), &after.concat()[..]].concat();
        let broken = Case { bytes: bytes.into(), ..case.clone() };
        let (out, end) = broken.read(&[]);
        if end.is_err() {
            prop_assert!(!looks_complete(case.api, &out) && ends_in_error(case.api, &out));
        }
        // What was translated is JSON to the last event, whatever came in.
        if case.api.dialect() != case.dialect {
            for data in said(&out).iter().filter(|data| *data != b"[DONE]") {
                let read = serde_json::from_slice::<serde_json::Value>(data);
                prop_assert!(read.is_ok(), "{}", String::from_utf8_lossy(data));
            }
        }
    }
}

/// The data of each event that says something.
fn said(out: &[u8]) -> Vec<Vec<u8>> {
    let data = sse::events(out).map(|raw| sse::Event::parse(raw).data.into_owned());
    data.filter(|data| !data.is_empty()).collect()
}

/// Whether the words, thoughts, calls and the reason of two streams are the same: all but usage.
fn tells_the_same(part: &[u8], whole: &[u8]) -> bool {
    let strip = |out: &[u8]| -> Vec<serde_json::Value> {
        let values = said(out).into_iter().filter_map(|data| serde_json::from_slice(&data).ok());
        let values = values.map(|mut value: serde_json::Value| {
            if let Some(map) = value.as_object_mut() {
                map.remove("usage");
            }
            value
        });
        values.filter(|value| value["choices"] != serde_json::json!([])).collect()
    };
    strip(part) == strip(whole)
}
