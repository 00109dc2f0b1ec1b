//! The text of a file as raw objects, each with the lines of its fields.
//!
//! A file is taken as a whole or not at all: half of one would take objects away that its author
//! never meant to delete.

use std::{fmt, path::Path, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::position::{self, Lines};
use crate::compile::Source;

/// One object as it was written.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) source: Source,
    pub(super) object: Map<String, Value>,
}

/// An object may be a Secret: its fields are not for logs.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why a file gives nothing.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The line; 0 where none is known.
    pub(super) line: usize,
    pub(super) message: String,
}

impl Document {
    /// A text field at the top (`kind`) or inside of another (`metadata.name`).
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        let inner = rest.iter().try_fold(self.object.get(*first)?, |value, name| value.get(name));
        inner?.as_str()
    }
}

/// Takes a file's text apart. Empty documents give nothing, a `List` gives its items.
pub(super) fn parse(file: &Path, text: &str) -> Result<Vec<Document>, Unreadable> {
    let lines = position::lines(text);
    if let Some((twice, line)) = lines.iter().find_map(|document| {
        let twice = document.twice.as_deref()?;
        Some((twice, document.fields.get(twice).copied().unwrap_or_default()))
    }) {
        return Err(Unreadable {
            line,
            message: format!("{twice} stands twice; only one can count"),
        });
    }
    let json = file.extension().is_some_and(|end| end == "json");
    let values = if json { parse_json(text) } else { parse_yaml(text, &lines) }?;
    let name: Arc<str> = file.display().to_string().into();
    let mut documents = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let lines = lines.get(at).cloned().unwrap_or_default();
        place(value, lines, &name, &mut documents)?;
    }
    Ok(documents)
}

fn place(
    value: Value,
    lines: Lines,
    file: &Arc<str>,
    documents: &mut Vec<Document>,
) -> Result<(), Unreadable> {
    match value {
        Value::Null => Ok(()),
        Value::Object(mut object) => {
            let is_list = object
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"));
            match object.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) if is_list => {
                    for (at, item) in items.into_iter().enumerate() {
                        place(item, lines.item("items", at), file, documents)?;
                    }
                }
                items => {
                    // Not a list of ours to take apart: whoever knows the kind judges the field.
                    object.extend(items.map(|items| ("items".to_owned(), items)));
                    let Lines { start, fields, .. } = lines;
                    let source =
                        Source { file: Arc::clone(file), line: start, fields: Arc::new(fields) };
                    documents.push(Document { source, object });
                }
            }
            Ok(())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let message = "expected an object with `apiVersion`, `kind` and `metadata`".to_owned();
            Err(Unreadable { line: lines.start, message })
        }
    }
}

fn parse_yaml(text: &str, lines: &[Lines]) -> Result<Vec<Value>, Unreadable> {
    let one = |(at, document)| {
        let start = lines.get(at).map_or(0, |document: &Lines| document.start);
        let unreadable = |error: &serde_yaml::Error| Unreadable {
            line: error.location().map_or(start, |at| at.line()),
            message: error.to_string(),
        };
        let mut value =
            serde_yaml::Value::deserialize(document).map_err(|error| unreadable(&error))?;
        value.apply_merge().map_err(|error| unreadable(&error))?;
        // Fails where a key is no text: JSON, and so Kubernetes, has no such thing.
        serde_json::to_value(value)
            .map_err(|error| Unreadable { line: start, message: error.to_string() })
    };
    serde_yaml::Deserializer::from_str(text).enumerate().map(one).collect()
}

fn parse_json(text: &str) -> Result<Vec<Value>, Unreadable> {
    let documents = serde_json::Deserializer::from_str(text).into_iter();
    documents
        .map(|value| {
            value.map_err(|error| Unreadable { line: error.line(), message: error.to_string() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(file: &str, text: &str) -> Vec<(String, usize)> {
        let documents = parse(Path::new(file), text).unwrap();
        let kind = |document: &Document| {
            (document.text(&["kind"]).unwrap().to_owned(), document.source.line)
        };
        documents.iter().map(kind).collect()
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "# a\nkind: A\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n  x: 1\n---\nkind: D\nitems: 5\n";
        let expected = [("A", 2), ("B", 8), ("C", 9), ("D", 12)];
        let expected: Vec<_> = expected.map(|(kind, line)| (kind.to_owned(), line)).into();
        assert_eq!(kinds("x.yaml", text), expected);
        let json = "{\"kind\":\"A\"}\n{\"kind\":\"B\"}";
        assert_eq!(kinds("x.json", json)[0].0, "A");
        assert_eq!(kinds("x.json", json)[1].0, "B");
        assert_eq!(kinds("x.yaml", ""), []);
    }

    #[test]
    fn a_broken_file_gives_nothing_and_says_where() {
        for (text, line) in [
            ("kind: A\n---\nkind: [B\n", 4),
            ("kind: A\nkind: B\n", 2),
            ("kind: A\n---\nspec:\n  a: 1\n  a: 2\n", 5),
            ("kind: A\n---\njust text\n", 3),
            ("{{ .Values.x }}\n", 1),
        ] {
            let error = parse(Path::new("x.yaml"), text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {}", error.message);
        }
        assert_eq!(parse(Path::new("x.json"), "{\"a\":\n1,}").unwrap_err().line, 2);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = "kind: Secret\nstringData: { key: canary }\n";
        let documents = parse(Path::new("x.yaml"), text).unwrap();
        assert!(!format!("{documents:?}").contains("canary\""));
        assert!(!format!("{documents:?}").contains(": canary"));
    }
}
