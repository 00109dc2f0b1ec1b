//! OpenAI's chat completions, as OpenAI serves them.
//!
//! `shape` says what a request may look like, `models` what each model refuses, `check` how the parts
//! of a request must fit together, `write` how an answer looks, `error` how a failure does.

mod check;
mod error;
mod models;
mod shape;
mod write;

use serde_json::{Value, json};

pub(super) use self::{
    check::asked,
    error::failure,
    write::{events, whole},
};

/// The body of `GET /v1/models`.
pub(super) fn listing() -> Value {
    let model =
        |name: &str| json!({"id": name, "object": "model", "created": 0, "owned_by": "system"});
    let models = models::MODELS.iter().map(|(name, _)| model(name));
    json!({"object": "list", "data": models.collect::<Vec<_>>()})
}
