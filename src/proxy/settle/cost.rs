//! What an answer cost, and what it would have cost elsewhere. Money is integer nano-dollars, counted
//! whole whatever came of the answer.

use std::sync::Arc;

use super::{Ledger, end::End};
use crate::{
    observe::{CostKind, TargetCells, TokenKind, Unpriced, Waste},
    provider::Cost,
    table::Target,
};

impl Ledger {
    /// What the open attempt costs, as far as its usage and its prices are known.
    pub fn cost(&self) -> Option<Cost> {
        let target = self.route.as_ref()?.targets.get(self.open.last()?.at)?;
        target.pricing.as_ref()?.cost(self.usage.as_ref()?)
    }

    /// What the same usage would cost at the dearest of the route's targets that could have served:
    /// what is saved is the difference.
    fn baseline(&self, cost: Cost) -> u64 {
        let (Some(route), Some(usage)) = (&self.route, &self.usage) else { return cost.total().0 };
        let could = |target: &&Arc<Target>| {
            let able = target.ability.lacks(self.must).next().is_none();
            let fits = target.ability.context_tokens.is_none_or(|most| usage.input <= most);
            target.weight > 0 && able && fits
        };
        let priced = route.targets.iter().filter(could).filter_map(|one| one.pricing.as_ref());
        let costs = priced.filter_map(|pricing| pricing.cost(usage)).map(|cost| cost.total().0);
        costs.fold(cost.total().0, u64::max)
    }

    /// Money is counted whole, whatever came of the answer; what nobody got is counted again as waste.
    pub(super) fn count_cost(&self, at: usize, target: &TargetCells, cost: Option<Cost>, end: End) {
        let Some(cost) = cost else {
            target.unpriced(if self.usage.is_some() { Unpriced::Price } else { Unpriced::Usage });
            return;
        };
        self.handles.cells.baseline.add(self.baseline(cost));
        if let Some(Some(account)) = self.handles.accounts.get(at) {
            account.spend(cost.total());
        }
        target.cost(CostKind::Input, cost.input.0);
        target.cost(CostKind::CacheRead, cost.cache_read.0);
        target.cost(CostKind::CacheWrite, cost.cache_write.0);
        target.cost(CostKind::Output, cost.output.0);
        match end {
            End::Whole => {}
            End::Left => target.waste(Waste::Cancelled, cost.total().0),
            End::Broken => target.waste(Waste::Failed, cost.total().0),
        }
    }

    pub(super) fn count_tokens(&self, target: &TargetCells) {
        let Some(usage) = self.usage else { return };
        target.tokens(TokenKind::Input, usage.input);
        target.tokens(TokenKind::Output, usage.output);
        target.tokens(TokenKind::Cached, usage.cached.unwrap_or(0));
        target.tokens(TokenKind::CacheWrite, usage.cache_write.unwrap_or(0));
        target.tokens(TokenKind::Reasoning, usage.reasoning.unwrap_or(0));
    }
}
