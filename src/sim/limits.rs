//! How much a key has left in the current minute: what rate-limit headers tell, and 429 enforces.
//!
//! Windows of a fixed minute, as the providers' headers describe them; the clock is an argument.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::config::Limits;

const WINDOW: Duration = Duration::from_mins(1);

/// The current windows: one a rule and key.
#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<(usize, String), Window>);

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    requests: u64,
    tokens: u64,
}

/// Where a key stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub limits: Limits,
    pub requests_left: u64,
    pub tokens_left: u64,
    /// Until the window begins anew.
    pub reset: Duration,
    /// Whether the request is served.
    pub allowed: bool,
}

impl Windows {
    /// Takes one request and its tokens out of a key's window; a refused one takes nothing.
    pub(super) fn take(
        &mut self,
        (rule, limits): (usize, Limits),
        key: &str,
        tokens: u64,
        now: Instant,
    ) -> Standing {
        let fresh = Window { start: now, requests: 0, tokens: 0 };
        let window = self.0.entry((rule, key.to_owned())).or_insert(fresh);
        if now.duration_since(window.start) >= WINDOW {
            *window = fresh;
        }
        let allowed = window.requests < limits.requests_per_minute
            && window.tokens.saturating_add(tokens) <= limits.tokens_per_minute;
        if allowed {
            window.requests += 1;
            window.tokens += tokens;
        }
        Standing {
            limits,
            requests_left: limits.requests_per_minute.saturating_sub(window.requests),
            tokens_left: limits.tokens_per_minute.saturating_sub(window.tokens),
            reset: WINDOW.saturating_sub(now.duration_since(window.start)),
            allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: (usize, Limits) = (0, Limits { requests_per_minute: 2, tokens_per_minute: 100 });

    #[test]
    fn a_key_is_limited_by_requests_and_by_tokens_until_its_window_ends() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        let mut take = |key, tokens, later| {
            let standing = windows.take(LIMITS, key, tokens, now + Duration::from_secs(later));
            (standing.allowed, standing.requests_left, standing.tokens_left)
        };
        assert_eq!(take("a", 60, 0), (true, 1, 40));
        assert_eq!(take("a", 60, 1), (false, 1, 40));
        assert_eq!(take("a", 40, 1), (true, 0, 0));
        assert_eq!(take("a", 0, 59), (false, 0, 0));
        assert_eq!(take("b", 1, 59), (true, 1, 99));
        assert_eq!(take("a", 60, 60), (true, 1, 40));
    }
}
