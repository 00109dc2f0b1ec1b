//! Phases 4 and 5 together: choose a target, try it, and go on until there is an answer or no hope.
//!
//! The loop itself decides nothing: [`crate::select`] says which target and key, [`super::attempt`]
//! says what came of it, [`super::retry`] says what to do next. What it owns is the bookkeeping:
//! what has been tried, what each attempt told, which keys must rest.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    attempt::{self, Answer, Deadlines, Failed},
    error::{NoAnswer, Tried},
    facts::Chat,
    outbound::{self, Unsendable},
    retry::{self, Allowance, Failure, Next, Progress},
    settle::Ledger,
    state::{RouteHandles, Worker},
};
use crate::{
    dialect::{ErrorClass, Loss, View},
    select::{self, Ask, Flight, Lane, Pick, Targets},
    table::{Key, Route, Target},
};

/// How soon a failure must have come to be one that is gone at once.
const QUICK: Duration = Duration::from_secs(1);

/// About how many bytes of a request make a token, the JSON around the text included.
const BYTES_A_TOKEN: usize = 5;

/// How many output tokens are expected.
const OUTPUT_TOKENS: u32 = 256;

/// The answer of a target, with what it did not get.
#[derive(Debug)]
pub struct Served {
    /// Who answered.
    pub target: Arc<Target>,
    /// The answer.
    pub answer: Answer,
    /// What the target did not get as the client wrote it.
    pub losses: Vec<Loss>,
    /// When the answer must be through.
    pub ends: Instant,
    /// How many parts of the route's SLO were given up for it.
    pub relaxed: usize,
}

/// Finds an answer.
///
/// # Errors
/// When there is none; the ledger then holds every attempt.
pub async fn serve(
    worker: &Worker,
    route: &Route,
    handles: &RouteHandles,
    chat: &Chat,
    view: &View,
    ledger: &mut Ledger,
) -> Result<Served, NoAnswer> {
    let begin = ledger.arrived() + route.failover.total_budget;
    let mut excluded = select::Tried::default();
    let mut tried: Vec<Tried> = Vec::new();
    let mut refused = Vec::new();
    let mut again: Option<Pick> = None;
    let ask = ask(chat);
    let targets = Targets { route, keys: &handles.keys, health: &handles.health };
    let choose = |excluded: &select::Tried, now| {
        select::choose(targets, &ask, excluded, now, &mut || worker.random())
    };
    loop {
        let sent = Instant::now();
        let Some(pick) = again.take().or_else(|| choose(&excluded, sent)) else { break };
        let Some(target) = route.targets.get(pick.target) else { break };
        let Some(health) = handles.health.get(pick.target) else { break };
        let outbound = match outbound::outbound(chat, target) {
            Ok(outbound) => outbound,
            Err(Unsendable::Malformed(error)) => return Err(NoAnswer::Malformed(error)),
            Err(Unsendable::Refused(refusal)) => {
                excluded.target(pick.target);
                refused.push((Arc::clone(&target.name), refusal));
                continue;
            }
        };
        let losses = outbound.losses.clone();
        let key = pick.key.as_ref().and_then(|key| target.credential.keys.get(key.at));
        let ends = ledger.arrived() + target.timeouts.total;
        // A whole answer begins when all of it is written: for it failover's time bounds when the last
        // attempt begins, and not how long a model may write.
        let last_attempt = begin.min(ends);
        let patient = pick.patience.map_or(last_attempt, |wait| last_attempt.min(sent + wait));
        let deadlines = Deadlines { begin: if chat.stream { patient } else { ends }, end: ends };
        let mut flight = Flight::begin(
            Arc::clone(health),
            route.choosing.breaker,
            ask.lane,
            ask.input_tokens,
            pick.probe,
            sent,
        );
        ledger.try_target(target, pick.target);
        let attempt = attempt::attempt(&worker.pool, chat, target, key, outbound, view, deadlines);
        let Failed { failure, said } = match Box::pin(attempt).await {
            Ok(answer) => {
                flight.answered(Instant::now());
                ledger.answered(sent.elapsed(), flight);
                if let Some(key) = &pick.key {
                    key.state.wake();
                }
                let (target, relaxed) = (Arc::clone(target), pick.relaxed);
                return Ok(Served { target, answer, losses, ends, relaxed });
            }
            Err(failed) => failed,
        };
        ledger.failed(&failure.word(), failure.outcome(), sent.elapsed());
        let now = Instant::now();
        land(flight, &pick, &failure, now - sent, now, worker.random());
        rest(&pick, key, &failure, now);
        exclude(&mut excluded, &pick, target, &failure);
        let at_target = tried.iter().filter(|one| one.target == target.name).count();
        let progress = Progress {
            attempts: ledger.tries(),
            at_target: u32::try_from(at_target + 1).unwrap_or(u32::MAX),
            committed: false,
            alternatives: choose(&excluded, now).is_some(),
            trusted: !pick.probe && now - sent < QUICK,
        };
        let allowance = Allowance {
            attempts: route.failover.max_attempts,
            deadline: last_attempt,
            on: route.failover.on,
            budget: worker.retries.borrow().has_one(),
        };
        let next = retry::next(&failure, progress, allowance, now, worker.random());
        let own = chat.api.dialect() == target.dialect();
        let said = if own { said } else { said.for_strangers() };
        tried.push(Tried { target: Arc::clone(&target.name), failure, said });
        match next {
            Next::GiveUp => break,
            Next::Move => {}
            Next::Stay(wait) => {
                sleep_until(now + wait).await;
                again = Some(pick);
            }
        }
        worker.retries.borrow_mut().spend();
    }
    Err(match (tried.is_empty(), refused.is_empty()) {
        (false, _) => NoAnswer::Failed(tried),
        (true, false) => NoAnswer::Refused(refused),
        (true, true) => NoAnswer::NoTarget,
    })
}

/// What the choice must know of a request. Tokens are guessed by the bytes: the choice compares
/// targets, and all of them get the same guess.
pub fn ask(chat: &Chat) -> Ask {
    let lane = if chat.stream { Lane::Streamed } else { Lane::Whole };
    let input_tokens = u32::try_from(chat.body.len() / BYTES_A_TOKEN).unwrap_or(u32::MAX);
    Ask { lane, input_tokens, output_tokens: OUTPUT_TOKENS }
}

/// Notes what a failure says of its target.
fn land(
    mut flight: Flight,
    pick: &Pick,
    failure: &Failure,
    took: Duration,
    now: Instant,
    jitter: f64,
) {
    if !failure.blames_target() {
        flight.excused();
    } else if flight.lane() == Lane::Streamed
        && pick.patience.is_some_and(|patience| took >= patience)
    {
        flight.gave_up(now, jitter);
    } else {
        flight.failed(now, jitter);
    }
}

/// Lets a key rest that the provider limited or refused.
fn rest(pick: &Pick, key: Option<&Key>, failure: &Failure, now: Instant) {
    let (Some(picked), Some(key)) = (&pick.key, key) else { return };
    let limited = matches!(failure, Failure::Provider { class: ErrorClass::RateLimited, .. });
    if limited {
        // A wait that the provider names is its own knowledge; ours is a guess.
        let wait = failure.retry_after().unwrap_or(key.cooldown_rate_limited);
        picked.state.rest_until(now + wait);
    } else if failure.refuses_key() {
        picked.state.rest_until(now + key.cooldown_rejected);
    }
}

/// What this request need not try again: a key where the key is at fault, else the target.
fn exclude(excluded: &mut select::Tried, pick: &Pick, target: &Target, failure: &Failure) {
    let limited = matches!(failure, Failure::Provider { class: ErrorClass::RateLimited, .. });
    match &pick.key {
        Some(key) if failure.refuses_key() || (limited && target.credential.keys.len() > 1) => {
            excluded.key(key);
        }
        _ => excluded.target(pick.target),
    }
}
