//! Where an object was read: what a report points at.

use std::{collections::BTreeMap, sync::Arc};

/// Where an object was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file, as the user would name it.
    pub file: Arc<str>,
    /// The line of the object's first field, from 1; 0 where there are no lines.
    pub line: usize,
    /// The line of each field, by its path (`spec.targets[1].weight`).
    pub fields: Arc<BTreeMap<String, usize>>,
}

impl Source {
    /// The line of a field, or of the nearest one around it that was written.
    pub fn line_of(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            if let Some(line) = self.fields.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']).and_then(|end| path.get(..end)) {
                Some(around) => path = around,
                None => return self.line,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_was_not_written_stands_where_its_parent_does() {
        let lines = [("spec", 4), ("spec.targets", 6), ("spec.targets[1]", 8)];
        let fields = lines.iter().map(|(path, line)| ((*path).to_owned(), *line)).collect();
        let source = Source { file: "a.yaml".into(), line: 1, fields: Arc::new(fields) };
        assert_eq!(source.line_of("spec.targets[1].weight"), 8);
        assert_eq!(source.line_of("spec.targets[7].weight"), 6);
        assert_eq!(source.line_of("spec.models"), 4);
        assert_eq!(source.line_of("metadata.name"), 1);
    }
}
