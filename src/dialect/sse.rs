//! Server-sent events: bytes that arrive in any pieces become whole events.
//!
//! Source: WHATWG HTML, "Server-sent events". Lines end in LF or CRLF; the lone CR that the standard
//! also allows is not recognised, because no provider writes it and a CR at the end of a piece would
//! have to be held back for the LF that may follow.
//!
//! [`Framer`] gives back the longest run of whole events as one slice of what came in, so that an
//! untouched stream is forwarded without a copy and never ends in the middle of an event.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memrchr_iter};

/// The longest event that is held. Gemini sends images inside events, so this is generous.
pub const MAX_EVENT: usize = 32 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field; empty where there is none.
    pub name: &'a [u8],
    /// The `data:` fields, joined by line feeds.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Event<'a> {
    /// Reads one whole event. Unknown fields and comments are passed over.
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut event = Event { name: b"", data: Cow::Borrowed(b"") };
        let mut first = true;
        for line in lines(raw) {
            let (field, value) = field(line);
            match field {
                b"event" => event.name = value,
                b"data" if first => {
                    event.data = Cow::Borrowed(value);
                    first = false;
                }
                b"data" => {
                    let data = event.data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                _ => {}
            }
        }
        event
    }
}

/// An event was longer than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT} bytes")]
pub struct TooLong;

/// Puts the pieces of a stream together.
#[derive(Debug, Default)]
pub struct Framer {
    /// The beginning of an event whose end has not come.
    rest: BytesMut,
}

impl Framer {
    /// Takes the next piece and gives the whole events that are now known, as one slice (which may
    /// be empty). [`events`] takes it apart.
    ///
    /// # Errors
    /// When an event is longer than [`MAX_EVENT`].
    pub fn push(&mut self, piece: &Bytes) -> Result<Bytes, TooLong> {
        if self.rest.is_empty() {
            let end = last_boundary(piece, 0);
            self.rest.extend_from_slice(piece.get(end..).unwrap_or_default());
            return self.within_limit(piece.slice(..end));
        }
        // A boundary may straddle the pieces: look again at the last three bytes of the old one.
        let from = self.rest.len().saturating_sub(3);
        self.rest.extend_from_slice(piece);
        let end = last_boundary(&self.rest, from);
        let whole = self.rest.split_to(end).freeze();
        self.within_limit(whole)
    }

    /// What has come after the last whole event.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn within_limit(&self, whole: Bytes) -> Result<Bytes, TooLong> {
        if self.rest.len() > MAX_EVENT { Err(TooLong) } else { Ok(whole) }
    }
}

/// Takes a run of whole events apart; each keeps its final blank line.
pub fn events(whole: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = whole;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr_iter(b'\n', rest)
            .find(|at| is_boundary(rest, *at))
            .map_or(rest.len(), |at| at + 1);
        let (event, after) = rest.split_at(end);
        rest = after;
        Some(event)
    })
}

/// Where the last whole event ends; boundaries before `from` are known not to exist.
fn last_boundary(bytes: &[u8], from: usize) -> usize {
    let tail = bytes.get(from..).unwrap_or_default();
    memrchr_iter(b'\n', tail)
        .map(|at| at + from)
        .find(|at| is_boundary(bytes, *at))
        .map_or(0, |at| at + 1)
}

/// Whether the LF at `at` ends a blank line.
fn is_boundary(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    before.ends_with(b"\n") || before.ends_with(b"\n\r")
}

fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A line's field name and value; one space after the colon belongs to neither.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else { return (line, b"") };
    let (name, value) = line.split_at(colon);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &[u8] =
        b"event: a\ndata: 1\n\n: ping\n\ndata: 2\r\ndata: 3\r\n\r\nid: 7\ndata:4\n\ndata: cut";

    fn all(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for piece in pieces {
            let whole = framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            found.extend(events(&whole).map(<[u8]>::to_vec));
        }
        (found, framer.rest().to_vec())
    }

    #[test]
    fn events_are_read_and_what_is_cut_stays_behind() {
        let (found, rest) = all(&[STREAM]);
        let parsed: Vec<_> = found.iter().map(|raw| Event::parse(raw)).collect();
        let data: Vec<&[u8]> = parsed.iter().map(|event| event.data.as_ref()).collect();
        assert_eq!(data, [b"1".as_slice(), b"", b"2\n3", b"4"]);
        assert_eq!(parsed[0].name, b"a");
        assert_eq!(rest, b"data: cut");
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut framer = Framer::default();
        let piece = Bytes::from(vec![b'x'; MAX_EVENT]);
        assert!(framer.push(&piece).is_ok());
        assert_eq!(framer.push(&piece), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&STREAM[from..cut]);
                from = cut;
            }
            pieces.push(&STREAM[from..]);
            prop_assert_eq!(all(&pieces), all(&[STREAM]));
        }
    }
}
