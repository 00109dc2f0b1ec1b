//! Whether OpenAI enforces a JSON Schema: its strict mode takes a part of the language, and refuses a
//! request whose schema is not within it.
//!
//! Anthropic enforces more (properties that may be missing, open objects), so a schema that was
//! strict there may not be so here. It then goes out as a wish, which the client is told.
//!
//! Source: OpenAI's guide to structured outputs, November 2026.

use serde_json::{Map, Value};

/// Keywords that strict mode refuses.
const REFUSED: [&str; 11] = [
    "allOf",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "propertyNames",
    "then",
];

/// Whether a schema may be sent with `strict`.
pub(super) fn is_strict(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "object")
        && schema.get("anyOf").is_none()
        && is_within(schema)
}

fn is_within(schema: &Value) -> bool {
    let Some(fields) = schema.as_object() else { return false };
    let each = |key: &str| fields.get(key).and_then(Value::as_object);
    let named = ["properties", "$defs", "definitions"].into_iter().filter_map(each);
    let listed = fields.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    !REFUSED.iter().any(|key| fields.contains_key(*key))
        && (!is_object(fields) || is_closed(fields))
        && named.flat_map(Map::values).all(is_within)
        && listed.chain(fields.get("items")).all(is_within)
}

fn is_object(fields: &Map<String, Value>) -> bool {
    let object = |kind: &Value| kind == "object";
    fields.contains_key("properties")
        || match fields.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().any(object),
            Some(kind) => object(kind),
            None => false,
        }
}

/// Nothing may come that is not named, and nothing named may be missing.
fn is_closed(fields: &Map<String, Value>) -> bool {
    let required = fields.get("required").and_then(Value::as_array);
    let demanded = |name: &String| required.is_some_and(|names| names.iter().any(|n| n == name));
    let properties = fields.get("properties").and_then(Value::as_object);
    fields.get("additionalProperties") == Some(&Value::Bool(false))
        && properties.into_iter().flat_map(Map::keys).all(demanded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(properties: &Value, required: &[&str]) -> Value {
        json!({
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        })
    }

    #[test]
    fn closed_objects_whose_properties_are_all_demanded_are_enforced() {
        let inner = object(&json!({"x": {"type": "string", "minLength": 1}}), &["x"]);
        let list = json!({"type": "array", "items": inner});
        let choice = json!({"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]});
        let mut whole = object(&json!({"a": list, "b": choice}), &["a", "b"]);
        whole["$defs"] = json!({"a": inner});
        assert!(is_strict(&whole));
        assert!(is_strict(&object(&json!({}), &[])));
    }

    #[test]
    fn what_strict_mode_refuses_is_found_wherever_it_stands() {
        let open = json!({"type": "object", "properties": {}});
        let optional = object(&json!({"a": {"type": "string"}}), &[]);
        let one_of = json!({"oneOf": [{"type": "string"}]});
        for inner in [&open, &optional, &one_of] {
            let whole = object(&json!({"x": inner}), &["x"]);
            assert!(!is_strict(&whole), "{whole}");
            let list = object(&json!({"x": {"type": "array", "items": inner}}), &["x"]);
            assert!(!is_strict(&list), "{list}");
            let mut defs = object(&json!({}), &[]);
            defs["$defs"] = json!({"x": inner});
            assert!(!is_strict(&defs), "{defs}");
        }
        assert!(!is_strict(&open) && !is_strict(&json!({"type": "string"})));
    }
}
