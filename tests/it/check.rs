//! `trunkline check` on whole and broken manifests, as a user runs it.

use std::process::{Command, Output};

fn check(folder: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["check", "-f", folder])
        .args(more)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_quickstart_is_without_fault() {
    let output = check("examples/quickstart", &["--allow-private-endpoints"]);
    assert_eq!(text(&output), "5 objects, no problem.\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn each_mistake_is_named_with_place_and_remedy() {
    let output = check("tests/it/fixtures/broken", &[]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(text(&output));
}

#[test]
fn what_cannot_be_read_is_neither_right_nor_wrong() {
    assert_eq!(check("no/such/folder", &[]).status.code(), Some(2));
}

#[test]
fn json_and_yaml_say_the_same() {
    let json = text(&check("tests/it/fixtures/broken", &["-o", "json"]));
    let yaml = text(&check("tests/it/fixtures/broken", &["-o", "yaml"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap());
}
