//! Every target of a route with its score, or with the reason why it is left out.
//!
//! The one entrance of this file, [`consider`], serves requests and answers `explain`; it draws no
//! random number and changes nothing. What it says, in this order:
//!
//! 1. A target is left out that is drained, was tried for this request, or has no key that is free;
//!    whose model cannot do what the request needs; that is failing (its breaker is open); that is
//!    silent (what it owes is later than usual).
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
    RouteKeys, Tried,
    affinity::Belonging,
    backend::Backend,
    breaker::Admit,
    health::{Health, Lane, Reading},
    needs::{self, Needs},
    pods,
    preference::of_caller,
    score::score,
    soonest,
    window::Limit,
};
use crate::{
    provider::Capability,
    table::{Preference, Route, Slo, Strategy, Target},
};

/// So many usual times late, all waiting requests together, and a target is silent.
pub(super) const SILENT: f32 = 2.0;

/// The share of first tokens that must come within the SLO.
const SLO_SHARE: f32 = 0.9;

/// What a target is believed to hold before it is known: so many first tokens of so many.
const SLO_PRIOR: (f32, f32) = (19.0, 20.0);

/// A route and what is known of its targets, in the order of `route.targets`.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The route.
    pub route: &'a Route,
    /// The states of each target's keys.
    pub keys: &'a RouteKeys,
    /// What is known of each target.
    pub health: &'a [Arc<Health>],
    /// The pods of each target whose credential names a Service.
    pub backends: &'a [Option<Arc<Backend>>],
}

impl Targets<'_> {
    /// The pods of a target whose credential names a Service.
    pub(super) fn backend(&self, at: usize) -> Option<&Backend> {
        self.backends.get(at)?.as_deref()
    }
}

/// What a request is, as far as the choice is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whether it is streamed.
    pub lane: Lane,
    /// Its input tokens, estimated.
    pub input_tokens: u32,
    /// The output tokens to expect.
    pub output_tokens: u32,
    /// What it needs of a model.
    pub needs: Needs,
    /// What matters most to the caller.
    pub preference: Option<Preference>,
    /// With what it belongs together, where the route minds.
    pub belonging: Option<Belonging>,
}

/// A target as a request sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which of `route.targets`.
    pub at: usize,
    /// What is known of it; `None` where nothing had to be known.
    pub reading: Option<Reading>,
    /// What the request would cost, in nano-dollars; `None` where no price is known.
    pub cost: Option<u64>,
    /// So many of a hundred answers are good; `None` where nobody says.
    pub quality: Option<u32>,
    /// Whether it may serve.
    pub verdict: Verdict,
}

/// Whether a target may serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It may.
    Eligible {
        /// By the strategy; lower is better.
        score: f32,
        /// By speed and load alone, to decide between those that the strategy finds equal.
        speed: f32,
        /// Its weight, less while it comes back from a failure.
        weight: f32,
    },
    /// It may not.
    LeftOut(LeftOut),
}

/// Why a target may not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its breaker is open.
    CircuitOpen {
        /// When it is tried again.
        until: Instant,
    },
    /// Its weight is 0.
    Drained,
    /// Its model does less of what was asked for than another one of its tier.
    FallsShort,
    /// A lower tier serves.
    HigherTier,
    /// Its model cannot do what the request needs.
    Incapable(Capability),
    /// All its keys rest.
    KeysRest {
        /// When the first of them is free.
        until: Instant,
    },
    /// It misses the SLO, and another target does not.
    MissesSlo(SloPart),
    /// Every key was tried for this request.
    NoKey,
    /// No pod of its Service is ready.
    NoPod,
    /// It accepts and does not answer.
    Silent,
    /// It is far slower than the fastest.
    Slow,
    /// The request is longer than its model's context.
    TooLong {
        /// The request's tokens, estimated.
        tokens: u64,
        /// The tokens of the context.
        context: u64,
    },
    /// It was tried for this request.
    Tried,
}

/// A part of an SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SloPart {
    /// `slo.firstToken`.
    FirstToken,
    /// `slo.perOutputToken`.
    PerOutputToken,
    /// `slo.successPercent`.
    Success,
}

impl SloPart {
    /// Which part is given up first when no target holds all of them: a slow answer is still one.
    pub const ORDER: [Self; 3] = [Self::PerOutputToken, Self::FirstToken, Self::Success];

    /// Those that were given up, of those that are asked for.
    pub fn given_up(slo: &Slo, relaxed: usize) -> impl Iterator<Item = Self> {
        let given_up = Self::ORDER.into_iter().take(relaxed);
        given_up.filter(|part| match part {
            Self::FirstToken => slo.first_token.is_some(),
            Self::PerOutputToken => slo.per_output_token.is_some(),
            Self::Success => slo.success_per_10k.is_some(),
        })
    }

    /// The name in the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "firstToken",
            Self::PerOutputToken => "perOutputToken",
            Self::Success => "successPercent",
        }
    }
}

/// Every target of a route as a request sees it.
#[derive(Clone, Debug)]
pub struct Considered {
    /// In the order of `route.targets`.
    pub candidates: SmallVec<[Candidate; 8]>,
    /// How many of [`SloPart::ORDER`] were given up.
    pub relaxed: usize,
    /// The tier that serves; `None` when no target may.
    pub tier: Option<u8>,
    /// The expected first token of the fastest that may, in seconds, where one is known.
    pub fastest: Option<f32>,
}

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
        let backend = targets.backend(at);
        match hard(targets.route, target, keys, health, backend, ask, (at, tried, now)) {
            Ok((reading, weight)) => {
                one.reading = Some(reading);
                one.cost = target.pricing.as_ref().map(|pricing| {
                    pricing.estimate(u64::from(ask.input_tokens), u64::from(ask.output_tokens)).0
                });
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

impl Candidate {
    pub(super) const fn is_eligible(&self) -> bool {
        matches!(self.verdict, Verdict::Eligible { .. })
    }

    /// The requests in flight for its weight.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub(super) fn busy(&self, weight: f32) -> f32 {
        self.reading.map_or(0.0, |reading| reading.in_flight as f32) / weight
    }

    /// The expected time to the first token, in seconds, what is late taken into account.
    pub(super) fn first_token(&self, unknown: f32) -> f32 {
        let of =
            |reading: Reading| reading.first_token.unwrap_or(unknown) * (1.0 + reading.overdue);
        self.reading.map_or(unknown, of)
    }
}

/// The filters that no strategy changes. Gives what is known, and the weight.
fn hard(
    route: &Route,
    target: &Target,
    keys: &[Arc<super::KeyState>],
    health: &Health,
    backend: Option<&Backend>,
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
    let mut left = keys.iter().filter(|key| !tried.has_key(key));
    if !target.credential.keys.is_empty() && !left.any(|key| key.is_free(now)) {
        let until = soonest(target, keys, tried, now).map(|(until, _)| until);
        return Err(until.map_or(LeftOut::NoKey, |until| LeftOut::KeysRest { until }));
    }
    let policy = &route.choosing.breaker;
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
    if backend.is_none() && reading.overdue > SILENT {
        return Err(LeftOut::Silent);
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
