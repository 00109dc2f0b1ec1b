//! Attempts under way: one, or two when the first is late.
//!
//! It owns how an attempt is begun and how two of them are awaited at once. Which target, whether a
//! second one may be asked, and what an end means are the business of [`super::failover`].

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::{Instant, timeout};

use super::{
    attempt::{self, Answer, Deadlines, Failed},
    facts::Chat,
    outbound::{self, Unsendable},
    state::{RouteHandles, Worker},
};
use crate::{
    dialect::{Loss, View},
    select::{Ask, Flight, Pick, PickedPod, Targets},
    table::{Key, Route, Target},
};

/// What every attempt of a request shares.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The worker that serves.
    pub worker: &'a Worker,
    /// The request's route.
    pub route: &'a Route,
    /// What stands beside it.
    pub handles: &'a RouteHandles,
    /// The request.
    pub chat: &'a Chat,
    /// How the client sees the answer.
    pub view: &'a View,
    /// The request as the choice sees it.
    pub ask: Ask,
    /// When the request arrived.
    pub arrived: Instant,
}

impl<'a> Common<'a> {
    /// What the choice is made among.
    pub fn targets(self) -> Targets<'a> {
        let Self { route, handles, .. } = self;
        let RouteHandles { keys, health, backends, accounts, spills, .. } = handles;
        Targets { route, keys, health, backends, accounts, spills }
    }
}

/// An attempt under way.
pub struct Launched<'a> {
    /// What was chosen.
    pub pick: Pick,
    /// The target.
    pub target: &'a Arc<Target>,
    /// The key.
    pub key: Option<&'a Key>,
    /// What the target does not get as the client wrote it.
    pub losses: Vec<Loss>,
    /// What is noted of the target.
    pub flight: Flight,
    /// When it was sent.
    pub sent: Instant,
    /// When the last attempt of the request must begin.
    pub last_attempt: Instant,
    /// When the answer must be through.
    pub ends: Instant,
    attempt: Pin<Box<dyn Future<Output = Result<Answer, Failed>> + 'a>>,
}

impl fmt::Debug for Launched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").field("pick", &self.pick).finish_non_exhaustive()
    }
}

/// Why there is no attempt.
#[derive(Debug)]
pub enum Grounded {
    /// The route has no such target; nothing is left to do.
    Gone,
    /// Another request has taken the last place in the account's quota.
    OverQuota,
    /// The request cannot be said to this target.
    Unsendable(Unsendable),
}

/// Begins an attempt. `traceparent` is what its provider is told of the trace in place of what the client
/// said.
///
/// # Errors
/// When the request cannot be sent there.
pub fn launch(
    common: Common<'_>,
    pick: Pick,
    sent: Instant,
    traceparent: Option<HeaderValue>,
) -> Result<Launched<'_>, Grounded> {
    let Common { worker, route, handles, chat, view, ask, arrived } = common;
    let target = route.targets.get(pick.target).ok_or(Grounded::Gone)?;
    let health = handles.health.get(pick.target).ok_or(Grounded::Gone)?;
    let mut outbound = outbound::outbound(chat, target).map_err(Grounded::Unsendable)?;
    outbound.traceparent = traceparent;
    let account = handles.accounts.get(pick.target).and_then(Option::as_ref);
    let claim = account
        .map(|account| account.claim(&target.credential.quota, ask.tokens(), sent))
        .transpose()
        .map_err(|_over| Grounded::OverQuota)?;
    let losses = outbound.losses.clone();
    let key = pick.key.as_ref().and_then(|key| target.credential.keys.get(key.at));
    let ends = arrived + target.timeouts.total;
    // A whole answer begins when all of it is written: for it failover's time bounds when the last
    // attempt begins, and not how long a model may write.
    let last_attempt = (arrived + route.failover.total_budget).min(ends);
    let patient = pick.patience.map_or(last_attempt, |wait| last_attempt.min(sent + wait));
    let deadlines = Deadlines { begin: if chat.stream { patient } else { ends }, end: ends };
    let mut flight = Flight::begin(
        Arc::clone(health),
        route.choosing.breaker,
        ask.lane,
        ask.input_tokens,
        pick.probe,
        sent,
    )
    .within(claim);
    if let Some(pod) = &pick.pod {
        flight = flight.at(pod, sent);
    }
    if let Some(key) = &pick.key {
        key.state.asked(sent);
    }
    let to = (&**target, pick.pod.as_ref().map(PickedPod::address));
    let attempt = attempt::attempt(&worker.pool, chat, to, key, outbound, view, deadlines);
    let attempt = Box::pin(attempt);
    Ok(Launched { pick, target, key, losses, flight, sent, last_attempt, ends, attempt })
}

/// How the first of the attempts to end ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The attempt.
    pub one: Launched<'a>,
    /// What came of it.
    pub result: Result<Answer, Failed>,
    /// The other attempt, still under way.
    pub other: Option<Launched<'a>>,
}

/// Awaits an attempt. After `wait` begins a second one, if `second` gives one, and awaits whichever ends
/// first.
pub async fn race<'a>(
    mut first: Launched<'a>,
    wait: Option<Duration>,
    second: impl FnOnce() -> Option<Launched<'a>>,
) -> Ended<'a> {
    let result = match wait {
        None => Some(first.attempt.as_mut().await),
        Some(wait) => timeout(wait, first.attempt.as_mut()).await.ok(),
    };
    if let Some(result) = result {
        return Ended { one: first, result, other: None };
    }
    let Some(mut second) = second() else {
        let result = first.attempt.as_mut().await;
        return Ended { one: first, result, other: None };
    };
    tokio::select! {
        biased;
        result = first.attempt.as_mut() => Ended { one: first, result, other: Some(second) },
        result = second.attempt.as_mut() => Ended { one: second, result, other: Some(first) },
    }
}
