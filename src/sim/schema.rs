//! A value that satisfies a JSON schema: for structured output and the arguments of tool calls.
//!
//! Small and always the same: the first of several choices, the least of a range, every property once.
//! `pattern`, `multipleOf`, `not` and `if` are not looked at; `OpenAPI`'s upper-case types are.

use serde_json::{Map, Value, json};

use super::read::{given, list, number, text};

/// How deep a schema that contains itself is followed before only what it requires is made.
const DEPTH: usize = 6;

/// The deepest that is followed at all: a schema that requires itself has no finite value.
const DEEPEST: usize = 32;

pub(super) fn sample(schema: &Value) -> Value {
    instance(schema, schema, 0)
}

fn instance(root: &Value, schema: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(found) = text(schema, "$ref").and_then(|path| root.pointer(path.strip_prefix('#')?))
    {
        return instance(root, found, depth + 1);
    }
    if let Some(value) = schema.get("const").or_else(|| list(schema, "enum").first()) {
        return value.clone();
    }
    let choices = [list(schema, "anyOf"), list(schema, "oneOf")].concat();
    let ends = |choice: &&Value| text(choice, "type") == Some("null");
    let choice = choices.iter().find(ends).filter(|_| depth > DEPTH).or_else(|| choices.first());
    if let Some(choice) = choice {
        return instance(root, choice, depth + 1);
    }
    if let [first, rest @ ..] = list(schema, "allOf") {
        let mut whole = instance(root, first, depth + 1);
        for part in rest {
            if let (Some(into), Value::Object(more)) =
                (whole.as_object_mut(), instance(root, part, depth + 1))
            {
                into.extend(more);
            }
        }
        return whole;
    }
    match kind(schema).as_str() {
        "object" => object(root, schema, depth),
        "array" => array(root, schema, depth),
        "integer" => whole_number(least(schema).ceil()),
        "number" => json!(least(schema)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!(string(schema)),
    }
}

fn kind(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null")
        }
        _ => None,
    };
    let guessed = if given(schema, "properties") { "object" } else { "string" };
    named.unwrap_or(guessed).to_lowercase()
}

fn object(root: &Value, schema: &Value, depth: usize) -> Value {
    let required = list(schema, "required");
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let made = properties
        .filter(|(name, _)| depth <= DEPTH || required.iter().any(|r| r.as_str() == Some(name)))
        .map(|(name, schema)| (name.clone(), instance(root, schema, depth + 1)));
    Value::Object(made.collect::<Map<_, _>>())
}

fn array(root: &Value, schema: &Value, depth: usize) -> Value {
    let least = number(schema, "minItems").unwrap_or(0);
    let most = number(schema, "maxItems").unwrap_or(usize::MAX);
    let length = if depth > DEPTH { least } else { least.max(1).min(most) };
    let before = list(schema, "prefixItems");
    let any = json!({});
    let item = schema.get("items").unwrap_or(&any);
    let items = 0..length.max(before.len().min(most));
    items.map(|at| instance(root, before.get(at).unwrap_or(item), depth + 1)).collect()
}

/// The least number allowed, or 1 where that is allowed.
fn least(schema: &Value) -> f64 {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|above| above + 1.0));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|below| below - 1.0));
    1.0_f64.min(high.unwrap_or(1.0)).max(low.unwrap_or(f64::MIN))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "bounds of schemas are small; a cast saturates"
)]
fn whole_number(number: f64) -> Value {
    json!(number as i64)
}

fn string(schema: &Value) -> String {
    let formatted = match text(schema, "format") {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "PT1S",
        Some("email") => "a@example.com",
        Some("hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some(_) | None => "x",
    };
    let missing = number(schema, "minLength").unwrap_or(0).saturating_sub(formatted.len());
    format!("{formatted}{}", "x".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keyword_is_satisfied() {
        for (schema, expected) in [
            (json!({"type": "string", "minLength": 3}), json!("xxx")),
            (json!({"type": "string", "format": "date"}), json!("2026-01-01")),
            (json!({"type": "STRING"}), json!("x")),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "exclusiveMaximum": 0}), json!(-1)),
            (json!({"type": "number", "maximum": 0.5}), json!(0.5)),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"enum": ["b", "a"]}), json!("b")),
            (json!({"const": 7}), json!(7)),
            (json!({"anyOf": [{"type": "null"}, {"type": "string"}]}), Value::Null),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}),
                json!([true, true]),
            ),
            (json!({"type": "array", "maxItems": 0}), json!([])),
            (json!({"type": "object"}), json!({})),
            (
                json!({"allOf": [
                    {"type": "object", "properties": {"a": {"type": "null"}}},
                    {"type": "object", "properties": {"b": {"type": "null"}}},
                ]}),
                json!({"a": null, "b": null}),
            ),
            (
                json!({"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": {"const": "q"}}}),
                json!({"p": "q"}),
            ),
        ] {
            assert_eq!(sample(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let tree = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "more": {"type": "array", "items": {"$ref": "#"}},
        }});
        assert_eq!(sample(&tree)["next"]["name"], "x");
        let endless =
            json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}});
        assert!(sample(&endless).is_object());
    }
}
