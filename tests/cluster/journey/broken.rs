//! What is wrong is named in its own status, and changes nothing else.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{APPS, Installed, ask, condition, installed, spec};
use crate::{
    Test,
    support::{Cluster, eventually},
};

pub const TESTS: [Test; 2] = [
    ("journey::broken::each_bad_object_is_named_in_its_own_status", each_bad_object_is_named),
    (
        "journey::broken::an_object_that_cannot_be_read_is_named_and_harms_no_other",
        an_undecodable_object,
    ),
];

/// How long a verdict may take.
const VERDICT: Duration = Duration::from_secs(20);

fn each_bad_object_is_named(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    installed.route("good", &spec("good", "only", "sim-tokens-5"));
    let before = serving(installed);

    let mut foreign = spec("foreign", "only", "sim-tokens-5");
    foreign["targets"][0]["credentialRef"]["namespace"] = json!(APPS);
    apply(cluster, "ModelRoute", "foreign", &foreign);
    apply(cluster, "ModelRoute", "nobody", &spec("nobody", "only", "sim-tokens-5"));
    apply_any(cluster, APPS, "ModelRoute", "thief", &spec("good", "only", "sim-tokens-5")).unwrap();
    let credential = json!({
        "provider": "OpenAICompatible",
        "endpoint": { "baseURL": format!("http://{}:9101/v1", installed.simulator) },
        "auth": { "apiKey": { "keys": [{ "name": "k", "secretRef": { "name": "none", "key": "k" } }] } },
    });
    apply(cluster, "ProviderCredential", "keyless", &credential);
    let evil = json!({
        "provider": "OpenAI", "endpoint": { "baseURL": "https://api.openai.com.evil.dev/v1" },
        "auth": { "none": {} },
    });
    apply(cluster, "ProviderCredential", "evil", &evil);

    let expected = [
        ("bad", "modelroutes", "foreign", "ResolvedRefs", "RefNotPermitted"),
        ("bad", "modelroutes", "nobody", "ResolvedRefs", "CredentialNotFound"),
        (APPS, "modelroutes", "thief", "Accepted", "NameTaken"),
        ("bad", "providercredentials", "keyless", "ResolvedRefs", "SecretNotFound"),
        ("bad", "providercredentials", "evil", "Accepted", "EndpointNotAllowed"),
    ];
    for (namespace, kind, name, of, reason) in expected {
        let kind = format!("{kind}.trunkline.dev");
        let object = || condition(&cluster.get(namespace, &[&kind, name]), of);
        let said = eventually(name, VERDICT, object, |said| said["status"] == "False");
        assert_eq!(said["reason"], reason, "{kind} {name}: {said}");
        assert_eq!(said["observedGeneration"], 1, "{kind} {name}: {said}");
        assert!(said["message"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {said}");
    }
    assert_eq!(serving(installed), before, "what was good is as it was");
    cluster.kubectl(&["-n", APPS, "delete", "modelroutes.trunkline.dev", "thief"]).unwrap();
}

/// The definition is widened for a moment, as it is when a newer version was there before.
fn an_undecodable_object(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    installed.route("good", &spec("good", "only", "sim-tokens-5"));
    let before = serving(installed);
    let anything = json!([{
        "op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
        "value": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    }]);
    let patch = ["patch", "crd", "modelroutes.trunkline.dev", "--type=json", "-p"];
    cluster.kubectl(&[&patch[..], &[&anything.to_string()]].concat()).unwrap();
    let odd = json!({ "models": "not a list", "targets": 7 });
    let stored = || apply_any(cluster, "odd", "ModelRoute", "odd", &odd);
    eventually("the wider definition", VERDICT, stored, Result::is_ok).unwrap();
    cluster.define();

    let object =
        || condition(&cluster.get("odd", &["modelroutes.trunkline.dev", "odd"]), "Accepted");
    let said = eventually("a verdict", VERDICT, object, |said| said["status"] == "False");
    assert!(said["message"].as_str().is_some_and(|text| text.contains("models")), "{said}");
    installed.route("after", &spec("after", "only", "sim-tokens-5"));
    assert_eq!(serving(installed), before, "what was good is as it was");
    cluster.kubectl(&["-n", APPS, "delete", "modelroutes.trunkline.dev", "after"]).unwrap();
}

fn apply(cluster: &Cluster, kind: &str, name: &str, spec: &Value) {
    apply_any(cluster, "bad", kind, name, spec).unwrap();
}

fn apply_any(
    cluster: &Cluster,
    namespace: &str,
    kind: &str,
    name: &str,
    spec: &Value,
) -> Result<String, String> {
    let object = json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name }, "spec": spec,
    });
    cluster.apply(namespace, &object.to_string())
}

/// What the good routes come to, on every proxy.
fn serving(installed: &Installed) -> Vec<(u16, Option<String>)> {
    let ask = |proxy| {
        ["chat", "good"].map(|model| {
            let answer = ask(proxy, model);
            (answer.status, answer.target)
        })
    };
    installed.proxies().into_iter().flat_map(ask).collect()
}
