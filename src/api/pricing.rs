//! What a model costs, where the built-in catalogue does not know it or is wrong for a contract.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounds, requirements::CapabilityName};

/// Prices in US dollars per million tokens, as decimal strings such as `"2.50"`. What is left out is
/// not zero: a cache without prices of its own costs what fresh input does.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PricingSpec {
    /// Fresh input.
    #[schemars(schema_with = "bounds::price")]
    pub input: String,
    /// Input read from a cache; what `input` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_read: Option<String>,
    /// Input written to a cache for minutes; what `input` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_write: Option<String>,
    /// Input written to a cache for an hour or more; what `cacheWrite` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_write_long: Option<String>,
    /// Output, reasoning included.
    #[schemars(schema_with = "bounds::price")]
    pub output: String,
    /// Other prices of the whole request when its input is longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["tokens"]
    ))]
    pub above: Vec<AboveSpec>,
}

/// Prices of the whole request when its input is longer.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AboveSpec {
    /// More input tokens than this, cached ones included.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub tokens: i64,
    /// Fresh input.
    #[schemars(schema_with = "bounds::price")]
    pub input: String,
    /// Input read from a cache; what `input` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_read: Option<String>,
    /// Input written to a cache for minutes; what `input` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_write: Option<String>,
    /// Input written to a cache for an hour or more; what `cacheWrite` costs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::price")]
    pub cache_write_long: Option<String>,
    /// Output, reasoning included.
    #[schemars(schema_with = "bounds::price")]
    pub output: String,
}

/// A model of an account, where the built-in catalogue does not know it or is wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// The provider's own name of the model.
    #[schemars(schema_with = "bounds::upstream_model")]
    pub name: String,
    /// What it can do, all of it. When left out the built-in catalogue's word counts, and of a model that
    /// is not there nothing is held to be impossible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub capabilities: Option<Vec<CapabilityName>>,
    /// Tokens that a request and its answer may have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub context_tokens: Option<i64>,
    /// The most tokens that an answer may have; sent where the API demands a limit and the client
    /// gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_output_tokens: Option<i64>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<PricingSpec>,
}
