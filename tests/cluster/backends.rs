//! A Service of the cluster as a backend: its pods are balanced one by one, come and go without a
//! failed request, and a Service without one is said.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Test,
    load::{Load, Running},
    operator,
    support::{Cluster, SOON, eventually},
};

pub const TESTS: [Test; 1] =
    [("backends::pods_come_and_go_without_a_failed_request", pods_come_and_go)];

const OBJECTS: &str = include_str!("backends.yaml");

fn pods_come_and_go(cluster: &Arc<Cluster>) {
    let namespace = "backends";
    operator::start(cluster, namespace);
    cluster.apply(namespace, OBJECTS).unwrap();
    let ready = |app: &str, count: usize| {
        let pods = || cluster.ready_pods(namespace, &format!("app={app}"));
        eventually(app, SOON, pods, |pods| pods.len() == count)
    };
    let (_, proxy) = ready("proxy", 1).remove(0);
    ready("sim", 1);
    reason(cluster, namespace, "Ready");

    let load = Load {
        address: SocketAddr::new(proxy.parse().unwrap(), 8080),
        key: "unasked".to_owned(),
        model: "local".to_owned(),
        clients: 4,
        pause: Duration::from_millis(5),
    };
    let load = load.start();
    served(&load, 50);
    scale(cluster, namespace, 3);
    let pods = ready("sim", 3);
    served(&load, 50);
    for (pod, _) in &pods {
        // The simulator's journal has a line for each request.
        let asked = || cluster.log(namespace, pod).matches("/v1/chat/completions").count();
        eventually(&format!("requests at {pod}"), SOON, asked, |count| *count > 10);
    }
    cluster.kubectl(&["-n", namespace, "rollout", "restart", "deployment/sim"]).unwrap();
    let status = ["-n", namespace, "rollout", "status", "deployment/sim", "--timeout=90s"];
    cluster.kubectl(&status).unwrap();
    served(&load, 50);
    scale(cluster, namespace, 1);
    ready("sim", 1);
    served(&load, 50);
    load.lost_nothing(250);

    scale(cluster, namespace, 0);
    reason(cluster, namespace, "NoReadyPod");
    let route = cluster.get(namespace, &["modelroute/local"]);
    assert_eq!(route["status"]["targets"][0]["reason"], "NoReadyPod");
    scale(cluster, namespace, 1);
    reason(cluster, namespace, "Ready");
    operator::end(cluster, namespace);
}

fn scale(cluster: &Cluster, namespace: &str, replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    cluster.kubectl(&["-n", namespace, "scale", "deployment/sim", &replicas]).unwrap();
}

/// Waits until the load has had so many more answers.
fn served(load: &Running, more: u64) {
    let count = || load.account().answers + load.account().streams;
    let goal = count() + more;
    eventually("answers", SOON, count, |count| *count >= goal);
}

/// Waits until the credential and its route are ready for this reason.
fn reason(cluster: &Cluster, namespace: &str, reason: &str) {
    for object in ["providercredential/local", "modelroute/local"] {
        let ready = || {
            let object = cluster.get(namespace, &[object]);
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|it| it["type"] == "Ready");
            ready.map_or(Value::Null, |it| it["reason"].clone())
        };
        eventually(object, SOON, ready, |said| *said == reason);
    }
}
