//! Money, exactly: amounts in billionths of a US dollar, prices in millionths of one a million tokens.
//!
//! A bill is a sum of many small products, so nothing here is a float. A price has the resolution in
//! which providers publish theirs ($0.0375 a million tokens is 37,500 of its units), which makes a
//! token times a price a whole number of trillionths; only the sum of a request is rounded, once, to
//! billionths.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// An amount in billionths of a US dollar (nano-dollars).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct NanoDollars(pub u64);

impl NanoDollars {
    /// Reads dollars: `"1000"`, `"0.25"`. Up to nine digits and one point with at most `places` decimals
    /// after it, nine of them at most; no sign, no exponent.
    pub fn parse(text: &str, places: usize) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > places.min(9) || whole.len() > 9 {
            return None;
        }
        let (whole, part): (u64, u64) = (whole.parse().ok()?, format!("{part:0<9}").parse().ok()?);
        Some(Self(whole * 1_000_000_000 + part))
    }

    /// A sum that stops at the largest amount, 18 billion dollars.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it.
    #[must_use]
    pub(super) const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for NanoDollars {
    /// Dollars with all nine places, as in `0.004100000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// US dollars per million tokens, in millionths of a dollar: trillionths of a dollar a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Price(u64);

/// The decimals that a price can have.
const PLACES: usize = 6;

/// The most whole dollars that a million tokens may cost.
const MOST_DOLLARS: u64 = 1_000_000;

impl Price {
    /// Reads dollars per million tokens: `"2.50"`, `"0.0375"`, `"3"`. Digits and one point, up to six
    /// decimals, no sign, no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > PLACES {
            return None;
        }
        let whole: u64 = whole.parse().ok().filter(|dollars| *dollars <= MOST_DOLLARS)?;
        let part: u64 = format!("{part:0<PLACES$}").parse().ok()?;
        Some(Self(whole * 1_000_000 + part))
    }

    /// So many millionths of a dollar per million tokens, or the most that there can be.
    pub fn of_millionths(millionths: u64) -> Self {
        Self(millionths.min(MOST_DOLLARS * 1_000_000))
    }

    /// What so many tokens cost, in trillionths of a dollar.
    pub(super) fn of(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

impl fmt::Display for Price {
    /// Dollars per million tokens without zeros at the end, as in `0.0375` and `3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{part:06}").trim_end_matches('0'))
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("no price, such as \"2.50\""))
    }
}

/// Trillionths of a dollar as billionths, what is over left out.
pub(super) fn floored(trillionths: u128) -> NanoDollars {
    NanoDollars(thousandth(trillionths))
}

/// Trillionths of a dollar as billionths, halves upwards.
pub(super) fn rounded(trillionths: u128) -> NanoDollars {
    NanoDollars(thousandth(trillionths + 500))
}

/// A thousandth, or the most that there can be. Nearly all fits into 64 bits, and there a division
/// takes a tenth of the time.
fn thousandth(of: u128) -> u64 {
    match u64::try_from(of) {
        Ok(of) => of / 1000,
        Err(_large) => u64::try_from(of / 1000).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_and_written_exactly() {
        for (text, written) in [
            ("2.50", "2.5"),
            ("0.0375", "0.0375"),
            ("3", "3"),
            ("0", "0"),
            ("0.000001", "0.000001"),
        ] {
            assert_eq!(Price::parse(text).unwrap().to_string(), written);
        }
        for wrong in ["", ".5", "5.", "-1", "1e3", "1,5", "0.0000001", "1000001", "٣", " 1"] {
            assert_eq!(Price::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_sum_is_rounded_once() {
        let price = Price::parse("0.0375").unwrap();
        assert_eq!(rounded(price.of(1)), NanoDollars(38));
        assert_eq!(rounded(price.of(1) + price.of(1)), NanoDollars(75));
        assert_eq!(NanoDollars(4_100_000).to_string(), "0.004100000");
    }

    #[test]
    fn the_largest_numbers_do_not_wrap() {
        let price = Price::parse("1000000").unwrap();
        assert_eq!(rounded(price.of(u64::MAX)), NanoDollars(u64::MAX));
        assert_eq!(NanoDollars(u64::MAX).plus(NanoDollars(1)), NanoDollars(u64::MAX));
    }
}
