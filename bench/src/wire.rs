//! As much of HTTP/1.1 as the mock and the clients need, and as cheap as it can be.
//!
//! They share a core with what is measured, so what they cost shortens everybody's measure alike.
//! Both ends are ours or well-behaved gateways on loopback; a message that breaks the rules ends its
//! connection and is counted as an error.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem};

/// The length of a message's head, its blank line included, once all of it is there.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The first value of a header.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (own, value) = line.split_at_checked(memchr(b':', line)?)?;
        own.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })?;
    std::str::from_utf8(value.get(1..)?).ok().map(str::trim)
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// In chunks.
    Chunked,
    /// This many bytes.
    Known(usize),
}

/// How long the body behind a head is.
pub(crate) fn length(head: &[u8]) -> Option<Length> {
    if let Some(coding) = header(head, "transfer-encoding") {
        return coding.eq_ignore_ascii_case("chunked").then_some(Length::Chunked);
    }
    let known = header(head, "content-length").map_or(Ok(0), str::parse);
    known.ok().map(Length::Known)
}

/// The status of an answer.
pub(crate) fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

/// The next piece of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole chunk.
    Chunk(Bytes),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
    /// This is no chunked body.
    Malformed,
}

/// Takes the next whole chunk off the bytes that have come.
pub(crate) fn chunk(bytes: &mut BytesMut) -> Piece {
    let Some(line) = memmem::find(bytes, b"\r\n") else { return Piece::More };
    let size = bytes.get(..line).and_then(|text| std::str::from_utf8(text).ok());
    let size = size.and_then(|text| text.split(';').next());
    let Some(size) = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok()) else {
        return Piece::Malformed;
    };
    if bytes.len() < line + 2 + size + 2 {
        return Piece::More;
    }
    bytes.advance(line + 2);
    let data = bytes.split_to(size).freeze();
    bytes.advance(2);
    if size == 0 { Piece::End } else { Piece::Chunk(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_its_body_is() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y\r\n\r\n";
        assert_eq!((status(head), length(head)), (Some(200), Some(Length::Known(12))));
        assert_eq!(head_end(head), Some(head.len()));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n";
        assert_eq!(length(chunked), Some(Length::Chunked));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"), None);
    }

    #[test]
    fn chunks_come_whole_or_not_at_all() {
        let mut bytes = BytesMut::from(&b"3;x=y\r\nabc\r\n2\r\nd"[..]);
        assert_eq!(chunk(&mut bytes), Piece::Chunk(Bytes::from_static(b"abc")));
        assert_eq!(chunk(&mut bytes), Piece::More);
        bytes.extend_from_slice(b"e\r\n0\r\n\r\n");
        assert_eq!(chunk(&mut bytes), Piece::Chunk(Bytes::from_static(b"de")));
        assert_eq!(chunk(&mut bytes), Piece::End);
        assert!(bytes.is_empty());
        assert_eq!(chunk(&mut BytesMut::from(&b"zz\r\n"[..])), Piece::Malformed);
    }
}
