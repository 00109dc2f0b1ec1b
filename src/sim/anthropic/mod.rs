//! Anthropic's messages, as Anthropic serves them.
//!
//! `shape` says what a request may look like, `models` what each model refuses, `turns` how a
//! conversation must run, `schema` which schemas are taken, `check` puts these together, `write` is how
//! an answer looks, `error` how a failure does.

mod check;
mod error;
mod models;
mod schema;
mod shape;
mod turns;
mod write;

use serde_json::{Value, json};

pub(super) use self::{
    check::asked,
    error::failure,
    write::{events, whole},
};

/// The body of `GET /v1/models`.
pub(super) fn listing() -> Value {
    let model = |name: &str| {
        json!({
            "type": "model", "id": name, "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
        })
    };
    let data: Vec<Value> = models::MODELS.iter().map(|(name, _)| model(name)).collect();
    let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned();
    json!({
        "first_id": id(data.first()), "last_id": id(data.last()), "has_more": false, "data": data,
    })
}
