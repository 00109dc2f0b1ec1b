//! Reading the content of a message: a text, or a list of parts.

use std::fmt::Arguments;

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::dialect::{
    RequestError,
    chat::{Part, Source},
};

/// Which parts a message may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// What a person says: everything but refusals.
    All,
    /// What applications and tools say.
    Text,
    /// What the model has said.
    TextAndRefusal,
}

/// Reads content. What has no place in the common form goes to `rest`.
pub(super) fn decode(
    content: Value,
    at: Arguments<'_>,
    allowed: Allowed,
    parts: &mut Vec<Part>,
    rest: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    match content {
        Value::String(text) => parts.push(Part::Text(text)),
        // An assistant's turn may have an empty list beside its calls.
        Value::Array(items) if items.is_empty() && allowed != Allowed::TextAndRefusal => {
            return Err(RequestError::at(at.to_string(), "`content` must not be empty"));
        }
        Value::Array(items) => {
            for (n, item) in items.into_iter().enumerate() {
                let at = format_args!("{at}[{n}]");
                let mut fields = Fields::new(item, at)?;
                parts.push(part(&mut fields, allowed, rest)?);
                fields.note_rest(rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            let message = "`content` must be a text or a list of parts";
            return Err(RequestError::at(at.to_string(), message));
        }
    }
    Ok(())
}

fn part(
    fields: &mut Fields<'_>,
    allowed: Allowed,
    rest: &mut Map<String, Value>,
) -> Result<Part, RequestError> {
    let kind = fields.required("type")?;
    match (kind.as_str(), allowed) {
        ("text", _) => return Ok(Part::Text(fields.required("text")?)),
        ("refusal", Allowed::TextAndRefusal) => {
            return Ok(Part::Refusal(fields.required("refusal")?));
        }
        ("image_url" | "input_audio" | "file", Allowed::All) => {}
        _ => {
            let what = match allowed {
                Allowed::All => "must be text, image_url, input_audio or file",
                Allowed::Text => "must be text in this role",
                Allowed::TextAndRefusal => "must be text or refusal in this role",
            };
            return Err(fields.error("type", what));
        }
    }
    let inner = fields.map.shift_remove(&kind).ok_or_else(|| fields.error(&kind, "is missing"))?;
    let at = fields.at;
    let at = format_args!("{at}.{kind}");
    let mut inner = Fields::new(inner, at)?;
    let part = match kind.as_str() {
        "image_url" => {
            let url = inner.required("url")?;
            let source = match data_url(&url) {
                Some(source) => source,
                None if url.starts_with("https://") || url.starts_with("http://") => {
                    Source::Url(url)
                }
                None => return Err(inner.error("url", "must be an https or base64 data URL")),
            };
            Part::Image { source, detail: inner.text("detail")? }
        }
        "input_audio" => {
            Part::Audio { data: inner.required("data")?, format: inner.required("format")? }
        }
        _ => file(&mut inner)?,
    };
    inner.note_rest(rest);
    Ok(part)
}

fn file(inner: &mut Fields<'_>) -> Result<Part, RequestError> {
    let name = inner.text("filename")?;
    let source = match (inner.text("file_data")?, inner.text("file_id")?) {
        (Some(data), None) => data_url(&data).unwrap_or_else(|| {
            // Bare base64 is taken too; its name then says what it is.
            Source::Base64 { media_type: media_type(name.as_deref()).to_owned(), data }
        }),
        (None, Some(id)) => Source::FileId(id),
        _ => return Err(inner.error("file_data", "or `file_id` must be given, and not both")),
    };
    Ok(Part::File { name, source })
}

/// The content of a base64 `data:` URL (RFC 2397); its parameters tell nothing of use.
fn data_url(url: &str) -> Option<Source> {
    let scheme = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"))?;
    let (kind, data) = url.get(scheme.len()..)?.split_once(',')?;
    let kind = kind.strip_suffix(";base64")?;
    let media_type = kind.split(';').next().filter(|kind| !kind.is_empty())?;
    Some(Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() })
}

fn media_type(name: Option<&str>) -> &'static str {
    let ending = name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("txt" | "md" | "csv") => "text/plain",
        _ => "application/pdf",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(part: Value, allowed: Allowed) -> Result<Part, RequestError> {
        let mut parts = Vec::new();
        let content = Value::Array(vec![part]);
        decode(content, format_args!("c"), allowed, &mut parts, &mut Map::new())?;
        Ok(parts.remove(0))
    }

    #[test]
    fn content_is_inline_or_at_an_address() {
        let inline = |media_type: &str| Source::Base64 {
            media_type: media_type.to_owned(),
            data: "AA==".to_owned(),
        };
        let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let file = |file: Value| json!({"type": "file", "file": file});
        for (part, expected) in [
            (image("data:image/png;base64,AA=="), inline("image/png")),
            (image("DATA:image/webp;x=y;base64,AA=="), inline("image/webp")),
            (image("https://a.b/c.png"), Source::Url("https://a.b/c.png".to_owned())),
            (file(json!({"file_data": "data:text/csv;base64,AA=="})), inline("text/csv")),
            (file(json!({"file_data": "AA==", "filename": "a.pdf"})), inline("application/pdf")),
            (file(json!({"file_data": "AA==", "filename": "A.TXT"})), inline("text/plain")),
            (file(json!({"file_id": "file-1"})), Source::FileId("file-1".to_owned())),
        ] {
            let read = read(part.clone(), Allowed::All).unwrap();
            let (Part::Image { source, .. } | Part::File { source, .. }) = read else {
                panic!("{part}")
            };
            assert_eq!(source, expected, "{part}");
        }
    }

    #[test]
    fn a_part_must_be_whole_and_fit_its_role() {
        for (part, allowed, param) in [
            (json!({"type": "text"}), Allowed::All, "c[0].text"),
            (json!({"text": "x"}), Allowed::All, "c[0].type"),
            (json!({"type": "video"}), Allowed::All, "c[0].type"),
            (json!({"type": "refusal", "refusal": "x"}), Allowed::All, "c[0].type"),
            (json!({"type": "image_url", "image_url": {}}), Allowed::Text, "c[0].type"),
            (json!({"type": "file", "file": {}}), Allowed::TextAndRefusal, "c[0].type"),
            (json!({"type": "image_url"}), Allowed::All, "c[0].image_url"),
            (json!({"type": "image_url", "image_url": "u"}), Allowed::All, "c[0].image_url"),
            (
                json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
                Allowed::All,
                "c[0].image_url.url",
            ),
            (
                json!({"type": "input_audio", "input_audio": {"data": "AA=="}}),
                Allowed::All,
                "c[0].input_audio.format",
            ),
            (json!({"type": "file", "file": {}}), Allowed::All, "c[0].file.file_data"),
        ] {
            let error = read(part.clone(), allowed).expect_err(&part.to_string());
            assert_eq!(error.param.as_deref(), Some(param), "{part}");
        }
        let refusal = json!({"type": "refusal", "refusal": "x"});
        let read = read(refusal, Allowed::TextAndRefusal).unwrap();
        assert_eq!(read, Part::Refusal("x".to_owned()));
    }
}
