//! What the proxies have to do: asked of each of them, and added up for one autoscaler.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::{
    api::DemandSpec,
    autoscale::{Reading, Told, fleet},
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
    /// What a query of Prometheus gives; of the proxies' own none.
    Query(String),
}

impl Selection {
    pub(super) fn of(namespace: &str, demand: &DemandSpec) -> Self {
        match (&demand.credential_ref, &demand.prometheus) {
            (Some(credential), _) => Self::Of(ObjectId::new(namespace, credential.name.as_str())),
            (None, Some(prometheus)) => Self::Query(prometheus.query.clone()),
            (None, None) => Self::All,
        }
    }

    /// The query, where it is one.
    pub(super) fn query(&self) -> Option<&str> {
        match self {
            Self::Query(query) => Some(query),
            Self::All | Self::Of(_) => None,
        }
    }

    fn takes(&self, backend: &Backend) -> bool {
        match self {
            Self::All => true,
            Self::Query(_) => false,
            Self::Of(id) => *id.namespace == *backend.namespace && *id.name == *backend.credential,
        }
    }
}

/// One proxy's part of a selection.
fn part(demand: &Demand, selection: &Selection) -> Told {
    let mut part = Told::default();
    for backend in demand.backends.iter().filter(|backend| selection.takes(backend)) {
        part.add(&Told {
            in_flight: backend.in_flight,
            queued: backend.queued,
            passed_over: backend.passed_over,
            started: backend.started,
            first_token: backend.first_token_ms.map(|millis| (millis, backend.first_tokens)),
        });
    }
    part
}

/// What a selection has to do.
pub(super) fn reading(round: &Round, before: Option<&Round>, selection: &Selection) -> Reading {
    let parts = |round: &Round| {
        let part = |demand: &Option<Demand>| demand.as_ref().map(|demand| part(demand, selection));
        round.said.iter().map(|(name, demand)| (name.clone(), part(demand))).collect()
    };
    let before = before.map(|before| (parts(before), round.at - before.at));
    fleet::reading(&parts(round), before.as_ref().map(|(parts, since)| (parts, *since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_requests_at_the_selected_server_count() {
        let text = r#"{"backends": [
            {"namespace": "team", "credential": "vllm", "model": "m", "in_flight": 4,
             "started": 100, "first_token_ms": 300.0, "first_tokens": 60},
            {"namespace": "team", "credential": "vllm", "model": "", "in_flight": 0, "started": 0,
             "queued": 2, "first_token_ms": null},
            {"namespace": "team", "credential": "other", "model": "m", "in_flight": 7,
             "started": 70, "first_token_ms": null, "first_tokens": 0}]}"#;
        let said = BTreeMap::from([("a".to_owned(), serde_json::from_str(text).unwrap())]);
        let round = Round { at: Instant::now(), said };
        let vllm = Selection::Of(ObjectId::new("team", "vllm"));
        let now = reading(&round, None, &vllm);
        assert_eq!((now.in_flight, now.queued, now.answered), (4, 2, 1));
        assert_eq!(now.first_token, Some((Duration::from_millis(300), 60)));
        let all = reading(&round, None, &Selection::All);
        assert_eq!((all.in_flight, all.queued), (11, 2));
    }
}
