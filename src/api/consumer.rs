//! `ModelConsumer`: who may call, and by which keys the proxy knows them.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    SecretKeyRef, bounds,
    condition::{self, Condition},
};

/// Who a `ModelConsumer` is.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ModelConsumer",
    plural = "modelconsumers",
    shortname = "mconsumer",
    category = "trunkline",
    namespaced,
    status = "ModelConsumerStatus",
    derive = "PartialEq",
    doc = "An application or person that may call, and the keys that show who calls.",
    printcolumn = r#"{"name":"Groups","type":"string","jsonPath":".spec.groups"}"#,
    printcolumn = r#"{"name":"Keys","type":"string","jsonPath":".status.usableKeys","description":"Usable keys of all."}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.programmed","description":"Ready proxies that run it, of all."}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ModelConsumerSpec {
    /// The groups that it belongs to. A route admits groups in `spec.access.groups`, each together
    /// with the namespace whose consumers are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::labels_set")]
    pub groups: Vec<String>,
    /// What matters most to it. On a route whose strategy is `Balanced` it takes the place of the
    /// route's `balanced`; every other strategy is the route's alone. `Economy`: cost. `Speed`: the
    /// first token. `Quality`: the `quality` of the targets. `Balanced`: a bit of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceName>,
    /// How it shows who it is.
    pub auth: ConsumerAuthSpec,
}

/// What matters most to a consumer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PreferenceName {
    /// A bit of each.
    Balanced,
    /// Cost.
    Economy,
    /// Good answers.
    Quality,
    /// Early answers.
    Speed,
}

/// How a consumer shows who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerAuthSpec {
    /// API keys; each of them is good. To rotate one without a gap, add the new key, let the
    /// application change over, then take the old one out.
    #[schemars(length(min = 1, max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub api_keys: Vec<ConsumerKeySpec>,
}

/// One API key: from a Secret, or from the environment of a process that reads files.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.env)")
    .message("give exactly one of `secretRef` and `env`"))]
pub struct ConsumerKeySpec {
    /// The name within the consumer; it stands in the access log.
    #[schemars(schema_with = "bounds::label")]
    pub name: String,
    /// A Secret of the same namespace, and the key in it. The value must be random and at least 16
    /// bytes long, as from `openssl rand -hex 32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// An environment variable, for a laptop. Only a process that reads its manifests from files
    /// takes it; in a cluster the key is reported as unresolved, since the variable would be the
    /// operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::variable")]
    pub env: Option<String>,
}

/// What became of a `ModelConsumer`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelConsumerStatus {
    /// The generation that the rest of this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Accepted`: the specification is sound. `ResolvedRefs`: every key was found and is its own.
    /// `Programmed`: every ready proxy knows this generation. `Ready`: it can call; `Degraded` when
    /// with fewer keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list")]
    pub conditions: Vec<Condition>,
    /// Usable keys of all, as in `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub usable_keys: Option<String>,
    /// Ready proxies that run this generation, of all that are ready, as in `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub programmed: Option<String>,
}
