//! What the next dollar costs: an account's price schedule of the billing month.
//!
//! A contract may make what lies beyond a volume dearer. Volume is money at list prices; a multiplier
//! holds for what is spent beyond its threshold, not for all of the month. Schedules only rise: one that
//! falls (a discount for volume) pays off only as a plan for the whole month, which nobody makes here.

use serde::{Deserialize, Serialize};

use super::NanoDollars;

/// List price, in thousandths of itself.
pub const LIST: u32 = 1000;

/// The last part of the way to a threshold, as a share of it, in which the price rises already: so that
/// an account is approached and not hit.
const APPROACH: f64 = 0.05;

/// What is dearer beyond a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Beyond this volume of the month.
    pub above: NanoDollars,
    /// Thousandths of the list price.
    pub permille: u32,
}

/// The tiers of a month, by rising volume and price; often none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule(Vec<Tier>);

impl Schedule {
    /// A schedule; `None` unless both volumes and multipliers rise, from list price on.
    pub fn new(tiers: Vec<Tier>) -> Option<Self> {
        let begin = Tier { above: NanoDollars(0), permille: LIST };
        let mut before = begin;
        for tier in &tiers {
            if tier.above <= before.above || tier.permille < before.permille {
                return None;
            }
            before = *tier;
        }
        Some(Self(tiers))
    }

    /// Whether everything is at list price.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the next dollar costs when the month is to end at this volume, in thousandths.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a forecast"
    )]
    pub fn marginal(&self, volume: NanoDollars) -> u32 {
        let mut price = LIST;
        for tier in &self.0 {
            let (at, above) = (volume.0 as f64, tier.above.0 as f64);
            let way = ((at - above * (1.0 - APPROACH)) / (above * APPROACH)).clamp(0.0, 1.0);
            if way == 0.0 {
                break;
            }
            price += (f64::from(tier.permille.saturating_sub(price)) * way) as u32;
        }
        price
    }

    /// What a volume at list prices costs.
    pub fn billed(&self, volume: NanoDollars) -> NanoDollars {
        let mut billed = u128::from(volume.0) * u128::from(LIST);
        let mut before = LIST;
        for tier in &self.0 {
            let beyond = u128::from(volume.0.saturating_sub(tier.above.0));
            billed += beyond * u128::from(tier.permille - before);
            before = tier.permille;
        }
        NanoDollars(u64::try_from(billed / u128::from(LIST)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOLLAR: u64 = 1_000_000_000;

    fn schedule() -> Schedule {
        let tier = |dollars, permille| Tier { above: NanoDollars(dollars * DOLLAR), permille };
        Schedule::new(vec![tier(1000, 1200), tier(5000, 2000)]).unwrap()
    }

    #[test]
    fn what_lies_beyond_a_threshold_is_dearer_and_what_lies_before_is_not() {
        let billed = |dollars| schedule().billed(NanoDollars(dollars * DOLLAR)).0 / DOLLAR;
        assert_eq!([0, 1000, 2000, 6000].map(billed), [0, 1000, 2200, 1000 + 4800 + 2000]);
    }

    #[test]
    fn the_price_of_the_next_dollar_rises_on_the_last_part_of_the_way() {
        let marginal = |dollars| schedule().marginal(NanoDollars(dollars * DOLLAR));
        assert_eq!([0, 950, 975, 1000, 4700].map(marginal), [1000, 1000, 1100, 1200, 1200]);
        assert_eq!([4875, 5000, 90_000].map(marginal), [1600, 2000, 2000]);
        assert_eq!(Schedule::default().marginal(NanoDollars(u64::MAX)), LIST);
    }

    #[test]
    fn a_schedule_that_falls_or_stands_still_is_none() {
        let tier = |above, permille| Tier { above: NanoDollars(above), permille };
        assert!(Schedule::new(vec![tier(5, 999)]).is_none());
        assert!(Schedule::new(vec![tier(5, 1100), tier(5, 1200)]).is_none());
        assert!(Schedule::new(vec![tier(5, 1100), tier(6, 1050)]).is_none());
        assert!(Schedule::new(vec![tier(0, 1100)]).is_none(), "that would be the list price");
    }
}
