//! How much of an account may be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of an account may be used, by all proxies together; each takes an equal share. What is left
/// out has no limit of ours. A request that would exceed it goes to another target; when no target is
/// left the client gets 429 and is told when to come again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub requests_per_minute: Option<i64>,
    /// Tokens in any minute, input and output together: as expected when a request is sent, and as the
    /// provider reports them once it is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000_000_i64))]
    pub tokens_per_minute: Option<i64>,
    /// Requests at the same time, from the first byte sent to the last one read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_concurrent: Option<i64>,
}
