//! Looks into a JSON request body without parsing it, and changes it without re-writing it.
//!
//! The bytes between the fields that matter are forwarded as they came. A body of 128 KB is scanned
//! at memory speed, because inside strings only their ends are looked for; OpenAI's Python SDK writes
//! `model` after `messages`, so the scan has to reach the end anyway.
//!
//! Only top-level keys count, and of a key that stands twice the last one, as in every JSON parser
//! that providers use. What is checked here is the shape (brackets, strings, depth), not the whole
//! grammar: the upstream is the judge of the rest.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use memchr::memchr_iter;
use serde_json::Value;
use smallvec::SmallVec;

/// The deepest nesting that a request may have: as deep as its parsers go, the outermost object
/// included, so that what passes here does not fail where it is translated.
pub const MAX_DEPTH: usize = 127;

/// How many bytes of a string are looked at one by one before a search begins.
const SHORT: usize = 16;

/// How many bytes of a long string are looked at together.
const BLOCK: usize = 64;

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
    /// The tools that may be called.
    pub tools: Option<Range<usize>>,
    /// Whether several may be called at once.
    pub parallel_tools: Option<Range<usize>>,
    /// The form of the answer.
    pub format: Option<Range<usize>>,
    /// How much to think.
    pub reasoning: Option<Range<usize>>,
    /// The most tokens to write.
    pub output_tokens: Option<Range<usize>>,
    /// What the messages seem to hold besides text.
    pub media: Media,
}

/// What some short string in a body looks like. A word of a text or the name of a field may look like
/// it too, so what is not here is not there, and what is here has to be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Sound.
    pub audio: bool,
    /// A document.
    pub file: bool,
    /// A picture.
    pub image: bool,
}

impl Media {
    /// Looks at a string, its quotes included.
    fn see(&mut self, text: &[u8]) {
        match text {
            b"\"input_audio\"" => self.audio = true,
            b"\"file\"" | b"\"document\"" => self.file = true,
            b"\"image\"" | b"\"image_url\"" => self.image = true,
            _ => {}
        }
    }
}

/// The longest string that [`Media`] looks at, its quotes included.
const LONGEST_MEDIA: usize = "\"input_audio\"".len();

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
///
/// # Errors
/// When it is not one JSON object, or nested too deep.
pub fn peek(body: &[u8]) -> Result<Peek, PeekError> {
    let mut peek = Peek { empty: true, ..Peek::default() };
    let mut media = Media::default();
    scan(body, &mut media, &mut |key, _, value| {
        peek.empty = false;
        let place = match key {
            b"model" => &mut peek.model,
            b"stream" => &mut peek.stream,
            b"stream_options" => &mut peek.stream_options,
            b"tools" | b"functions" => &mut peek.tools,
            b"parallel_tool_calls" => &mut peek.parallel_tools,
            b"response_format" | b"output_config" | b"output_format" => &mut peek.format,
            b"reasoning_effort" | b"thinking" => &mut peek.reasoning,
            b"max_tokens" | b"max_completion_tokens" => &mut peek.output_tokens,
            _ => return,
        };
        *place = Some(value);
    })
    .map(|open| Peek { open, media, ..peek })
}

/// The text of `model`; `None` when it is missing or no string.
pub fn model_name<'a>(body: &'a [u8], peek: &Peek) -> Option<Cow<'a, str>> {
    let text = body.get(peek.model.clone()?)?;
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(text).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// `stream`, false when absent or null.
///
/// # Errors
/// When it is neither true nor false.
pub fn stream_flag(body: &[u8], peek: &Peek) -> Result<bool, NotABool> {
    match peek.stream.clone().and_then(|range| body.get(range)) {
        Some(b"true") => Ok(true),
        Some(b"false" | b"null") | None => Ok(false),
        Some(_) => Err(NotABool),
    }
}

/// A flag that is neither true nor false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotABool;

/// The edit that asks a stream for its usage; `None` when the client asks for it already, and when
/// `stream_options` is no object: an upstream must judge a request as the client wrote it.
pub fn ask_usage(body: &[u8], peek: &Peek) -> Option<Edit> {
    let ask = |at, with: String| Some(Edit { at, with: Bytes::from(with) });
    let Some(range) = peek.stream_options.clone() else {
        let comma = if peek.empty { "" } else { "," };
        return ask(
            peek.open..peek.open,
            format!(r#""stream_options":{{"include_usage":true}}{comma}"#),
        );
    };
    let options = body.get(range.clone())?;
    if options == b"null" {
        return ask(range, r#"{"include_usage":true}"#.to_owned());
    }
    let mut inside = None;
    let mut empty = true;
    let opened = scan(options, &mut Media::default(), &mut |key, _, value| {
        empty = false;
        if key == b"include_usage" {
            inside = Some(value);
        }
    });
    match (opened, inside) {
        (Err(_), _) => None,
        (Ok(_), Some(value)) if options.get(value.clone()) == Some(b"true") => None,
        (Ok(_), Some(value)) => {
            ask(range.start + value.start..range.start + value.end, "true".to_owned())
        }
        (Ok(open), None) => {
            let at = range.start + open;
            ask(at..at, format!(r#""include_usage":true{}"#, if empty { "" } else { "," }))
        }
    }
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

/// Applies edits, which must be in order and apart. An edit that is neither begins where the one
/// before it ended: a wrong edit gives wrong bytes, never a panic.
pub fn splice(body: &Bytes, edits: &[Edit]) -> Pieces {
    let mut pieces = Pieces::new();
    let mut push = |piece: Bytes| {
        if !piece.is_empty() {
            pieces.push(piece);
        }
    };
    let mut from = 0;
    for edit in edits {
        let start = edit.at.start.clamp(from, body.len());
        push(body.slice(from..start));
        push(edit.with.clone());
        from = edit.at.end.clamp(start, body.len());
    }
    push(body.slice(from..));
    pieces
}

/// Applies `overrides.set` and `overrides.remove` of a target to a body: top-level keys, by bytes.
/// `set` holds the key and its value as JSON text, and wins where a key stands in both. Every copy
/// of a key that stands twice goes, so that no parser can find the client's value.
///
/// # Errors
/// When the body is no JSON object.
pub fn override_fields(
    body: &Bytes,
    set: &[(String, String)],
    remove: &[String],
) -> Result<Bytes, PeekError> {
    if set.is_empty() && remove.is_empty() {
        return Ok(body.clone());
    }
    let gone = |key: &[u8]| {
        set.iter().map(|(name, _)| name).chain(remove).any(|name| name.as_bytes() == key)
    };
    let mut fields: Vec<Range<usize>> = Vec::new();
    scan(body, &mut Media::default(), &mut |key, from, value| {
        if !gone(key) {
            fields.push(from..value.end);
        }
    })?;
    let mut whole = Vec::with_capacity(body.len() + 64);
    whole.push(b'{');
    let kept = fields.into_iter().filter_map(|range| body.get(range)).map(Cow::Borrowed);
    let new = set.iter().map(|(name, value)| {
        let name = Value::from(name.as_str());
        Cow::Owned(format!("{name}:{value}").into_bytes())
    });
    for (at, field) in kept.chain(new).enumerate() {
        if at > 0 {
            whole.push(b',');
        }
        whole.extend_from_slice(&field);
    }
    whole.push(b'}');
    Ok(Bytes::from(whole))
}

/// Writes one top-level list anew, leaving every other byte as it is; `None` where there is no such
/// list or `edit` says that it has changed nothing. Of a key that stands twice the last one counts.
pub fn rewrite(
    body: &Bytes,
    field: &str,
    edit: impl FnOnce(&mut Vec<Value>) -> bool,
) -> Option<Bytes> {
    let mut found = None;
    scan(body, &mut Media::default(), &mut |key, _, value| {
        if key == field.as_bytes() {
            found = Some(value);
        }
    })
    .ok()?;
    let range = found?;
    let mut list: Vec<Value> = serde_json::from_slice(body.get(range.clone())?).ok()?;
    if !edit(&mut list) {
        return None;
    }
    let mut whole = body.get(..range.start)?.to_vec();
    // Writing to a vector cannot fail.
    serde_json::to_writer(&mut whole, &list).ok()?;
    whole.extend_from_slice(body.get(range.end..)?);
    Some(Bytes::from(whole))
}

/// Sees one field: its key without quotes, where the key begins, where its value stands.
pub(super) type See<'a> = dyn FnMut(&[u8], usize, Range<usize>) + 'a;

/// Shows each top-level field, and gives the offset just after the opening brace.
pub(super) fn scan(body: &[u8], media: &mut Media, see: &mut See<'_>) -> Result<usize, PeekError> {
    let mut at = space(body, 0);
    if body.get(at) != Some(&b'{') {
        return Err(PeekError::Malformed(at));
    }
    at += 1;
    let open = at;
    at = space(body, at);
    if body.get(at) == Some(&b'}') {
        return end(body, at + 1).map(|()| open);
    }
    loop {
        let key_at = space(body, at);
        let key_end = string(body, key_at)?;
        let raw = body.get(key_at..key_end).unwrap_or_default();
        let colon = space(body, key_end);
        if body.get(colon) != Some(&b':') {
            return Err(PeekError::Malformed(colon));
        }
        let from = space(body, colon + 1);
        let to = value(body, from, media)?;
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if inner.contains(&b'\\') {
            let key: String =
                serde_json::from_slice(raw).map_err(|_not_text| PeekError::Malformed(key_at))?;
            see(key.as_bytes(), key_at, from..to);
        } else {
            see(inner, key_at, from..to);
        }
        at = space(body, to);
        match body.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => return end(body, at + 1).map(|()| open),
            _ => return Err(PeekError::Malformed(at)),
        }
    }
}

/// Nothing but white space may follow the object.
fn end(body: &[u8], at: usize) -> Result<(), PeekError> {
    let at = space(body, at);
    if at == body.len() { Ok(()) } else { Err(PeekError::Malformed(at)) }
}

pub(super) fn space(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    let white = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    at + white.count()
}

/// The end of the string that begins at `at`.
///
/// A long text holds more escapes than ends: a line feed or a quote every few words. So whole blocks
/// are looked at for a quote that may be an end, which takes a few vector instructions; only in a
/// block with one are quotes looked for one by one, and the backslashes before each counted: an even
/// number escapes each other, an odd one the quote.
fn string(body: &[u8], at: usize) -> Result<usize, PeekError> {
    if body.get(at) != Some(&b'"') {
        return Err(PeekError::Malformed(at));
    }
    let inside = body.get(at + 1..).unwrap_or_default();
    // Keys and roles end before a search has set itself up.
    let short = inside.iter().take(SHORT).take_while(|byte| !matches!(byte, b'"' | b'\\')).count();
    if inside.get(short) == Some(&b'"') {
        return Ok(at + 1 + short + 1);
    }
    // The first byte is no quote: then it would have been the end.
    let mut from = at + 2;
    while from < body.len() {
        if !may_end(body, from) {
            from += BLOCK;
            continue;
        }
        let to = (from + BLOCK).min(body.len());
        let closing = memchr_iter(b'"', body.get(from..to).unwrap_or_default()).find(|quote| {
            let before = body.get(..from + quote).unwrap_or_default();
            before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
        });
        if let Some(quote) = closing {
            return Ok(from + quote + 1);
        }
        from = to;
    }
    Err(PeekError::Malformed(body.len()))
}

/// Whether the block at `from` may hold the end of a string that began at least two bytes before: a
/// quote with no backslash before it, or with more than one.
///
/// Without a branch inside, so that it becomes vector instructions.
fn may_end(body: &[u8], from: usize) -> bool {
    let block = |from: usize| body.get(from..from + BLOCK);
    let (Some(bytes), Some(before), Some(second)) =
        (block(from), block(from.saturating_sub(1)), block(from.saturating_sub(2)))
    else {
        return true;
    };
    bytes.iter().zip(before).zip(second).fold(0, |seen, ((byte, before), second)| {
        let alone = u8::from(*before == b'\\') & u8::from(*second != b'\\');
        seen | u8::from(*byte == b'"') & (alone ^ 1)
    }) != 0
}

/// The end of the value that begins at `at`.
pub(super) fn value(body: &[u8], at: usize, media: &mut Media) -> Result<usize, PeekError> {
    match body.get(at) {
        Some(b'"') => string(body, at),
        Some(b'{' | b'[') => nested(body, at, media),
        Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            let rest = body.get(at..).unwrap_or_default();
            let plain = rest.iter().take_while(
                |byte| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E'),
            );
            Ok(at + plain.count())
        }
        _ => Err(PeekError::Malformed(at)),
    }
}

/// The end of the object or array that begins at `at`: brackets must match, strings are skipped.
fn nested(body: &[u8], at: usize, media: &mut Media) -> Result<usize, PeekError> {
    // One bit a level: whether it is an object. The outermost object is a level too.
    let mut kinds: u128 = 0;
    let mut depth = 0;
    let mut from = at;
    while let Some(byte) = body.get(from) {
        match byte {
            b'"' => {
                let to = string(body, from)?;
                if to - from <= LONGEST_MEDIA {
                    media.see(body.get(from..to).unwrap_or_default());
                }
                from = to;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth >= MAX_DEPTH {
                    return Err(PeekError::TooDeep);
                }
                kinds = kinds << 1 | u128::from(*byte == b'{');
            }
            b'}' | b']' => {
                if (kinds & 1 == 1) != (*byte == b'}') {
                    return Err(PeekError::Malformed(from));
                }
                kinds >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(from + 1);
                }
            }
            _ => {}
        }
        from += 1;
    }
    Err(PeekError::Malformed(body.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn joined(body: &Bytes, edits: &[Edit]) -> Value {
        serde_json::from_slice(&splice(body, edits).concat()).unwrap()
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_nested_ones_do_not() {
        let body = br#" {"a":{"model":"no"}, "model":"x", "mod\u0065l" : "\u0079" ,"stream":true}"#;
        let peek = peek(body).unwrap();
        assert_eq!(model_name(body, &peek).unwrap(), "y");
        assert_eq!(stream_flag(body, &peek), Ok(true));
    }

    #[test]
    fn usage_is_asked_for_whatever_the_client_wrote() {
        for (options, expected) in [
            (None, json!({"include_usage": true})),
            (Some("null"), json!({"include_usage": true})),
            (Some("{}"), json!({"include_usage": true})),
            (Some(r#"{"include_usage":false}"#), json!({"include_usage": true})),
            (Some(r#"{"x":1}"#), json!({"include_usage": true, "x": 1})),
        ] {
            let options = options.map_or(String::new(), |o| format!(r#","stream_options":{o}"#));
            let body = Bytes::from(format!(r#"{{"model":"m"{options}}}"#));
            let edit = ask_usage(&body, &peek(&body).unwrap()).unwrap();
            assert_eq!(joined(&body, &[edit])["stream_options"], expected);
        }
        for left in [r#"{"include_usage":true}"#, "7", "[]"] {
            let body = format!(r#"{{"stream_options":{left}}}"#);
            assert_eq!(ask_usage(body.as_bytes(), &peek(body.as_bytes()).unwrap()), None, "{left}");
        }
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_refused() {
        for bad in ["", "[]", "{", r#"{"a":1"#, r#"{"a":[}}"#, r#"{"a":1}x"#, r#"{"a" 1}"#, "{,}"] {
            assert!(matches!(peek(bad.as_bytes()), Err(PeekError::Malformed(_))), "{bad}");
        }
        let deep = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(peek(deep(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(peek(deep(MAX_DEPTH).as_bytes()), Err(PeekError::TooDeep));
    }

    #[test]
    fn a_quote_ends_a_string_unless_it_is_escaped() {
        for (text, ends) in [(r#""a""#, 3), (r#""\"""#, 4), (r#""\\""#, 4), (r#""\\\"""#, 6)] {
            assert_eq!(string(text.as_bytes(), 0), Ok(ends), "{text}");
        }
        assert!(string(br#""\""#, 0).is_err());
    }

    #[test]
    fn a_wrong_edit_is_no_danger() {
        let body = Bytes::from_static(b"{}");
        let edit = |at| Edit { at, with: Bytes::from_static(b"x") };
        let joined = splice(&body, &[edit(1..9), edit(0..1), edit(7..8)]).concat();
        assert_eq!(joined, b"{xxx");
    }

    #[test]
    fn no_copy_of_an_overridden_field_stays() {
        let body = Bytes::from_static(br#"{"a":1,"b":2,"\u0061":3}"#);
        let set = [("a".to_owned(), "4".to_owned())];
        assert_eq!(override_fields(&body, &set, &[]).unwrap(), &br#"{"b":2,"a":4}"#[..]);
        let gone = override_fields(&body, &[], &["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(gone, "{}");
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        let tree = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\]{1,4}", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        });
        prop::collection::btree_map("[a-c]|model|stream_options", tree, 0..6)
            .prop_map(Value::from_iter)
    }

    proptest! {
        #[test]
        fn splicing_the_model_changes_the_model_alone(value in object(), name in "[ -~]{0,8}") {
            let mut expected = value;
            let map = expected.as_object_mut().unwrap();
            map.entry("model").or_insert_with(|| json!("before"));
            let body = Bytes::from(serde_json::to_vec_pretty(&expected).unwrap());
            let at = peek(&body).unwrap().model.unwrap();
            let edit = Edit { at, with: Bytes::from(Value::from(name.as_str()).to_string()) };
            expected["model"] = Value::from(name.as_str());
            prop_assert_eq!(joined(&body, &[edit]), expected.clone());
            let changed = serde_json::to_vec(&expected).unwrap();
            prop_assert_eq!(model_name(&changed, &peek(&changed).unwrap()).unwrap(), name);
        }

        #[test]
        fn overriding_bytes_equals_overriding_values(value in object()) {
            let body = Bytes::from(serde_json::to_vec_pretty(&value).unwrap());
            let set = vec![("a".to_owned(), "[1]".to_owned()), ("new".to_owned(), "2".to_owned())];
            let changed = override_fields(&body, &set, &["b".to_owned()]).unwrap();
            let mut expected = value;
            let map = expected.as_object_mut().unwrap();
            map.remove("b");
            map.insert("a".to_owned(), json!([1]));
            map.insert("new".to_owned(), json!(2));
            prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), expected);
        }

        #[test]
        fn a_cut_object_is_an_error(value in object(), cut in any::<prop::sample::Index>()) {
            let body = serde_json::to_vec(&value).unwrap();
            prop_assert!(peek(&body).is_ok());
            prop_assert!(peek(&body[..cut.index(body.len())]).is_err());
        }

        /// Long enough for several blocks, with what escapes at every place in them.
        #[test]
        fn a_long_string_ends_where_a_parser_says(text in r#"[a-z"\\\n]{0,300}"#) {
            let mut body = serde_json::to_vec(&text).unwrap();
            let end = body.len();
            body.extend_from_slice(br#","more":"\"" "#);
            prop_assert_eq!(string(&body, 0), Ok(end));
        }

        #[test]
        fn arbitrary_bytes_are_no_danger(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _found = peek(&body);
        }

        #[test]
        fn what_looks_like_json_is_no_danger(body in r#"\{?["a:,\\{}\[\]\u0001 1t]{0,24}"#) {
            if let Ok(found) = peek(body.as_bytes()) {
                let _name = model_name(body.as_bytes(), &found);
                let _edit = ask_usage(body.as_bytes(), &found);
            }
            // Whatever a real parser takes as an object, this one does.
            if serde_json::from_str::<serde_json::Map<String, Value>>(&body).is_ok() {
                prop_assert!(peek(body.as_bytes()).is_ok());
            }
        }
    }
}
