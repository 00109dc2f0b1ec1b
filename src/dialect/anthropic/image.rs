//! Pictures: which this dialect takes, and what they really are.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::dialect::{Refusal, chat::Source};

/// The type of a picture is read from its bytes: clients often name the wrong one.
pub(super) fn image(source: &Source) -> Result<Value, Refusal> {
    match source {
        Source::Url(url) => Ok(json!({"type": "url", "url": url})),
        Source::Base64 { media_type, data } => {
            let head = data.get(..24).unwrap_or(data);
            let head = STANDARD.decode(head.get(..head.len() / 4 * 4).unwrap_or_default());
            let media_type = sniff(&head.unwrap_or_default()).unwrap_or(media_type);
            if !["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&media_type) {
                let message =
                    format!("this provider takes JPEG, PNG, GIF and WebP, not {media_type}");
                return Err(Refusal::at("messages.content.image_url", message));
            }
            Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::FileId(_) | Source::Text(_) => {
            let message = "files of another provider's store cannot be sent here";
            Err(Refusal::at("messages.content.image_url", message))
        }
    }
}

fn sniff(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
