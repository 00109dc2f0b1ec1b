//! A table that does not fit into its Secrets is refused by name, and the last one serves.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{APPS, ask, condition, installed, spec};
use crate::{
    Test,
    support::{Cluster, SOON, eventually},
};

pub const TESTS: [Test; 1] =
    [("journey::large::a_table_over_the_limit_is_refused_and_the_last_one_serves", over_the_limit)];

fn over_the_limit(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    installed.route("kept", &spec("kept", "first", "sim-tokens-5"));
    let programmed = |name: &str| {
        let route = cluster.get(APPS, &["modelroutes.trunkline.dev", name]);
        let said = condition(&route, "Programmed");
        let current = said["observedGeneration"] == route["metadata"]["generation"];
        if current { said } else { Value::Null }
    };
    let refused = |said: &Value| said["reason"] == "TableTooLarge";
    let large = (0..12).map(|at| format!("large-{at}"));
    let too_much = large.clone().find(|name| {
        apply(cluster, name, &large_spec(name));
        let decided = |said: &Value| refused(said) || said["status"] == "True";
        refused(&eventually(name, SOON, || programmed(name), decided))
    });
    assert!(too_much.is_some(), "no table is too large");
    let told = |value: u32| format!("\ntrunkline_operator_table_too_large {value}\n");
    assert!(installed.metrics_of_the_leader().contains(&told(1)));

    apply(cluster, "kept", &spec("kept", "second", "sim-tokens-5"));
    let said = eventually("the edit", SOON, || programmed("kept"), refused);
    assert!(said["message"].as_str().is_some_and(|it| it.contains("too large")), "{said}");
    for proxy in installed.proxies() {
        assert_eq!(ask(proxy, "kept").target.as_deref(), Some("first"), "the last table serves");
        assert_eq!(ask(proxy, "chat").status, 200);
    }

    let delete = ["-n", APPS, "delete", "--ignore-not-found", "modelroutes.trunkline.dev"];
    let large: Vec<_> = large.collect();
    let large = large.iter().map(String::as_str);
    cluster.kubectl(&delete.into_iter().chain(large).collect::<Vec<_>>()).unwrap();
    installed.programmed("kept", SOON);
    for proxy in installed.proxies() {
        assert_eq!(ask(proxy, "kept").target.as_deref(), Some("second"), "edits arrive again");
    }
    let fits = || installed.metrics_of_the_leader();
    eventually("a table that fits", SOON, fits, |page| page.contains(&told(0)));
}

fn apply(cluster: &Cluster, name: &str, spec: &Value) {
    let route = json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelRoute",
        "metadata": { "name": name }, "spec": spec,
    });
    cluster.apply(APPS, &route.to_string()).unwrap();
}

/// A route whose part of the table is hard to compress, and as large as kubectl lets it be.
fn large_spec(name: &str) -> Value {
    let noise = || (0..16_000).map(|_| fastrand::alphanumeric()).collect::<String>();
    let set: BTreeMap<_, _> = (0..14).map(|field| (format!("f{field}"), noise())).collect();
    let mut spec = spec(name, "only", "sim-tokens-5");
    spec["targets"][0]["overrides"] = json!({ "set": set });
    spec
}
