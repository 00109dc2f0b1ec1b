//! The definitions on a real API server: taken without a warning, and what they refuse is refused
//! with our own words.
//!
//! `trunkline check` says the same offline (`tests/it/check.rs`); here is the witness that an API
//! server does.

use std::{fs, path::Path, sync::Arc};

use crate::{Test, support::Cluster};

pub const TESTS: [Test; 2] = [
    ("resources::definitions_and_examples_are_taken_without_a_warning", taken_without_a_warning),
    ("resources::a_mistake_is_refused_with_its_remedy", a_mistake_is_refused_with_its_remedy),
];

/// Broken manifests, and what the server says to them.
const REFUSED: [(&str, &str); 9] = [
    ("broken-yaml.yaml", "error converting YAML"),
    ("misspelt-field.yaml", "unknown field \"spec.targets[0].wieght\""),
    ("no-targets.yaml", "spec.targets in body should have at least 1 items"),
    ("out-of-range.yaml", "spec.precedence in body should be less than or equal to 1000"),
    ("two-auths.yaml", "give exactly one of `none` and `apiKey`"),
    ("two-stars.yaml", "with at most one `*`, at the beginning or the end"),
    ("tls-on-http.yaml", "`tls` means nothing for a base URL with http://"),
    ("pasted-key.yaml", "must be the name of an environment variable"),
    ("name-twice.yaml", "Duplicate value"),
];

fn taken_without_a_warning(cluster: &Arc<Cluster>) {
    cluster.define();
    cluster.namespace("examples");
    // The definitions of other projects that examples refer to.
    let keda = cluster.plane.tool("crds/keda.sh_scaledobjects.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", keda.to_str().unwrap()]).unwrap();
    let ready = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    cluster.kubectl(&ready).unwrap();
    let examples = fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    for folder in examples {
        let folder = folder.to_str().unwrap();
        let said = cluster.kubectl_aloud(&["apply", "-n", "examples", "-f", folder]).unwrap();
        assert!(!said.contains("Warning"), "{folder}: {said}");
    }
    let routes = cluster.kubectl(&["get", "-n", "examples", "modelroutes.trunkline.dev"]).unwrap();
    assert!(routes.contains("chat") && routes.contains("gpt"), "{routes}");
    cluster.abandon("examples");
}

fn a_mistake_is_refused_with_its_remedy(cluster: &Arc<Cluster>) {
    cluster.define();
    cluster.namespace("mistakes");
    for (file, remedy) in REFUSED {
        let path = Path::new("tests/it/fixtures/broken").join(file);
        let manifests = fs::read_to_string(&path).unwrap();
        let said = cluster.apply("mistakes", &manifests).expect_err(file);
        assert!(said.contains(remedy), "{file}: the server says\n{said}\nand not: {remedy}");
    }
    cluster.abandon("mistakes");
}
