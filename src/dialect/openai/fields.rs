//! Takes the fields of a JSON object of a request one by one, and knows where it stands.

use std::fmt::Arguments;

use serde_json::{Map, Value};

use crate::dialect::RequestError;

/// An object of which the known keys are taken out one by one, so that the unknown remain.
pub(super) struct Fields<'a> {
    /// What is left.
    pub map: Map<String, Value>,
    /// Where it stands.
    pub at: Arguments<'a>,
}

impl<'a> Fields<'a> {
    /// Takes an object apart. Nulls count as absent.
    pub(super) fn new(value: Value, at: Arguments<'a>) -> Result<Self, RequestError> {
        let Value::Object(mut map) = value else {
            return Err(RequestError::at(at.to_string(), "expected an object"));
        };
        map.retain(|_, value| !value.is_null());
        Ok(Self { map, at })
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, RequestError> {
        match self.map.shift_remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "must be a text")),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &str) -> Result<String, RequestError> {
        self.text(key)?.ok_or_else(|| self.error(key, "is missing"))
    }

    /// An error about one field.
    pub(super) fn error(&self, key: &str, what: &str) -> RequestError {
        RequestError::at(format!("{}.{key}", self.at), format!("`{key}` {what}"))
    }

    /// Notes what is left as having no place in the common form.
    pub(super) fn note_rest(self, rest: &mut Map<String, Value>) {
        for (key, value) in self.map {
            // The SDKs send an answer back whole, with the lists that were empty in it.
            if !value.as_array().is_some_and(Vec::is_empty) {
                rest.insert(format!("messages.{key}"), value);
            }
        }
    }
}
