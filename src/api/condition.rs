//! A condition of a status, with the limits that Kubernetes' own type has in Go.
//!
//! The generated type of `k8s-openapi` carries no limits, and an unbounded string in a status makes
//! every rule on the object as dear as the longest text that somebody could write there.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// One thing that is true, false or unknown of an object.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is said: `Accepted`, `ResolvedRefs`, `Programmed` or `Ready`; of a route also `TargetsCapable`
    /// and `Priced`, of a credential `CredentialsValid`, of an autoscaler `Active`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The generation that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, in RFC 3339.
    #[schemars(length(min = 20, max = 64))]
    pub last_transition_time: String,
    /// One word for the cause; part of the API.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// What, where and what to do, for people.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ConditionStatus {
    /// It is not.
    False,
    /// It is.
    True,
    /// Nobody has looked yet.
    Unknown,
}

impl ConditionStatus {
    /// The word in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::False => "False",
            Self::True => "True",
            Self::Unknown => "Unknown",
        }
    }
}

/// The schema of `status.conditions`: merged by type, at most eight.
pub(super) fn list(generator: &mut SchemaGenerator) -> Schema {
    let item = Condition::json_schema(generator);
    schemars::json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
