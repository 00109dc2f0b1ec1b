//! Looks into a JSON request body without parsing it, and changes it without re-writing it.
//!
//! The bytes between the fields that matter are forwarded as they came. A body of 128 KB is scanned
//! at memory speed, because inside strings only quotes and backslashes are looked for; OpenAI's
//! Python SDK writes `model` after `messages`, so the scan has to reach the end anyway.
//!
//! Only top-level keys count, and of a key that stands twice the last one, as in every JSON parser
//! that providers use. What is checked here is the shape (brackets, strings, depth), not the whole
//! grammar: the upstream is the judge of the rest.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// The deepest nesting that a request may have.
pub const MAX_DEPTH: usize = 128;

/// Where the top-level fields of interest stand. Ranges are byte offsets of whole JSON values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Just after the opening brace, where a field can be put in.
    pub open: usize,
    /// Whether the object has no field at all.
    pub empty: bool,
    /// The value of `model`.
    pub model: Option<Range<usize>>,
    /// The value of `stream`.
    pub stream: Option<Range<usize>>,
    /// The value of `stream_options`.
    pub stream_options: Option<Range<usize>>,
}

/// Why a body is not a JSON object that can be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeekError {
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the request body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not an object, or brackets and strings do not match, at this byte.
    #[error("the request body is not a JSON object (byte {0})")]
    Malformed(usize),
}

/// Scans a body once.
pub fn peek(body: &[u8]) -> Result<Peek, PeekError> {
    let _ = body;
    Err(PeekError::Malformed(0))
}

/// A replacement of some bytes of a body; an empty range is an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go.
    pub at: Range<usize>,
    /// The bytes that come.
    pub with: Bytes,
}

/// A body in pieces: slices of the original around the edits. Nothing is copied.
pub type Pieces = SmallVec<[Bytes; 8]>;

/// Applies edits, which must be in order and apart.
pub fn splice(body: &Bytes, edits: &[Edit]) -> Pieces {
    let _ = edits;
    SmallVec::from_iter([body.clone()])
}

/// Applies `overrides.set` and `overrides.remove` of a target to a body: top-level keys, by bytes.
/// `set` holds the key and its value as JSON text.
pub fn override_fields(
    body: &Bytes,
    set: &[(String, String)],
    remove: &[String],
) -> Result<Bytes, PeekError> {
    let _ = (set, remove);
    Ok(body.clone())
}
