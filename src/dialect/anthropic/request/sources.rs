//! Reads the pictures and documents of a client's request.
//!
//! What another dialect has no word for is said in words: a document's context is a text before it,
//! a search result is a text under its title.

use serde_json::Value;

use super::fields::Fields;
use crate::dialect::{
    RequestError,
    chat::{Part, Role, Source},
};

/// Reads the content inside a document: text or blocks, of a role, at a path.
type Inner<'a> = dyn FnMut(Value, Role, &str) -> Result<Vec<Part>, RequestError> + 'a;

/// Reads a picture, a document or a search result.
pub(super) fn medium(
    kind: &str,
    fields: &mut Fields,
    parts: &mut Vec<Part>,
    inner: &mut Inner<'_>,
) -> Result<(), RequestError> {
    match kind {
        "image" => {
            let source = image_source(&mut fields.required_object("source")?)?;
            parts.push(Part::Image { source, detail: None });
        }
        "document" => {
            if let Some(context) = fields.string("context")? {
                parts.push(Part::Text(context));
            }
            let name = fields.string("title")?;
            let mut source = fields.required_object("source")?;
            let (source, pictures) = document_source(&mut source, inner)?;
            parts.push(Part::File { name, source });
            parts.extend(pictures);
        }
        // A search result is a text with a heading, to every model.
        _ => {
            let title = fields.required_string("title")?;
            let source = fields.required_string("source")?;
            let path = fields.at("content");
            let content = fields.take("content").unwrap_or_default();
            parts.push(Part::Text(format!("{title}\n{source}")));
            parts.extend(inner(content, Role::System, &path)?);
        }
    }
    Ok(())
}

/// A document's source, and the pictures that stood between its texts.
fn document_source(
    source: &mut Fields,
    inner: &mut Inner<'_>,
) -> Result<(Source, Vec<Part>), RequestError> {
    let source = match source.required_string("type")?.as_str() {
        "base64" => Source::Base64 {
            media_type: source.required_string("media_type")?,
            data: source.required_string("data")?,
        },
        "text" => Source::Text(source.required_string("data")?),
        "url" => Source::Url(source.required_string("url")?),
        "file" => Source::FileId(source.required_string("file_id")?),
        "content" => {
            let path = source.at("content");
            let content = source.take("content").unwrap_or_default();
            let (mut texts, mut pictures) = (Vec::new(), Vec::new());
            for part in inner(content, Role::User, &path)? {
                if let Part::Text(text) = part { texts.push(text) } else { pictures.push(part) }
            }
            return Ok((Source::Text(texts.join("\n")), pictures));
        }
        _ => {
            let expected = "must be one of base64, text, content, url, file";
            return Err(source.error("type", expected));
        }
    };
    Ok((source, Vec::new()))
}

fn image_source(source: &mut Fields) -> Result<Source, RequestError> {
    Ok(match source.required_string("type")?.as_str() {
        "base64" => {
            let media_type = source.required_string("media_type")?;
            if !matches!(&*media_type, "image/jpeg" | "image/png" | "image/gif" | "image/webp") {
                let expected = "must be one of image/jpeg, image/png, image/gif, image/webp";
                return Err(source.error("media_type", expected));
            }
            let data = source.required_string("data")?;
            if data.is_empty() {
                return Err(source.error("data", "must not be empty"));
            }
            Source::Base64 { media_type, data }
        }
        "url" => Source::Url(source.required_string("url")?),
        "file" => Source::FileId(source.required_string("file_id")?),
        _ => return Err(source.error("type", "must be one of base64, url, file")),
    })
}
