//! Every target of a route with its score, or with the reason why it is left out.
//!
//! The one entrance of this file, [`consider`], serves requests and answers `explain`; it draws no
//! random number and changes nothing. What it says, in this order:
//!
//! 1. A target is left out that is drained, was tried for this request, or has no key that is free;
//!    whose model cannot do what the request needs; whose account is at its quota; that is failing
//!    (its breaker is open); that is silent (what it owes is later than usual); that is full, where the
//!    route spills over.
//! 2. The lowest tier with a target left serves; of it, those that do all of what was asked for while
//!    there is one.
//! 3. Of these, those that miss the SLO are left out while one holds it. When none does, the SLO is
//!    relaxed part by part, in the order of [`SloPart::ORDER`], until one holds what is left.
//! 4. The rest get a score, lower is better, and those far behind the fastest are left out where
//!    speed is what counts.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    ask::{Ask, Targets},
    backend::Backend,
    breaker::Admit,
    health::{Health, Reading},
    key::soonest,
    keys::KeyState,
    needs::{self, Needs},
    pods,
    preference::of_caller,
    score::score,
    tried::Tried,
    verdict::{Candidate, Considered, LeftOut, SloPart, Verdict},
    window::Limit,
};
use crate::table::{Slo, Strategy, Target};

/// The share of first tokens that must come within the SLO.
const SLO_SHARE: f32 = 0.9;

/// What a target is believed to hold before it is known: so many first tokens of so many.
const SLO_PRIOR: (f32, f32) = (19.0, 20.0);

/// Filters and scores the targets of a route for a request.
pub fn consider(targets: Targets<'_>, ask: &Ask, tried: &Tried, now: Instant) -> Considered {
    let mut tier = None;
    let rows = targets.route.targets.iter().zip(targets.keys).zip(targets.health);
    let candidates = rows.enumerate().map(|(at, ((target, keys), health))| {
        let mut one = Candidate {
            at,
            reading: None,
            cost: None,
            quality: target.quality,
            verdict: Verdict::Eligible { score: 0.0, speed: 0.0, weight: 0.0 },
        };
        match hard(targets, target, keys, health, ask, (at, tried, now)) {
            Ok((reading, weight)) => {
                one.reading = Some(reading);
                one.cost = cost(targets, target, ask, at);
                one.verdict = Verdict::Eligible { score: 0.0, speed: 0.0, weight };
                tier = Some(tier.map_or(target.tier, |lowest: u8| lowest.min(target.tier)));
            }
            Err(why) => one.verdict = Verdict::LeftOut(why),
        }
        one
    });
    let mut found =
        Considered { candidates: candidates.collect(), relaxed: 0, tier: None, fastest: None };
    found.tier = tier;
    for one in &mut found.candidates {
        let target = targets.route.targets.get(one.at);
        if one.is_eligible() && target.map(|target| target.tier) != tier {
            one.verdict = Verdict::LeftOut(LeftOut::HigherTier);
        }
    }
    prefer_able(targets, &ask.needs, &mut found);
    let strategy = of_caller(targets.route.choosing.strategy, ask.preference);
    if strategy != Strategy::Weighted {
        hold_slo(targets, ask, now, &mut found);
        score(strategy, &mut found);
    }
    found
}

/// What the request costs there, as the account's next dollar does.
fn cost(targets: Targets<'_>, target: &Target, ask: &Ask, at: usize) -> Option<u64> {
    let pricing = target.pricing.as_ref()?;
    let list = pricing.estimate(u64::from(ask.input_tokens), u64::from(ask.output_tokens));
    let tiered = (!target.credential.tiers.is_empty()).then(|| targets.account(at)).flatten();
    Some(tiered.map_or(list, |account| account.price(list)).0)
}

/// The filters that no strategy changes. Gives what is known, and the weight.
fn hard(
    targets: Targets<'_>,
    target: &Target,
    keys: &[Arc<KeyState>],
    health: &Health,
    ask: &Ask,
    (at, tried, now): (usize, &Tried, Instant),
) -> Result<(Reading, f32), LeftOut> {
    if target.weight == 0 {
        return Err(LeftOut::Drained);
    }
    if tried.has_target(at) {
        return Err(LeftOut::Tried);
    }
    if let Some(why) = needs::lacks(&ask.needs, target.ability, health) {
        return Err(why);
    }
    if let Some(account) = targets.account(at) {
        let quota = &target.credential.quota;
        account.admits(quota, ask.tokens(), now).map_err(LeftOut::OverQuota)?;
    }
    let mut left = keys.iter().filter(|key| !tried.has_key(key));
    if !target.credential.keys.is_empty() && !left.any(|key| key.is_free(now)) {
        let until = soonest(target, keys, tried, now).map(|(until, _)| until);
        return Err(until.map_or(LeftOut::NoKey, |until| LeftOut::KeysRest { until }));
    }
    let policy = &targets.route.choosing.breaker;
    let backend = targets.backend(at);
    if let Some(backend) = backend {
        pods::admits(backend, tried, ask, policy, now)?;
    }
    let millis = health.millis(now);
    let share = match health.breaker().phase().admits(millis, policy) {
        Admit::Share(share) => share,
        Admit::Probe => return Err(LeftOut::CircuitOpen { until: now }),
        Admit::Until(until) => return Err(LeftOut::CircuitOpen { until: health.instant(until) }),
    };
    let reading = health.read(ask.lane, ask.input_tokens, millis);
    // Of a backend its pods have been looked at one by one.
    if backend.is_none() && reading.is_silent() {
        return Err(LeftOut::Silent);
    }
    if let (Some(spill), Some(policy)) = (targets.spill(at), &targets.route.choosing.spillover) {
        let load = backend.map_or_else(|| (reading.in_flight.into(), 1), Backend::load);
        if let Some(until) = spill.full(policy, load, now) {
            return Err(LeftOut::Full { until });
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
    let weight = target.weight as f32;
    Ok((reading, weight * share))
}

/// Leaves out what falls short of the request, as long as something of its tier does not.
fn prefer_able(targets: Targets<'_>, needs: &Needs, found: &mut Considered) {
    if needs.better.is_empty() && needs.output_tokens.is_none() {
        return;
    }
    let short = |one: &Candidate| {
        let target = targets.route.targets.get(one.at);
        target.is_some_and(|target| needs::falls_short(needs, target.ability))
    };
    if found.candidates.iter().any(|one| one.is_eligible() && !short(one)) {
        for one in found.candidates.iter_mut().filter(|one| one.is_eligible() && short(one)) {
            one.verdict = Verdict::LeftOut(LeftOut::FallsShort);
        }
    }
}

/// Leaves out what misses the SLO, as long as something holds it.
fn hold_slo(targets: Targets<'_>, ask: &Ask, now: Instant, found: &mut Considered) {
    let slo = targets.route.choosing.slo;
    if slo.is_empty() {
        return;
    }
    let first_token = slo.first_token.map(Limit::of);
    // Of each target, where in the order the last part stands that it misses, counted from 1.
    let missed = |one: &Candidate| {
        let health = targets.health.get(one.at)?;
        let misses = |part: &SloPart| !holds(*part, (slo, first_token), health, one, ask, now);
        SloPart::ORDER.iter().rposition(misses)
    };
    let parts = found
        .candidates
        .iter()
        .map(|one| one.is_eligible().then(|| missed(one).map_or(0, |last| last + 1)));
    let parts: SmallVec<[Option<usize>; 32]> = parts.collect();
    found.relaxed = parts.iter().flatten().min().copied().unwrap_or(0);
    for (one, missed) in found.candidates.iter_mut().zip(parts) {
        if let Some(last) = missed.filter(|missed| *missed > found.relaxed)
            && let Some(part) = SloPart::ORDER.get(last - 1)
        {
            one.verdict = Verdict::LeftOut(LeftOut::MissesSlo(*part));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most a few hundred")]
fn holds(
    part: SloPart,
    (slo, first_token): (Slo, Option<Limit>),
    health: &Health,
    one: &Candidate,
    ask: &Ask,
    now: Instant,
) -> bool {
    let within = |known: Option<f32>, limit: Duration| {
        known.is_none_or(|known| known <= limit.as_secs_f32())
    };
    match part {
        SloPart::FirstToken => first_token.is_none_or(|limit| {
            let (met, count) = health.within(ask.lane, limit);
            let (prior_met, prior_count) = SLO_PRIOR;
            let count = count as f32 + prior_count;
            // Left out only when that is more than chance: one standard deviation in its favour.
            let chance = (SLO_SHARE * (1.0 - SLO_SHARE) / count).sqrt();
            (met + prior_met) / count + chance >= SLO_SHARE
        }),
        SloPart::PerOutputToken => slo
            .per_output_token
            .is_none_or(|limit| within(one.reading.and_then(|reading| reading.per_token), limit)),
        SloPart::Success => slo.success_per_10k.is_none_or(|least| {
            let (failures, results) = health.breaker().recent(health.millis(now));
            // One failure may be an accident.
            failures < 2
                || u64::from(results - failures) * 10_000 >= u64::from(results) * u64::from(least)
        }),
    }
}
