//! A provider key in memory: it can be compared and put into a header, never printed.
//!
//! The way to the bytes is [`Secret::header`], which marks the header value sensitive, so that
//! HTTP/2 does not index it and `Debug` of the request hides it. The table's encoding writes the key
//! too, field by field and by name (`wire::exposed`): a key in any other serialised type does not
//! compile.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// An API key. Zeroed when the last table that holds it is dropped.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// Takes a key over.
    ///
    /// # Errors
    /// When the key cannot stand in an HTTP header: control characters, or nothing but space.
    pub fn new(text: &str) -> Result<Self, UnusableKey> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(UnusableKey::Empty);
        }
        if HeaderValue::from_str(trimmed).is_err() {
            return Err(UnusableKey::Malformed);
        }
        Ok(Self(Arc::new(SecretString::from(trimmed))))
    }

    /// The key as a header value behind a prefix such as `Bearer `.
    pub fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value =
            HeaderValue::try_from(format!("{prefix}{}", self.0.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The key itself, for the one encoding that goes into a Kubernetes `Secret`.
    pub(super) fn exposed(&self) -> &str {
        self.0.expose_secret()
    }

    /// Takes every occurrence of the key out of a provider's words before they are shown.
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "[redacted]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Secret {}

/// Why a text is no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// Nothing but white space.
    #[error("the key is empty")]
    Empty,
    /// Characters that no HTTP header can carry.
    #[error("the key has characters that cannot stand in an HTTP header, such as a line break")]
    Malformed,
    /// Short enough to be guessed.
    #[error("the key has fewer than {0} bytes; make a random one, as `openssl rand -hex 32` does")]
    Short(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed_but_stands_in_its_header() {
        let key = Secret::new(" sk-canary\n").unwrap();
        let header = key.header("Bearer ").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk-canary");
        assert!(!format!("{key:?} {header:?}").contains("canary"));
        assert_eq!(key.redact("bad key sk-canary!"), "bad key [redacted]!");
    }

    #[test]
    fn a_key_that_would_break_a_header_is_refused() {
        assert_eq!(Secret::new(" \n"), Err(UnusableKey::Empty));
        assert_eq!(Secret::new("a\r\nhost: evil"), Err(UnusableKey::Malformed));
    }
}
