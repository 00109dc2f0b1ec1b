//! The data of a `Secret` or `ConfigMap`, as an API server would give it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretSlice;
use serde_json::{Map, Value};

use crate::compile::Problem;

/// Decoded values by key.
pub(super) type Data = BTreeMap<String, SecretSlice<u8>>;

/// The texts of a map; what is no text is not there.
pub(super) fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect()
}

/// The data of a Secret, and what is wrong with it. A value is never repeated.
///
/// `stringData` wins over `data`, as in a cluster. A value that is no base64 is not there, so that
/// whoever names it is told too.
pub(super) fn data(secret: &Map<String, Value>) -> (Data, Vec<Problem>) {
    let mut data = Data::new();
    let mut problems = Vec::new();
    for field in ["data", "stringData"] {
        let entries = secret.get(field).and_then(Value::as_object).into_iter().flatten();
        for (key, value) in entries {
            let path = format!("{field}.{key}");
            let Some(text) = value.as_str() else {
                problems.push(Problem::invalid(&path, "expected a text (quote it)"));
                continue;
            };
            if field == "stringData" {
                data.insert(key.clone(), text.as_bytes().to_vec().into());
                continue;
            }
            // Long values are often folded over several lines.
            let packed: String = text.split_ascii_whitespace().collect();
            match STANDARD.decode(packed) {
                Ok(bytes) => {
                    data.insert(key.clone(), bytes.into());
                }
                Err(_position) => {
                    let message = "is no base64; plain text belongs in `stringData`";
                    problems.push(Problem::invalid(&path, message));
                }
            }
        }
    }
    (data, problems)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_wins_and_broken_base64_is_told_without_its_text() {
        let secret = json!({
            "data": {"a": "c2st\nYQ==", "b": "Yg==", "c": "sk-canary!"},
            "stringData": {"b": "plain", "d": 5},
        });
        let (data, problems) = data(secret.as_object().unwrap());
        let read = |key: &str| data.get(key).map(|bytes| bytes.expose_secret().to_vec());
        assert_eq!(read("a").unwrap(), b"sk-a");
        assert_eq!(read("b").unwrap(), b"plain");
        assert_eq!(read("c"), None);
        let told: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|told| !told.contains("canary")), "{told:?}");
    }
}
