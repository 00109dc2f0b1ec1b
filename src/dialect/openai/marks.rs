//! What the answers of other providers leave in a conversation, taken out again.
//!
//! OpenAI's own API has no place for thinking and refuses a message that carries it; but a client
//! that replays an answer gives back all of it, under the names that `response` and `write_stream`
//! write and that compatible servers know. So only for a provider that refuses them they are taken
//! out, and only the messages are written anew: every other byte stays.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::{Map, Value};

use crate::dialect::{Encoded, Loss, peek};

/// The names of thinking in a message.
const THINKING: [&str; 4] =
    ["reasoning", "reasoning_content", "reasoning_details", "thinking_blocks"];

/// Google's place for the signature of a call.
const EXTRA: &str = "extra_content";

/// How the names of thinking begin in JSON text, and how they go on.
const REASONING: (&[u8], [&[u8]; 3]) = (b"\"reasoning", [b"\"", b"_content\"", b"_details\""]);

/// Set up once for all requests.
static TELLING: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| [REASONING.0, b"\"thinking_blocks\"", b"\"extra_content\""].map(Finder::new));

/// A request body without what other providers left in it, or `None` where there is nothing of the
/// kind and it may pass as it is.
pub fn cleaned(body: &Bytes) -> Option<Encoded> {
    if !is_marked(body) {
        return None;
    }
    let mut thought = false;
    let body = peek::rewrite(body, "messages", |messages| {
        let mut changed = false;
        for message in messages.iter_mut().filter_map(Value::as_object_mut) {
            changed |= clean(message, &mut thought);
        }
        changed
    })?;
    let losses = thought.then(|| Loss::dropped("reasoning_content")).into_iter().collect();
    Some(Encoded { body, losses })
}

/// Three searches at memory speed. A match in the words of the conversation costs a parse and
/// changes nothing.
fn is_marked(body: &[u8]) -> bool {
    let [reasoning, blocks, extra] = &*TELLING;
    let thinks = reasoning.find_iter(body).any(|at| {
        let rest = body.get(at + REASONING.0.len()..).unwrap_or_default();
        REASONING.1.iter().any(|end| rest.starts_with(end))
    });
    thinks || blocks.find(body).is_some() || extra.find(body).is_some()
}

/// Cleans one message. An empty thought is no loss, and neither is a signature without one: nobody
/// else could have used it.
fn clean(message: &mut Map<String, Value>, thought: &mut bool) -> bool {
    let mut changed = false;
    for name in THINKING {
        if let Some(value) = message.shift_remove(name) {
            changed = true;
            *thought |= match &value {
                Value::Null => false,
                Value::String(words) => !words.is_empty(),
                Value::Array(blocks) => !blocks.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
            };
        }
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
        changed |= call.shift_remove(EXTRA).is_some();
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean_of(body: &'static str) -> Option<(String, Vec<Loss>)> {
        let Encoded { body, losses } = cleaned(&Bytes::from_static(body.as_bytes()))?;
        Some((String::from_utf8(body.to_vec()).unwrap(), losses))
    }

    #[test]
    fn what_others_left_goes_and_every_other_byte_stays() {
        let (body, losses) = clean_of(
            r#"{ "model" : "m", "temperature":1.0,"messages":[{"role":"assistant","reasoning_content":"hm","content":"a","reasoning":"hm","tool_calls":[{"id":"c","extra_content":{"google":{}},"type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}],"reasoning_details":[{}]}], "seed":18446744073709551616}"#,
        )
        .unwrap();
        assert_eq!(
            body,
            r#"{ "model" : "m", "temperature":1.0,"messages":[{"role":"assistant","content":"a","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}]}], "seed":18446744073709551616}"#
        );
        assert_eq!(losses, [Loss::dropped("reasoning_content")]);
    }

    #[test]
    fn a_request_without_any_of_it_passes_as_it_is() {
        for body in [
            r#"{"reasoning_effort":"low","messages":[{"role":"user","content":"reasoning"}]}"#,
            // The word stands in the conversation, and in a field of the request.
            r#"{"messages":[{"role":"user","content":"\"reasoning\""}],"reasoning":{}}"#,
            r#"{"messages":"reasoning_content"}"#,
            r#"{"reasoning":1}"#,
        ] {
            assert_eq!(clean_of(body), None, "{body}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_loss() {
        let body = r#"{"messages":[{"role":"assistant","content":"a","reasoning_content":null,"thinking_blocks":[]}]}"#;
        let (body, losses) = clean_of(body).unwrap();
        assert_eq!(body, r#"{"messages":[{"role":"assistant","content":"a"}]}"#);
        assert!(losses.is_empty());
    }
}
