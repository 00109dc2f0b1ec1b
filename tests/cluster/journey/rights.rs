//! No right of the chart is superfluous, and none is lost without a word.
//!
//! Each rule of each role is taken away while everything runs. The process whose right it was must say so in
//! the API server's own words, in its log or in the status of the object that it serves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{HOME, Installed, OPERATORS, installed, spec};
use crate::{
    Test,
    support::{Cluster, SOON, eventually},
};

pub const TESTS: [Test; 1] = [(
    "journey::rights::each_rule_of_the_chart_is_missed_aloud_when_it_is_taken_away",
    each_rule_is_missed_aloud,
)];

/// Whose a role is, its kind and its name.
const ROLES: [(&str, &str, &str); 4] = [
    ("trunkline-operator", "role", "trunkline-trunkline-operator"),
    ("trunkline-operator", "clusterrole", "trunkline-trunkline-operator"),
    ("trunkline-operator", "role", "trunkline-operator-table"),
    ("trunkline-proxy", "role", "trunkline-proxy"),
];

fn each_rule_is_missed_aloud(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    cluster.apply(HOME, &objects(installed)).unwrap();
    let mut round = 0;
    for (whose, kind, name) in ROLES {
        let rules = cluster.get(HOME, &[kind, name])["rules"].as_array().unwrap().clone();
        for (at, rule) in rules.iter().enumerate() {
            let before = refusals(cluster, whose, rule);
            let take = json!([{ "op": "remove", "path": format!("/rules/{at}") }]);
            change(cluster, kind, name, &take);
            if has(rule, "verbs", "list") && whose == "trunkline-operator" {
                let delete = ["-n", HOME, "delete", "pods", "--selector", OPERATORS];
                cluster.kubectl(&[&delete[..], &["--wait=false"]].concat()).unwrap();
            }
            let missed = || {
                round += 1;
                provoke(cluster, rule, round);
                refusals(cluster, whose, rule)
            };
            let what = format!("{whose} says that it lacks {rule}");
            eventually(&what, SOON, missed, |now| *now > before);
            change(
                cluster,
                kind,
                name,
                &json!([{ "op": "add", "path": "/rules", "value": rules }]),
            );
        }
    }
    // With all of them again, everything goes on.
    cluster.kubectl(&["-n", HOME, "delete", "modelautoscalers.trunkline.dev", "--all"]).unwrap();
    cluster.kubectl(&["-n", HOME, "delete", "modelroutes.trunkline.dev", "rights"]).unwrap();
    let ready = || cluster.ready_pods(HOME, OPERATORS).len();
    eventually("both operators", SOON * 2, ready, |ready| *ready == 2);
    installed.route("rights", &spec("rights", "only", "sim-tokens-5"));
}

/// How often the API server's refusal of one of a rule's rights was told.
fn refusals(cluster: &Cluster, whose: &str, rule: &Value) -> usize {
    let statuses = ["get", "modelautoscalers.trunkline.dev", "-n", HOME, "-o", "json"];
    let told = cluster.log_of_all(HOME, whose) + &cluster.kubectl(&statuses).unwrap();
    let told = told.replace('\\', "");
    let words = |field: &str| rule[field].as_array().unwrap().clone();
    let (verbs, resources) = (words("verbs"), words("resources"));
    let each = verbs.iter().flat_map(|verb| resources.iter().map(move |it| (verb, it)));
    each.map(|(verb, it)| told.matches(&format!("cannot {} resource {it}", text(verb))).count())
        .sum()
}

/// Objects for which every right is needed.
fn objects(installed: &Installed) -> String {
    let object = |kind: &str, name: &str, spec: Value| {
        let metadata = json!({ "name": name });
        let api = "trunkline.dev/v1alpha1";
        json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    let plain = json!({
        "provider": "OpenAICompatible", "auth": { "none": {} },
        "endpoint": { "baseURL": format!("http://{}:9101/v1", installed.simulator) },
    });
    let key = json!({ "name": "k", "secretRef": { "name": "k", "key": "k" } });
    let whole = json!({
        "provider": "OpenAICompatible",
        "auth": { "apiKey": { "keys": [key] } },
        "endpoint": { "service": { "name": "simulator", "port": "openai", "path": "/v1" } },
    });
    [
        object("ProviderCredential", "plain", plain),
        object("ProviderCredential", "whole", whole),
        route(0),
        autoscaler("Deployment", "trunkline-proxy", 2),
        autoscaler("StatefulSet", "none", 2),
    ]
    .join("\n---\n")
}

/// A route that is right and wrong by turns, so that the table, a status and an event change.
fn route(round: usize) -> String {
    let credential = if round.is_multiple_of(2) { "plain" } else { "nobody" };
    let target = json!({ "name": "t", "credentialRef": { "name": credential }, "model": "m" });
    json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelRoute", "metadata": { "name": "rights" },
        "spec": { "models": ["rights"], "targets": [target] },
    })
    .to_string()
}

fn autoscaler(kind: &str, name: &str, least: usize) -> String {
    json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelAutoscaler",
        "metadata": { "name": kind.to_lowercase() },
        "spec": {
            "scaleTargetRef": { "kind": kind, "name": name }, "demand": { "proxies": {} },
            "mode": "Recommend", "minReplicas": least, "maxReplicas": 5, "inFlightPerReplica": 50,
        },
    })
    .to_string()
}

/// Gives a reason to use a right.
fn provoke(cluster: &Cluster, rule: &Value, round: usize) {
    cluster.apply(HOME, &route(round)).unwrap();
    let least = 2 + round % 2;
    cluster.apply(HOME, &autoscaler("Deployment", "trunkline-proxy", least)).unwrap();
    if rule["verbs"] == json!(["create"]) {
        let lease = has(rule, "resources", "leases");
        let gone = if lease { "lease/trunkline-operator" } else { "secret/trunkline-head" };
        cluster.kubectl(&["-n", HOME, "delete", gone, "--ignore-not-found"]).unwrap();
    }
}

fn change(cluster: &Cluster, kind: &str, name: &str, patch: &Value) {
    let patch = ["-n", HOME, "patch", kind, name, "--type=json", "-p", &patch.to_string()];
    cluster.kubectl(&patch).unwrap();
}

fn has(rule: &Value, field: &str, word: &str) -> bool {
    rule[field].as_array().is_some_and(|words| words.contains(&json!(word)))
}

fn text(word: &Value) -> &str {
    word.as_str().unwrap()
}
