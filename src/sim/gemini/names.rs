//! Names of fields in camel case. Google's JSON takes snake case as well, and Google's own SDK sends
//! both, so a request is read in one of them.

use serde_json::{Map, Value};

/// Fields whose keys are the caller's own.
const FREE: [&str; 8] = [
    "args",
    "default",
    "example",
    "labels",
    "parametersJsonSchema",
    "partMetadata",
    "response",
    "responseJsonSchema",
];

pub(super) fn camel(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, inner)| field(key, inner)).collect())
        }
        Value::Array(items) => items.iter().map(camel).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn field(key: &str, inner: &Value) -> (String, Value) {
    let key = word(key);
    if FREE.contains(&key.as_str()) {
        return (key, inner.clone());
    }
    let inner = match inner.as_object().filter(|_| key == "properties") {
        Some(map) => {
            let properties = map.iter().map(|(name, schema)| (name.clone(), camel(schema)));
            Value::Object(properties.collect::<Map<_, _>>())
        }
        None => camel(inner),
    };
    (key, inner)
}

fn word(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |word, part| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        word + &first.into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_renamed_and_the_callers_own_names_are_not() {
        let snake = json!({"tools": [{"function_declarations": [{
            "name": "a_b", "parameters_json_schema": {"min_x": 1},
            "parameters": {"properties": {"my_name": {"property_ordering": ["x_y"]}}},
        }]}], "contents": [{"parts": [{"function_call": {"args": {"my_key": 1}}}]}]});
        let expected = json!({"tools": [{"functionDeclarations": [{
            "name": "a_b", "parametersJsonSchema": {"min_x": 1},
            "parameters": {"properties": {"my_name": {"propertyOrdering": ["x_y"]}}},
        }]}], "contents": [{"parts": [{"functionCall": {"args": {"my_key": 1}}}]}]});
        assert_eq!(camel(&snake), expected);
        assert_eq!(camel(&expected), expected);
    }
}
