//! How a route chooses: `strategy`, `slo`, `affinity`, `circuitBreaker`, `hedge`, `queue`, `spillover` as values.

use std::time::Duration;

use super::{
    report::Problem,
    value::{duration, header_name, pause, percent},
};
use crate::{
    api::{
        self, AffinitySpec, BalancedSpec, CircuitBreakerSpec, HedgeSpec, ModelRouteSpec, QueueSpec,
        SloSpec, SpilloverSpec, StrategySpec, StrategyType,
    },
    table::{
        Affinity, AffinityBy, Choosing, CircuitBreaker, Hedge, Queue, Shares, Slo, Spillover,
        Strategy,
    },
};

/// Builds a route's way of choosing. Everything that is wrong is told; none when something is.
pub(super) fn build(spec: &ModelRouteSpec, problems: &mut Vec<Problem>) -> Option<Choosing> {
    let strategy = strategy(&spec.strategy, problems);
    let tolerance = number(
        spec.strategy.tolerance_percent,
        (0, 100),
        "spec.strategy.tolerancePercent",
        problems,
    );
    let slo =
        spec.slo.as_ref().map_or_else(|| Some(Slo::default()), |slo| objectives(slo, problems));
    if spec.slo.is_some() && spec.strategy.kind == StrategyType::Weighted {
        let message = "`Weighted` chooses by weight alone; `slo` needs another `strategy.type`";
        problems.push(Problem::invalid("spec.slo", message));
        return None;
    }
    let affinity = spec.affinity.as_ref().map(|affinity| belonging(affinity, problems));
    let breaker = breaker(&spec.circuit_breaker, problems);
    let queue = queue(&spec.queue, problems);
    let hedge = spec.hedge.as_ref().map(|hedge| hedging(hedge, problems));
    let spillover = spec.spillover.as_ref().map(|spill| spilling(spill, problems));
    let first = spec.targets.first().map(|target| target.tier);
    if spec.spillover.is_some() && spec.targets.iter().all(|target| Some(target.tier) == first) {
        let message = "`spillover` needs targets in at least two tiers";
        problems.push(Problem::invalid("spec.spillover", message));
        return None;
    }
    Some(Choosing {
        strategy: strategy?,
        tolerance_percent: tolerance?,
        slo: slo?,
        affinity: affinity.map_or(Some(None), |affinity| affinity.map(Some))?,
        breaker: breaker?,
        queue: queue?,
        hedge: hedge.map_or(Some(None), |hedge| hedge.map(Some))?,
        spillover: spillover.map_or(Some(None), |spillover| spillover.map(Some))?,
    })
}

fn strategy(spec: &StrategySpec, problems: &mut Vec<Problem>) -> Option<Strategy> {
    match (spec.kind, &spec.balanced) {
        (StrategyType::Balanced, Some(balanced)) => shares(balanced, problems),
        (StrategyType::Cheapest, None) => Some(Strategy::Cheapest),
        (StrategyType::Fastest, None) => Some(Strategy::Fastest),
        (StrategyType::LeastBusy, None) => Some(Strategy::LeastBusy),
        (StrategyType::Weighted, None) => Some(Strategy::Weighted),
        (StrategyType::Balanced, None)
        | (
            StrategyType::Cheapest
            | StrategyType::Fastest
            | StrategyType::LeastBusy
            | StrategyType::Weighted,
            Some(_),
        ) => {
            let message = "`Balanced` needs `balanced`, and no other type takes it";
            problems.push(Problem::invalid("spec.strategy", message));
            None
        }
    }
}

fn shares(spec: &BalancedSpec, problems: &mut Vec<Problem>) -> Option<Strategy> {
    let BalancedSpec { cost, first_token, per_token, load, quality } = spec;
    let mut of = |value: i32, name: &str| {
        number(value, (0, 100), &format!("spec.strategy.balanced.{name}"), problems)
    };
    let (cost, first_token) = (of(*cost, "cost"), of(*first_token, "firstToken"));
    let (per_token, load) = (of(*per_token, "perToken"), of(*load, "load"));
    let quality = of(*quality, "quality");
    let shares = Shares {
        cost: cost?,
        first_token: first_token?,
        per_token: per_token?,
        load: load?,
        quality: quality?,
    };
    if shares.cost + shares.first_token + shares.per_token + shares.load + shares.quality == 0 {
        problems.push(Problem::invalid("spec.strategy.balanced", "at least one part must count"));
        return None;
    }
    Some(Strategy::Balanced(shares))
}

fn objectives(spec: &SloSpec, problems: &mut Vec<Problem>) -> Option<Slo> {
    let SloSpec { first_token, per_output_token, success_percent } = spec;
    if *spec == SloSpec::default() {
        problems.push(Problem::invalid("spec.slo", "at least one objective must stand here"));
        return None;
    }
    let mut of = |text: Option<&str>, field: &str| {
        let found = text.map(duration).transpose();
        found.map_err(|message| problems.push(Problem::invalid(field, message))).ok()
    };
    let first_token = of(first_token.as_deref(), "spec.slo.firstToken");
    let per_output_token = of(per_output_token.as_deref(), "spec.slo.perOutputToken");
    let success_per_10k = success_percent.as_deref().map(percent).transpose();
    let success_per_10k = success_per_10k
        .map_err(|message| problems.push(Problem::invalid("spec.slo.successPercent", message)))
        .ok();
    Some(Slo {
        first_token: first_token?,
        per_output_token: per_output_token?,
        success_per_10k: success_per_10k?,
    })
}

fn belonging(spec: &AffinitySpec, problems: &mut Vec<Problem>) -> Option<Affinity> {
    let AffinitySpec { by, header, prefix_bytes, tolerance_percent } = spec;
    let mut of = |value: i32, range, name: &str| {
        number(value, range, &format!("spec.affinity.{name}"), problems)
    };
    let bytes = of(*prefix_bytes, (64, 65_536), "prefixBytes");
    let tolerance_percent = of(*tolerance_percent, (0, 1000), "tolerancePercent");
    let by = match (by, header) {
        (api::AffinityBy::Conversation, None) => AffinityBy::Conversation,
        (api::AffinityBy::Conversation, Some(name)) => {
            let found = header_name(name);
            let found = found
                .map_err(|told| problems.push(Problem::invalid("spec.affinity.header", told)))
                .ok();
            AffinityBy::Header(found?)
        }
        (api::AffinityBy::Prefix, None) => AffinityBy::Prefix(bytes?),
        (api::AffinityBy::Prefix, Some(_)) => {
            let message = "`header` names a conversation; `by: Prefix` takes none";
            problems.push(Problem::invalid("spec.affinity", message));
            return None;
        }
    };
    bytes?;
    Some(Affinity { by, tolerance_percent: tolerance_percent? })
}

fn breaker(spec: &CircuitBreakerSpec, problems: &mut Vec<Problem>) -> Option<CircuitBreaker> {
    let CircuitBreakerSpec {
        consecutive_failures,
        failure_percent,
        min_requests,
        cooldown,
        max_cooldown,
        ramp_up,
    } = spec;
    let field = |name: &str| format!("spec.circuitBreaker.{name}");
    let consecutive =
        number(*consecutive_failures, (1, 1000), &field("consecutiveFailures"), problems);
    let percent = number(*failure_percent, (1, 100), &field("failurePercent"), problems);
    let least = number(*min_requests, (1, 10_000), &field("minRequests"), problems);
    let mut time = |found: Result<Duration, String>, name: &str| {
        found.map_err(|message| problems.push(Problem::invalid(&field(name), message))).ok()
    };
    let shortest = time(duration(cooldown), "cooldown");
    let longest = time(duration(max_cooldown), "maxCooldown");
    let ramp = time(pause(ramp_up), "rampUp");
    let breaker = CircuitBreaker {
        consecutive_failures: consecutive?,
        failure_percent: percent?,
        min_requests: least?,
        cooldown: shortest?,
        max_cooldown: longest?,
        ramp_up: ramp?,
    };
    if breaker.cooldown > breaker.max_cooldown {
        let message = "`cooldown` must not be longer than `maxCooldown`";
        problems.push(Problem::invalid("spec.circuitBreaker", message));
        return None;
    }
    Some(breaker)
}

fn queue(spec: &QueueSpec, problems: &mut Vec<Problem>) -> Option<Queue> {
    let QueueSpec { max_requests, max_wait } = spec;
    let most = number(*max_requests, (0, 100_000), "spec.queue.maxRequests", problems);
    let wait = duration(max_wait)
        .map_err(|message| problems.push(Problem::invalid("spec.queue.maxWait", message)))
        .ok();
    Some(Queue { most: most?, wait: wait? })
}

fn hedging(spec: &HedgeSpec, problems: &mut Vec<Problem>) -> Option<Hedge> {
    let HedgeSpec { after, budget_percent } = spec;
    let after = after.as_deref().map(duration).transpose();
    let after =
        after.map_err(|message| problems.push(Problem::invalid("spec.hedge.after", message))).ok();
    let budget_percent = number(*budget_percent, (1, 50), "spec.hedge.budgetPercent", problems);
    Some(Hedge { after: after?, budget_percent: budget_percent? })
}

fn spilling(spec: &SpilloverSpec, problems: &mut Vec<Problem>) -> Option<Spillover> {
    let SpilloverSpec { in_flight_per_pod, return_below_percent, hold_for } = spec;
    let field = |name: &str| format!("spec.spillover.{name}");
    let most = number(*in_flight_per_pod, (1, 100_000), &field("inFlightPerPod"), problems);
    let back = number(*return_below_percent, (1, 100), &field("returnBelowPercent"), problems);
    let hold = pause(hold_for)
        .map_err(|message| problems.push(Problem::invalid(&field("holdFor"), message)))
        .ok();
    Some(Spillover { in_flight_per_pod: most?, return_below_percent: back?, hold_for: hold? })
}

fn number(
    value: i32,
    (least, most): (i32, i32),
    field: &str,
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let found = u32::try_from(value).ok().filter(|_| (least..=most).contains(&value));
    if found.is_none() {
        problems.push(Problem::invalid(field, format!("must be from {least} to {most}")));
    }
    found
}
