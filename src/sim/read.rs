//! Short ways to look into JSON whose shape has been checked.

use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// The items of a list; none where there is no list.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a field is there and not `null`.
pub(super) fn given(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(|value| !value.is_null())
}

pub(super) fn number(value: &Value, key: &str) -> Option<usize> {
    value.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
}

/// The texts of `content` that is a text or a list of parts.
pub(super) fn texts(content: Option<&Value>) -> Vec<&str> {
    match content {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| text(part, "text")).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => vec![],
    }
}

/// Words of a value at any depth, as a count of tokens.
pub(super) fn count(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.split_whitespace().count() as u64,
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Whether a name consists of letters, digits and these, and is neither empty nor too long.
pub(super) fn is_name(name: &str, also: &str, longest: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    !name.is_empty() && name.len() <= longest && name.chars().all(allowed)
}

/// The row of a model in a provider's table: by its name, its name with a date or `-latest`, or `sim`
/// for every `sim-…`.
pub(super) fn row<'a, W>(rows: &'a [(&str, W)], model: &str) -> Option<&'a W> {
    let dated = |rest: &str| {
        rest == "-latest"
            || rest.strip_prefix("-20").is_some_and(|rest| {
                rest.len() >= 6 && rest.chars().all(|c| c.is_ascii_digit() || c == '-')
            })
    };
    let fits = |name: &str| {
        model.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty() || dated(rest) || (name == "sim" && rest.starts_with('-'))
        })
    };
    rows.iter().find(|(name, _)| fits(name)).map(|(_, ways)| ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_name_date_or_sim() {
        let rows = [("gpt-5", 1), ("gpt-5-mini", 2), ("sim", 3)];
        for (model, expected) in [
            ("gpt-5", Some(&1)),
            ("gpt-5-mini", Some(&2)),
            ("gpt-5-2025-08-07", Some(&1)),
            ("gpt-5-latest", Some(&1)),
            ("gpt-5-20250807", Some(&1)),
            ("sim-anything", Some(&3)),
            ("gpt-5-typo", None),
            ("gpt", None),
            ("simple", None),
        ] {
            assert_eq!(row(&rows, model), expected, "{model}");
        }
    }
}
