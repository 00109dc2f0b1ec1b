//! Thinking in a client's messages, in every way in which clients carry it back.
//!
//! OpenAI's dialect has no place for it, so the world has five: `reasoning_content` (`DeepSeek` and
//! many servers), `reasoning` (`vLLM`, Groq), `reasoning_details` (`OpenRouter`, with signatures),
//! `thinking_blocks` (`LiteLLM`), and Google's `extra_content` on a call, which
//! [`super::messages`] reads. We write the first three, and read all.

use serde_json::Value;

use super::fields::Fields;
use crate::dialect::{
    Dialect,
    chat::{Part, ReasoningPart, Signature},
    json::text,
};

/// The names that `OpenRouter` gave to the owners of signatures.
pub(super) const fn format_word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::AnthropicMessages => "anthropic-claude-v1",
        Dialect::Gemini => "google-gemini-v1",
        Dialect::OpenAiChat => "openai-responses-v1",
    }
}

/// Who made a signature. `None` is an owner that no dialect here speaks for.
fn owner(format: Option<&str>) -> Option<Dialect> {
    match format {
        // Unnamed ones date from when only Anthropic signed.
        None => Some(Dialect::AnthropicMessages),
        Some(format) => Dialect::ALL.into_iter().find(|dialect| format_word(*dialect) == format),
    }
}

/// Takes the thinking of an assistant's message, the richest form of it: the others repeat its text.
pub(super) fn decode(fields: &mut Fields<'_>, parts: &mut Vec<Part>) {
    let mut list = |key: &str| match fields.map.shift_remove(key) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let (details, blocks) = (list("reasoning_details"), list("thinking_blocks"));
    let mut word = |key: &str| match fields.map.shift_remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let (content, short) = (word("reasoning_content"), word("reasoning"));
    let mut found = Vec::new();
    for detail in &details {
        add(&mut found, from_detail(detail), detail.get("index"));
    }
    if found.is_empty() {
        found.extend(blocks.iter().map(|block| (from_block(block), None)));
    }
    if found.is_empty()
        && let Some(text) = content.or(short)
    {
        found.push((ReasoningPart { text, ..ReasoningPart::default() }, None));
    }
    let before = found.len();
    found.retain(|(part, _)| !part.text.is_empty() || part.signature.is_some());
    if found.len() < before {
        // Encrypted by somebody whom no dialect here speaks for: noted as lost.
        fields.map.insert("reasoning_details".to_owned(), Value::Array(details.clone()));
    }
    parts.extend(found.into_iter().map(|(part, _)| Part::Reasoning(part)));
}

type Found<'a> = Vec<(ReasoningPart, Option<&'a Value>)>;

/// Clients that keep a stream's pieces as they came give one block back in many.
fn add<'a>(found: &mut Found<'a>, part: ReasoningPart, index: Option<&'a Value>) {
    if let Some((last, at)) = found.last_mut()
        && index.is_some()
        && *at == index
        && !last.redacted
        && !part.redacted
        && last.signature.is_none()
    {
        last.text.push_str(&part.text);
        last.signature = part.signature;
        return;
    }
    found.push((part, index));
}

fn from_detail(detail: &Value) -> ReasoningPart {
    let redacted = text(detail, "type") == Some("reasoning.encrypted");
    let words = text(detail, "text").or_else(|| text(detail, "summary")).unwrap_or_default();
    let data = text(detail, if redacted { "data" } else { "signature" });
    let signature = data
        .zip(owner(text(detail, "format")))
        .map(|(data, dialect)| Signature { dialect, data: data.to_owned() });
    ReasoningPart { text: words.to_owned(), signature, redacted }
}

fn from_block(block: &Value) -> ReasoningPart {
    let redacted = text(block, "type") == Some("redacted_thinking");
    let data = text(block, if redacted { "data" } else { "signature" });
    let signature =
        data.map(|data| Signature { dialect: Dialect::AnthropicMessages, data: data.to_owned() });
    let words = text(block, "thinking").unwrap_or_default();
    ReasoningPart { text: words.to_owned(), signature, redacted }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLAUDE: Dialect = Dialect::AnthropicMessages;

    /// The thinking found, and the keys left over.
    fn read(message: Value) -> (Vec<ReasoningPart>, Vec<String>) {
        let mut fields = Fields::new(message, format_args!("m")).unwrap();
        let mut parts = Vec::new();
        decode(&mut fields, &mut parts);
        let parts = parts.into_iter().map(|part| {
            let Part::Reasoning(part) = part else { panic!("{part:?}") };
            part
        });
        (parts.collect(), fields.map.keys().cloned().collect())
    }

    fn part(text: &str, signature: Option<(Dialect, &str)>, redacted: bool) -> ReasoningPart {
        let signature =
            signature.map(|(dialect, data)| Signature { dialect, data: data.to_owned() });
        ReasoningPart { text: text.to_owned(), signature, redacted }
    }

    #[test]
    fn thinking_is_read_however_a_client_carries_it() {
        for (message, expected) in [
            (json!({"reasoning_content": "a", "reasoning": "a"}), vec![part("a", None, false)]),
            (json!({"reasoning": "a", "reasoning_content": ""}), vec![part("a", None, false)]),
            (
                json!({"thinking_blocks": [
                    {"type": "thinking", "thinking": "a", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ]}),
                vec![part("a", Some((CLAUDE, "s")), false), part("", Some((CLAUDE, "d")), true)],
            ),
            (
                json!({"reasoning": "a", "reasoning_details": [
                    {"type": "reasoning.text", "text": "a", "signature": "s",
                     "format": "google-gemini-v1"},
                    {"type": "reasoning.summary", "summary": "b", "format": "openai-responses-v1"},
                ]}),
                vec![part("a", Some((Dialect::Gemini, "s")), false), part("b", None, false)],
            ),
            (json!({"reasoning": "", "reasoning_details": []}), vec![]),
        ] {
            assert_eq!(read(message.clone()), (expected, vec![]), "{message}");
        }
    }

    #[test]
    fn the_pieces_of_a_streamed_block_are_one_block() {
        let piece = |index: u64, text: &str, signature: Value| json!({"type": "reasoning.text", "index": index, "text": text, "signature": signature});
        let (parts, _) = read(json!({"reasoning_details": [
            piece(0, "a", Value::Null), piece(0, "b", json!("s")), piece(1, "c", json!("t")),
        ]}));
        let expected =
            [part("ab", Some((CLAUDE, "s")), false), part("c", Some((CLAUDE, "t")), false)];
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_nobody_here_can_read_is_left_to_be_noted() {
        let (parts, left) = read(json!({"reasoning_details": [
            {"type": "reasoning.encrypted", "data": "d", "format": "xai-responses-v1"},
        ]}));
        assert_eq!((parts, left), (vec![], vec!["reasoning_details".to_owned()]));
    }
}
