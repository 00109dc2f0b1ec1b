//! What the models of a route must be able to do, and the words for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every target of a route must be able to do. One that is known not to is taken out and named in
/// `TargetsCapable`. What a single request needs is seen in the request and stands in no resource.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequirementsSpec {
    /// All of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub capabilities: Vec<CapabilityName>,
    /// At least so many tokens for a request and its answer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub min_context_tokens: Option<i64>,
}

/// Something that not every model can do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CapabilityName {
    /// Takes audio.
    AudioInput,
    /// Takes files, such as PDF.
    FileInput,
    /// Writes what a JSON schema asks for.
    JsonSchema,
    /// Calls several tools in one turn.
    ParallelTools,
    /// Thinks before it answers.
    Reasoning,
    /// Calls tools.
    Tools,
    /// Takes images.
    Vision,
}
