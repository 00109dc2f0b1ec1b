//! How much of an account may be used.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// What a quota limits; the words are those of `spec.quota`.
    QuotaPart {
        /// Requests at the same time.
        MaxConcurrent => "maxConcurrent",
        /// Requests in any minute.
        RequestsPerMinute => "requestsPerMinute",
        /// Tokens in any minute.
        TokensPerMinute => "tokensPerMinute",
    }
}

/// How much of an account may be used, by all proxies together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Requests at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<NonZeroU64>,
    /// Requests in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens in any minute, input and output together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU64>,
}

impl Quota {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limit of a part, for one of so many proxies that share it: at least 1.
    pub fn share(&self, part: QuotaPart, proxies: u32) -> Option<u64> {
        let whole = match part {
            QuotaPart::MaxConcurrent => self.max_concurrent,
            QuotaPart::RequestsPerMinute => self.requests_per_minute,
            QuotaPart::TokensPerMinute => self.tokens_per_minute,
        };
        whole.map(|whole| (whole.get() / u64::from(proxies.max(1))).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_share_a_quota_and_each_may_ask_at_least_once() {
        let quota = Quota { requests_per_minute: NonZeroU64::new(10), ..Quota::default() };
        let shares = [0, 1, 3, 20].map(|n| quota.share(QuotaPart::RequestsPerMinute, n));
        assert_eq!(shares, [Some(10), Some(10), Some(3), Some(1)]);
        assert_eq!(quota.share(QuotaPart::TokensPerMinute, 1), None);
    }
}
