//! Pictures and documents as Anthropic takes them.
//!
//! The media type is read from the bytes: clients write `image/jpeg` over a PNG often enough, and
//! Anthropic refuses a picture whose label is wrong.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::body::{Block, Medium};
use crate::dialect::{
    Refusal,
    chat::Source,
    media::{PDF, sniff},
};

/// A picture.
pub(super) fn image<'a>(source: &'a Source, path: &str) -> Result<Medium<'a>, Refusal> {
    match source {
        Source::Base64 { data, .. } => match sniff(data) {
            Some(media_type) if media_type != PDF => Ok(Medium::Base64 { media_type, data }),
            _ => Err(Refusal::at(path, "the target takes JPEG, PNG, GIF and WebP pictures only")),
        },
        Source::Url(url) => Ok(Medium::Url { url }),
        Source::FileId(_) => Err(foreign_file(path)),
        Source::Text(_) => Err(Refusal::at(path, "a text is no picture")),
    }
}

/// A document, or a picture that came as one.
pub(super) fn document<'a>(
    name: Option<&'a str>,
    source: &'a Source,
    path: &str,
) -> Result<Block<'a>, Refusal> {
    let source = match source {
        Source::Text(text) => Medium::Text { media_type: "text/plain", data: Cow::Borrowed(text) },
        Source::Url(url) => Medium::Url { url },
        Source::FileId(_) => return Err(foreign_file(path)),
        Source::Base64 { media_type, data } => match sniff(data) {
            Some(PDF) => Medium::Base64 { media_type: PDF, data },
            Some(media_type) => {
                return Ok(Block::Image { source: Medium::Base64 { media_type, data } });
            }
            None => {
                let text = text(media_type, data).ok_or_else(|| {
                    Refusal::at(path, "the target takes PDF and plain text documents only")
                })?;
                Medium::Text { media_type: "text/plain", data: Cow::Owned(text) }
            }
        },
    };
    Ok(Block::Document { source, title: name })
}

fn foreign_file(path: &str) -> Refusal {
    Refusal::at(path, "a file id is known to one provider only; send the content instead")
}

/// The words of a document whose label says that it has any.
fn text(media_type: &str, data: &str) -> Option<String> {
    let is_text = media_type.starts_with("text/")
        || ["json", "xml", "yaml", "csv"].iter().any(|word| media_type.ends_with(word));
    let bytes = is_text.then(|| STANDARD.decode(data).ok()).flatten()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(media_type: &str, bytes: &[u8]) -> Source {
        Source::Base64 { media_type: media_type.to_owned(), data: STANDARD.encode(bytes) }
    }

    #[test]
    fn a_pictures_type_is_read_from_its_bytes() {
        let rows: [(&[u8], &str); 4] = [
            (b"\xff\xd8\xff\xe0........", "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n....", "image/png"),
            (b"GIF89a......", "image/gif"),
            (b"RIFF....WEBPVP8 ", "image/webp"),
        ];
        for (bytes, expected) in rows {
            let source = base64("image/jpeg", bytes);
            let Ok(Medium::Base64 { media_type, .. }) = image(&source, "p") else { panic!() };
            assert_eq!(media_type, expected);
        }
    }

    #[test]
    fn what_anthropic_cannot_see_is_refused() {
        for source in [
            base64("image/svg+xml", b"<svg xmlns='http://www.w3.org/'>"),
            base64("image/png", b"short"),
            base64("image/png", b"%PDF-1.7 and so on"),
            Source::FileId("file_1".to_owned()),
        ] {
            assert_eq!(image(&source, "messages[0]").unwrap_err().param, "messages[0]");
        }
        let zip = base64("application/zip", b"PK\x03\x04 and so on");
        assert!(document(None, &zip, "p").is_err());
    }

    #[test]
    fn documents_are_pdf_or_text() {
        let pdf = base64("", b"%PDF-1.7 and so on");
        let Ok(Block::Document { source: Medium::Base64 { media_type, .. }, title }) =
            document(Some("a"), &pdf, "p")
        else {
            panic!()
        };
        assert_eq!((media_type, title), (PDF, Some("a")));
        let csv = base64("text/csv", "a,ä".as_bytes());
        let Ok(Block::Document { source, .. }) = document(None, &csv, "p") else { panic!() };
        assert_eq!(source, Medium::Text { media_type: "text/plain", data: "a,ä".into() });
        let png = base64("image/png", b"\x89PNG\r\n\x1a\n....");
        assert!(matches!(document(None, &png, "p"), Ok(Block::Image { .. })));
    }
}
