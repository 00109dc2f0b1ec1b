//! Which headers go on, in both directions.
//!
//! Nothing is copied by default. A gateway that forwards what it does not know forwards a client's
//! credentials to a provider and a provider's cookies to a client; so each direction is a short list
//! of what is let through, and everything else stays here: hop-by-hop headers, `authorization`,
//! `x-api-key`, `cookie`, `set-cookie`, `server`, and whatever is invented next.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    dialect::{Api, Dialect},
    table::{Key, Target},
};

/// Our own names.
pub mod name {
    use http::HeaderName;

    /// Identifies one request in answers and logs.
    pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    /// The same, where Anthropic's SDKs look for it.
    pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
    /// The provider's own id of the answer.
    pub const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
    /// The target that answered.
    pub const TARGET: HeaderName = HeaderName::from_static("x-trunkline-target");
    /// Every attempt in order, each with how it ended.
    pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-trunkline-attempts");
    /// The revision of the routing table that decided.
    pub const REVISION: HeaderName = HeaderName::from_static("x-trunkline-revision");
    /// What the answer costs, in US dollars; on answers that are not streamed, where it is known.
    pub const COST: HeaderName = HeaderName::from_static("x-trunkline-cost");
    /// The parts of the route's SLO that no target holds at the moment.
    pub const SLO_RELAXED: HeaderName = HeaderName::from_static("x-trunkline-slo-relaxed");
    /// What the target did not get as the client wrote it.
    pub const DROPPED: HeaderName = HeaderName::from_static("x-trunkline-dropped");
    /// Anthropic's version of a request; its presence tells an Anthropic client.
    pub const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
    /// Google's name of its id of the answer.
    pub const GOOGLE_REQUEST_ID: HeaderName = HeaderName::from_static("x-goog-request-id");
    /// Trace context of the caller, W3C.
    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    /// What else tracers have said, W3C.
    pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION")));

/// What a client may say to an upstream of its own dialect.
const fn forwarded(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::AnthropicMessages => &["anthropic-version", "anthropic-beta"],
        Dialect::Gemini | Dialect::OpenAiChat => &[],
    }
}

/// The headers of an upstream request, the key included. `traceparent` takes the place of the client's. `None` when the key cannot stand in a
/// header, which [`crate::table::Secret`] has ruled out.
pub fn outgoing(
    client: &HeaderMap,
    api: Api,
    target: &Target,
    key: Option<&Key>,
    stream: bool,
    traceparent: Option<HeaderValue>,
) -> Option<HeaderMap> {
    let provider = target.credential.provider;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, if stream { EVENT_STREAM } else { JSON });
    headers.insert(header::USER_AGENT, USER_AGENT);
    if let Some(trace) = traceparent.or_else(|| client.get(name::TRACEPARENT).cloned()) {
        headers.insert(name::TRACEPARENT, trace);
        if let Some(state) = client.get(name::TRACESTATE) {
            headers.insert(name::TRACESTATE, state.clone());
        }
    }
    for (name, value) in provider.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if api.dialect() == provider.dialect {
        for name in forwarded(provider.dialect) {
            let mut values = client.get_all(*name).iter();
            if let Some(first) = values.next() {
                headers.insert(HeaderName::from_static(name), first.clone());
            }
            for more in values {
                headers.append(HeaderName::from_static(name), more.clone());
            }
        }
    }
    if let Some(key) = key {
        let value = key.secret.header(provider.auth.prefix)?;
        headers.insert(HeaderName::from_static(provider.auth.header), value);
    }
    Some(headers)
}

/// Lets the part of a provider's answer through that a client may see: its request id, and to a
/// client of the same dialect its rate limits.
pub fn incoming(upstream: &HeaderMap, api: Api, target: &Target, to: &mut HeaderMap) {
    const IDS: [HeaderName; 3] =
        [name::REQUEST_ID, name::ANTHROPIC_REQUEST_ID, name::GOOGLE_REQUEST_ID];
    if let Some(id) = IDS.iter().find_map(|name| upstream.get(name)) {
        to.insert(name::UPSTREAM_REQUEST_ID, id.clone());
    }
    let provider = target.credential.provider;
    if api.dialect() != provider.dialect || provider.limit_headers.is_empty() {
        return;
    }
    for (name, value) in upstream {
        if name.as_str().starts_with(provider.limit_headers) {
            to.insert(name.clone(), value.clone());
        }
    }
}

#[expect(clippy::disallowed_types, reason = "an argument, which HTTP dates are compared with")]
/// The wait that a provider asks for: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub fn retry_after(headers: &HeaderMap, now: std::time::SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(wait / 1000.0).ok();
    }
    let value = text("retry-after")?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// The type of a streamed answer.
pub const fn event_stream() -> HeaderValue {
    EVENT_STREAM
}

/// The type of a whole answer.
pub const fn json() -> HeaderValue {
    JSON
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_wait_is_read_in_all_three_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap();
        for (pairs, seconds) in [
            (&[("retry-after", "2")][..], Some(2.0)),
            (&[("retry-after", "0.5")], Some(0.5)),
            (&[("retry-after", "9"), ("retry-after-ms", "1500")], Some(1.5)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(7.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], Some(0.0)),
            (&[("retry-after", "-3")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            let found = retry_after(&headers(pairs), now).map(|wait| wait.as_secs_f64());
            assert_eq!(found, seconds, "{pairs:?}");
        }
    }
}
