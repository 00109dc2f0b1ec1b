//! Where requests go that belong together, so that a provider finds their beginning in its cache.
//!
//! Nothing is remembered. By rendezvous hashing each place draws a number from what the requests have
//! in common and from its own name, and the highest keeps them: so every replica says the same
//! without talking to another, and a place that comes or goes moves only what belongs to itself. The
//! numbers are weighted, which gives each place its share of the conversations, and gives one that
//! comes back from a failure its own back little by little.
//!
//! A place loses what belongs to it while it may not serve, is slow, or has more to do than its share
//! allows (consistent hashing with bounded loads). Then the next in the same order has it, so that
//! a conversation that has to move moves to one place and not to all of them.

use std::net::{IpAddr, SocketAddr};

use super::{
    ask::{Ask, Targets},
    belonging::Belonging,
    score::{QUICK, median},
    verdict::{Candidate, Considered, LeftOut, Verdict},
};
use crate::table::Strategy;

/// What became of a request for its affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Where it belongs it would be one too many.
    Busy,
    /// It is served where it belongs.
    Home,
    /// Where it belongs is slower, or dearer, than others by more than is tolerated.
    Slow,
    /// Where it belongs may not serve.
    Unavailable,
    /// It belongs nowhere: nothing in it says with what it belongs together.
    Unkeyed,
}

/// Where a request belongs, and where it goes for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The target where it belongs.
    pub home: Option<usize>,
    /// The target that has it now; `None` when the strategy decides alone.
    pub serves: Option<usize>,
    /// What it means when it is served elsewhere than at home.
    why: Kept,
}

impl Hold {
    /// What became of the request, served by this target.
    pub fn result(self, target: usize) -> Kept {
        if self.home == Some(target) { Kept::Home } else { self.why }
    }
}

/// Where a request belongs and where it goes; `None` for a route without affinity.
pub fn hold(targets: Targets<'_>, ask: &Ask, found: &Considered) -> Option<Hold> {
    targets.route.choosing.affinity.as_ref()?;
    let Some(belonging) = ask.belonging else {
        return Some(Hold { home: None, serves: None, why: Kept::Unkeyed });
    };
    let limits = Limits::of(targets.route.choosing.strategy, belonging, found);
    let rank = |one: &Candidate, weight| belonging.rank(name(targets, one.at), weight);
    let highest = |ranked: &mut dyn Iterator<Item = (f64, usize)>| {
        ranked.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, at)| at)
    };
    let all = found.candidates.iter();
    let serves = highest(&mut all.clone().filter_map(|one| {
        let Verdict::Eligible { weight, .. } = one.verdict else { return None };
        limits.hold(one).is_ok().then(|| (rank(one, weight), one.at))
    }));
    let tier = all.clone().filter(|one| is_home(one)).filter_map(|one| tier(targets, one)).min();
    let at_home = all.filter(|one| is_home(one) && self::tier(targets, one) == tier);
    let home = highest(&mut at_home.filter_map(|one| {
        let weight = targets.route.targets.get(one.at)?.weight;
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        Some((rank(one, weight as f32), one.at))
    }));
    let why = home.and_then(|at| limits.hold(found.candidates.get(at)?).err());
    Some(Hold { home, serves, why: why.unwrap_or(Kept::Unavailable) })
}

/// The targets in the order in which a request belongs to them.
pub fn order(targets: Targets<'_>, belonging: Belonging) -> Vec<usize> {
    #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
    let rank = |at: usize, weight: u32| belonging.rank(name(targets, at), weight as f32);
    let rows = targets.route.targets.iter().enumerate().filter(|(_, target)| target.weight > 0);
    let mut ranked: Vec<_> = rows.map(|(at, target)| (rank(at, target.weight), at)).collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked.into_iter().map(|(_, at)| at).collect()
}

fn name(targets: Targets<'_>, at: usize) -> &[u8] {
    targets.route.targets.get(at).map_or(&[], |target| target.name.as_bytes())
}

fn tier(targets: Targets<'_>, one: &Candidate) -> Option<u8> {
    targets.route.targets.get(one.at).map(|target| target.tier)
}

/// Whether a request like this could belong there: not where no such request is ever served.
const fn is_home(one: &Candidate) -> bool {
    match one.verdict {
        Verdict::Eligible { .. } => true,
        Verdict::LeftOut(why) => match why {
            LeftOut::Drained
            | LeftOut::FallsShort
            | LeftOut::HigherTier
            | LeftOut::Incapable(_)
            | LeftOut::TooLong { .. } => false,
            LeftOut::CircuitOpen { .. }
            | LeftOut::Full { .. }
            | LeftOut::KeysRest { .. }
            | LeftOut::MissesSlo(_)
            | LeftOut::NoKey
            | LeftOut::NoPod
            | LeftOut::OverQuota(_)
            | LeftOut::Silent
            | LeftOut::Slow
            | LeftOut::Tried => true,
        },
    }
}

/// How bad a target may be, and how busy, to keep what belongs to it.
struct Limits {
    strategy: Strategy,
    belonging: Belonging,
    /// What a target is taken to need for a first token of which nothing is known.
    unknown: f32,
    /// The best, by what the strategy minds.
    best: f32,
    /// Requests in flight at all targets that may serve, this one included, for each unit of weight.
    fair: f32,
}

impl Limits {
    fn of(strategy: Strategy, belonging: Belonging, found: &Considered) -> Self {
        let unknown = median(found);
        let (mut best, mut requests, mut weights) = (f32::INFINITY, 1.0, 0.0);
        for one in &found.candidates {
            let Verdict::Eligible { weight, .. } = one.verdict else { continue };
            best = best.min(minded(strategy, one, unknown));
            requests += in_flight(one);
            weights += weight;
        }
        Self { strategy, belonging, unknown, best, fair: requests / weights }
    }

    /// Whether a target keeps what belongs to it, or why not.
    fn hold(&self, one: &Candidate) -> Result<(), Kept> {
        let Verdict::Eligible { weight, .. } = one.verdict else { return Err(Kept::Unavailable) };
        if minded(self.strategy, one, self.unknown) > self.best * self.belonging.slack {
            return Err(Kept::Slow);
        }
        if self.belonging.is_too_much(in_flight(one) + 1.0, self.fair * weight) {
            return Err(Kept::Busy);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn in_flight(one: &Candidate) -> f32 {
    one.reading.map_or(0.0, |reading| reading.in_flight as f32)
}

/// What a strategy minds of a target besides its load; lower is better.
fn minded(strategy: Strategy, one: &Candidate, unknown: f32) -> f32 {
    match (strategy, one.verdict) {
        (Strategy::Balanced(_) | Strategy::Cheapest, Verdict::Eligible { score, .. }) => score,
        (Strategy::Fastest, _) => one.first_token(unknown).max(QUICK),
        (Strategy::LeastBusy | Strategy::Weighted, _) | (_, Verdict::LeftOut(_)) => 0.0,
    }
}

/// The name of a pod: its address and port.
pub(super) fn pod(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut name = [0; 18];
    let (first, last) = name.split_at_mut(16);
    first.copy_from_slice(&ip.octets());
    last.copy_from_slice(&address.port().to_be_bytes());
    name
}

#[cfg(test)]
mod tests;
