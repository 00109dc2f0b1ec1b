//! The model listing, as Anthropic's SDKs read it.
//!
//! We know names and dates of our routes, not the abilities of what stands behind them, so the
//! optional fields are `null`. The list is one page: it comes from memory.
//!
//! Source: `ModelInfo` of Anthropic's SDK types, November 2026.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dialect::Model;

/// The body of `GET /v1/models`.
pub fn list(models: &[Model<'_>]) -> Vec<u8> {
    let data: Vec<Value> = models.iter().map(info).collect();
    json!({
        "data": data,
        "first_id": models.first().map(|model| model.id),
        "has_more": false,
        "last_id": models.last().map(|model| model.id),
    })
    .to_string()
    .into_bytes()
}

/// The body of `GET /v1/models/{id}`.
pub fn show(model: &Model<'_>) -> Vec<u8> {
    info(model).to_string().into_bytes()
}

fn info(model: &Model<'_>) -> Value {
    // The API's own word for an unknown date is the epoch; so is ours for one out of range.
    let created = i64::try_from(model.created)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    json!({
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": created.to_string(),
        "lifecycle": "active",
        "capabilities": null,
        "deprecated_at": null,
        "line": null,
        "max_input_tokens": null,
        "max_tokens": null,
        "retires_at": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_one_page_with_rfc_3339_dates() {
        let models = [
            Model { id: "chat", owner: "default", created: 0 },
            Model { id: "claude", owner: "default", created: 1_790_000_000 },
        ];
        let listed: Value = serde_json::from_slice(&list(&models)).unwrap();
        assert_eq!(listed["has_more"], false);
        assert_eq!((&listed["first_id"], &listed["last_id"]), (&json!("chat"), &json!("claude")));
        assert_eq!(listed["data"][0]["created_at"], "1970-01-01T00:00:00Z");
        assert_eq!(listed["data"][1]["created_at"], "2026-09-21T14:13:20Z");
        let shown: Value = serde_json::from_slice(&show(&models[1])).unwrap();
        assert_eq!(shown, listed["data"][1]);
    }

    #[test]
    fn an_empty_listing_has_no_ends() {
        let listed: Value = serde_json::from_slice(&list(&[])).unwrap();
        assert_eq!(
            listed,
            json!({"data": [], "first_id": null, "has_more": false, "last_id": null})
        );
    }

    #[test]
    fn a_date_out_of_range_is_unknown() {
        let odd = Model { id: "x", owner: "y", created: u64::MAX };
        let shown: Value = serde_json::from_slice(&show(&odd)).unwrap();
        assert_eq!(shown["created_at"], "1970-01-01T00:00:00Z");
    }
}
