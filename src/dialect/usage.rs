//! Token counts, in one convention for every dialect.
//!
//! Providers disagree on what includes what: OpenAI's and Gemini's prompt count includes cached
//! tokens, Anthropic's excludes them; Gemini's output excludes thoughts, the others' includes them.
//! The convention here is the inclusive one, because only totals can be added up without knowing
//! the provider. A count that the provider did not give is `None`, never zero: a bill must not
//! claim what nobody said.

use std::borrow::Cow;

use serde::Deserialize;

/// Tokens of one answer. All counts are tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Everything read: fresh, cached and written to a cache.
    pub input: u64,
    /// The part of `input` read from a cache.
    pub cached: Option<u64>,
    /// The part of `input` written to a cache.
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for an hour or more.
    pub cache_write_long: Option<u64>,
    /// Everything written, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
    /// How the provider served it, which decides its prices.
    pub service_tier: ServiceTier,
}

/// How a provider serves a request. One that says nothing serves as usual.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(from = "Cow<'_, str>")]
pub enum ServiceTier {
    /// Within hours, at half the price.
    Batch,
    /// When there is room, cheaper.
    Flex,
    /// Before others, dearer.
    Priority,
    /// As usual.
    #[default]
    Standard,
}

impl ServiceTier {
    /// Reads a provider's word: OpenAI's `service_tier` of an answer, Anthropic's `usage.service_tier`.
    pub fn of_word(word: &str) -> Self {
        match word {
            "batch" => Self::Batch,
            "flex" => Self::Flex,
            // OpenAI calls the same thing by either name.
            "fast" | "priority" => Self::Priority,
            // `default`, `standard`, `on_demand`, `scale` (paid in advance), and what is new.
            _ => Self::Standard,
        }
    }
}

impl From<Cow<'_, str>> for ServiceTier {
    fn from(word: Cow<'_, str>) -> Self {
        Self::of_word(&word)
    }
}

impl Usage {
    /// Takes the newer of two cumulative reports of one stream: Anthropic gives the input at its
    /// start and the output at its end, and may restate either.
    #[must_use]
    pub fn merged(self, newer: Self) -> Self {
        Self {
            input: self.input.max(newer.input),
            cached: newer.cached.or(self.cached),
            cache_write: newer.cache_write.or(self.cache_write),
            cache_write_long: newer.cache_write_long.or(self.cache_write_long),
            output: self.output.max(newer.output),
            reasoning: newer.reasoning.or(self.reasoning),
            service_tier: match newer.service_tier {
                ServiceTier::Standard => self.service_tier,
                told @ (ServiceTier::Batch | ServiceTier::Flex | ServiceTier::Priority) => told,
            },
        }
    }

    /// The part of `input` that was neither read from a cache nor written to one.
    pub fn fresh(self) -> u64 {
        self.input
            .saturating_sub(self.cached.unwrap_or(0))
            .saturating_sub(self.cache_write.unwrap_or(0))
    }

    /// Input and output together.
    pub const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_report_completes_an_earlier_one() {
        let start = Usage { input: 20, cached: Some(12), output: 1, ..Usage::default() };
        let end = Usage { output: 42, ..Usage::default() };
        let merged = start.merged(end);
        assert_eq!(merged, Usage { input: 20, cached: Some(12), output: 42, ..Usage::default() });
        assert_eq!((merged.fresh(), merged.total()), (8, 62));
    }

    #[test]
    fn fresh_input_never_underflows() {
        let odd = Usage { input: 3, cached: Some(5), ..Usage::default() };
        assert_eq!(odd.fresh(), 0);
    }
}
