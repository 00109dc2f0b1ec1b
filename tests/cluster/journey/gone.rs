//! A watched namespace is deleted, and the operator's rights in it go with it: nothing else stops for that.

use std::{net::SocketAddr, sync::Arc};

use serde_json::json;

use super::{APPS, HOME, Installed, KEY, OPERATORS, ask, consumer, helm, installed, spec};
use crate::{
    Test,
    support::{Cluster, SOON, eventually, http},
};

pub const TESTS: [Test; 1] = [(
    "journey::gone::a_deleted_namespace_takes_its_routes_along_and_holds_up_no_restart",
    a_deleted_namespace,
)];

/// The namespace.
const GONE: &str = "gone";

/// The key of its consumer.
const ITS_KEY: &str = "tk-of-the-gone-0123456789abcdef";

fn a_deleted_namespace(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    fill(installed);
    assert_eq!(statuses(installed), [200, 200]);

    cluster.kubectl(&["delete", "namespace", GONE, "--timeout=90s"]).unwrap();
    // The consumer is gone too, and nobody knows its key.
    eventually("gone", SOON, || statuses(installed), |statuses| *statuses == [401, 401]);

    let delete = ["-n", HOME, "delete", "pods", "--selector", OPERATORS];
    cluster.kubectl(&delete).unwrap();
    let ready = || cluster.ready_pods(HOME, OPERATORS).len();
    eventually("both operators", SOON, ready, |ready| *ready == 2);
    installed.route("meanwhile", &spec("meanwhile", "only", "sim-tokens-5"));
    assert!(installed.proxies().into_iter().all(|proxy| ask(proxy, "meanwhile").status == 200));
    cluster.kubectl(&["-n", APPS, "delete", "modelroutes.trunkline.dev", "meanwhile"]).unwrap();

    cluster.namespace(GONE);
    helm(cluster, "helm4", "upgrade", &[]).unwrap();
    fill(installed);
    // A watch that was refused looks again within ten seconds; until then the key is not readable.
    let served = || statuses(installed);
    eventually("served again", SOON, served, |statuses| *statuses == [200, 200]);
}

/// Applies a route with all that it needs, and waits until every proxy serves it.
fn fill(installed: &Installed) {
    let object = |kind: &str, name: &str, spec| {
        let metadata = json!({ "name": name });
        let api = "trunkline.dev/v1alpha1";
        json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    // The simulator takes any key; the consumer's is there.
    let key = json!({ "name": "only", "secretRef": { "name": "app-key", "key": "key" } });
    let credential = json!({
        "provider": "OpenAICompatible", "auth": { "apiKey": { "keys": [key] } },
        "endpoint": { "baseURL": format!("http://{}:9101/v1", installed.simulator) },
    });
    let objects = [
        object("ProviderCredential", "openai", credential),
        object("ModelRoute", "leaving", spec("leaving", "only", "sim-tokens-5")),
        consumer().replace(KEY, ITS_KEY),
    ];
    installed.cluster.apply(GONE, &objects.join("\n---\n")).unwrap();
    for kind in ["modelroutes.trunkline.dev", "modelconsumers.trunkline.dev"] {
        let wait = ["wait", "-n", GONE, "--for=condition=Programmed", "--timeout=60s", "--all"];
        installed.cluster.kubectl(&[&wait[..], &[kind]].concat()).unwrap();
    }
}

/// What each proxy answers to the namespace's consumer.
fn statuses(installed: &Installed) -> Vec<u16> {
    let body = r#"{"model":"leaving","messages":[{"role":"user","content":"Hello"}]}"#;
    let ask = |proxy: SocketAddr| http::post(proxy, "/v1/chat/completions", ITS_KEY, body);
    installed.proxies().into_iter().map(|proxy| ask(proxy).unwrap().status).collect()
}
