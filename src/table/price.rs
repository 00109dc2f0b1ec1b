//! What tokens cost, exactly: integers, no floating point.
//!
//! A price is written in the resource as USD per million tokens with up to nine decimals. One unit
//! here is that last decimal: a millionth of a nano-dollar per token.

use serde::{Deserialize, Serialize};

/// Units of a nano-dollar.
const UNITS: u128 = 1_000_000;

/// What the tokens of a model cost, in millionths of a nano-dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// An input token.
    pub input: u64,
    /// An output token.
    pub output: u64,
}

impl Price {
    /// The cost of so many tokens in nano-dollars, rounded up once.
    pub fn cost(self, input_tokens: u64, output_tokens: u64) -> u64 {
        let units = u128::from(self.input) * u128::from(input_tokens)
            + u128::from(self.output) * u128::from(output_tokens);
        u64::try_from(units.div_ceil(UNITS)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_cost_what_the_price_says() {
        // $3 and $15 for a million tokens.
        let price = Price { input: 3_000_000_000, output: 15_000_000_000 };
        assert_eq!(price.cost(1_000_000, 0), 3_000_000_000);
        assert_eq!(price.cost(1_000, 100), 4_500_000);
        assert_eq!(Price { input: 1, output: 0 }.cost(1, 0), 1, "nothing is free by rounding");
    }
}
