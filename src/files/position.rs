//! Where each field of a document stands: its path to its line.
//!
//! The YAML decoder forgets lines, so the events of a second parser are walked for them. JSON is
//! YAML to it. It also notices a key that is written twice, of which a decoder keeps only one.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, Span};

/// One document's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// The line of the first field.
    pub(super) start: usize,
    /// The line of each field, by path (`spec.targets[1].weight`).
    pub(super) fields: BTreeMap<String, usize>,
    /// The first field that is written twice.
    pub(super) twice: Option<String>,
}

/// Something that has begun and not ended.
enum Open {
    /// A mapping, and the key whose value comes next.
    Map(String, Option<String>),
    /// A list, and the place of the next item.
    List(String, usize),
}

/// The lines of every document in a text, as far as it can be read.
pub(super) fn lines(text: &str) -> Vec<Lines> {
    let mut documents = Vec::new();
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        if matches!(event, Event::DocumentEnd) {
            documents.push(std::mem::take(&mut walk).lines);
        } else {
            walk.take(&event, span);
        }
    }
    documents
}

#[derive(Default)]
struct Walk {
    lines: Lines,
    open: Vec<Open>,
}

impl Walk {
    fn take(&mut self, event: &Event<'_>, span: Span) {
        match event {
            Event::Scalar(text, ..) => {
                if let Some(Open::Map(path, key @ None)) = self.open.last_mut() {
                    let field = join(path, text);
                    *key = Some(field.clone());
                    let twice =
                        self.lines.fields.insert(field.clone(), span.start.line()).is_some();
                    if twice && self.lines.twice.is_none() {
                        self.lines.twice = Some(field);
                    }
                } else {
                    self.value(span);
                }
            }
            Event::MappingStart(..) => {
                let path = self.value(span);
                self.open.push(Open::Map(path, None));
            }
            Event::SequenceStart(..) => {
                let path = self.value(span);
                self.open.push(Open::List(path, 0));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
            }
            Event::Alias(_) => {
                self.value(span);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
    }

    /// A value begins here: its path. The place in a list or after a key is used up.
    fn value(&mut self, span: Span) -> String {
        match self.open.last_mut() {
            None => {
                self.lines.start = span.start.line();
                String::new()
            }
            // A key that is no text is read as one of no name; the decoder refuses it anyway.
            Some(Open::Map(path, key)) => key.take().unwrap_or_else(|| path.clone()),
            Some(Open::List(path, next)) => {
                let item = format!("{path}[{next}]");
                *next += 1;
                self.lines.fields.insert(item.clone(), span.start.line());
                item
            }
        }
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

impl Lines {
    /// The lines of one item of a list in this document.
    pub(super) fn item(&self, list: &str, at: usize) -> Self {
        let prefix = format!("{list}[{at}]");
        let inner = |(field, line): (&String, &usize)| {
            let path = field.strip_prefix(&prefix)?.strip_prefix('.')?;
            Some((path.to_owned(), *line))
        };
        Self {
            start: self.fields.get(&prefix).copied().unwrap_or(self.start),
            fields: self.fields.iter().filter_map(inner).collect(),
            twice: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_every_document_has_its_line() {
        let text = "# first\na: 1\nspec:\n  list:\n  - { name: x }\n  - name: y\n    b: [1,\n      2]\n---\n\nc: &z {d: 1}\ne: *z\n";
        let [first, second] = &lines(text)[..] else { panic!("two documents") };
        assert_eq!(first.start, 2);
        for (path, line) in [
            ("a", 2),
            ("spec", 3),
            ("spec.list", 4),
            ("spec.list[0].name", 5),
            ("spec.list[1]", 6),
            ("spec.list[1].b", 7),
            ("spec.list[1].b[1]", 8),
        ] {
            assert_eq!(first.fields.get(path), Some(&line), "{path}");
        }
        assert_eq!((second.start, second.fields["c.d"], second.fields["e"]), (11, 11, 12));
    }

    #[test]
    fn json_has_lines_too() {
        let [only] = &lines("{\n\t\"spec\": {\n\t\t\"models\": [\n\t\t\t\"a\"]}}")[..] else {
            panic!("one document")
        };
        assert_eq!(only.fields["spec.models[0]"], 4);
    }

    #[test]
    fn a_key_that_is_written_twice_is_noticed() {
        assert_eq!(lines("a:\n  b: 1\n  b: 2\n")[0].twice.as_deref(), Some("a.b"));
        assert_eq!(lines("a: {b: 1}\nc: {b: 2}\n")[0].twice, None);
    }
}
