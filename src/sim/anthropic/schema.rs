//! The part of JSON schema that Anthropic's structured output takes.

use serde_json::Value;

use crate::sim::read::text;

/// Keywords that are refused, whatever they say.
const REFUSED: [&str; 12] = [
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "oneOf",
    "patternProperties",
];

/// Says what is wrong with a schema.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let Some(map) = schema.as_object() else { return Ok(()) };
    let kind = text(schema, "type").unwrap_or("object");
    let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
    let object = kind == "object" && (map.contains_key("properties") || map.contains_key("type"));
    if object && !closed {
        return Err(
            "For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned()
        );
    }
    if let Some(keyword) = REFUSED.iter().find(|keyword| map.contains_key(**keyword)) {
        return Err(format!("For '{kind}' type, property '{keyword}' is not supported"));
    }
    for key in ["properties", "$defs", "definitions"] {
        // Names of properties are not keywords.
        let mut inner = map.get(key).and_then(Value::as_object).into_iter().flatten();
        inner.try_for_each(|(_, schema)| check(schema))?;
    }
    for key in ["anyOf", "allOf", "prefixItems"] {
        let mut inner = map.get(key).and_then(Value::as_array).into_iter().flatten();
        inner.try_for_each(check)?;
    }
    map.get("items").map_or(Ok(()), check)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_closed_at_every_depth() {
        let closed = json!({"type": "object", "additionalProperties": false, "properties": {
            "minimum": {"type": "string"},
        }});
        assert_eq!(check(&closed), Ok(()));
        let inner = json!({"type": "array", "items": {"type": "object", "properties": {}}});
        assert!(check(&inner).unwrap_err().contains("additionalProperties"));
        assert!(check(&json!({"type": "integer", "minimum": 1})).unwrap_err().contains("minimum"));
    }
}
