//! The definitions in `crds/`: generated, whole, and such that an API server and `kubectl` take them
//! well.

#![cfg(test)]

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use trunkline::{api, provider::PROVIDERS};

use crate::support::schema;

fn generated() -> Vec<(String, String)> {
    let providers: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    api::crds_yaml(&providers, false).unwrap()
}

/// Every schema in a definition, with its path.
fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), inner, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&format!("{path}.{inner}"), &schema[inner], found);
        }
    }
}

/// Every schema below `spec` and `status` of every kind.
fn schemas() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (kind, root) in schema::roots() {
        for part in ["spec", "status"] {
            walk(&format!("{kind}.{part}"), &root["properties"][part], &mut found);
        }
    }
    assert!(found.len() > 80, "the walk sees the fields");
    found
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let files = generated();
    let names: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
    for (name, text) in files {
        let committed = fs::read_to_string(format!("crds/{name}")).unwrap_or_default();
        assert!(committed == text, "crds/{name} is stale: run `make crds`");
    }
    let entries = fs::read_dir("crds").unwrap();
    let there: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, names);
}

#[test]
fn kubectl_explain_has_a_text_for_every_field() {
    for (path, schema) in schemas() {
        assert!(schema["description"].is_string(), "{path} has no description");
    }
}

/// Without bounds the cost of a rule is that of the largest object that fits a request, and an API
/// server refuses the definition.
#[test]
fn every_value_is_bounded() {
    for (path, schema) in schemas() {
        let has = |bounds: &[&str]| bounds.iter().all(|bound| schema[*bound].is_number());
        let bounded = match schema["type"].as_str() {
            Some("string") => schema["enum"].is_array() || has(&["maxLength"]),
            Some("array") => has(&["maxItems"]),
            Some("integer") => has(&["minimum", "maximum"]),
            Some("boolean") => true,
            Some("object") => schema["additionalProperties"].is_null() || has(&["maxProperties"]),
            None if schema["x-kubernetes-int-or-string"] == true => {
                has(&["minimum", "maximum", "maxLength"])
            }
            None => schema["x-kubernetes-preserve-unknown-fields"] == true,
            Some(other) => panic!("{path}: {other}"),
        };
        assert!(bounded, "{path} has no bound");
    }
}

#[test]
fn nothing_is_in_a_schema_that_kubernetes_does_not_know_or_clients_misuse() {
    for (path, schema) in schemas() {
        assert!(schema.get("nullable").is_none(), "{path} is nullable");
        assert!(!schema["enum"].as_array().is_some_and(|v| v.contains(&Value::Null)), "{path}");
        assert!(matches!(schema["format"].as_str(), None | Some("int32" | "int64")), "{path}");
        // The checks of `files` know no patterns: a rule has a better message.
        assert!(schema.get("pattern").is_none(), "{path} has a pattern");
        if schema["type"] == "array" {
            assert!(schema["x-kubernetes-list-type"].is_string(), "{path} has no list type");
        }
    }
}

/// `kubectl` reads YAML 1.1 and would send a field `on` as `"true"`.
#[test]
fn no_field_is_a_truth_value_of_old_yaml() {
    for (path, _) in schemas() {
        let name = path.rsplit('.').next().unwrap();
        let words = ["on", "off", "yes", "no", "y", "n", "true", "false"];
        assert!(!words.contains(&name), "{path}");
    }
}

#[test]
fn every_rule_compiles_and_says_what_to_do() {
    for (path, schema) in schemas() {
        let compiled = kube::core::cel::compile_schema(&schema);
        assert!(!compiled.has_errors(), "{path}: {:?}", compiled.compilation_errors());
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(rule["message"].as_str().is_some_and(|text| text.len() > 10), "{path}");
        }
    }
}

#[test]
fn a_listing_shows_what_a_person_looks_for() {
    let columns = |text: &str| {
        let crd: Value = serde_yaml::from_str(text).unwrap();
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].clone();
        let shown =
            columns.as_array().unwrap().iter().filter(|column| column["priority"].is_null());
        shown.map(|column| column["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let shown: Vec<_> = generated().iter().map(|(_, text)| columns(text)).collect();
    assert_eq!(shown[0], ["Models", "Targets", "Programmed", "Ready", "Reason", "Age"]);
    assert_eq!(shown[1], ["Provider", "Keys", "Routes", "Programmed", "Ready", "Reason", "Age"]);
    assert_eq!(shown[2], ["Groups", "Keys", "Programmed", "Ready", "Reason", "Age"]);
}

#[test]
fn a_default_fits_its_own_schema() {
    for (path, schema) in schemas() {
        if let Some(default) = schema.get("default") {
            assert_eq!(schema::rejections(&schema, default), Vec::<String>::new(), "{path}");
        }
    }
}
