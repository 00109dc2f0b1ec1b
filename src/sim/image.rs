//! Whether the bytes of an image are what their media type says, as the providers look.

use base64::{Engine, engine::general_purpose::STANDARD};

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// No base64, or nothing.
    Data,
    /// A media type that is not taken.
    Type,
    /// Bytes that are no image of this type.
    Mismatch,
}

/// Checks the data of an image. Whether it decodes beyond its first bytes is not looked at.
pub(super) fn check(media_type: &str, data: &str) -> Result<(), Bad> {
    let bytes = STANDARD.decode(data).map_err(|_invalid| Bad::Data)?;
    let is = match media_type {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "image/gif" => bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
        "image/webp" => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        _ => return Err(Bad::Type),
    };
    if bytes.is_empty() {
        return Err(Bad::Data);
    }
    if is { Ok(()) } else { Err(Bad::Mismatch) }
}

/// The media type and the data of a `data:` URL in base64.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_its_type_says() {
        let gif = STANDARD.encode(b"GIF89a..");
        assert_eq!(check("image/gif", &gif), Ok(()));
        assert_eq!(check("image/png", &gif), Err(Bad::Mismatch));
        assert_eq!(check("image/bmp", &gif), Err(Bad::Type));
        assert_eq!(check("image/gif", "?"), Err(Bad::Data));
        assert_eq!(data_url("data:image/gif;base64,AAAA"), Some(("image/gif", "AAAA")));
        assert_eq!(data_url("https://example.com/a.gif"), None);
    }
}
