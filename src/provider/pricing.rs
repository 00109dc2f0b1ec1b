//! What the tokens of an answer cost.
//!
//! A [`Pricing`] is one model's prices. One set of rates holds for all tokens of a request: above a
//! prompt size that the provider names, the whole request is dearer, not only what lies above. A
//! price that nobody gave is unknown and makes the cost unknown; it is never taken for zero. Two
//! prices have a rule for their absence, because the providers have it: tokens read from a cache
//! without a price of their own cost what fresh ones do, and so do those written to it.
//!
//! Source of the rules: the providers' price pages of November 2026, as collected in `catalogue/`.

use serde::{Deserialize, Serialize};

use super::money::{NanoDollars, Price, rounded};
use crate::dialect::{ServiceTier, Usage};

/// The prices of one model, by the service tier that the provider billed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Pricing {
    /// What holds unless the provider says otherwise.
    pub standard: Rates,
    /// Slower and cheaper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flex: Option<Rates>,
    /// Faster and dearer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Rates>,
    /// Within hours, half the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Rates>,
}

impl Pricing {
    /// What an answer costs; `None` where the provider billed a tier whose prices nobody gave.
    pub fn cost(&self, usage: &Usage) -> Option<NanoDollars> {
        let rates = match usage.service_tier {
            ServiceTier::Standard => Some(&self.standard),
            ServiceTier::Flex => self.flex.as_ref(),
            ServiceTier::Priority => self.priority.as_ref(),
            ServiceTier::Batch => self.batch.as_ref(),
        };
        Some(rates?.at(usage.input).cost(usage))
    }
}

/// Rates, and those that hold above a prompt size instead.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Up to the first threshold.
    #[serde(flatten)]
    pub base: Rate,
    /// By threshold: the highest that is exceeded decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<Above>,
}

/// The rate above a prompt size.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Above {
    /// More input tokens than this, cached ones included.
    pub tokens: u64,
    /// The rate of the whole request then.
    #[serde(flatten)]
    pub rate: Rate,
}

/// One price a kind of token.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Fresh input.
    pub input: Price,
    /// Input read from a cache; fresh input's price when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Price>,
    /// Input written to a cache for minutes; fresh input's price when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Price>,
    /// Input written to a cache for an hour or more; the price of minutes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<Price>,
    /// Output, reasoning included.
    pub output: Price,
}

impl Rates {
    /// The rate of a request with this many input tokens.
    pub fn at(&self, input: u64) -> &Rate {
        let above = self.above.iter().filter(|above| input > above.tokens);
        above.max_by_key(|above| above.tokens).map_or(&self.base, |above| &above.rate)
    }
}

impl Rate {
    fn cost(&self, usage: &Usage) -> NanoDollars {
        let write = self.cache_write.unwrap_or(self.input);
        let written = usage.cache_write.unwrap_or(0);
        let long = usage.cache_write_long.unwrap_or(0).min(written);
        rounded(
            self.input.of(usage.fresh())
                + self.cache_read.unwrap_or(self.input).of(usage.cached.unwrap_or(0))
                + write.of(written - long)
                + self.cache_write_long.unwrap_or(write).of(long)
                + self.output.of(usage.output),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    /// $3 in, $15 out, a tenth from the cache; twice that above 200,000 tokens.
    fn pricing() -> Pricing {
        let base = Rate {
            input: price("3"),
            cache_read: Some(price("0.3")),
            cache_write: Some(price("3.75")),
            cache_write_long: Some(price("6")),
            output: price("15"),
        };
        let rate = Rate { input: price("6"), output: price("22.5"), ..base };
        let standard = Rates { base, above: vec![Above { tokens: 200_000, rate }] };
        let flex = Rates { base: Rate { input: price("1.5"), ..base }, above: Vec::new() };
        Pricing { standard, flex: Some(flex), ..Pricing::default() }
    }

    fn cost(usage: Usage) -> Option<u64> {
        pricing().cost(&usage).map(|cost| cost.0)
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage {
            input: 1000,
            cached: Some(600),
            cache_write: Some(300),
            cache_write_long: Some(100),
            output: 10,
            ..Usage::default()
        };
        let expected = 100 * 3000 + 600 * 300 + 200 * 3750 + 100 * 6000 + 10 * 15_000;
        assert_eq!(cost(usage), Some(expected));
    }

    #[test]
    fn above_a_threshold_the_whole_request_is_dearer() {
        let input = |input| Usage { input, ..Usage::default() };
        assert_eq!(cost(input(200_000)), Some(200_000 * 3000));
        assert_eq!(cost(input(200_001)), Some(200_001 * 6000));
    }

    #[test]
    fn the_tier_that_was_billed_decides_and_an_unknown_price_is_unknown() {
        let of = |service_tier| cost(Usage { input: 2, service_tier, ..Usage::default() });
        assert_eq!(of(ServiceTier::Standard), Some(6000));
        assert_eq!(of(ServiceTier::Flex), Some(3000));
        assert_eq!(of(ServiceTier::Priority), None);
    }

    #[test]
    fn a_cache_without_a_price_costs_what_fresh_input_does() {
        let base = Rate { input: price("1"), output: price("2"), ..Rate::default() };
        let usage = Usage { input: 9, cached: Some(5), cache_write: Some(2), ..Usage::default() };
        assert_eq!(base.cost(&usage), NanoDollars(9000));
    }
}
