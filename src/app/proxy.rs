//! `trunkline proxy`: the data plane of a cluster. Tables come from the API server's Secrets.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde::Serialize;

use super::{
    Failure,
    args::{AnonymousCallers, ProxyArgs},
    plane::{Plane, Ports, Tables, start_log},
};
use crate::{
    observe::source::Source as Meter,
    proxy::authenticate::Anonymous,
    source::{self, Version},
};

pub(super) fn proxy(args: &ProxyArgs) -> Result<(), Failure> {
    start_log(args.serve.log_format)?;
    let plane = Plane::new(anonymous(args))?;
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
    let state = Arc::new(move |token: &[u8]| {
        let version = shown.load_full()?;
        version.token.admits(token).then(|| state(&version, &tables)).flatten()
    });
    let linger = Duration::from_secs(args.pre_stop);
    plane.start(ports, &args.serve, linger, Some(state))?.until_the_end()
}

/// What the operator asks a proxy: which table serves, and how the keys are.
fn state(version: &Version, tables: &Tables) -> Option<String> {
    #[derive(Serialize)]
    struct State<'a> {
        epoch: u64,
        revision: u64,
        hash: &'a str,
        keys: Vec<KeyState<'a>>,
    }
    #[derive(Serialize)]
    struct KeyState<'a> {
        namespace: &'a str,
        credential: &'a str,
        key: &'a str,
        state: &'static str,
    }
    let keys = tables.keys();
    let keys = keys
        .iter()
        .map(|sample| KeyState {
            namespace: &sample.namespace,
            credential: &sample.credential,
            key: &sample.key,
            state: if sample.resting { "resting" } else { "ready" },
        })
        .collect();
    let (epoch, revision) = (version.stamp.epoch, version.stamp.revision);
    serde_json::to_string(&State { epoch, revision, hash: version.hash.as_str(), keys }).ok()
}

/// Who is served without a key: in a cluster nobody, unless it is asked for.
fn anonymous(args: &ProxyArgs) -> Anonymous {
    match args.serve.anonymous {
        Some(AnonymousCallers::Allow) => Anonymous::Allow,
        Some(AnonymousCallers::Deny) | None => Anonymous::Deny,
    }
}
