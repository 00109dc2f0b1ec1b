//! What an API server would say of an object: the schema's bounds and its CEL rules.
//!
//! The rules are evaluated by `kube`'s CEL library. The bounds are checked by a small validator of
//! its own, so that the one in `files` is held against something that it does not share code with.

#![cfg(test)]

use std::{collections::BTreeMap, sync::LazyLock};

use kube::core::cel::{CompiledSchema, ValidationErrors, Validator, compile_schema};
use serde_json::{Value, json};
use trunkline::{api, provider::PROVIDERS};

/// The root schema of each kind.
pub fn roots() -> Vec<(String, Value)> {
    let providers: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    let crds = api::crds(&providers).into_iter().map(|crd| {
        let crd = serde_json::to_value(crd).unwrap();
        let schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        (crd["spec"]["names"]["kind"].as_str().unwrap().to_owned(), schema)
    });
    crds.collect()
}

/// The schema of a kind's specification.
pub fn spec(kind: &str) -> &'static Value {
    static SPECS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        let spec = |(kind, root): (String, Value)| (kind, root["properties"]["spec"].clone());
        roots().into_iter().map(spec).collect()
    });
    &SPECS[kind]
}

/// Why an API server would refuse a value of this schema: paths of broken bounds, else broken rules.
pub fn rejections(schema: &Value, value: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    bounds(schema, value, "", &mut broken);
    if !broken.is_empty() {
        return broken;
    }
    let told = Validator::new().validate(schema, value, None);
    told.err().into_iter().flat_map(ValidationErrors::into_vec).map(|error| error.rule).collect()
}

/// Whether an object fits: only `spec` is looked at, because the root's other fields are Kubernetes'.
pub fn accepts(kind: &str, object: &Value) -> bool {
    static COMPILED: LazyLock<BTreeMap<&'static str, CompiledSchema>> = LazyLock::new(|| {
        let kinds = ["ModelAutoscaler", "ModelConsumer", "ModelRoute", "ProviderCredential"];
        kinds.into_iter().map(|kind| (kind, compile_schema(spec(kind)))).collect()
    });
    let mut broken = Vec::new();
    bounds(spec(kind), &object["spec"], "", &mut broken);
    broken.is_empty()
        && Validator::new().validate_compiled(&COMPILED[kind], &object["spec"], None).is_ok()
}

/// Every rule of all kinds' specifications.
pub fn rules() -> Vec<String> {
    fn walk(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                for rule in
                    fields.get("x-kubernetes-validations").iter().filter_map(|v| v.as_array())
                {
                    found.extend(rule.iter().map(|r| r["rule"].as_str().unwrap().to_owned()));
                }
                fields.values().for_each(|inner| walk(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| walk(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    for (_, root) in roots() {
        walk(&root["properties"]["spec"], &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn bounds(schema: &Value, value: &Value, path: &str, broken: &mut Vec<String>) {
    let mut check = |good: bool| {
        if !good {
            broken.push(path.to_owned());
        }
    };
    let most = |name: &str, count: usize| schema[name].as_u64().is_none_or(|n| count as u64 <= n);
    let least = |name: &str, count: usize| schema[name].as_u64().is_none_or(|n| count as u64 >= n);
    check(match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ if schema["x-kubernetes-int-or-string"] == true => value.is_i64() || value.is_string(),
        _ => true,
    });
    check(schema["enum"].as_array().is_none_or(|known| known.contains(value)));
    match value {
        Value::String(text) => {
            let count = text.chars().count();
            check(most("maxLength", count) && least("minLength", count));
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            check(schema["minimum"].as_f64().is_none_or(|n| number >= n));
            check(schema["maximum"].as_f64().is_none_or(|n| number <= n));
        }
        Value::Array(items) => {
            check(most("maxItems", items.len()) && least("minItems", items.len()));
            let identity = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => item.clone(),
                Some("map") => {
                    item[schema["x-kubernetes-list-map-keys"][0].as_str().unwrap()].clone()
                }
                _ => json!(std::ptr::from_ref(item) as usize),
            };
            for (at, item) in items.iter().enumerate() {
                check(!items[..at].iter().any(|other| identity(other) == identity(item)));
            }
            for (at, item) in items.iter().enumerate() {
                bounds(&schema["items"], item, &format!("{path}[{at}]"), broken);
            }
        }
        Value::Object(fields) => {
            check(most("maxProperties", fields.len()));
            for name in schema["required"].as_array().into_iter().flatten() {
                check(fields.contains_key(name.as_str().unwrap()));
            }
            for (name, inner) in fields {
                let path = format!("{path}.{name}");
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (known @ Value::Object(_), _) => bounds(known, inner, &path, broken),
                    (_, values @ Value::Object(_)) => bounds(values, inner, &path, broken),
                    _ if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                    _ => broken.push(path),
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}
