//! Replicas follow the requests in flight, as a `ModelAutoscaler` asks.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{HOME, KEY, PROXIES, installed, spec};
use crate::{
    Test,
    load::Load,
    support::{Cluster, SOON, eventually},
};

pub const TESTS: [Test; 1] = [(
    "journey::scale::load_raises_the_proxies_and_quiet_lowers_them",
    load_raises_the_proxies_and_quiet_lowers_them,
)];

const DEPLOYMENT: &str = "deployment/trunkline-proxy";

fn load_raises_the_proxies_and_quiet_lowers_them(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    // An answer of two seconds: sixteen clients are some sixteen requests in flight.
    installed.route("slow", &spec("slow", "only", "sim-tokens-20-pace-100"));
    let autoscaler = |mode: &str| {
        json!({
            "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelAutoscaler",
            "metadata": { "name": "proxies" },
            "spec": {
                "scaleTargetRef": { "name": "trunkline-proxy" }, "demand": { "proxies": {} },
                "mode": mode, "minReplicas": 2, "maxReplicas": 5, "inFlightPerReplica": 4,
                "coldStart": "5s", "scaleDownAfter": "10s",
            },
        })
        .to_string()
    };
    let status =
        || cluster.get(HOME, &["modelautoscalers.trunkline.dev", "proxies"])["status"].clone();
    let replicas = || cluster.get(HOME, &[DEPLOYMENT])["spec"]["replicas"].as_u64().unwrap();
    cluster.apply(HOME, &autoscaler("Recommend")).unwrap();
    let load = Load {
        address: installed.address,
        key: KEY.to_owned(),
        model: "slow".to_owned(),
        clients: 8,
        pause: Duration::from_millis(5),
    };
    let load = load.start();
    let wants = |status: &Value| status["desiredReplicas"].as_u64() >= Some(4);
    let said = eventually("a recommendation", SOON, status, wants);
    assert_eq!(said["conditions"][1]["reason"], "Active", "{said}");
    assert_eq!(said["inputs"]["proxies"], "2/2", "{said}");
    assert_eq!(replicas(), 2, "who recommends sets nothing");

    cluster.apply(HOME, &autoscaler("Scale")).unwrap();
    eventually("more replicas", SOON, replicas, |replicas| *replicas >= 4);
    eventually("ready ones", SOON, || cluster.ready_pods(HOME, PROXIES).len(), |ready| *ready >= 4);
    load.lost_nothing(10);
    let most = replicas();
    eventually("fewer replicas", SOON, replicas, |replicas| *replicas < most);
    let events = cluster.kubectl(&["-n", HOME, "describe", "modelautoscalers.trunkline.dev"]);
    assert!(events.unwrap().contains("Scaled"), "{}", status());
    let metrics = "trunkline_desired_replicas{autoscaler=\"proxies\",namespace=\"trunkline\"}";
    assert!(installed.metrics_of_the_leader().contains(metrics));

    cluster.kubectl(&["-n", HOME, "delete", "modelautoscalers.trunkline.dev", "proxies"]).unwrap();
    installed.scaled("trunkline-proxy", PROXIES, 2);
}
