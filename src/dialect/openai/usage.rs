//! Token counts, as OpenAI and its like write them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use crate::dialect::{ServiceTier, Usage, json};

/// A usage object, with the additions of compatible servers. Every answer has one, so it is read
/// into this and not into a tree.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// `DeepSeek`'s own name for cached tokens.
    prompt_cache_hit_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

impl Counts {
    /// What was used; `None` when not even the prompt was counted.
    pub(super) fn usage(self) -> Option<Usage> {
        let Count(Some(input)) = self.prompt_tokens else { return None };
        let written = self.completion_tokens.0.unwrap_or(0);
        let prompt = self.prompt_tokens_details.unwrap_or_default();
        let reasoning = self.completion_tokens_details.unwrap_or_default().reasoning_tokens.0;
        // xAI counts reasoning beside the completion; its total tells.
        let apart = reasoning.filter(|reasoning| {
            *reasoning > 0 && self.total_tokens.0 == Some(input + written + reasoning)
        });
        Some(Usage {
            input,
            cached: prompt.cached_tokens.0.or(self.prompt_cache_hit_tokens.0),
            cache_write: prompt.cache_write_tokens.0,
            output: written + apart.unwrap_or(0),
            reasoning,
            ..Usage::default()
        })
    }
}

/// A count; some servers write it as a float. Anything else counts as absent, because an answer must
/// not fail for the sake of its usage.
#[derive(Clone, Copy, Debug, Default)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a count")
    }

    fn visit_u64<E>(self, v: u64) -> Result<Count, E> {
        Ok(Count(Some(v)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating, and a count of tokens is small"
    )]
    fn visit_f64<E>(self, v: f64) -> Result<Count, E> {
        Ok(Count((v >= 0.0).then_some(v as u64)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(v).ok()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

/// Reads a usage object.
pub(super) fn read(value: &Value) -> Option<Usage> {
    Counts::deserialize(value).ok()?.usage()
}

/// The usage of a chunk or an answer; Groq has a place of its own for it. How it was served stands
/// beside it.
pub(super) fn of_chunk(usage: &Value, x_groq: &Value, tier: &Value) -> Option<Usage> {
    let usage = read(usage).or_else(|| x_groq.get("usage").and_then(read))?;
    Some(Usage {
        service_tier: tier.as_str().map_or_else(Default::default, ServiceTier::of_word),
        ..usage
    })
}

/// The usage in a whole answer or in the end of one.
pub(super) fn in_body(body: &[u8]) -> Option<Usage> {
    let usage = json::last(body, b"\"usage\"", Counts::usage)?;
    let tier = json::last(body, b"\"service_tier\"", |tier: Cow<'_, str>| {
        Some(ServiceTier::of_word(&tier))
    });
    Some(Usage { service_tier: tier.unwrap_or_default(), ..usage })
}

/// Writes a usage object. What nobody said is left out: zero would be a claim.
pub(super) fn write(usage: Usage) -> Value {
    let known = |parts: &[(&str, Option<u64>)]| {
        let known = parts.iter().filter_map(|(key, part)| part.map(|part| (key, part)));
        known.map(|(key, part)| ((*key).to_owned(), json!(part))).collect::<Map<_, _>>()
    };
    let mut value = Map::from_iter([
        ("prompt_tokens".to_owned(), json!(usage.input)),
        ("completion_tokens".to_owned(), json!(usage.output)),
        ("total_tokens".to_owned(), json!(usage.total())),
    ]);
    let prompt =
        known(&[("cached_tokens", usage.cached), ("cache_write_tokens", usage.cache_write)]);
    let completion = known(&[("reasoning_tokens", usage.reasoning)]);
    for (key, details) in
        [("prompt_tokens_details", prompt), ("completion_tokens_details", completion)]
    {
        if !details.is_empty() {
            value.insert(key.to_owned(), Value::Object(details));
        }
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_answer_was_served_stands_beside_its_usage() {
        let body = br#"{"choices":[{"message":{"content":"\"service_tier\":\"batch\""}}],
            "usage":{"prompt_tokens":1,"completion_tokens":2},"service_tier":"flex"}"#;
        let expected =
            Usage { input: 1, output: 2, service_tier: ServiceTier::Flex, ..Usage::default() };
        assert_eq!(in_body(body), Some(expected));
        assert_eq!(in_body(b"{}"), None);
    }

    #[test]
    fn every_server_is_counted_the_same_way() {
        let plain = Usage { input: 9, output: 5, ..Usage::default() };
        for (wire, expected) in [
            (json!({"prompt_tokens": 9, "completion_tokens": 5.0}), plain),
            (
                json!({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": null}),
                plain,
            ),
            (
                json!({
                    "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
                    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                }),
                Usage { cached: Some(4), cache_write: Some(2), reasoning: Some(3), ..plain },
            ),
            (
                json!({
                    "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 14,
                    "completion_tokens_details": {"reasoning_tokens": 3},
                }),
                Usage { reasoning: Some(3), ..plain },
            ),
            (
                json!({
                    "prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 8,
                }),
                Usage { cached: Some(8), ..plain },
            ),
        ] {
            assert_eq!(read(&wire), Some(expected), "{wire}");
        }
        for nothing in [json!({}), json!({"prompt_tokens": "9"}), json!({"prompt_tokens": [9]})] {
            assert_eq!(read(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_count_that_nobody_gave_is_not_written() {
        let usage = Usage { input: 9, cached: Some(0), output: 5, ..Usage::default() };
        let expected = json!({
            "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
        });
        assert_eq!(write(usage), expected);
        assert_eq!(read(&expected), Some(usage));
    }
}
