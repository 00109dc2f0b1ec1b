//! Headers that tell of the rate limit: each provider has its names, and its way to write a time.

use http::{HeaderMap, HeaderValue, header::HeaderName};
use jiff::{SignedDuration, Timestamp};

use super::limits::Standing;

/// What is limited, the limit, and what is left of it.
fn rows(standing: &Standing) -> [(&'static str, u64, u64); 2] {
    [
        ("requests", standing.limits.requests_per_minute, standing.requests_left),
        ("tokens", standing.limits.tokens_per_minute, standing.tokens_left),
    ]
}

pub(super) fn anthropic(headers: &mut HeaderMap, standing: &Standing, now: Timestamp) {
    let reset = SignedDuration::try_from(standing.reset).unwrap_or_default();
    let reset = (now + reset).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (what, limit, left) in rows(standing) {
        put(headers, &format!("anthropic-ratelimit-{what}-limit"), &limit.to_string());
        put(headers, &format!("anthropic-ratelimit-{what}-remaining"), &left.to_string());
        put(headers, &format!("anthropic-ratelimit-{what}-reset"), &reset);
    }
}

pub(super) fn openai(headers: &mut HeaderMap, standing: &Standing) {
    let reset = format!("{}ms", standing.reset.as_millis());
    for (what, limit, left) in rows(standing) {
        put(headers, &format!("x-ratelimit-limit-{what}"), &limit.to_string());
        put(headers, &format!("x-ratelimit-remaining-{what}"), &left.to_string());
        put(headers, &format!("x-ratelimit-reset-{what}"), &reset);
    }
}

pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
