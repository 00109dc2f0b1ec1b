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

use super::money::{NanoDollars, Price, floored, rounded};
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
    /// One price for input and one for output, whatever else.
    pub fn plain(input: Price, output: Price) -> Self {
        let base = Rate { input, output, ..Rate::default() };
        Self { standard: Rates { base, above: Vec::new() }, ..Self::default() }
    }

    /// What an answer would cost of which nothing is known but its size.
    pub fn estimate(&self, input: u64, output: u64) -> NanoDollars {
        self.standard.at(input).estimate(input, output)
    }

    /// What an answer costs; `None` where the provider billed a tier whose prices nobody gave.
    pub fn cost(&self, usage: &Usage) -> Option<Cost> {
        let rates = match usage.service_tier {
            ServiceTier::Standard => Some(&self.standard),
            ServiceTier::Flex => self.flex.as_ref(),
            ServiceTier::Priority => self.priority.as_ref(),
            ServiceTier::Batch => self.batch.as_ref(),
        };
        Some(rates?.at(usage.input).cost(usage))
    }
}

/// What an answer costs, by what was paid for. The parts add up to the whole exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Fresh input.
    pub input: NanoDollars,
    /// Input read from a cache.
    pub cache_read: NanoDollars,
    /// Input written to a cache.
    pub cache_write: NanoDollars,
    /// Output, and what rounding left over.
    pub output: NanoDollars,
}

impl Cost {
    /// All of it.
    pub const fn total(self) -> NanoDollars {
        self.input.plus(self.cache_read).plus(self.cache_write).plus(self.output)
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
    /// The total of [`Rate::cost`] where nothing but the size is known. For each target of each
    /// request, so its parts are not worked out.
    fn estimate(&self, input: u64, output: u64) -> NanoDollars {
        rounded(self.input.of(input) + self.output.of(output))
    }

    fn cost(&self, usage: &Usage) -> Cost {
        let write = self.cache_write.unwrap_or(self.input);
        let written = usage.cache_write.unwrap_or(0);
        let long = usage.cache_write_long.unwrap_or(0).min(written);
        let input = self.input.of(usage.fresh());
        let cache_read = self.cache_read.unwrap_or(self.input).of(usage.cached.unwrap_or(0));
        let cache_write =
            write.of(written - long) + self.cache_write_long.unwrap_or(write).of(long);
        let total = rounded(input + cache_read + cache_write + self.output.of(usage.output));
        let [input, cache_read, cache_write] = [input, cache_read, cache_write].map(floored);
        let output = total.less(input).less(cache_read).less(cache_write);
        Cost { input, cache_read, cache_write, output }
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
        pricing().cost(&usage).map(|cost| cost.total().0)
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
    fn the_parts_add_up_to_the_whole_that_was_rounded_once() {
        let odd = price("0.0375");
        let base = Rate { input: odd, output: odd, ..Rate::default() };
        let cost = base.cost(&Usage { input: 3, cached: Some(1), output: 1, ..Usage::default() });
        assert_eq!(cost.total(), NanoDollars(150));
        assert_eq!((cost.input.0, cost.cache_read.0, cost.output.0), (75, 37, 38));
    }

    #[test]
    fn an_estimate_is_the_cost_of_an_answer_of_that_size() {
        for (input, output) in [(0, 0), (3, 1), (200_000, 7), (200_001, 7), (u64::MAX, u64::MAX)] {
            let estimate = pricing().estimate(input, output).0;
            assert_eq!(Some(estimate), cost(Usage { input, output, ..Usage::default() }));
        }
    }

    #[test]
    fn a_cache_without_a_price_costs_what_fresh_input_does() {
        let base = Rate { input: price("1"), output: price("2"), ..Rate::default() };
        let usage = Usage { input: 9, cached: Some(5), cache_write: Some(2), ..Usage::default() };
        assert_eq!(base.cost(&usage).total(), NanoDollars(9000));
    }
}
