//! The price schedule of an account's billing month, and what is said of it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// What is dearer beyond a volume of the billing month.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpendTierSpec {
    /// Beyond so many US dollars of the calendar month (UTC), at list prices.
    #[serde(rename = "aboveUSD")]
    #[schemars(schema_with = "bounds::dollars")]
    pub above_usd: String,
    /// So many times the list price, as in `1.20`. It holds for what lies beyond, not for all of the
    /// month.
    #[schemars(schema_with = "bounds::multiplier")]
    pub multiplier: String,
}

/// What an account with `spendTiers` has spent this month.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpendStatus {
    /// The month, as in `2026-11`, UTC.
    #[schemars(length(max = 16))]
    pub month: String,
    /// Spent in it at list prices, in US dollars.
    #[schemars(length(max = 24))]
    pub usd: String,
    /// Spent a day lately, at list prices, in US dollars.
    #[serde(rename = "perDayUSD")]
    #[schemars(length(max = 24))]
    pub per_day_usd: String,
    /// What the next dollar costs by the forecast for the month's end, as a multiple of the list price.
    #[schemars(length(max = 8))]
    pub multiplier: String,
    /// When it was first looked at.
    #[schemars(length(max = 40))]
    pub since: String,
    /// When it was last brought up to date.
    #[schemars(length(max = 40))]
    pub at: String,
    /// What of each proxy's counter is in it, so that nothing is counted twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["instance"]
    ))]
    pub proxies: Vec<CountedSpend>,
}

/// What of a proxy's counter is counted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedSpend {
    /// Which start of which pod.
    #[schemars(length(min = 1, max = 128))]
    pub instance: String,
    /// In US dollars, at list prices.
    #[schemars(length(max = 24))]
    pub usd: String,
}
