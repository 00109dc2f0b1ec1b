//! JSON Schemas as Anthropic's structured outputs take them: a part of the language.
//!
//! What they do not take is moved into the description, where the model may still heed it, exactly
//! as Anthropic's own SDKs do. Objects are closed, `oneOf` becomes `anyOf`, a list of types becomes
//! `anyOf` of each, and draft-04's `definitions` become `$defs`.
//!
//! Source: `transform_schema` of Anthropic's Python SDK 2.12.

use serde_json::{Map, Value, json};

/// Formats of strings that are enforced.
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// Notes about the schema itself: nothing for a model to heed.
const NOTES: [&str; 3] = ["$comment", "$id", "$schema"];

/// A schema that Anthropic takes, and whether something was weakened on the way.
pub(super) fn adapt(schema: &Value) -> (Value, bool) {
    let mut weakened = false;
    let adapted = walk(schema, &mut weakened);
    (adapted, weakened)
}

fn walk(schema: &Value, weakened: &mut bool) -> Value {
    let Value::Object(source) = schema else { return schema.clone() };
    let mut left = source.clone();
    let mut out = Map::new();
    left.retain(|key, _| !NOTES.contains(&key.as_str()));
    for key in ["$defs", "definitions"] {
        if let Some(Value::Object(definitions)) = left.remove(key) {
            let kept = out.entry("$defs").or_insert_with(|| json!({}));
            if let Some(kept) = kept.as_object_mut() {
                kept.extend(each(&definitions, weakened));
            }
        }
    }
    if let Some(Value::String(reference)) = left.remove("$ref") {
        let reference = reference.replacen("#/definitions/", "#/$defs/", 1);
        out.insert("$ref".to_owned(), Value::String(reference));
        return Value::Object(out);
    }
    for key in ["description", "title"] {
        out.extend(left.remove_entry(key));
    }
    if !literals(&mut left, &mut out) && !variants(&mut left, &mut out, weakened) {
        typed(&mut left, &mut out, weakened);
    }
    describe(left, &mut out, weakened);
    Value::Object(out)
}

fn each<'a>(
    schemas: &'a Map<String, Value>,
    weakened: &'a mut bool,
) -> impl Iterator<Item = (String, Value)> + 'a {
    schemas.iter().map(|(name, schema)| (name.clone(), walk(schema, weakened)))
}

/// Takes `enum` and `const` over; their type is plain from their values.
fn literals(left: &mut Map<String, Value>, out: &mut Map<String, Value>) -> bool {
    let primitive = |value: &Value| !value.is_array() && !value.is_object();
    let listed = left
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|values| !values.is_empty() && values.iter().all(primitive));
    let constant = left.get("const").is_some_and(primitive);
    if listed {
        out.extend(left.remove_entry("enum"));
    }
    if constant {
        out.extend(left.remove_entry("const"));
    }
    if listed || constant {
        left.remove("type");
    }
    listed || constant
}

/// Takes a choice between schemas over; a list of types is one too.
fn variants(
    left: &mut Map<String, Value>,
    out: &mut Map<String, Value>,
    weakened: &mut bool,
) -> bool {
    for (key, kept) in [("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")] {
        if let Some(Value::Array(schemas)) = left.get(key) {
            *weakened |= key == "oneOf";
            let schemas = schemas.iter().map(|schema| walk(schema, weakened)).collect();
            left.remove(key);
            left.remove("type");
            out.insert(kept.to_owned(), Value::Array(schemas));
            return true;
        }
    }
    if !left.get("type").is_some_and(Value::is_array) {
        return false;
    }
    let Some(Value::Array(types)) = left.remove("type") else { return false };
    let shared = std::mem::take(left);
    let of_type = |kind: Value| {
        let mut schema = if kind == "null" { Map::new() } else { shared.clone() };
        schema.insert("type".to_owned(), kind);
        walk(&Value::Object(schema), weakened)
    };
    out.insert("anyOf".to_owned(), types.into_iter().map(of_type).collect());
    true
}

/// Takes over what belongs to the schema's type.
fn typed(left: &mut Map<String, Value>, out: &mut Map<String, Value>, weakened: &mut bool) {
    let Some(Value::String(kind)) = left.remove("type") else { return };
    match kind.as_str() {
        "object" => {
            let properties = match left.remove("properties") {
                Some(Value::Object(properties)) => each(&properties, weakened).collect(),
                _ => Map::new(),
            };
            out.insert("properties".to_owned(), Value::Object(properties));
            out.extend(left.remove_entry("required"));
            let open = left.remove("additionalProperties");
            *weakened |= open.is_some_and(|open| open != false);
            out.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        "string" => {
            let format = left.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| FORMATS.contains(&format)) {
                out.extend(left.remove_entry("format"));
            }
        }
        "array" => {
            if let Some(items) = left.remove("items") {
                out.insert("items".to_owned(), walk(&items, weakened));
            }
            if left.get("minItems").and_then(Value::as_u64).is_some_and(|least| least <= 1) {
                out.extend(left.remove_entry("minItems"));
            }
        }
        _ => {}
    }
    out.insert("type".to_owned(), Value::String(kind));
}

/// Moves what is left into the description.
fn describe(left: Map<String, Value>, out: &mut Map<String, Value>, weakened: &mut bool) {
    if left.is_empty() {
        return;
    }
    *weakened = true;
    let words: Vec<_> = left.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let words = format!("{{{}}}", words.join(", "));
    let description = match out.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{words}"),
        None => words,
    };
    out.insert("description".to_owned(), Value::String(description));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn schemas_become_the_part_that_anthropic_takes() {
        let rows = [
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
                       "additionalProperties": false}),
                false,
            ),
            (
                json!({"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"}),
                json!({"type": "integer", "description": "A number\n\n{maximum: 10, minimum: 1}"}),
                true,
            ),
            (
                json!({"type": ["string", "null"], "maxLength": 3, "title": "T"}),
                json!({"title": "T", "anyOf": [
                    {"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}]}),
                true,
            ),
            (
                json!({"$schema": "x", "definitions": {"P": {"type": "object"}}, "$ref": "#/definitions/P"}),
                json!({"$ref": "#/$defs/P", "$defs": {
                    "P": {"type": "object", "properties": {}, "additionalProperties": false}}}),
                false,
            ),
            (json!({"type": "string", "enum": ["a"]}), json!({"enum": ["a"]}), false),
            (
                json!({"oneOf": [{"const": 1}, {"type": "string", "format": "uuid"}]}),
                json!({"anyOf": [{"const": 1}, {"type": "string", "format": "uuid"}]}),
                true,
            ),
            (
                json!({"type": "array", "items": {"type": "string", "format": "ipv9"}, "minItems": 1}),
                json!({"type": "array", "minItems": 1,
                       "items": {"type": "string", "description": "{format: \"ipv9\"}"}}),
                true,
            ),
            (
                json!({"type": "object", "additionalProperties": true}),
                json!({"type": "object", "properties": {}, "additionalProperties": false}),
                true,
            ),
        ];
        for (schema, expected, weakened) in rows {
            assert_eq!(adapt(&schema), (expected, weakened), "{schema}");
        }
    }

    fn schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({"type": "string", "minLength": 2})),
            Just(json!({"type": ["integer", "null"]})),
            Just(json!({"enum": ["a", null]})),
            Just(json!(true)),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
                inner.clone().prop_map(|a| json!({"type": "object", "properties": {"a": a}})),
                inner.prop_map(|a| json!({"oneOf": [a, {"type": "null"}]})),
            ]
        })
    }

    proptest! {
        /// The SDKs adapt a schema before we see it: that must stay as it is.
        #[test]
        fn an_adapted_schema_is_not_adapted_again(schema in schema()) {
            let (once, _) = adapt(&schema);
            prop_assert_eq!(adapt(&once), (once, false));
        }
    }
}
