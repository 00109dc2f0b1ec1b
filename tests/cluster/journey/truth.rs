//! A status never lies: what says `Programmed` is served, by every proxy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use super::{APPS, ask, condition, installed, patch, routes, spec};
use crate::{Test, support::Cluster};

pub const TESTS: [Test; 1] =
    [("journey::truth::what_says_programmed_is_served_by_every_proxy", programmed_is_served)];

const ROUTES: usize = 5;
const COMPARISONS: usize = 1000;

/// Targets are numbered by their edit, and the answer names its target: a proxy that is behind the
/// generation that the status speaks of gives itself away.
fn programmed_is_served(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    let name = |route: usize| format!("truth-{route}");
    for route in 0..ROUTES {
        installed.route(&name(route), &spec(&name(route), "edit-0", "sim-tokens-1"));
    }
    let over = Arc::new(AtomicBool::new(false));
    let (edited, ended) = (Arc::clone(cluster), Arc::clone(&over));
    let editor = thread::spawn(move || {
        edited.block_on(async |client| {
            let routes = routes(client, APPS);
            let mut edits = 0;
            while !ended.load(Ordering::Relaxed) {
                edits += 1;
                let route = name(fastrand::usize(..ROUTES));
                let change = spec(&route, &format!("edit-{edits}"), "sim-tokens-1");
                patch(&routes, &route, json!({ "spec": change })).await;
                let pause = Duration::from_millis(fastrand::u64(20..400));
                tokio::time::sleep(pause).await;
            }
            edits
        })
    });
    let number = |target: &str| target.strip_prefix("edit-")?.parse::<usize>().ok();
    let (mut comparisons, mut lies) = (0, Vec::new());
    while comparisons < COMPARISONS {
        let all = cluster.get(APPS, &["modelroutes.trunkline.dev"]);
        let proxies = installed.proxies();
        for route in all["items"].as_array().unwrap() {
            let model = route["metadata"]["name"].as_str().unwrap();
            let said = condition(route, "Programmed");
            let current = said["observedGeneration"] == route["metadata"]["generation"];
            if !model.starts_with("truth-") || said["status"] != "True" || !current {
                continue;
            }
            let promised = route["spec"]["targets"][0]["name"].as_str().and_then(number);
            for proxy in &proxies {
                let answer = ask(*proxy, model);
                let served = answer.target.as_deref().and_then(number);
                comparisons += 1;
                // A later edit may have come since the status was read, an earlier one may not.
                if answer.status != 200 || served < promised {
                    lies.push(format!("{model} at {proxy}: {served:?}, not {promised:?}: {said}"));
                }
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    let edits = editor.join().unwrap();
    assert!(edits > 20, "only {edits} edits while {comparisons} comparisons were made");
    assert!(lies.is_empty(), "{} of {comparisons} are lies: {lies:#?}", lies.len());
}
