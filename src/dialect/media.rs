//! What a picture or document is, read from its bytes.
//!
//! Clients write `image/jpeg` over a PNG often enough, and providers refuse a picture whose label is
//! wrong. So a label goes out only where the bytes say nothing.

use base64::{Engine, engine::general_purpose::STANDARD};

/// The media type of a PDF.
pub(super) const PDF: &str = "application/pdf";

/// What the first bytes say.
pub(super) fn sniff(data: &str) -> Option<&'static str> {
    // 16 characters are 12 bytes: as many as the longest signature needs.
    let head = STANDARD.decode(data.get(..16)?).ok()?;
    match head.as_slice() {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some(PDF),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_say_what_they_are_and_unknown_ones_say_nothing() {
        for (head, kind) in [
            (&b"\x89PNG\r\n\x1a\n0000"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe000000000", Some("image/jpeg")),
            (b"GIF89a000000", Some("image/gif")),
            (b"RIFF0000WEBP", Some("image/webp")),
            (b"%PDF-1.70000", Some(PDF)),
            (b"RIFF0000WAVE", None),
            (b"short", None),
        ] {
            assert_eq!(sniff(&STANDARD.encode(head)), kind, "{head:?}");
        }
    }
}
