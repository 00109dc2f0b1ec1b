//! What the proxies have to do: asked of each of them, and added up for one autoscaler.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::{
    api::DemandSpec,
    autoscale::Reading,
    control::{acks::Lines, line::Line},
    table::ObjectId,
};

/// The longest wait for an answer: one question must not meet the next one.
const ANSWER: Duration = Duration::from_millis(400);

/// What one proxy says.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Demand {
    backends: Vec<Backend>,
}

/// What a model of a credential has to do at one proxy.
#[derive(Clone, Debug, Deserialize)]
struct Backend {
    namespace: String,
    credential: String,
    in_flight: u64,
    #[serde(default)]
    queued: u64,
    /// Requests that another target served because there was no pod; only grows.
    #[serde(default)]
    passed_over: u64,
    started: u64,
    first_token_ms: Option<f64>,
    #[serde(default)]
    first_tokens: u32,
}

/// What all proxies said at one time; none of those that did not answer.
#[derive(Clone, Debug)]
pub(super) struct Round {
    at: Instant,
    said: BTreeMap<String, Option<Demand>>,
}

/// The connections to the proxies.
#[derive(Debug)]
pub(super) struct Asker {
    lines: Lines,
    open: BTreeMap<String, (SocketAddr, Line)>,
}

impl Asker {
    pub(super) const fn new(lines: Lines) -> Self {
        Self { lines, open: BTreeMap::new() }
    }

    /// Asks all proxies at once.
    pub(super) async fn ask(&mut self) -> Round {
        let proxies = self.lines.proxies.borrow_and_update().clone();
        let wanted = self.lines.wanted.borrow_and_update().clone();
        self.open.retain(|instance, (address, _)| proxies.get(instance) == Some(address));
        for (instance, address) in &proxies {
            let line = || (*address, Line::new(*address));
            self.open.entry(instance.clone()).or_insert_with(line);
        }
        let at = Instant::now();
        let Some(wanted) = wanted else {
            return Round { at, said: proxies.into_keys().map(|one| (one, None)).collect() };
        };
        let questions = self.open.iter_mut().map(async |(instance, (_, line))| {
            let page = line.get("/internal/demand", &wanted.token);
            let body = timeout(ANSWER, page).await.ok().and_then(Result::ok);
            (instance.clone(), body.and_then(|body| serde_json::from_slice(&body).ok()))
        });
        Round { at, said: join_all(questions).await.into_iter().collect() }
    }
}

/// Whose requests count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of them.
    All,
    /// Those at one account or server.
    Of(ObjectId),
}

impl Selection {
    pub(super) fn of(namespace: &str, demand: &DemandSpec) -> Self {
        match &demand.credential_ref {
            Some(credential) => Self::Of(ObjectId::new(namespace, credential.name.as_str())),
            None => Self::All,
        }
    }

    fn takes(&self, backend: &Backend) -> bool {
        match self {
            Self::All => true,
            Self::Of(id) => *id.namespace == *backend.namespace && *id.name == *backend.credential,
        }
    }
}

/// One proxy's part of a selection.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    in_flight: u64,
    queued: u64,
    passed_over: u64,
    started: u64,
    first_token: Option<(f64, u32)>,
}

fn part(demand: &Demand, selection: &Selection) -> Part {
    let mut part = Part::default();
    for backend in demand.backends.iter().filter(|backend| selection.takes(backend)) {
        part.in_flight += backend.in_flight;
        part.queued += backend.queued;
        part.passed_over += backend.passed_over;
        part.started += backend.started;
        let told = backend.first_token_ms.map(|millis| (millis, backend.first_tokens));
        part.first_token = later(part.first_token, told);
    }
    part
}

/// The slower of two.
fn later(one: Option<(f64, u32)>, other: Option<(f64, u32)>) -> Option<(f64, u32)> {
    match (one, other) {
        (Some(one), Some(other)) if one.0 >= other.0 => Some(one),
        (one, other) => other.or(one),
    }
}

/// Adds up what a selection has to do; how much came and went since the round before is known of the
/// proxies that answered both times.
#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
pub(super) fn reading(round: &Round, before: Option<&Round>, selection: &Selection) -> Reading {
    let mut reading = Reading {
        proxies: u32::try_from(round.said.len()).unwrap_or(u32::MAX),
        ..Reading::default()
    };
    let mut first_token = None;
    for (instance, demand) in &round.said {
        let Some(demand) = demand else { continue };
        let now = part(demand, selection);
        reading.answered += 1;
        reading.in_flight += now.in_flight;
        reading.queued += now.queued;
        first_token = later(first_token, now.first_token);
        let Some(before) = before else { continue };
        let Some(Some(was)) = before.said.get(instance) else { continue };
        let was = part(was, selection);
        let seconds = (round.at - before.at).as_secs_f64().max(0.001);
        let elsewhere = now.passed_over.saturating_sub(was.passed_over) as f64;
        reading.passed_over += elsewhere / seconds;
        let arrived = now.started.saturating_sub(was.started) as f64;
        let ended = (arrived + was.in_flight as f64 - now.in_flight as f64).max(0.0);
        reading.arrived += arrived / seconds;
        reading.ended += ended / seconds;
    }
    reading.first_token =
        first_token.map(|(millis, seen)| (Duration::from_secs_f64(millis / 1e3), seen));
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(in_flight: u64, started: u64) -> Demand {
        let text = format!(
            r#"{{"backends": [
                {{"namespace": "team", "credential": "vllm", "model": "m", "in_flight": {in_flight},
                  "started": {started}, "first_token_ms": 300.0, "first_tokens": 60}},
                {{"namespace": "team", "credential": "other", "model": "m", "in_flight": 7,
                  "started": 70, "first_token_ms": null, "first_tokens": 0}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_the_proxies_say_is_added_up_and_what_came_between_is_counted() {
        let at = Instant::now();
        let round = |at, one, other: Option<Demand>| Round {
            at,
            said: BTreeMap::from([("a".to_owned(), Some(one)), ("b".to_owned(), other)]),
        };
        let first = round(at, said(4, 100), Some(said(1, 10)));
        let second = round(at + Duration::from_secs(2), said(5, 120), None);
        let vllm = Selection::Of(ObjectId::new("team", "vllm"));
        let now = reading(&second, Some(&first), &vllm);
        assert_eq!((now.in_flight, now.answered, now.proxies), (5, 1, 2));
        assert!((now.arrived - 10.0).abs() < 1e-9 && (now.ended - 9.5).abs() < 1e-9, "{now:?}");
        assert_eq!(now.first_token, Some((Duration::from_millis(300), 60)));
        let all = reading(&first, None, &Selection::All);
        assert_eq!((all.in_flight, all.answered), (4 + 7 + 1 + 7, 2));
        assert_eq!((all.arrived, all.ended), (0.0, 0.0));
    }
}
