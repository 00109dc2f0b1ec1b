//! The first half hour: install, apply, wait, and the applications are served.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use super::{APPS, HOME, KEY, ask, installed};
use crate::{
    Test,
    support::{Cluster, http},
};

pub const TESTS: [Test; 3] = [
    ("journey::first::applied_routes_serve_the_real_sdks", applied_routes_serve_the_real_sdks),
    ("journey::first::the_charts_own_test_passes", the_charts_own_test_passes),
    ("journey::first::a_caller_without_a_key_is_refused", a_caller_without_a_key_is_refused),
];

fn applied_routes_serve_the_real_sdks(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    let wait = ["wait", "-n", APPS, "--for=condition=Programmed", "--timeout=60s", "--all"];
    cluster.kubectl(&[&wait[..], &["modelroutes.trunkline.dev"]].concat()).unwrap();
    cluster.kubectl(&[&wait[..], &["providercredentials.trunkline.dev"]].concat()).unwrap();
    let base = format!("http://{}", installed.address);
    for model in ["chat", "gpt"] {
        let script = Path::new("tests/cluster/journey/sdk.py");
        let python = Command::new("python3")
            .arg(script)
            .args([&base, KEY, model])
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&python.stdout);
        let why = String::from_utf8_lossy(&python.stderr);
        assert!(python.status.success(), "{model}: {said}{why}");
        assert_eq!(said.lines().count(), 2, "one answer an SDK: {said}");
    }
}

fn the_charts_own_test_passes(cluster: &Arc<Cluster>) {
    installed(cluster);
    for major in ["helm3", "helm4"] {
        cluster.helm(major, &["test", "trunkline", "-n", HOME, "--timeout=60s"]).unwrap();
    }
}

fn a_caller_without_a_key_is_refused(cluster: &Arc<Cluster>) {
    let installed = installed(cluster);
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"Hello"}]}"#;
    let answer = http::post(installed.address, "/v1/chat/completions", "tk-unknown", body);
    assert_eq!(answer.unwrap().status, 401);
    assert_eq!(ask(installed.address, "chat").status, 200);
}
