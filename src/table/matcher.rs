//! Which route serves a request: a model name, an API and some headers in, one route out.
//!
//! The order of decision, the first difference decides:
//!
//! 1. The pattern: an exact name, then the longest prefix, then the longest suffix, then `*`.
//! 2. `precedence`, higher first.
//! 3. How much `match` and `access` ask, more first: a route for one header, or for one consumer, is
//!    meant to be an exception.
//! 4. Age, older first; then namespace and name. So a conflict is decided the same way everywhere,
//!    and after every restart.
//!
//! A route that the caller may not use does not take part: another one may serve in its place.
//!
//! Names are found by hashing, once for each length of prefix and suffix in use, so the time does
//! not grow with the number of routes.

use std::{cmp::Reverse, fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use super::wire;
use crate::dialect::Api;

/// A model name that a route claims; at most one `*`, at an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Pattern {
    /// This name.
    Exact(Arc<str>),
    /// Every name that begins so (`claude-*`).
    Prefix(Arc<str>),
    /// Every name that ends so (`*-latest`).
    Suffix(Arc<str>),
    /// Every name (`*`).
    Any,
}

/// How narrow a pattern is; smaller is narrower and decides first.
pub type Specificity = (u8, Reverse<usize>);

impl Pattern {
    /// Reads `spec.models[]`. The schema has checked that there is at most one `*`, at an end.
    pub fn parse(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Self::Any,
            (Some(suffix), _) => Self::Suffix(suffix.into()),
            (None, Some(prefix)) => Self::Prefix(prefix.into()),
            (None, None) => Self::Exact(text.into()),
        }
    }

    /// Whether a model name fits.
    pub fn matches(&self, model: &str) -> bool {
        match self {
            Self::Exact(name) => model == &**name,
            Self::Prefix(prefix) => model.starts_with(&**prefix),
            Self::Suffix(suffix) => model.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// How narrow it is.
    pub fn specificity(&self) -> Specificity {
        match self {
            Self::Exact(_) => (0, Reverse(0)),
            Self::Prefix(prefix) => (1, Reverse(prefix.len())),
            Self::Suffix(suffix) => (2, Reverse(suffix.len())),
            Self::Any => (3, Reverse(0)),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// What a request must have besides its model name. All parts must hold; empty parts hold always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// One of these APIs; sorted.
    pub apis: Vec<Api>,
    /// All of these headers; sorted by name.
    pub headers: Vec<HeaderMatch>,
}

/// What one header must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// The header.
    #[serde(with = "wire::header_name")]
    pub name: HeaderName,
    /// What its value must be.
    pub test: HeaderTest,
}

/// What a header's value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeaderTest {
    /// This value.
    Exact(Arc<str>),
    /// A value that begins so.
    Prefix(Arc<str>),
    /// Anything.
    Present,
}

impl Match {
    /// Whether a request has what is asked for.
    pub fn accepts(&self, api: Api, headers: &HeaderMap) -> bool {
        (self.apis.is_empty() || self.apis.contains(&api))
            && self.headers.iter().all(|header| header.accepts(headers))
    }

    pub(super) fn demands(&self) -> usize {
        usize::from(!self.apis.is_empty()) + self.headers.len()
    }
}

impl HeaderMatch {
    fn accepts(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| match &self.test {
            HeaderTest::Exact(wanted) => value.as_bytes() == wanted.as_bytes(),
            HeaderTest::Prefix(wanted) => value.as_bytes().starts_with(wanted.as_bytes()),
            HeaderTest::Present => true,
        })
    }
}
