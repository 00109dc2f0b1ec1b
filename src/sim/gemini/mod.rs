//! Gemini's `generateContent` and `streamGenerateContent`, as Google serves them.
//!
//! `names` reads both spellings of a field, `shape` says what a request may look like, `models` what each model refuses, `turns` how a
//! conversation must run, `check` puts these together, `write` is how an answer looks, `error` how a
//! failure does.

mod check;
mod error;
mod models;
mod names;
mod shape;
mod turns;
mod write;

use serde_json::{Value, json};

pub(super) use self::{
    check::asked,
    error::failure,
    write::{chunks, events, whole},
};

/// The body of `GET /v1beta/models`.
pub(super) fn listing() -> Value {
    let model = |name: &str| {
        json!({
            "name": format!("models/{name}"), "displayName": name,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        })
    };
    json!({"models": models::MODELS.iter().map(|(name, _)| model(name)).collect::<Vec<_>>()})
}
