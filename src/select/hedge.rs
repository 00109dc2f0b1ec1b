//! When a second target is asked before the first has answered, and how often that may be done.
//!
//! A few answers of a hundred are far later than the rest, for reasons that have nothing to do with
//! the request. Asking a second target once 95 of 100 answers would have come cuts that tail at the
//! cost of few extra requests (Dean and Barroso, The Tail at Scale). A budget holds the extra
//! requests, and their cost, to a share of the whole: when everything is slow, hedging is what would
//! make it slower.

use std::time::Duration;

use super::{
    ask::Targets,
    health::{Health, Lane},
};
use crate::table::Hedge;

/// The share of first tokens that come before a second target is asked.
const SHARE: f32 = 0.95;

/// The shortest wait that is learned: below it a second request gains nothing that is felt.
const SHORTEST: Duration = Duration::from_millis(800);

/// The most requests that can be saved up.
const MOST: f64 = 10.0;

/// How much later than the fastest a slow target may be before a second one is asked.
const SLACK: f32 = 1.25;

/// How long to wait for the first token of a target before a second one is asked; `None` while too
/// little is known to say what is late.
///
/// Late is what is late for the target, or for the fastest of the route: a request that went to a slow
/// target to spread the load need not wait as long as slow targets do.
pub fn hedge_after(targets: Targets<'_>, hedge: &Hedge, at: usize, lane: Lane) -> Option<Duration> {
    if hedge.after.is_some() {
        return hedge.after;
    }
    let late = |health: &Health| health.quantile(lane, SHARE);
    let fastest = targets.health.iter().filter_map(|health| late(health)).min_by(f32::total_cmp);
    let own = late(targets.health.get(at)?)?;
    let wait = fastest.map_or(own, |fastest| own.min(fastest * SLACK));
    Some(Duration::from_secs_f32(wait).max(SHORTEST))
}

/// A bucket that each request fills a little and each second request empties.
#[derive(Clone, Copy, Debug, Default)]
pub struct HedgeBudget {
    requests: f64,
    nanos: f64,
}

impl HedgeBudget {
    /// Counts a request with its expected cost in nano-dollars, where that is known.
    pub fn earn(&mut self, hedge: &Hedge, cost: Option<u64>) {
        let share = f64::from(hedge.budget_percent) / 100.0;
        let cost = nanos(cost.unwrap_or(0));
        self.requests = (self.requests + share).min(MOST);
        self.nanos = (self.nanos + share * cost).min((MOST * cost).max(self.nanos));
    }

    /// Takes a second request out of the budget, if it holds one of this cost.
    pub fn spend(&mut self, cost: Option<u64>) -> bool {
        let cost = nanos(cost.unwrap_or(0));
        let held = self.requests >= 1.0 && self.nanos >= cost;
        if held {
            self.requests -= 1.0;
            self.nanos -= cost;
        }
        held
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit, not a bill")]
fn nanos(cost: u64) -> f64 {
    cost as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEDGE: Hedge = Hedge { after: None, budget_percent: 5 };

    #[test]
    fn second_requests_are_a_share_of_the_first_ones() {
        let mut budget = HedgeBudget::default();
        let spent = (0..1_000).filter(|_| {
            budget.earn(&HEDGE, None);
            budget.spend(None)
        });
        assert!((48..=50).contains(&spent.count()));
    }

    #[test]
    fn a_second_request_that_is_dearer_is_made_less_often() {
        let mut budget = HedgeBudget::default();
        let spent = (0..1_000).filter(|_| {
            budget.earn(&HEDGE, Some(100));
            budget.spend(Some(500))
        });
        assert!((8..=10).contains(&spent.count()));
    }
}
