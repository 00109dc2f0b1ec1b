//! The autoscaling policy: how many replicas the demand asks for.
//!
//! Pure: what was read of the proxies goes in with the time, a [`Decision`] comes out with its reason.
//! It knows no API server and no proxy; `control::autoscale` brings both.
//!
//! Demand is absolute: requests in flight and waiting, as the proxies count them, divided by how many
//! one replica is to have. By Little's law that is arrivals × the time that they take, so slower
//! answers are in it already. It is never a ratio times the replicas that there are: replicas that are
//! still starting would be counted as missing again and again.
//!
//! The rules, in order:
//!
//! 1. Nothing was read for a while: what was decided last holds. Nobody answering is not nobody asking.
//! 2. Demand is what is in flight, what waits, and what would be in flight if no other target had served
//!    it for want of a replica: as many as were sent elsewhere × the time that a request takes. It is
//!    the mean of a minute; but when the last six seconds are further from it than chance would take
//!    them, the mean begins anew with these, so a jump is believed at once and noise never. And it is no
//!    more than a twentieth above what arrives × the time that a request takes when replicas are not
//!    full. While replicas start, a queue grows that they will serve: it must not be counted as so many
//!    more.
//! 3. Something waits and there is no replica: one, at once.
//! 4. First tokens come too late while the replicas are full, and none is on its way: one more than
//!    there are, for as long as two cold starts. Late while they are not full is no question of
//!    replicas.
//! 5. Up: at once, at most to twice as many or four more in fifteen seconds.
//! 6. Down: to the most that was wanted in the last five minutes, a tenth of the replicas a minute,
//!    never below what is in flight, and not while a proxy cannot be read. Of a time in which not every
//!    proxy was read, nobody knows that fewer were wanted: it counts as if what there was had been.
//! 7. Within the bounds.
//!
//! Source of the windows: the Knative autoscaler's documentation. It panics at twice the replicas that
//! there are; the bound by chance, that of a Poisson process, sees smaller jumps and asks for less after
//! them.

mod decision;
pub mod fleet;
mod history;
mod reading;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use self::history::{History, STABLE};
pub use self::{
    decision::{Decision, Reason},
    fleet::Told,
    reading::Reading,
};

/// How old the last reading may be.
const STALE: Duration = Duration::from_secs(30);

/// Such a part above what the replicas are to have, and requests may stand in a line.
const CROWDED: u64 = 2;

/// So much more than what arrives is asked for at most, to serve what has queued up.
const CATCHING_UP: f64 = 1.05;

/// How often, and by how much at most, the number rises.
const UP_EVERY: Duration = Duration::from_secs(15);
const UP_FACTOR: u32 = 2;
const UP_MORE: u32 = 4;

/// How often the number falls, and the share that goes.
const DOWN_EVERY: Duration = Duration::from_mins(1);
const DOWN_PERCENT: u32 = 10;

/// The fewest first tokens from which a quantile is believed.
const ENOUGH: u32 = 50;

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The fewest replicas; 0 lets it sleep.
    pub least: u32,
    /// The most replicas.
    pub most: u32,
    /// Requests in flight that one replica is to have.
    pub in_flight_per_replica: u32,
    /// The limit for 95 of 100 first tokens.
    pub first_token: Option<Duration>,
    /// How long a replica takes to start.
    pub cold_start: Duration,
    /// How long fewer replicas must be wanted before there are fewer.
    pub calm: Duration,
}

/// The state of one autoscaler.
#[derive(Clone, Debug, Default)]
pub struct Scaler {
    history: History,
    last: Option<(Reading, Instant)>,
    /// What was decided last.
    decided: Option<u32>,
    raised: Option<(u32, Instant)>,
    lowered: Option<Instant>,
    /// The floor that late first tokens have set, and until when.
    floor: Option<(u32, Instant)>,
}

impl Scaler {
    /// Takes in what was read; none when no proxy answered.
    pub fn read(&mut self, reading: Option<Reading>, now: Instant) {
        let Some(reading) = reading.filter(|reading| reading.answered > 0) else { return };
        self.last = Some((reading, now));
        self.history.read(&reading, now);
    }

    /// Decides. `current` is the number that was asked for last, replicas that are still starting
    /// included.
    pub fn decide(&mut self, policy: &Policy, current: u32, now: Instant) -> Decision {
        let fresh = self.last.filter(|(_, at)| now.saturating_duration_since(*at) <= STALE);
        let Some((reading, _)) = fresh else {
            let desired = self.decided.unwrap_or(current);
            self.history.wanted(desired, now);
            return Decision { desired, reason: Reason::NoData, demand: None };
        };
        let (mut wanted, mut reason) = self.wanted(policy, current, &reading, now);
        let known = reading.answered >= reading.proxies;
        self.history.wanted(if known { wanted } else { wanted.max(current) }, now);
        if wanted > current {
            let (limited, held) = self.rise(wanted, current, now);
            wanted = limited;
            reason = held.unwrap_or(reason);
        } else if wanted < current {
            (wanted, reason) = self.fall(policy, current, &reading, now);
        }
        let bounded = wanted.clamp(policy.least, policy.most);
        if bounded < wanted {
            reason = Reason::AtMost;
        } else if bounded > wanted {
            reason = Reason::AtLeast;
        }
        if bounded < current {
            self.lowered = Some(now);
        }
        self.decided = Some(bounded);
        Decision { desired: bounded, reason, demand: self.history.demand(now) }
    }

    /// What the demand asks for, before any brake.
    fn wanted(
        &mut self,
        policy: &Policy,
        current: u32,
        reading: &Reading,
        now: Instant,
    ) -> (u32, Reason) {
        // Replicas that may still be starting serve nobody.
        let started = self.history.started(current, policy.cold_start, now);
        let capacity = u64::from(started) * u64::from(policy.in_flight_per_replica);
        let full = reading.queued > 0 || reading.in_flight >= capacity;
        let crowded = reading.queued > 0 || reading.in_flight > capacity + capacity / CROWDED;
        self.history.crowded(crowded, policy.cold_start * 2 + STABLE, now);
        let demand = self.history.demand(now).unwrap_or_default();
        let demand = match self.history.offered(now) {
            Some(offered) => demand.min(offered * CATCHING_UP),
            None => demand,
        };
        let by_demand = replicas(demand, policy.in_flight_per_replica);
        if current == 0 && self.history.held(reading) > 0.0 {
            return (by_demand.max(1), Reason::FromZero);
        }
        let late = policy.first_token.is_some_and(|limit| {
            reading.first_token.is_some_and(|(p95, seen)| p95 > limit && seen >= ENOUGH)
        });
        let patience = policy.cold_start * 2;
        let on_their_way =
            self.raised.is_some_and(|(_, at)| now.saturating_duration_since(at) < patience);
        if late && full && current > 0 && !on_their_way {
            self.floor = Some((current.saturating_add(1), now + patience));
        }
        let floor = self.floor.filter(|(_, until)| *until > now).map_or(0, |(floor, _)| floor);
        if floor > by_demand {
            (floor, Reason::LateFirstTokens)
        } else if late && !full {
            (by_demand, Reason::LateWithoutLoad)
        } else {
            (by_demand, Reason::Demand)
        }
    }

    /// How far the number may rise now.
    fn rise(&mut self, wanted: u32, current: u32, now: Instant) -> (u32, Option<Reason>) {
        let from = match self.raised {
            Some((from, at)) if now.saturating_duration_since(at) < UP_EVERY => from,
            Some(_) | None => {
                self.raised = Some((current, now));
                current
            }
        };
        let most = from.saturating_mul(UP_FACTOR).max(from.saturating_add(UP_MORE));
        if wanted > most { (most.max(current), Some(Reason::RisingSlowly)) } else { (wanted, None) }
    }

    /// How far the number may fall now.
    fn fall(
        &self,
        policy: &Policy,
        current: u32,
        reading: &Reading,
        now: Instant,
    ) -> (u32, Reason) {
        if reading.answered < reading.proxies {
            return (current, Reason::SomeUnread);
        }
        // Before so much time has been seen, nobody knows how calm it is.
        if !self.history.covers(policy.calm, now) {
            return (current, Reason::WaitingForCalm);
        }
        let calm = self.history.most_wanted(policy.calm, now);
        let in_flight = replicas(self.history.held(reading), policy.in_flight_per_replica);
        let wanted = calm.max(in_flight);
        if wanted >= current {
            return (current, Reason::WaitingForCalm);
        }
        if self.lowered.is_some_and(|at| now.saturating_duration_since(at) < DOWN_EVERY) {
            return (current, Reason::FallingSlowly);
        }
        let step = (current * DOWN_PERCENT / 100).max(1);
        let slowest = current - step;
        if wanted < slowest { (slowest, Reason::FallingSlowly) } else { (wanted, Reason::Demand) }
    }
}

/// Enough replicas for the demand.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, positive")]
fn replicas(demand: f64, per_replica: u32) -> u32 {
    // A mean that has all but died out is nobody.
    if demand < 0.01 { 0 } else { (demand / f64::from(per_replica.max(1))).ceil() as u32 }
}
