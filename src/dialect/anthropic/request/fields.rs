//! Takes the fields of a JSON object one by one, and knows where in the request it is.
//!
//! Fields are taken out, so that base64 pictures are moved and not copied, and so that what is left
//! in the end is what nobody knew. `null` counts as absent, as in the API.

use serde_json::{Map, Value};

use crate::dialect::RequestError;

/// An object of the request, and its path.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
    path: String,
}

impl Fields {
    /// Opens an object.
    pub(super) fn of(value: Value, path: impl Into<String>) -> Result<Self, RequestError> {
        let path = path.into();
        if let Value::Object(map) = value {
            Ok(Self { map, path })
        } else {
            Err(RequestError::at(path, "must be an object"))
        }
    }

    /// The path of a field of this object.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a field of this object.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> RequestError {
        RequestError::at(self.at(key), message)
    }

    /// Any value.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// A text.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, RequestError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "must be a string")),
        }
    }

    /// A text that must be there.
    pub(super) fn required_string(&mut self, key: &str) -> Result<String, RequestError> {
        self.string(key)?.ok_or_else(|| self.error(key, "field required"))
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, RequestError> {
        let path = self.at(key);
        self.take(key).map(|value| Self::of(value, path)).transpose()
    }

    /// An object that must be there.
    pub(super) fn required_object(&mut self, key: &str) -> Result<Self, RequestError> {
        self.object(key)?.ok_or_else(|| self.error(key, "field required"))
    }

    /// A list; absent is empty.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>, RequestError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(self.error(key, "must be an array")),
        }
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, RequestError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    /// A whole number, not negative.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, RequestError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.error(key, "must be an integer that is not negative")),
            },
        }
    }

    /// A number between 0 and 1.
    pub(super) fn share(&mut self, key: &str) -> Result<Option<f64>, RequestError> {
        match self.take(key).map(|value| value.as_f64()) {
            None => Ok(None),
            Some(Some(share)) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
            Some(_) => Err(self.error(key, "must be a number between 0 and 1")),
        }
    }

    /// What nobody has taken, `null` left out.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.map.into_iter().filter(|(_, value)| !value.is_null())
    }
}

/// Notes what is left of an object as lost. `cache_control` stands in many places and is one thing.
pub(super) fn lose(rest: &mut Map<String, Value>, what: &str, fields: Fields) {
    for (key, value) in fields.rest() {
        let name = if key == "cache_control" { key } else { format!("{what}.{key}") };
        rest.entry(name).or_insert(value);
    }
}
