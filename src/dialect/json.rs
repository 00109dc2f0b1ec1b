//! Small helpers over JSON values that every codec needs.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::RequestError;

/// A field that is text.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// A field that is an array; empty where it is not.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A count, which some servers write as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating, and a count of tokens is small"
)]
pub(super) fn count(value: &Value, key: &str) -> Option<u64> {
    let value = value.get(key)?;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|count| *count >= 0.0).map(|count| count as u64))
}

/// Reads a body that must be an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, RequestError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(plain("the request body must be a JSON object")),
        Err(error) => Err(plain(format!("the request body is not valid JSON: {error}"))),
    }
}

/// An error about the body as a whole.
pub(super) fn plain(message: impl Into<String>) -> RequestError {
    RequestError { message: message.into(), param: None }
}

/// Takes a field that must have a type; null counts as absent.
pub(super) fn take<T>(
    map: &mut Map<String, Value>,
    key: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, RequestError> {
    match map.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(RequestError::at(key, format!("`{key}` must be {expected}"))),
        },
    }
}

/// Tool arguments as an object: empty text means none.
pub(super) fn arguments(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Object(Map::new()));
    }
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// Appends JSON text for a string, quotes included.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector cannot fail.
    let _written = serde_json::to_writer(out, text);
}

/// The last value of a key (written with its quotes) that `read` understands.
///
/// The key cannot be a part of a text, where its quotes would be escaped; but a text may be just
/// this word, so what follows must be a colon and something that can be read.
pub(super) fn last<'a, D: Deserialize<'a>, T>(
    body: &'a [u8],
    key: &[u8],
    read: impl Fn(D) -> Option<T>,
) -> Option<T> {
    let mut before = body;
    while let Some(at) = memchr::memmem::rfind(before, key) {
        let value = body.get(at + key.len()..)?.trim_ascii_start().strip_prefix(b":");
        let value = value
            .and_then(|value| serde_json::Deserializer::from_slice(value).into_iter().next()?.ok());
        if let Some(read) = value.and_then(&read) {
            return Some(read);
        }
        before = body.get(..at)?;
    }
    None
}

/// The provider's words, short enough to repeat.
pub(super) fn words(text: &str) -> String {
    const MOST: usize = 500;
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Usage;

    #[test]
    fn the_usage_is_found_wherever_it_stands_and_nowhere_else() {
        let read = |value: &Value| Some(Usage { input: count(value, "in")?, ..Usage::default() });
        for (body, input) in [
            (r#"{"usage": {"in": 3}}"#, Some(3)),
            (r#"{"usage":{"in":3},"name":"usage","x":{"usage":null}}"#, Some(3)),
            (r#"s cut before","usage" : {"in":4.0}}"#, Some(4)),
            (r#"{"content":"\"usage\": {\"in\": 9}"}"#, None),
            (r#"{"usage":{"in":3"#, None),
            (r#"{"usage""#, None),
        ] {
            let found = last(body.as_bytes(), b"\"usage\"", |value: Value| read(&value))
                .map(|usage| usage.input);
            assert_eq!(found, input, "{body}");
        }
    }
}
