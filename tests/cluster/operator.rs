//! The operator on a real API server, with the rights that `docs/operations.md` lists and no other:
//! what it publishes, what statuses say, who leads, and how much it writes.

use std::{fs, sync::Arc, thread, time::Duration};

use serde_json::Value;

use crate::{
    Test,
    support::{Cluster, SOON, eventually},
};

pub const TESTS: [Test; 2] = [
    ("operator::tells_in_each_status_what_became_of_it", tells_in_each_status_what_became_of_it),
    ("operator::one_follows_the_other_and_silence_is_silent", one_follows_the_other),
];

/// Two operators with their rights.
const OPERATOR: &str = include_str!("operator.yaml");

const OBJECTS: &str = r"
apiVersion: v1
kind: Secret
metadata: { name: key }
stringData: { k: sk-canary-0123456789 }
---
apiVersion: trunkline.dev/v1alpha1
kind: ProviderCredential
metadata: { name: openai }
spec: { provider: OpenAI, auth: { apiKey: { keys: [{ name: k, secretRef: { name: key, key: k } }] } } }
---
apiVersion: trunkline.dev/v1alpha1
kind: ProviderCredential
metadata: { name: keyless }
spec: { provider: OpenAI, auth: { apiKey: { keys: [{ name: k, secretRef: { name: nobody, key: k } }] } } }
---
apiVersion: trunkline.dev/v1alpha1
kind: ModelRoute
metadata: { name: chat }
spec:
  models: [chat]
  targets:
  - { name: good, credentialRef: { name: openai }, model: gpt-5 }
  - { name: missing, credentialRef: { name: opanai }, model: gpt-5 }
---
apiVersion: trunkline.dev/v1alpha1
kind: ModelRoute
metadata: { name: chat-too }
spec: { models: [chat], precedence: -1, targets: [{ name: t, credentialRef: { name: openai }, model: gpt-5 }] }
";

/// Starts the operators in a namespace of their own, which they also watch.
pub fn start(cluster: &Cluster, namespace: &str) {
    cluster.define();
    cluster.namespace(namespace);
    let manifests = OPERATOR.replace("$NAMESPACE", namespace);
    cluster.apply(namespace, &manifests).unwrap();
    let pods = || cluster.ready_pods(namespace, "app=operator");
    eventually("two operators", SOON, pods, |pods| pods.len() == 2);
}

/// Takes away what [`start`] made.
pub fn end(cluster: &Cluster, namespace: &str) {
    cluster.kubectl(&["delete", "namespace", namespace, "--timeout=90s"]).unwrap();
    let bound = format!("operator-{namespace}");
    for kind in ["clusterrole", "clusterrolebinding"] {
        cluster.kubectl(&["delete", kind, &bound]).unwrap();
    }
}

/// The status and reason of a condition, as in `False Invalid`.
fn condition(cluster: &Cluster, namespace: &str, object: &str, kind: &str) -> String {
    let object = cluster.get(namespace, &[object]);
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|it| it["type"] == kind);
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    found.map_or_else(String::new, |it| format!("{} {}", text(it, "status"), text(it, "reason")))
}

fn tells_in_each_status_what_became_of_it(cluster: &Arc<Cluster>) {
    let namespace = "operator-status";
    start(cluster, namespace);
    cluster.apply(namespace, OBJECTS).unwrap();
    for (object, kind, expected) in [
        ("modelroute/chat", "Accepted", "True Accepted"),
        ("modelroute/chat", "ResolvedRefs", "False CredentialNotFound"),
        ("modelroute/chat", "Programmed", "False NoProxies"),
        ("modelroute/chat-too", "Accepted", "False NameTaken"),
        ("modelroute/chat-too", "Programmed", "False NotServed"),
        ("providercredential/openai", "ResolvedRefs", "True ResolvedRefs"),
        ("providercredential/keyless", "ResolvedRefs", "False SecretNotFound"),
    ] {
        let said = || condition(cluster, namespace, object, kind);
        eventually(&format!("{object} {kind}"), SOON, said, |said| said == expected);
    }
    let route = cluster.get(namespace, &["modelroute/chat"]);
    assert_eq!(route["status"]["models"], serde_json::json!(["chat"]));
    assert_eq!(route["status"]["targets"][1]["reason"], "CredentialNotFound");
    let said = cluster.kubectl(&["-n", namespace, "describe", "modelroute/chat"]).unwrap();
    assert!(said.contains("Warning") && said.contains("there are:"), "{said}");

    // A Secret that comes is taken up, and no key is ever told.
    let secret = [
        "-n",
        namespace,
        "create",
        "secret",
        "generic",
        "nobody",
        "--from-literal=k=sk-canary-late",
    ];
    cluster.kubectl(&secret).unwrap();
    let ready = || condition(cluster, namespace, "providercredential/keyless", "ResolvedRefs");
    eventually("the key", SOON, ready, |said| said == "True ResolvedRefs");
    for (pod, _) in cluster.ready_pods(namespace, "app=operator") {
        assert!(!cluster.log(namespace, &pod).contains("canary"));
    }
    end(cluster, namespace);
}

fn one_follows_the_other(cluster: &Arc<Cluster>) {
    let namespace = "operator-lease";
    start(cluster, namespace);
    cluster.apply(namespace, OBJECTS).unwrap();
    let told = || condition(cluster, namespace, "modelroute/chat", "Programmed");
    eventually("a status", SOON, told, |said| said == "False NoProxies");
    thread::sleep(Duration::from_secs(10));
    let before = writes(cluster, namespace);
    thread::sleep(Duration::from_secs(20));
    assert_eq!(writes(cluster, namespace), before, "nothing changed, so nothing is written");

    let holder = || {
        let lease = cluster.get(namespace, &["lease/trunkline-operator"]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    let first = holder();
    cluster.kubectl(&["-n", namespace, "delete", "pod", &first, "--wait=false"]).unwrap();
    eventually("another leader", Duration::from_secs(20), holder, |now| {
        !now.is_empty() && *now != first
    });
    thread::sleep(Duration::from_secs(5));
    assert_eq!(writes(cluster, namespace), before, "a new leader finds everything as it should be");
    let patch = r#"{"spec":{"models":["renamed"]}}"#;
    cluster
        .kubectl(&["-n", namespace, "patch", "modelroute/chat", "--type=merge", "-p", patch])
        .unwrap();
    let models = || cluster.get(namespace, &["modelroute/chat"])["status"]["models"].clone();
    eventually("the new name", SOON, models, |models| *models == serde_json::json!(["renamed"]));
    end(cluster, namespace);
}

/// What the operators of a namespace have written, the lease aside.
fn writes(cluster: &Cluster, namespace: &str) -> usize {
    let user = format!("system:serviceaccount:{namespace}:operator");
    let log = fs::read_to_string(cluster.plane.audit_log()).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["user"]["username"] == user.as_str());
    ours.filter(|line| line["objectRef"]["resource"] != "leases").count()
}
