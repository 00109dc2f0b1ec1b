//! JSON Schemas as Gemini's older models take them: the part of `OpenAPI` 3.0 that their `Schema`
//! type has.
//!
//! One keyword that is not in it makes the whole request fail, so nothing passes that is not known
//! here. References are written out, because there is no place for definitions; a schema that
//! contains itself ends in a bare object. What has another name is renamed, what only narrows the
//! answer moves into the description, where the model may still heed it.
//!
//! Source: `Schema` of Google's `google-genai` SDK 3.4.

use serde_json::{Map, Value, json};

/// Keywords that mean the same on both sides.
const KEPT: [&str; 14] = [
    "default",
    "description",
    "example",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "required",
    "title",
];

/// Formats that are not refused.
const FORMATS: [&str; 6] = ["date-time", "double", "enum", "float", "int32", "int64"];

/// Keywords about the schema itself: nothing for a model to heed.
const NOTES: [&str; 5] = ["$comment", "$defs", "$id", "$schema", "definitions"];

/// How many schemas are written out of one: references may multiply without end.
const MOST: usize = 4096;

/// How deep they may nest once written out, as deep as a request itself may.
const DEEPEST: usize = 100;

/// A schema that older models take, and whether something was weakened on the way.
pub(super) fn adapt(schema: &Value) -> (Value, bool) {
    let mut walk = Walk { root: schema, trail: Vec::new(), depth: 0, written: 0, weakened: false };
    let adapted = walk.schema(schema);
    (adapted, walk.weakened)
}

/// Whether a schema asks for an object without properties, which older models refuse to hear of.
pub(super) fn is_empty(schema: &Value) -> bool {
    schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty)
        && !["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| schema.get(key).is_some())
}

struct Walk<'a> {
    root: &'a Value,
    /// The references that are being written out.
    trail: Vec<&'a str>,
    depth: usize,
    written: usize,
    weakened: bool,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        self.written += 1;
        if self.depth >= DEEPEST {
            return self.anything();
        }
        self.depth += 1;
        let written = self.written_out(schema);
        self.depth -= 1;
        written
    }

    /// What stands in for a schema that cannot be written out.
    fn anything(&mut self) -> Value {
        self.weakened = true;
        json!({"type": "object"})
    }

    fn written_out(&mut self, schema: &'a Value) -> Value {
        let Some(fields) = schema.as_object() else {
            // `true` stands for anything, which has no word here.
            self.weakened = true;
            return json!({});
        };
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, fields);
        }
        let mut out = Map::new();
        let mut narrowing = Vec::new();
        kind(fields, &mut out);
        for (key, value) in fields {
            match key.as_str() {
                "anyOf" | "oneOf" => self.variants(key, value, &mut out),
                "allOf" => self.all(value, &mut out),
                "properties" => self.properties(value, &mut out),
                "items" => {
                    let items = self.schema(value);
                    out.insert("items".to_owned(), items);
                }
                "enum" | "const" => literals(key, value, &mut out, &mut narrowing),
                "exclusiveMaximum" | "exclusiveMinimum" if value.is_number() => {
                    self.weakened = true;
                    let near = if key == "exclusiveMaximum" { "maximum" } else { "minimum" };
                    out.entry(near).or_insert_with(|| value.clone());
                }
                "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                    out.insert(key.clone(), value.clone());
                }
                "nullable" => {
                    out.insert(key.clone(), value.clone());
                }
                // Closed objects are the only ones that the models write.
                "additionalProperties" if *value == false => {}
                "type" => {}
                key if NOTES.contains(&key) => {}
                key if KEPT.contains(&key) => {
                    out.insert(key.to_owned(), value.clone());
                }
                key => narrowing.push(format!("{key}: {value}")),
            }
        }
        self.describe(&narrowing, &mut out);
        Value::Object(out)
    }

    /// Writes a reference out; what stands beside it wins, as newer drafts have it.
    fn reference(&mut self, reference: &'a str, fields: &'a Map<String, Value>) -> Value {
        let pointer = reference.strip_prefix('#');
        let target = pointer.and_then(|pointer| self.root.pointer(pointer));
        let target = target.filter(|_| self.written < MOST && !self.trail.contains(&reference));
        let Some(target) = target else { return self.anything() };
        self.trail.push(reference);
        let mut schema = self.schema(target);
        self.trail.pop();
        if let Some(out) = schema.as_object_mut() {
            for key in ["description", "title", "default"] {
                if let Some(value) = fields.get(key) {
                    out.insert(key.to_owned(), value.clone());
                }
            }
        }
        schema
    }

    /// A choice of schemas. `null` among them is a flag here, and a single one needs no choice.
    fn variants(&mut self, key: &str, value: &'a Value, out: &mut Map<String, Value>) {
        let Some(schemas) = value.as_array() else { return };
        self.weakened |= key == "oneOf";
        let real: Vec<_> = schemas
            .iter()
            .filter(|schema| schema.get("type").is_none_or(|kind| kind != "null"))
            .collect();
        if real.len() < schemas.len() {
            out.insert("nullable".to_owned(), json!(true));
        }
        if let [only] = real.as_slice() {
            let only = self.schema(only);
            merge(only, out);
        } else {
            let each: Vec<Value> = real.into_iter().map(|schema| self.schema(schema)).collect();
            out.insert("anyOf".to_owned(), Value::Array(each));
        }
    }

    /// Schemas that hold together become one.
    fn all(&mut self, value: &'a Value, out: &mut Map<String, Value>) {
        for schema in value.as_array().into_iter().flatten() {
            let schema = self.schema(schema);
            merge(schema, out);
        }
    }

    /// Properties in the order in which they were written, which the models otherwise forget.
    fn properties(&mut self, value: &'a Value, out: &mut Map<String, Value>) {
        let Some(properties) = value.as_object().filter(|all| !all.is_empty()) else { return };
        let order: Vec<_> = properties.keys().cloned().collect();
        let written = properties.iter().map(|(name, schema)| (name.clone(), self.schema(schema)));
        let written = Value::Object(written.collect());
        merge(json!({"properties": written, "propertyOrdering": order}), out);
    }

    fn describe(&mut self, narrowing: &[String], out: &mut Map<String, Value>) {
        if narrowing.is_empty() {
            return;
        }
        self.weakened = true;
        let words = format!("{{{}}}", narrowing.join(", "));
        let description = match out.get("description").and_then(Value::as_str) {
            Some(before) => format!("{before}\n\n{words}"),
            None => words,
        };
        out.insert("description".to_owned(), json!(description));
    }
}

/// One type, or several of which one may be `null`.
fn kind(fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    match fields.get("type") {
        Some(Value::Array(kinds)) => {
            let mut real: Vec<&Value> = kinds.iter().filter(|kind| *kind != "null").collect();
            if real.len() < kinds.len() {
                out.insert("nullable".to_owned(), json!(true));
            }
            if let [_] = real.as_slice() {
                out.extend(real.pop().map(|kind| ("type".to_owned(), kind.clone())));
            } else {
                let each = real.into_iter().map(|kind| json!({"type": kind}));
                out.insert("anyOf".to_owned(), each.collect());
            }
        }
        Some(kind) => {
            out.insert("type".to_owned(), kind.clone());
        }
        None if fields.contains_key("properties") => {
            out.insert("type".to_owned(), json!("object"));
        }
        None => {}
    }
}

/// Only texts can be listed; other values are told in words.
fn literals(key: &str, value: &Value, out: &mut Map<String, Value>, narrowing: &mut Vec<String>) {
    let one = std::slice::from_ref(value);
    let values = if key == "const" { one } else { value.as_array().map_or(&[][..], Vec::as_slice) };
    let texts: Vec<_> = values.iter().filter(|value| !value.is_null()).cloned().collect();
    if texts.is_empty() || !texts.iter().all(Value::is_string) {
        narrowing.push(format!("{key}: {value}"));
        return;
    }
    if texts.len() < values.len() {
        out.insert("nullable".to_owned(), json!(true));
    }
    out.insert("type".to_owned(), json!("string"));
    out.insert("enum".to_owned(), Value::Array(texts));
}

/// Adds a schema to another that must hold as well: lists and properties grow, the rest stays.
fn merge(schema: Value, out: &mut Map<String, Value>) {
    let Value::Object(schema) = schema else { return };
    for (key, value) in schema {
        match (out.get_mut(&key), value) {
            (Some(Value::Object(before)), Value::Object(more)) => before.extend(more),
            (Some(Value::Array(before)), Value::Array(more)) => {
                let new: Vec<_> = more.into_iter().filter(|one| !before.contains(one)).collect();
                before.extend(new);
            }
            (Some(_), _) => {}
            (None, value) => {
                out.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_written_out_and_a_schema_that_contains_itself_ends() {
        let schema = json!({
            "type": "object",
            "properties": {
                "at": {"$ref": "#/$defs/place", "description": "where"},
                "tree": {"$ref": "#/$defs/node"},
            },
            "$defs": {
                "place": {"type": "string", "description": "a place"},
                "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}},
            },
        });
        let (adapted, weakened) = adapt(&schema);
        assert_eq!(
            adapted,
            json!({
                "type": "object",
                "properties": {
                    "at": {"type": "string", "description": "where"},
                    "tree": {
                        "type": "object",
                        "properties": {"next": {"type": "object"}},
                        "propertyOrdering": ["next"],
                    },
                },
                "propertyOrdering": ["at", "tree"],
            })
        );
        assert!(weakened);
    }

    #[test]
    fn nothing_that_is_refused_passes() {
        for (schema, expected, weakened) in [
            (
                json!({"type": ["string", "null"]}),
                json!({"type": "string", "nullable": true}),
                false,
            ),
            (
                json!({"type": ["string", "integer"]}),
                json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
                false,
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                json!({"type": "string", "nullable": true}),
                false,
            ),
            (
                json!({"allOf": [
                    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "string"}}, "required": ["b"]},
                ]}),
                json!({
                    "type": "object",
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "propertyOrdering": ["a", "b"],
                    "required": ["a", "b"],
                }),
                false,
            ),
            (json!({"const": "x"}), json!({"type": "string", "enum": ["x"]}), false),
            (
                json!({"type": "integer", "enum": [1, 2], "exclusiveMinimum": 0}),
                json!({"type": "integer", "minimum": 0, "description": "{enum: [1,2]}"}),
                true,
            ),
            (
                json!({"type": "string", "format": "email", "minLength": 1, "$schema": "x"}),
                json!({"type": "string", "minLength": 1, "description": "{format: \"email\"}"}),
                true,
            ),
            (json!({"$ref": "https://elsewhere"}), json!({"type": "object"}), true),
        ] {
            assert_eq!(adapt(&schema), (expected, weakened), "{schema}");
        }
    }

    /// Each level refers twice to the next: 2^40 schemas if all were written.
    #[test]
    fn references_cannot_multiply_without_end() {
        let level = |n: usize| {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            (n.to_string(), json!({"type": "object", "properties": {"a": next, "b": next}}))
        };
        let defs: Map<_, _> = (0..40).map(level).collect();
        let (adapted, weakened) = adapt(&json!({"$ref": "#/$defs/0", "$defs": defs}));
        assert!(weakened && adapted.to_string().len() < 1 << 20);
    }
}
