//! Rate gates: what a provider says is left for a key, before it says no.
//!
//! Providers tell with each answer how many requests and tokens a key has left, and when it has more.
//! A key that is used up rests until then, so that the next request goes to another key or target at
//! once and not after a 429. What is said is taken seriously for a minute at most: windows are rolling,
//! and more comes back all the time.
//!
//! Sources: the rate-limit pages of OpenAI's and Anthropic's API references, November 2026.

use std::time::Duration;

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

/// The longest rest.
const LONGEST: Duration = Duration::from_mins(1);

/// What is counted, and whether it is tokens.
const COUNTED: [(&str, bool); 4] =
    [("requests", false), ("tokens", true), ("input-tokens", true), ("output-tokens", true)];

/// What is said of one of them: how much is left, and when there is more.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
}

/// How long a key has nothing left for a request of so many tokens; `None` while it has.
///
/// `prefix` begins the provider's header names. Anthropic goes on with `requests-remaining`, all others
/// with `remaining-requests`. The clock is looked at only where a moment is told.
pub fn rest(
    headers: &HeaderMap,
    prefix: &str,
    tokens: u32,
    now: impl Fn() -> Timestamp,
) -> Option<Duration> {
    let mut all = [Said::default(); COUNTED.len()];
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(prefix) else { continue };
        let Some((what, of)) = parts(name) else { continue };
        let counted = COUNTED.iter().zip(&mut all).find(|((counted, _), _)| *counted == of);
        let Some((_, said)) = counted else { continue };
        match what {
            What::Remaining => said.remaining = value.to_str().ok(),
            What::Reset => said.reset = value.to_str().ok(),
        }
    }
    let rests = COUNTED.iter().zip(&all).filter_map(|((_, in_tokens), said)| {
        let left: u64 = said.remaining?.parse().ok()?;
        let needed = if *in_tokens { u64::from(tokens) } else { 1 };
        if left < needed { until(said.reset?, &now) } else { None }
    });
    rests.max().map(|rest| rest.min(LONGEST)).filter(|rest| !rest.is_zero())
}

enum What {
    Remaining,
    Reset,
}

/// What a header says, and of what, in either order.
fn parts(name: &str) -> Option<(What, &str)> {
    let part = |word: &str| {
        let first = || name.strip_prefix(word)?.strip_prefix('-');
        let last = || name.strip_suffix(word)?.strip_suffix('-');
        first().or_else(last)
    };
    let remaining = part("remaining").map(|of| (What::Remaining, of));
    remaining.or_else(|| Some((What::Reset, part("reset")?)))
}

/// Reads `6m0s`, `12ms`, a plain number of seconds, or a moment in RFC 3339.
fn until(reset: &str, now: impl Fn() -> Timestamp) -> Option<Duration> {
    let left = if let Ok(seconds) = reset.parse::<f64>() {
        SignedDuration::try_from_secs_f64(seconds).ok()?
    } else if let Ok(moment) = reset.parse::<Timestamp>() {
        moment.duration_since(now())
    } else {
        reset.parse::<SignedDuration>().ok()?
    };
    Duration::try_from(left).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_key_rests_when_too_little_is_left_and_until_there_is_more() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let openai = "x-ratelimit-";
        let anthropic = "anthropic-ratelimit-";
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (prefix, headers, rests) in [
            (openai, vec![], None),
            (openai, vec![("remaining-requests", "1"), ("reset-requests", "6s")], None),
            (openai, vec![("remaining-requests", "0"), ("reset-requests", "6s")], seconds(6)),
            (openai, vec![("remaining-requests", "0"), ("reset-requests", "6m0s")], seconds(60)),
            (
                openai,
                vec![("remaining-requests", "0"), ("reset-requests", "120ms")],
                Some(Duration::from_millis(120)),
            ),
            (openai, vec![("remaining-tokens", "99"), ("reset-tokens", "2")], seconds(2)),
            (openai, vec![("remaining-tokens", "100"), ("reset-tokens", "2")], None),
            (openai, vec![("remaining-requests", "0")], None),
            (openai, vec![("remaining-requests", "none"), ("reset-requests", "6s")], None),
            (openai, vec![("remaining-requests", "0"), ("reset-requests", "soon")], None),
            (
                anthropic,
                vec![("requests-remaining", "0"), ("requests-reset", "2026-11-26T12:00:09Z")],
                seconds(9),
            ),
            (
                anthropic,
                vec![
                    ("input-tokens-remaining", "0"),
                    ("input-tokens-reset", "2026-11-26T12:00:30Z"),
                    ("requests-remaining", "0"),
                    ("requests-reset", "2026-11-26T12:00:01Z"),
                ],
                seconds(30),
            ),
            (
                anthropic,
                vec![("requests-remaining", "0"), ("requests-reset", "2026-11-26T11:59:00Z")],
                None,
            ),
        ] {
            let told: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    let name = HeaderName::try_from(format!("{prefix}{name}")).unwrap();
                    (name, HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(rest(&told, prefix, 100, || now), rests, "{headers:?}");
        }
    }
}
