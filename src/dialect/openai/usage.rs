//! Token counts, as OpenAI and its like write them.

use serde_json::{Map, Value, json};

use crate::dialect::{
    ServiceTier, Usage,
    json::{self, count},
};

/// Reads a usage object, with the additions of compatible servers.
pub(super) fn read(value: &Value) -> Option<Usage> {
    let input = count(value, "prompt_tokens")?;
    let written = count(value, "completion_tokens").unwrap_or(0);
    let prompt = value.get("prompt_tokens_details").unwrap_or(&Value::Null);
    let completion = value.get("completion_tokens_details").unwrap_or(&Value::Null);
    let reasoning = count(completion, "reasoning_tokens");
    // xAI counts reasoning beside the completion; its total tells.
    let apart = reasoning.filter(|reasoning| {
        *reasoning > 0 && count(value, "total_tokens") == Some(input + written + reasoning)
    });
    Some(Usage {
        input,
        cached: count(prompt, "cached_tokens")
            // DeepSeek's own name for it.
            .or_else(|| count(value, "prompt_cache_hit_tokens")),
        cache_write: count(prompt, "cache_write_tokens"),
        output: written + apart.unwrap_or(0),
        reasoning,
        ..Usage::default()
    })
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
    let usage = json::last_usage(body, read)?;
    let tier =
        json::last(body, b"\"service_tier\"", |tier| tier.as_str().map(ServiceTier::of_word));
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
        assert_eq!(read(&json!({})), None);
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
