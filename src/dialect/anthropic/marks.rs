//! Other providers' signatures inside Anthropic's shapes, and out of them again.
//!
//! An Anthropic client replays what it got, field by field, and drops what it does not know. So a
//! foreign signature must ride in a field that exists:
//!
//! - thinking of another dialect gets the signature `trunkline.<dialect>.<data>`, or
//!   `trunkline.none` where there was none, because the SDKs demand a signature;
//! - Gemini's `thoughtSignature` on a call is appended to the call's id, behind `ID_MARK` and in
//!   base64url: only letters that Anthropic allows in an id.
//!
//! Nothing secret is in them: both hold what the provider gave the client anyway. They are taken out
//! wherever a request is decoded; [`cleaned`] does it for a request whose bytes would otherwise pass
//! untouched to Anthropic, which refuses thinking that it has not signed itself.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use crate::dialect::{Dialect, Encoded, Loss, chat::Signature, peek};

/// The beginning of every signature that is not Anthropic's own.
const SIGNATURE_MARK: &str = "trunkline.";

/// Stands between a call's own id and the signature that rides on it.
const ID_MARK: &str = "--tlg1--";

/// The word for a signature as it stands in a `thinking` or `redacted_thinking` block.
pub(super) fn write_signature(signature: Option<&Signature>) -> String {
    match signature {
        None => format!("{SIGNATURE_MARK}none"),
        Some(Signature { dialect: Dialect::AnthropicMessages, data }) => data.clone(),
        Some(Signature { dialect, data }) => format!("{SIGNATURE_MARK}{dialect}.{data}"),
    }
}

/// What the word of a `thinking` or `redacted_thinking` block says: whose proof it is, if any.
pub(super) fn read_signature(word: String) -> Option<Signature> {
    let Some(marked) = word.strip_prefix(SIGNATURE_MARK) else {
        return (!word.is_empty())
            .then_some(Signature { dialect: Dialect::AnthropicMessages, data: word });
    };
    let (name, data) = marked.split_once('.')?;
    let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name)?;
    Some(Signature { dialect, data: data.to_owned() })
}

/// A call's id with Gemini's signature on it. Other dialects sign no calls.
pub(super) fn write_id(id: &str, signature: Option<&Signature>) -> String {
    match signature {
        Some(Signature { dialect: Dialect::Gemini, data }) => {
            format!("{id}{ID_MARK}{}", URL_SAFE_NO_PAD.encode(data))
        }
        _ => id.to_owned(),
    }
}

/// A call's own id, and the signature that rode on it.
pub(super) fn read_id(id: String) -> (String, Option<Signature>) {
    let Some((own, coded)) = id.split_once(ID_MARK) else { return (id, None) };
    let decoded = URL_SAFE_NO_PAD.decode(coded).ok().and_then(|data| String::from_utf8(data).ok());
    match decoded {
        Some(data) => (own.to_owned(), Some(Signature { dialect: Dialect::Gemini, data })),
        None => (id, None),
    }
}

/// A request body without our marks, or `None` where it has none and may pass as it is.
///
/// The search runs at memory speed and finds nothing in nearly every body. A match in the words of
/// the conversation costs a needless rewrite and changes nothing.
pub fn cleaned(body: &Bytes) -> Option<Encoded> {
    let marked = memmem::find(body, SIGNATURE_MARK.as_bytes()).is_some()
        || memmem::find(body, ID_MARK.as_bytes()).is_some();
    if !marked {
        return None;
    }
    let mut losses = Vec::new();
    let body = peek::rewrite(body, "messages", |messages| {
        let mut changed = false;
        for message in messages.iter_mut() {
            if let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) {
                let before = blocks.len();
                blocks.retain(|block| !is_marked(block, &mut losses));
                changed |= blocks.len() < before;
                for block in blocks {
                    changed |= restore_id(block);
                }
            }
        }
        messages.retain(|message| message.get("content") != Some(&Value::Array(Vec::new())));
        changed
    })?;
    Some(Encoded { body, losses })
}

/// Whether a block is thinking that Anthropic has not signed.
fn is_marked(block: &Value, losses: &mut Vec<Loss>) -> bool {
    let word = match block.get("type").and_then(Value::as_str) {
        Some("thinking") => block.get("signature"),
        Some("redacted_thinking") => block.get("data"),
        _ => None,
    };
    let marked = word.and_then(Value::as_str).is_some_and(|word| word.starts_with(SIGNATURE_MARK));
    let thought = block.get("thinking").and_then(Value::as_str).unwrap_or_default();
    if marked && !thought.is_empty() && losses.is_empty() {
        losses.push(Loss::dropped("thinking"));
    }
    marked
}

/// Takes a signature off a call's id; whether there was one.
fn restore_id(block: &mut Value) -> bool {
    let key = match block.get("type").and_then(Value::as_str) {
        Some("tool_use") => "id",
        Some("tool_result") => "tool_use_id",
        _ => return false,
    };
    let Some(Value::String(id)) = block.get_mut(key) else { return false };
    let (own, signature) = read_id(std::mem::take(id));
    *id = own;
    signature.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gemini(data: &str) -> Signature {
        Signature { dialect: Dialect::Gemini, data: data.to_owned() }
    }

    #[test]
    fn signatures_of_every_dialect_come_back() {
        for dialect in Dialect::ALL {
            let signature = Signature { dialect, data: "EqQB.+/=".to_owned() };
            assert_eq!(read_signature(write_signature(Some(&signature))), Some(signature));
        }
        assert_eq!(read_signature(write_signature(None)), None);
        assert_eq!(read_signature(String::new()), None);
        assert_eq!(read_signature("trunkline.unknown.x".to_owned()), None);
    }

    #[test]
    fn a_calls_signature_rides_on_its_id_in_letters_that_anthropic_allows() {
        let marked = write_id("call_1", Some(&gemini("a+/b==")));
        assert!(marked.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        assert_eq!(read_id(marked), ("call_1".to_owned(), Some(gemini("a+/b=="))));
        assert_eq!(read_id("toolu_1".to_owned()), ("toolu_1".to_owned(), None));
        assert_eq!(read_id("x--tlg1--?".to_owned()), ("x--tlg1--?".to_owned(), None));
    }

    #[test]
    fn a_body_without_marks_is_left_alone() {
        assert_eq!(
            cleaned(&Bytes::from_static(br#"{"messages":[{"role":"user","content":"hi"}]}"#)),
            None
        );
    }

    #[test]
    fn marks_never_reach_anthropic() {
        let id = write_id("call_1", Some(&gemini("sig")));
        let body = json!({"model": "m", "cache_control": {"type": "ephemeral"}, "messages": [
            {"role": "user", "content": "trunkline. is a word"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "trunkline.none"},
                {"type": "thinking", "thinking": "own", "signature": "EqQB"},
                {"type": "tool_use", "id": id, "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id}]},
            {"role": "assistant", "content": [
                {"type": "redacted_thinking", "data": "trunkline.gemini.x"},
            ]},
        ]});
        let Encoded { body: clean, losses } = cleaned(&Bytes::from(body.to_string())).unwrap();
        assert_eq!(losses, [Loss::dropped("thinking")]);
        let clean: Value = serde_json::from_slice(&clean).unwrap();
        let expected = json!({"model": "m", "cache_control": {"type": "ephemeral"}, "messages": [
            {"role": "user", "content": "trunkline. is a word"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "own", "signature": "EqQB"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1"}]},
        ]});
        assert_eq!(clean, expected);
    }
}
