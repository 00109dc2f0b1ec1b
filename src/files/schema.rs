//! A raw object against the schema of its kind: what an API server would check before anybody sees
//! the object, all of it told at once and each with its path.
//!
//! The schema is the one that `trunkline crds` prints, so bounds stand in one place. Rules across
//! fields (CEL) are asked in `compile`. Two things differ from an API server: a field that the
//! schema does not have is an error with a suggestion, because a misspelt field that is dropped in
//! silence is the worst kind of mistake; and a `null` where none belongs is told, not dropped.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use crate::{
    api,
    compile::{
        self, Problem, Reason,
        value::{list, suggestion},
    },
};

/// The schema of each kind's specification. The types do not change while the process runs.
static SPECS: LazyLock<BTreeMap<String, JSONSchemaProps>> = LazyLock::new(|| {
    let specs = api::crds(&compile::providers()).into_iter().filter_map(|crd| {
        let version = crd.spec.versions.into_iter().next()?;
        let mut schema = version.schema?.open_api_v3_schema?;
        Some((crd.spec.names.kind, schema.properties.as_mut()?.remove("spec")?))
    });
    specs.collect()
});

/// The kinds that there are.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> + Clone {
    SPECS.keys().map(String::as_str)
}

/// Everything that is wrong with an object of a kind of ours.
pub(super) fn problems(kind: &str, object: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for field in object.keys().filter(|field| !known.contains(&field.as_str())) {
        problems.push(unknown(field, field, known.into_iter()));
    }
    match (SPECS.get(kind), object.get("spec")) {
        (Some(schema), Some(spec)) => check(schema, spec, "spec", &mut problems),
        (Some(_), None) => problems.push(Problem::invalid("spec", "is missing")),
        (None, _) => {}
    }
    problems
}

fn unknown<'a>(path: &str, field: &str, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    let message = format!("unknown field; {}", suggestion(field, known));
    Problem::at(Reason::UnknownField, path, message)
}

/// Holds a value against its schema. A value of another type is not looked into any further.
fn check(schema: &JSONSchemaProps, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let Some(expected) = schema.type_.as_deref().filter(|expected| !is(value, expected)) {
        let message = format!("expected {}, found {}", name(expected), found(value));
        problems.push(Problem::invalid(path, message));
        return;
    }
    if let Some(values) = &schema.enum_
        && !values.iter().any(|JSON(known)| known == value)
    {
        let known = || values.iter().filter_map(|JSON(known)| known.as_str());
        let word = value.as_str().unwrap_or_default();
        let message = format!("`{word}` is none of the values; {}", suggestion(word, known()));
        problems.push(Problem::at(Reason::UnsupportedValue, path, message));
        return;
    }
    match value {
        Value::Object(fields) => check_object(schema, fields, path, problems),
        Value::Array(items) => check_list(schema, items, path, problems),
        Value::String(text) => {
            let (least, most) = (schema.min_length, schema.max_length);
            check_count(text.chars().count(), least, most, "character", path, problems);
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let (least, most) = (schema.minimum, schema.maximum);
            if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                problems.push(Problem::invalid(path, range(least, most)));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_object(
    schema: &JSONSchemaProps,
    fields: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    for missing in schema.required.iter().flatten().filter(|name| !fields.contains_key(*name)) {
        problems.push(Problem::invalid(&format!("{path}.{missing}"), "is missing"));
    }
    check_count(fields.len(), None, schema.max_properties, "field", path, problems);
    let known: Vec<_> = schema.properties.iter().flatten().map(|(name, _)| name.as_str()).collect();
    for (field, value) in fields {
        let path_of_field = format!("{path}.{field}");
        let inner = schema.properties.as_ref().and_then(|properties| properties.get(field));
        match (inner, &schema.additional_properties) {
            (Some(inner), _) => check(inner, value, &path_of_field, problems),
            (None, Some(JSONSchemaPropsOrBool::Schema(inner))) => {
                check(inner, value, &path_of_field, problems);
            }
            (None, _) if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
            (None, _) => problems.push(unknown(&path_of_field, field, known.iter().copied())),
        }
    }
}

fn check_list(schema: &JSONSchemaProps, items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    check_count(items.len(), schema.min_items, schema.max_items, "item", path, problems);
    if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
        for (at, item) in items.iter().enumerate() {
            check(inner, item, &format!("{path}[{at}]"), problems);
        }
    }
    let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    let identity = |item: &Value| match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => Some(vec![item.clone()]),
        Some("map") => keys.iter().map(|key| item.get(key).cloned()).collect(),
        _ => None,
    };
    for (at, item) in items.iter().enumerate() {
        let Some(mine) = identity(item) else { continue };
        if items.iter().take(at).any(|other| identity(other).as_ref() == Some(&mine)) {
            let words: Vec<_> = mine.iter().filter_map(Value::as_str).collect();
            let what = keys.first().map_or("value", String::as_str);
            let message = format!("the {what} `{}` stands twice", list(words.into_iter()));
            problems.push(Problem::invalid(&format!("{path}[{at}]"), message));
        }
    }
}

fn check_count(
    count: usize,
    least: Option<i64>,
    most: Option<i64>,
    what: &str,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let s = |bound: i64| if bound == 1 { "" } else { "s" };
    let message = match (least, most) {
        (Some(least), _) if count < least => {
            format!("needs at least {least} {what}{}", s(least))
        }
        (_, Some(most)) if count > most => {
            format!("takes at most {most} {what}{}, and has {count}", s(most))
        }
        _ => return,
    };
    problems.push(Problem::invalid(path, message));
}

fn range(least: Option<f64>, most: Option<f64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("must be from {least} to {most}"),
        (Some(least), None) => format!("must be at least {least}"),
        (None, Some(most)) => format!("must be at most {most}"),
        (None, None) => "must be a number".to_owned(),
    }
}

fn is(value: &Value, expected: &str) -> bool {
    match expected {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => true,
    }
}

/// A type's name in a sentence.
fn name(expected: &str) -> &str {
    match expected {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "a map of fields",
        "string" => "a text",
        other => other,
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false (quote it to make it a text)",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number (quote it to make it a text)",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map of fields",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(spec: &Value) -> Vec<String> {
        let object = json!({"apiVersion": "x", "kind": "ModelRoute", "spec": spec});
        let told = problems("ModelRoute", object.as_object().unwrap());
        told.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let spec = json!({
            "models": ["a", "a"],
            "modles": [],
            "precedence": 1001,
            "paused": "yes",
            "match": {"apis": ["Message"]},
            "targets": [
                {"name": "t", "credentialRef": {"name": "c"}, "model": 5, "wieght": 1},
                {"name": "t", "credentialRef": {"name": "c"}, "model": "m", "tier": 1.5},
                {"credentialRef": null},
            ],
        });
        insta::assert_yaml_snapshot!(wrong(&spec));
    }

    #[test]
    fn overrides_take_any_value() {
        let target = json!({
            "name": "t", "credentialRef": {"name": "c"}, "model": "m",
            "overrides": {"set": {"a": null, "b": {"c": [1.5]}, "d": true}},
        });
        assert_eq!(wrong(&json!({"models": ["a"], "targets": [target]})), Vec::<String>::new());
    }
}
