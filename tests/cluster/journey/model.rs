//! A real model server behind the proxies: from zero and back, balanced pod by pod, and what it has no
//! room for served elsewhere.

use std::{fs, net::SocketAddr, sync::Arc};

use serde_json::{Value, json};

use super::{APPS, KEY, ask, installed};
use crate::{
    Test,
    load::{Load, Running},
    support::{Cluster, SOON, eventually, http},
};

pub const TESTS: [Test; 1] = [(
    "journey::model::a_model_server_follows_its_requests_from_zero_and_back",
    a_model_server_follows_its_requests_from_zero_and_back,
)];

const PODS: &str = "app=llama";

/// What every target of the model server adds, so that noise has a length.
const LONG: &str = r#"{"max_tokens": 400, "ignore_eos": true}"#;

/// `examples/autoscaled-backend`, with the model of the tests, the simulator as the hosted model, one thread
/// a server, and times for people who wait.
fn example() -> String {
    let files = ["backend", "autoscaler", "route"].map(|file| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/autoscaled-backend");
        fs::read_to_string(format!("{folder}/{file}.yaml")).unwrap()
    });
    let changes = [
        ("/models/model.gguf,", "/opt/llama/model.gguf, --threads, \"1\","),
        ("maxReplicas: 4", "maxReplicas: 2"),
        ("coldStart: 90s", "coldStart: 5s"),
        ("scaleDownAfter: 5m", "scaleDownAfter: 10s"),
        ("{ inFlightPerPod: 8 }", "{ inFlightPerPod: 4, holdFor: 1s }"),
        ("model: llama-3.3-8b", &format!("model: noise, overrides: {{ set: {LONG} }}")),
        ("name: hosted }, model: claude-haiku-4-5", "name: openai }, model: sim-tokens-20-pace-50"),
    ];
    changes.into_iter().fold(files.join("\n---\n"), |text, (of_users, of_tests)| {
        assert!(text.contains(of_users), "{of_users}");
        text.replace(of_users, of_tests)
    })
}

fn a_model_server_follows_its_requests_from_zero_and_back(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    cluster.apply(APPS, &example()).unwrap();
    installed.programmed("llama", SOON);
    // Nobody else can serve it.
    let own = json!({ "name": "own", "credentialRef": { "name": "llama" }, "model": "noise",
        "overrides": { "set": serde_json::from_str::<Value>(LONG).unwrap() } });
    installed.route("own", &json!({ "models": ["own"], "targets": [own] }));
    let pods = || cluster.ready_pods(APPS, PODS);
    assert_eq!(pods(), []);

    // The request waits, the autoscaler sees it, and the first pod serves it.
    let answer = ask(installed.address, "own");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("\"completion_tokens\":400"), "{}", answer.body);
    assert_eq!(pods().len(), 1);

    let load = of(installed.address, "own");
    let two = eventually("two pods", SOON, pods, |pods| pods.len() == 2);
    for (pod, address) in &two {
        let metrics = SocketAddr::new(address.parse().unwrap(), 8080);
        let served = || served(&http::get(metrics, "/metrics").unwrap().body);
        let before = served();
        eventually(&format!("answers of {pod}"), SOON, served, |now| *now > before + 4000.0);
    }
    load.lost_nothing(20);

    // Sixteen at once, and room for eight.
    let load = of(installed.address, "llama");
    let spilled = || {
        let pages = installed.proxies().into_iter().map(|proxy| {
            let admin = SocketAddr::new(proxy.ip(), 9090);
            http::get(admin, "/metrics").unwrap().body
        });
        let series = "trunkline_spilled_requests_total{namespace=\"apps\",route=\"llama\"";
        pages.map(|page| sum(&page, series)).sum::<f64>()
    };
    eventually("requests that spill over", SOON, spilled, |count| *count >= 20.0);
    load.lost_nothing(20);

    let replicas = || cluster.get(APPS, &["deployment/llama"])["spec"]["replicas"].as_u64();
    // The mean of a minute falls, then ten quiet seconds, then one pod a minute.
    eventually("nobody", SOON * 4, replicas, |replicas| *replicas == Some(0));
    let said =
        cluster.kubectl(&["-n", APPS, "describe", "modelautoscalers.trunkline.dev", "llama"]);
    let said = said.unwrap();
    assert!(said.contains("FromZero") && said.contains("Scaled"), "{said}");
    for kind in ["modelautoscalers", "modelroutes", "providercredentials"] {
        let kind = format!("{kind}.trunkline.dev");
        cluster.kubectl(&["-n", APPS, "delete", &kind, "llama"]).unwrap();
    }
    let rest = ["modelroutes.trunkline.dev/own", "providercredentials.trunkline.dev/hosted"];
    cluster.kubectl(&[&["-n", APPS, "delete", "deployment/llama"], &rest[..]].concat()).unwrap();
}

/// Sixteen requests at once, half of them streams.
fn of(address: SocketAddr, model: &str) -> Running {
    let pause = std::time::Duration::from_millis(5);
    let load = Load { address, key: KEY.to_owned(), model: model.to_owned(), clients: 8, pause };
    load.start()
}

/// The tokens that a server has written.
fn served(page: &str) -> f64 {
    sum(page, "llamacpp:tokens_predicted_total")
}

/// The values of the series that begin so, added up.
fn sum(page: &str, series: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
