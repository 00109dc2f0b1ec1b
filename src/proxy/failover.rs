//! Phases 4 and 5 together: choose a target, try it, and go on until there is an answer or no hope.
//!
//! The loop itself decides nothing: [`crate::select`] says which target and key and when a second one
//! is worth asking, [`super::race`] says what came of it, [`super::retry`] says what to do next. What
//! it owns is the bookkeeping: what has been tried, what each attempt told, which keys must rest, what
//! was learned of each target.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    affinity,
    attempt::{Answer, Failed},
    error::{NoAnswer, Tried},
    facts::Chat,
    gate,
    needs::needs,
    outbound::Unsendable,
    queue::{self, Line},
    race::{Common, Ended, Grounded, Launched, launch, race},
    retry::{self, Allowance, Failure, Next, Progress},
    settle::Ledger,
    state::{RouteHandles, Worker},
    unserved,
};
use crate::{
    dialect::{ErrorClass, Loss, Refusal, View},
    observe::HedgeResult,
    select::{self, Ask, BYTES_A_TOKEN, Flight, Lane, Pick, hedge_after},
    table::{Key, Preference, Route, Target},
};

/// How soon a failure must have come to be one that is gone at once.
const QUICK: Duration = Duration::from_secs(1);

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

/// What a request has been through.
#[derive(Debug, Default)]
struct Story {
    /// What need not be tried again.
    excluded: select::Tried,
    tried: Vec<Tried>,
    refused: Vec<(Arc<str>, Refusal)>,
    /// Whether the first target was late once; a request is not hedged twice.
    late: bool,
    /// Attempts that no pod has seen: the pod was gone before anybody knew.
    unseen: u32,
    /// The late target, and the second one that was asked because of it.
    hedge: Option<(usize, usize)>,
}

/// What follows when an attempt did not begin.
enum Further {
    /// Another target may do.
    Choose,
    /// None will.
    Stop,
}

/// Finds an answer.
///
/// # Errors
/// When there is none; the ledger then holds every attempt.
pub async fn serve(
    worker: &Worker,
    route: &Route,
    handles: &RouteHandles,
    (chat, preference): (&Chat, Option<Preference>),
    view: &View,
    ledger: &mut Ledger,
) -> Result<Served, NoAnswer> {
    let mut common = Common {
        worker,
        route,
        handles,
        chat,
        view,
        ask: ask(chat, route, preference),
        arrived: ledger.arrived(),
    };
    ledger.needs(&common.ask.needs);
    let input_tokens = common.ask.input_tokens;
    let mut story = Story::default();
    let mut again: Option<Pick> = None;
    let mut under_way: Option<Launched<'_>> = None;
    loop {
        let since = Instant::now();
        let launched = if let Some(launched) = under_way.take() {
            launched
        } else {
            let pick = again.take().or_else(|| decide(common, &story.excluded, since));
            let Some(pick) = pick else {
                if stand_in_line(&mut common, &story, ledger).await? {
                    continue;
                }
                break;
            };
            let at = pick.target;
            match begin(common, pick, since, ledger) {
                Ok(launched) => launched,
                Err(why) => match story.grounded(route, at, why)? {
                    Further::Choose => continue,
                    Further::Stop => break,
                },
            }
        };
        let (first, wait) = (launched.pick.target, wait(common, &launched, &story, ledger));
        let raced = race(launched, wait, || hedge(common, first, &mut story, ledger)).await;
        let now = Instant::now();
        ledger.waited(now - since);
        let Ended { one, result, other } = raced;
        let Failed { failure, said } = match result {
            Ok(answer) => return Ok(answered(one, answer, other, &story, input_tokens, ledger)),
            Err(failed) => failed,
        };
        let (trusted, deadline) = (!one.pick.probe && now - one.sent < QUICK, one.last_attempt);
        let (pick, target) = failed(one, &failure, now, worker, &mut story, ledger);
        let own = chat.api.dialect() == target.dialect();
        let said = if own { said } else { said.for_strangers() };
        let name = Arc::clone(&target.name);
        if other.is_some() {
            story.tried.push(Tried { target: name, failure, said });
            under_way = other;
            continue;
        }
        let at_target = story.tried.iter().filter(|one| one.target == name).count();
        let unseen = pick.pod.is_some() && failure == Failure::Connect;
        story.unseen += u32::from(unseen);
        let alternatives = choose(common, &story.excluded, now).is_some();
        let progress = Progress {
            attempts: ledger.tries().saturating_sub(story.unseen),
            at_target: u32::try_from(at_target + 1).unwrap_or(u32::MAX),
            committed: false,
            alternatives,
            // Another pod is better than the same one again.
            trusted: trusted && !(pick.pod.is_some() && alternatives),
        };
        let allowance = Allowance {
            attempts: route.failover.max_attempts,
            deadline,
            on: route.failover.on,
            budget: unseen || worker.retries.borrow().has_one(),
        };
        let next = retry::next(&failure, progress, allowance, now, worker.random());
        let phase = failure.phase();
        story.tried.push(Tried { target: name, failure, said });
        match next {
            Next::GiveUp => break,
            Next::Move => handles.cells.failover(phase),
            Next::Stay(wait) => {
                sleep_until(now + wait).await;
                again = Some(pick);
            }
        }
        if !unseen {
            worker.retries.borrow_mut().spend();
        }
    }
    if story.hedge.is_some() {
        ledger.hedged(HedgeResult::Neither);
    }
    Err(story.end(common))
}

/// Waits for the first pod of a Service, where nothing else is left to ask; whether one has come. Who
/// has waited has that much more time to be served.
async fn stand_in_line(
    common: &mut Common<'_>,
    story: &Story,
    ledger: &mut Ledger,
) -> Result<bool, NoAnswer> {
    if !story.tried.is_empty() {
        return Ok(false);
    }
    let since = Instant::now();
    let until = ledger.arrived() + common.route.choosing.queue.wait;
    let line = queue::wait(*common, &story.excluded, until).await;
    let waited = since.elapsed();
    ledger.waited(waited);
    common.arrived += waited;
    match line {
        Line::Came => Ok(true),
        Line::Full => Err(NoAnswer::LineFull),
        Line::InVain => Ok(false),
    }
}

impl Story {
    /// Notes why an attempt did not begin.
    fn grounded(&mut self, route: &Route, at: usize, why: Grounded) -> Result<Further, NoAnswer> {
        let refusal = match why {
            Grounded::Gone => return Ok(Further::Stop),
            Grounded::OverQuota => None,
            Grounded::Unsendable(Unsendable::Malformed(error)) => {
                return Err(NoAnswer::Malformed(error));
            }
            Grounded::Unsendable(Unsendable::Refused(refusal)) => Some(refusal),
        };
        self.excluded.target(at);
        let target = route.targets.get(at);
        self.refused.extend(target.zip(refusal).map(|(it, why)| (Arc::clone(&it.name), why)));
        Ok(Further::Choose)
    }

    /// Why there is no answer.
    fn end(mut self, common: Common<'_>) -> NoAnswer {
        if !self.tried.is_empty() {
            return NoAnswer::Failed(self.tried);
        }
        let full = unserved::over_quota(common, Instant::now());
        if !full.is_empty() {
            return NoAnswer::OverQuota(full);
        }
        self.refused.extend(unserved::incapable(common));
        if self.refused.is_empty() { NoAnswer::NoTarget } else { NoAnswer::Refused(self.refused) }
    }
}

fn choose(common: Common<'_>, excluded: &select::Tried, now: Instant) -> Option<Pick> {
    let random = &mut || common.worker.random();
    select::choose(common.targets(), &common.ask, excluded, now, random)
}

/// Chooses who is asked next, and notes how long that took.
fn decide(common: Common<'_>, excluded: &select::Tried, now: Instant) -> Option<Pick> {
    let pick = choose(common, excluded, now);
    common.worker.cells.decision.observe(now.elapsed());
    pick
}

/// Begins an attempt, if the request can be said to that target.
fn begin<'a>(
    common: Common<'a>,
    pick: Pick,
    now: Instant,
    ledger: &mut Ledger,
) -> Result<Launched<'a>, Grounded> {
    let (span, traceparent) = ledger.span().unzip();
    let launched = launch(common, pick, now, traceparent)?;
    if let Some(hedge) = &common.route.choosing.hedge
        && ledger.tries() == 0
        && common.ask.lane == Lane::Streamed
    {
        common.handles.hedges.borrow_mut().earn(hedge, launched.pick.cost);
    }
    if let (0, Some(kept)) = (ledger.tries(), launched.pick.kept) {
        common.handles.cells.affinity(affinity::result(kept));
    }
    ledger.try_target(launched.target, launched.pick.target, span);
    Ok(launched)
}

/// How long to wait before a second target is asked; `None` when none will be.
fn wait(
    common: Common<'_>,
    launched: &Launched<'_>,
    story: &Story,
    ledger: &Ledger,
) -> Option<Duration> {
    let Common { route, ask, .. } = common;
    let hedge = route.choosing.hedge.as_ref()?;
    let may =
        ask.lane == Lane::Streamed && !story.late && ledger.tries() < route.failover.max_attempts;
    may.then(|| hedge_after(common.targets(), hedge, launched.pick.target, ask.lane)).flatten()
}

/// Asks a second target because `first` is late, if there is one and the budget allows it.
fn hedge<'a>(
    common: Common<'a>,
    first: usize,
    story: &mut Story,
    ledger: &mut Ledger,
) -> Option<Launched<'a>> {
    story.late = true;
    let mut excluded = story.excluded.clone();
    excluded.target(first);
    let now = Instant::now();
    let pick = choose(common, &excluded, now)?;
    common.handles.hedges.borrow_mut().spend(pick.cost).then_some(())?;
    let launched = begin(common, pick, now, ledger).ok()?;
    story.hedge = Some((first, launched.pick.target));
    Some(launched)
}

/// What the choice must know of a request. Tokens are guessed by the bytes: the choice compares
/// targets, and all of them get the same guess.
pub fn ask(chat: &Chat, route: &Route, preference: Option<Preference>) -> Ask {
    let lane = if chat.stream { Lane::Streamed } else { Lane::Whole };
    let affinity = route.choosing.affinity.as_ref();
    let belonging = affinity.and_then(|affinity| affinity::belonging(chat, affinity));
    let needs = needs(chat, route.targets.iter().map(|target| target.ability));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    let input_tokens = (chat.body.len() as f32 / BYTES_A_TOKEN) as u32;
    Ask { lane, input_tokens, output_tokens: OUTPUT_TOKENS, needs, preference, belonging }
}

/// Notes an answer, and lets the attempt go that it overtook.
fn answered(
    one: Launched<'_>,
    answer: Answer,
    other: Option<Launched<'_>>,
    story: &Story,
    input_tokens: u32,
    ledger: &mut Ledger,
) -> Served {
    let Launched { pick, target, losses, ends, mut flight, .. } = one;
    let now = Instant::now();
    if let Some(mut other) = other {
        other.flight.abandoned(now);
        ledger.overtaken(other.pick.target);
    }
    if let Some((first, second)) = story.hedge {
        ledger.hedged(match pick.target {
            at if at == first => HedgeResult::First,
            at if at == second => HedgeResult::Second,
            _ => HedgeResult::Neither,
        });
    }
    flight.answered(now);
    ledger.answered(pick.target, flight);
    if let Some(key) = &pick.key {
        let limits = target.credential.provider.limit_headers;
        key.state.wake();
        if let Some(rest) = gate::rest(&answer.headers, limits, input_tokens, jiff::Timestamp::now)
        {
            key.state.rest_until(now + rest);
        }
    }
    Served { target: Arc::clone(target), answer, losses, ends, relaxed: pick.relaxed }
}

/// Notes a failure: of its target, of its key, and what this request need not try again.
fn failed<'a>(
    one: Launched<'a>,
    failure: &Failure,
    now: Instant,
    worker: &Worker,
    story: &mut Story,
    ledger: &mut Ledger,
) -> (Pick, &'a Arc<Target>) {
    let Launched { pick, target, key, flight, sent, .. } = one;
    ledger.failed(pick.target, &failure.word(), failure.outcome());
    land(flight, &pick, failure, now - sent, now, worker.random());
    rest(&pick, key, failure, now);
    exclude(&mut story.excluded, &pick, target, failure);
    (pick, target)
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

/// Lets a key rest that the provider limited, and puts one into quarantine that it refused.
fn rest(pick: &Pick, key: Option<&Key>, failure: &Failure, now: Instant) {
    let (Some(picked), Some(key)) = (&pick.key, key) else { return };
    let limited = matches!(failure, Failure::Provider { class: ErrorClass::RateLimited, .. });
    if limited {
        // A wait that the provider names is its own knowledge; ours is a guess.
        let wait = failure.retry_after().unwrap_or(key.cooldown_rate_limited);
        picked.state.rest_until(now + wait);
    } else if let Some(why) = failure.refusal() {
        picked.state.refuse(why, now, now + key.cooldown_rejected);
    }
}

/// What this request need not try again: a key where the key is at fault, a pod where another may do
/// better, else the target.
fn exclude(excluded: &mut select::Tried, pick: &Pick, target: &Target, failure: &Failure) {
    let limited = matches!(failure, Failure::Provider { class: ErrorClass::RateLimited, .. });
    match &pick.key {
        Some(key) if failure.refuses_key() || (limited && target.credential.keys.len() > 1) => {
            excluded.key(key);
        }
        _ => match pick.pod.as_ref().filter(|_| failure.blames_one_pod()) {
            Some(pod) => excluded.pod(pod),
            None => excluded.target(pick.target),
        },
    }
}
