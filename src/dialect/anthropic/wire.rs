//! The shapes that requests, answers and streams of this dialect share, and the words in them.
//!
//! What is read is lenient: an unknown kind of block, a `null` where a text should be, a new stop
//! reason must not break an answer. What is written is exactly what the SDK types ask for.
//!
//! Source: Anthropic's SDK types, November 2026.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{json, value::RawValue};

use crate::dialect::{ServiceTier, Usage, chat::Finish};

/// The name of the tool that stands in for a JSON schema on models that enforce none. Its calls are
/// the text of the answer; no client ever sees them as calls.
pub(super) const JSON_TOOL: &str = "trunkline_json_output";

/// Token counts as Anthropic writes them. In `message_delta` only `output_tokens` is certain.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct WireUsage {
    /// Fresh tokens alone: neither read from a cache nor written to one.
    pub input_tokens: Option<u64>,
    /// Tokens written to a cache.
    pub cache_creation_input_tokens: Option<u64>,
    /// Tokens read from a cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Tokens written, thinking included; cumulative in a stream.
    pub output_tokens: Option<u64>,
    /// What `output_tokens` is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputDetails>,
    /// How long what was written to a cache is kept.
    #[serde(skip_serializing)]
    pub cache_creation: Option<CacheCreation>,
    /// How the request was served; null and left out mean as usual.
    #[serde(skip_serializing)]
    pub service_tier: Option<ServiceTier>,
}

/// What was written to a cache, by the time that it is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct CacheCreation {
    /// The part that is kept for an hour.
    #[serde(default)]
    pub ephemeral_1h_input_tokens: Option<u64>,
}

/// What the written tokens were for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct OutputDetails {
    /// The part that was thinking.
    #[serde(default)]
    pub thinking_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let cached = wire.cache_read_input_tokens;
        let cache_write = wire.cache_creation_input_tokens;
        Self {
            input: wire
                .input_tokens
                .unwrap_or(0)
                .saturating_add(cached.unwrap_or(0))
                .saturating_add(cache_write.unwrap_or(0)),
            cached,
            cache_write,
            cache_write_long: wire.cache_creation.and_then(|by| by.ephemeral_1h_input_tokens),
            output: wire.output_tokens.unwrap_or(0),
            reasoning: wire.output_tokens_details.and_then(|details| details.thinking_tokens),
            service_tier: wire.service_tier.unwrap_or_default(),
        }
    }
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: Some(usage.fresh()),
            cache_creation_input_tokens: usage.cache_write,
            cache_read_input_tokens: usage.cached,
            output_tokens: Some(usage.output),
            output_tokens_details: usage
                .reasoning
                .map(|thinking| OutputDetails { thinking_tokens: Some(thinking) }),
            cache_creation: None,
            service_tier: None,
        }
    }
}

/// A block of an answer, whole or as it begins in a stream. Each kind fills its own fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Block<'a> {
    /// `text`, `thinking`, `redacted_thinking`, `tool_use`, or a server tool's word.
    #[serde(rename = "type", borrow, deserialize_with = "text_or_null")]
    pub kind: Cow<'a, str>,
    /// Of `text`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub text: Cow<'a, str>,
    /// Of `thinking`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub thinking: Cow<'a, str>,
    /// Of `thinking`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub signature: Cow<'a, str>,
    /// Of `redacted_thinking`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub data: Cow<'a, str>,
    /// Of `tool_use`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub id: Cow<'a, str>,
    /// Of `tool_use`.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub name: Cow<'a, str>,
    /// Of `tool_use`: an object.
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
}

/// Why the model refused.
#[derive(Debug, Default, Deserialize)]
pub struct StopDetails {
    /// For people; may be absent.
    #[serde(default)]
    pub explanation: Option<String>,
}

/// Reads a text that may be `null`, without copying it where it holds no escape.
pub fn text_or_null<'de: 'a, 'a, D>(deserializer: D) -> Result<Cow<'a, str>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map_or_else(Cow::default, |text| text.0))
}

/// What a stop reason means. An unknown one is a stop: the answer did end.
///
/// `tool_use` without a call that the client can see is a stop too: the model then called the tool
/// that stands in for a JSON schema.
pub fn finish(reason: &str, sequence: Option<String>, called: bool) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "refusal" => Finish::ContentFilter,
        "stop_sequence" => Finish::StopSequence(sequence),
        "tool_use" if called => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// The stop reason for an end, and the stop sequence if one was hit.
///
/// A call wins over everything but a cut: clients act on the reason alone, and providers are known
/// to call tools and say `stop`.
pub fn stop_reason(finish: &Finish, called: bool, refused: bool) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Length => ("max_tokens", None),
        Finish::ContentFilter => ("refusal", None),
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls if called => ("tool_use", None),
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls if refused => ("refusal", None),
        Finish::StopSequence(sequence) => ("stop_sequence", sequence.as_deref()),
        Finish::Stop | Finish::ToolCalls => ("end_turn", None),
    }
}

/// Appends a JSON string: quotes, and escapes where JSON demands them. Most tokens have none, so
/// runs of plain bytes are copied whole.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends an integer.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a usage object. Unknown counts are `null`, but for the two that the API always gives.
pub fn push_usage(out: &mut Vec<u8>, usage: Usage) {
    let text = serde_json::to_vec(&WireUsage::from(usage));
    out.extend_from_slice(text.as_deref().unwrap_or(b"null"));
}

/// A call's arguments as the object that this dialect demands: nothing is `{}`, and what is no
/// object stands whole under a name of its own, because it is still what the model said.
///
/// The flag says whether the arguments were an object.
pub fn input(arguments: &str) -> (Cow<'_, RawValue>, bool) {
    let text = arguments.trim();
    let text = if text.is_empty() { "{}" } else { text };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if value.get().starts_with('{') => (Cow::Borrowed(value), true),
        _ => {
            let wrapped = json!({"_raw_arguments": arguments}).to_string();
            (Cow::Owned(RawValue::from_string(wrapped).unwrap_or_default()), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn input_includes_what_caches_held() {
        let wire: WireUsage = serde_json::from_str(
            r#"{"input_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":null,
                "output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"speed":"fast"}"#,
        )
        .unwrap();
        let usage = Usage::from(wire);
        let expected =
            Usage { input: 12, cached: Some(7), output: 9, reasoning: Some(4), ..Usage::default() };
        assert_eq!(usage, expected);
        let mut out = Vec::new();
        push_usage(&mut out, usage);
        let again: WireUsage = serde_json::from_slice(&out).unwrap();
        assert_eq!(Usage::from(again), expected);
    }

    #[test]
    fn what_decides_the_price_is_read() {
        let wire: WireUsage = serde_json::from_str(
            r#"{"input_tokens":5,"cache_creation_input_tokens":7,"output_tokens":1,
                "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},
                "service_tier":"priority"}"#,
        )
        .unwrap();
        let usage = Usage::from(wire);
        assert_eq!((usage.cache_write, usage.cache_write_long), (Some(7), Some(3)));
        assert_eq!(usage.service_tier, ServiceTier::Priority);
    }

    #[test]
    fn stop_reasons_read_and_write() {
        let rows = [
            ("end_turn", false, Finish::Stop),
            ("pause_turn", false, Finish::Stop),
            ("a_reason_of_next_year", false, Finish::Stop),
            ("max_tokens", false, Finish::Length),
            ("model_context_window_exceeded", false, Finish::Length),
            ("refusal", false, Finish::ContentFilter),
            ("tool_use", true, Finish::ToolCalls),
            ("tool_use", false, Finish::Stop),
        ];
        for (reason, called, expected) in rows {
            assert_eq!(finish(reason, None, called), expected, "{reason}");
        }
        assert_eq!(stop_reason(&Finish::Stop, true, false).0, "tool_use");
        assert_eq!(stop_reason(&Finish::Length, true, false).0, "max_tokens");
        assert_eq!(stop_reason(&Finish::Stop, false, true).0, "refusal");
        assert_eq!(stop_reason(&Finish::ToolCalls, false, false).0, "end_turn");
        let hit = Finish::StopSequence(Some("END".to_owned()));
        assert_eq!(stop_reason(&hit, false, false), ("stop_sequence", Some("END")));
    }

    #[test]
    fn arguments_are_an_object_in_any_case() {
        let read = |arguments| {
            let (input, sound) = input(arguments);
            (input.get().to_owned(), sound)
        };
        assert_eq!(read(""), ("{}".to_owned(), true));
        assert_eq!(read(" {\"b\":1,\"a\":2} "), ("{\"b\":1,\"a\":2}".to_owned(), true));
        for bad in ["[1]", "{\"a\":", "null", "\"{}\""] {
            let wrapped = json!({"_raw_arguments": bad}).to_string();
            assert_eq!(read(bad), (wrapped, false));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_valid_json(text in ".*") {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
