//! `spec.spendTiers` of a credential to the schedule that the table holds.

use super::report::Problem;
use crate::{
    api::SpendTierSpec,
    provider::{NanoDollars, Schedule, Tier},
};

const FIELD: &str = "spec.spendTiers";

/// The most that a dollar may cost, in thousandths.
const MOST: u64 = 99_999;

/// Reads a schedule, and says what is wrong with it.
pub(super) fn read(specs: &[SpendTierSpec], problems: &mut Vec<Problem>) -> Option<Schedule> {
    let mut tiers = Vec::new();
    for (at, SpendTierSpec { above_usd, multiplier }) in specs.iter().enumerate() {
        let above = NanoDollars::parse(above_usd, 2).filter(|above| above.0 > 0);
        if above.is_none() {
            let wanted = "must be US dollars above 0 with at most two decimals, such as 1000";
            problems.push(Problem::invalid(&format!("{FIELD}[{at}].aboveUSD"), wanted));
        }
        // A multiplier with three decimals has as many thousandths as a dollar has.
        let permille = NanoDollars::parse(multiplier, 3).map(|it| it.0 / 1_000_000);
        let permille = permille.filter(|permille| (1_000..=MOST).contains(permille));
        if permille.is_none() {
            let wanted = "must be from 1 to 99.999 with at most three decimals, such as 1.20";
            problems.push(Problem::invalid(&format!("{FIELD}[{at}].multiplier"), wanted));
        }
        let permille = permille.and_then(|permille| u32::try_from(permille).ok());
        tiers.extend(above.zip(permille).map(|(above, permille)| Tier { above, permille }));
    }
    if tiers.len() < specs.len() {
        return None;
    }
    tiers.sort_by_key(|tier| tier.above);
    let schedule = Schedule::new(tiers);
    if schedule.is_none() {
        let message = "thresholds must differ and multipliers must rise with them; a discount for \
                       volume is not planned for";
        problems.push(Problem::invalid(FIELD, message));
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tiers: &[(&str, &str)]) -> Vec<String> {
        let tiers: Vec<_> = tiers
            .iter()
            .map(|(above, multiplier)| SpendTierSpec {
                above_usd: (*above).to_owned(),
                multiplier: (*multiplier).to_owned(),
            })
            .collect();
        let mut problems = Vec::new();
        let read = read(&tiers, &mut problems);
        assert_eq!(read.is_none(), !problems.is_empty());
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn tiers_are_taken_in_any_order_and_must_rise() {
        assert!(told(&[]).is_empty());
        assert!(told(&[("5000", "2"), ("1000.50", "1.2")]).is_empty());
        assert_eq!(told(&[("1000", "0.9")]), ["spec.spendTiers[0].multiplier"]);
        assert_eq!(told(&[("0", "1.1"), ("-1", "100")]).len(), 3);
        assert_eq!(told(&[("1000", "1.2"), ("1000.00", "1.3")]), [FIELD]);
        assert_eq!(told(&[("1000", "1.2"), ("2000", "1.1")]), [FIELD]);
    }
}
