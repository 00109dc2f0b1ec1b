//! What a target is worth to a request: a number for each strategy, lower is better.
//!
//! Scores are never scaled by the best and worst of the candidates: another target in the list, which
//! nobody would choose, must not change which of two others is better.

use smallvec::SmallVec;

use super::{
    health::PRIOR_FIRST_TOKEN,
    verdict::{Candidate, Considered, LeftOut, Verdict},
};
use crate::table::{Shares, Strategy};

/// So many times slower than the fastest, and a target is left out where speed is what counts.
const SLOW: f32 = 3.0;

/// First tokens that come within so many seconds are as good as each other: nobody notices, and below
/// it what is measured is how busy the machine is.
pub(super) const QUICK: f32 = 0.05;

/// The least time of a token, in seconds, that [`Strategy::Balanced`] counts with. Answers that come
/// whole measure nothing below it.
const LEAST_PER_TOKEN: f32 = 0.000_1;

/// The least success that is counted with; lower ones would differ by accident only.
const LEAST_SUCCESS: f32 = 0.02;

/// The time of a token, in seconds, of a target that nothing is known of.
const PRIOR_PER_TOKEN: f32 = 0.02;

/// The least cost, in nano-dollars, that [`Strategy::Balanced`] counts with: a ten-thousandth of a
/// cent. A target that costs nothing would otherwise win whatever its speed.
const LEAST_COST: f32 = 1_000.0;

/// The fewest answers of a hundred that are counted with as not good: nobody knows it better.
const FEWEST_MISTAKES: u32 = 1;

/// Gives every target that may serve its score.
pub(super) fn score(strategy: Strategy, found: &mut Considered) {
    let unknown = median(found);
    let fastest = found.candidates.iter().filter(|one| one.is_eligible());
    let fastest = fastest.map(|one| one.first_token(unknown)).fold(f32::INFINITY, f32::min);
    found.fastest = fastest.is_finite().then_some(fastest);
    let dearest = found.candidates.iter().filter_map(|one| one.cost).max();
    let worst = found.candidates.iter().filter_map(|one| one.quality).min();
    // With a part of the SLO given up, what comes closest to it serves.
    let strategy = if found.relaxed > 0 { Strategy::Fastest } else { strategy };
    for one in &mut found.candidates {
        let Verdict::Eligible { weight, .. } = one.verdict else { continue };
        let first_token = one.first_token(unknown);
        let (waiting, success, _) = load(one);
        let speed = first_token * (waiting + 1.0) / (success * success * weight);
        let score = match strategy {
            Strategy::Balanced(shares) => balanced(one, shares, unknown, (dearest, worst)),
            Strategy::Cheapest => expected_cost(one),
            Strategy::Fastest => speed,
            Strategy::LeastBusy => busy(one),
            Strategy::Weighted => 0.0,
        };
        let slow = first_token > SLOW * fastest.max(QUICK);
        one.verdict = match strategy {
            Strategy::Fastest | Strategy::LeastBusy if slow => Verdict::LeftOut(LeftOut::Slow),
            Strategy::Balanced(_)
            | Strategy::Cheapest
            | Strategy::Fastest
            | Strategy::LeastBusy
            | Strategy::Weighted => Verdict::Eligible { score, speed, weight },
        };
    }
}

/// Requests that wait, success, and weight.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn load(one: &Candidate) -> (f32, f32, f32) {
    let weight = match one.verdict {
        Verdict::Eligible { weight, .. } => weight,
        Verdict::LeftOut(_) => 1.0,
    };
    one.reading.map_or((0.0, 1.0, weight), |reading| {
        (reading.waiting as f32, reading.success.max(LEAST_SUCCESS), weight)
    })
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn busy(one: &Candidate) -> f32 {
    let (_, success, weight) = load(one);
    let reading =
        one.reading.map_or((0.0, 0.0), |reading| (reading.in_flight as f32, reading.overdue));
    (reading.0 + 1.0) * (1.0 + reading.1) / (success * success * weight)
}

/// The cost with its failures: what fails is asked again. Without a price it is dearer than all.
#[expect(clippy::cast_precision_loss, reason = "compared, never billed")]
fn expected_cost(one: &Candidate) -> f32 {
    let (_, success, _) = load(one);
    one.cost.map_or(f32::INFINITY, |cost| cost as f32 / success)
}

/// The weighted geometric mean of cost, first token, time a token, load and mistakes: twice the cost
/// weighs as much as twice the time, in whatever unit they are. A price that is unknown counts as the
/// dearest known and a quality as the worst, so that it neither attracts nor repels more than the
/// worst that is known.
#[expect(clippy::cast_precision_loss, reason = "compared, never billed")]
fn balanced(
    one: &Candidate,
    shares: Shares,
    unknown: f32,
    (dearest, worst): (Option<u64>, Option<u32>),
) -> f32 {
    let (_, success, weight) = load(one);
    let cost = one.cost.or(dearest).map_or(LEAST_COST, |cost| (cost as f32).max(LEAST_COST));
    let mistakes = one
        .quality
        .or(worst)
        .map_or(FEWEST_MISTAKES, |quality| 100_u32.saturating_sub(quality).max(FEWEST_MISTAKES));
    let (per_token, in_flight) =
        one.reading.map_or((None, 0), |reading| (reading.per_token, reading.in_flight));
    let parts = [
        (shares.cost, cost),
        (shares.first_token, one.first_token(unknown).max(QUICK)),
        (shares.per_token, per_token.unwrap_or(PRIOR_PER_TOKEN).max(LEAST_PER_TOKEN)),
        (shares.load, (in_flight as f32 + 1.0) / weight),
        (shares.quality, mistakes as f32),
    ];
    let total: f32 = parts.iter().map(|(share, _)| *share as f32).sum();
    let sum: f32 = parts.iter().map(|(share, value)| *share as f32 * value.ln()).sum();
    (sum / total.max(1.0)).exp() / (success * success)
}

/// What a target is believed to need of which nothing is known: the median of the others.
pub(super) fn median(found: &Considered) -> f32 {
    let known = found.candidates.iter().filter_map(|one| one.reading?.first_token);
    let mut known: SmallVec<[f32; 32]> = known.collect();
    let middle = known.len() / 2;
    if known.is_empty() {
        return PRIOR_FIRST_TOKEN;
    }
    *known.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::health::Reading;

    /// The scores of targets whose first tokens take so many seconds; none where one is left out.
    fn scores(strategy: Strategy, first_tokens: &[f32]) -> Vec<Option<f32>> {
        let rows = first_tokens.iter().enumerate().map(|(at, seconds)| Candidate {
            at,
            reading: Some(Reading {
                first_token: Some(*seconds),
                overdue: 0.0,
                per_token: Some(0.0),
                success: 1.0,
                waiting: 0,
                in_flight: 0,
            }),
            cost: Some(5_000),
            quality: None,
            verdict: Verdict::Eligible { score: 0.0, speed: 1.0, weight: 100.0 },
        });
        let candidates = rows.collect();
        let mut found = Considered { candidates, relaxed: 0, tier: Some(0), fastest: None };
        score(strategy, &mut found);
        let of = |one: &Candidate| match one.verdict {
            Verdict::Eligible { score, .. } => Some(score),
            Verdict::LeftOut(_) => None,
        };
        found.candidates.iter().map(of).collect()
    }

    #[test]
    fn a_target_is_not_far_slower_for_what_nobody_notices() {
        let eligible = |first: &[f32]| {
            scores(Strategy::Fastest, first).iter().map(Option::is_some).collect::<Vec<_>>()
        };
        assert_eq!(eligible(&[0.02, 0.10]), [true, true]);
        assert_eq!(eligible(&[0.02, 0.16]), [true, false]);
        assert_eq!(eligible(&[0.50, 1.60]), [true, false]);
    }

    #[test]
    fn balanced_is_not_moved_by_milliseconds_nor_by_tokens_that_took_no_time() {
        let shares = Shares { cost: 1, first_token: 5, per_token: 5, load: 1, quality: 0 };
        let found = scores(Strategy::Balanced(shares), &[0.001, 0.04, 0.4]);
        let [Some(one), Some(other), Some(slow)] = found[..] else { panic!("{found:?}") };
        assert!((one - other).abs() < f32::EPSILON && one > 0.0, "{one} {other}");
        assert!(slow > 2.0 * one, "{slow}");
    }
}
