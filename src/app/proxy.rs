//! `trunkline proxy`: the data plane of a cluster. Tables come from the API server's Secrets.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Failure,
    args::{AnonymousCallers, ProxyArgs},
    plane::{Internal, Plane, Ports, Tables, start_log},
};
use crate::{
    observe::{admin, source::Source as Meter},
    proxy::authenticate::Anonymous,
    select::Standing,
    source::{self, Version},
};

pub(super) fn proxy(args: &ProxyArgs) -> Result<(), Failure> {
    start_log(args.serve.log_format)?;
    let plane = Plane::new(anonymous(args), args.serve.shown()?)?;
    let meter = Meter::new(&plane.metrics)?;
    let ports = Ports::bind(args.listen, args.admin_listen, args.serve.workers)?;
    let (client, admin) = ports.addresses()?;
    let client = client.map(tracing::field::display);
    tracing::info!(client, %admin, "waiting for a routing table");
    let mut waiting = Some(plane.readiness.wait_for("routing table"));
    let (tables, used) = (plane.tables.clone(), Arc::new(ArcSwapOption::empty()));
    let (taken, shown) = (tables.clone(), Arc::clone(&used));
    let config =
        source::Config { namespace: args.namespace.clone(), mounted: args.head_dir.clone() };
    source::start(config, meter, move |version: Version| {
        taken.put(&version.table);
        // After the table: what is said to be in use serves the next request already.
        used.store(Some(Arc::new(version)));
        drop(waiting.take());
    })?;
    let (counted, known) = (tables.clone(), Arc::clone(&shown));
    let began = (Instant::now(), jiff::Timestamp::now());
    let state: admin::State = Arc::new(move |token: &[u8]| {
        let version = shown.load_full()?;
        version.token.admits(token).then(|| state(&version, &tables, began)).flatten()
    });
    let demand: admin::State = Arc::new(move |token: &[u8]| {
        let version = known.load_full()?;
        version.token.admits(token).then(|| demand(&counted)).flatten()
    });
    let linger = Duration::from_secs(args.pre_stop);
    let internal = Internal { state: Some(state), demand: Some(demand) };
    plane.start(ports, &args.serve, linger, internal)?.until_the_end()
}

/// What the operator asks a proxy: which table serves, and how the keys are. Times are told by the
/// clock as it was when the process began, so that a time that stands still is told the same.
fn state(version: &Version, tables: &Tables, began: (Instant, jiff::Timestamp)) -> Option<String> {
    #[derive(Serialize)]
    struct State<'a> {
        epoch: u64,
        revision: u64,
        hash: &'a str,
        keys: Vec<KeyState<'a>>,
        /// Of accounts with spend tiers, since the process began.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        spend: Vec<Spend<'a>>,
    }
    #[derive(Serialize)]
    struct Spend<'a> {
        namespace: &'a str,
        credential: &'a str,
        nano_usd: u64,
    }
    #[derive(Serialize)]
    struct KeyState<'a> {
        namespace: &'a str,
        credential: &'a str,
        key: &'a str,
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<String>,
    }
    let clock = |time: Instant| {
        let time = began.1.checked_add(time.saturating_duration_since(began.0)).ok()?;
        Some(jiff::Timestamp::from_second(time.as_second()).ok()?.to_string())
    };
    let keys = tables.keys();
    let keys = keys
        .iter()
        .map(|(credential, key, standing)| {
            let (reason, since) = match standing {
                Standing::Ready | Standing::Resting => (None, None),
                Standing::Refused { why, since } => (Some(why.as_str()), clock(*since)),
            };
            KeyState {
                namespace: &credential.namespace,
                credential: &credential.name,
                key,
                state: standing.as_str(),
                reason,
                since,
            }
        })
        .collect();
    let spent = tables.spent();
    let spend = spent
        .iter()
        .map(|(id, (money, _))| Spend {
            namespace: &id.namespace,
            credential: &id.name,
            nano_usd: money.0,
        })
        .collect();
    let (epoch, revision) = (version.stamp.epoch, version.stamp.revision);
    let hash = version.hash.as_str();
    serde_json::to_string(&State { epoch, revision, hash, keys, spend }).ok()
}

/// What the autoscaler asks a proxy: how much there is to do. Counts of requests ever sent only grow, as
/// long as the process lives.
fn demand(tables: &Tables) -> Option<String> {
    #[derive(Serialize)]
    struct Demand<'a> {
        backends: Vec<Backend<'a>>,
    }
    #[derive(Serialize)]
    struct Backend<'a> {
        namespace: &'a str,
        credential: &'a str,
        model: &'a str,
        in_flight: u32,
        queued: u32,
        passed_over: u64,
        started: u64,
        first_token_ms: Option<f32>,
        first_tokens: u32,
    }
    let loads = tables.loads();
    let backends = loads.iter().map(|load| Backend {
        namespace: &load.credential.namespace,
        credential: &load.credential.name,
        model: &load.model,
        in_flight: load.in_flight,
        queued: 0,
        passed_over: 0,
        started: load.started,
        first_token_ms: load.first_token.map(|(seconds, _)| seconds * 1e3),
        first_tokens: load.first_token.map_or(0, |(_, seen)| seen),
    });
    let lines = tables.lines();
    let lines = lines.iter().map(|(id, queued, passed_over)| Backend {
        namespace: &id.namespace,
        credential: &id.name,
        // Who waits for a server waits for it, whatever the model.
        model: "",
        in_flight: 0,
        queued: *queued,
        passed_over: *passed_over,
        started: 0,
        first_token_ms: None,
        first_tokens: 0,
    });
    serde_json::to_string(&Demand { backends: backends.chain(lines).collect() }).ok()
}

/// Who is served without a key: in a cluster nobody, unless it is asked for.
fn anonymous(args: &ProxyArgs) -> Anonymous {
    match args.serve.anonymous {
        Some(AnonymousCallers::Allow) => Anonymous::Allow,
        Some(AnonymousCallers::Deny) | None => Anonymous::Deny,
    }
}
