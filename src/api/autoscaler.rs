//! `ModelAutoscaler`: how many replicas serve, by what the proxies count.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    bounds,
    condition::{self, Condition},
};

/// What a `ModelAutoscaler` scales, and by what.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ModelAutoscaler",
    plural = "modelautoscalers",
    shortname = "mscaler",
    category = "trunkline",
    namespaced,
    status = "ModelAutoscalerStatus",
    derive = "PartialEq",
    doc = "Scales the proxies, or a model server of one's own, by the requests in flight that the proxies count.",
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.scaleTargetRef.name"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Min","type":"integer","jsonPath":".spec.minReplicas"}"#,
    printcolumn = r#"{"name":"Max","type":"integer","jsonPath":".spec.maxReplicas"}"#,
    printcolumn = r#"{"name":"Current","type":"integer","jsonPath":".status.currentReplicas"}"#,
    printcolumn = r#"{"name":"Desired","type":"integer","jsonPath":".status.desiredReplicas"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Active\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("`minReplicas` must not be more than `maxReplicas`"))]
#[x_kube(validation = Rule::new("self.minReplicas > 0 || !has(self.demand.proxies)")
    .message("proxies that are at zero can count nothing: with `demand.proxies`, `minReplicas` must be at least 1"))]
pub struct ModelAutoscalerSpec {
    /// What is scaled: something in the same namespace that has a `scale`, such as a Deployment.
    pub scale_target_ref: ScaleTargetRef,
    /// Whose requests count.
    pub demand: DemandSpec,
    /// `Scale` sets the number of replicas. `Recommend` sets nothing: the number is in the status and in
    /// the metric `trunkline_desired_replicas`, which KEDA or a `HorizontalPodAutoscaler` may follow.
    #[serde(default)]
    pub mode: AutoscalerMode,
    /// The fewest replicas.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 0, max = 10000))]
    pub min_replicas: i32,
    /// The most replicas.
    #[schemars(range(min = 1, max = 10000))]
    pub max_replicas: i32,
    /// Requests in flight that one replica is to have: half of what it can serve at once, because the
    /// rest must last until another one has started.
    #[schemars(range(min = 1, max = 100_000))]
    pub in_flight_per_replica: i32,
    /// When 95 of 100 first tokens do not come within this while the replicas are full, there is one
    /// more. Not looked at when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub first_token: Option<String>,
    /// How long a replica takes until it serves.
    #[serde(default = "default_cold_start")]
    #[schemars(schema_with = "bounds::duration")]
    pub cold_start: String,
    /// How long fewer replicas must be enough before there are fewer.
    #[serde(default = "default_scale_down_after")]
    #[schemars(schema_with = "bounds::duration")]
    pub scale_down_after: String,
}

const fn default_min_replicas() -> i32 {
    1
}

fn default_cold_start() -> String {
    "1m".to_owned()
}

fn default_scale_down_after() -> String {
    "5m".to_owned()
}

/// Something that has a `scale`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its API group and version, such as `apps/v1`.
    #[serde(default = "default_api_version")]
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Its kind, such as `Deployment`.
    #[serde(default = "default_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn default_api_version() -> String {
    "apps/v1".to_owned()
}

fn default_kind() -> String {
    "Deployment".to_owned()
}

/// Whose requests count.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.proxies), has(self.credentialRef), has(self.prometheus)].filter(given, given).size() == 1")
    .message("give exactly one of `proxies`, `credentialRef` and `prometheus`"))]
pub struct DemandSpec {
    /// All requests that the proxies have in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<AllProxies>,
    /// Those at the models of one `ProviderCredential` of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<DemandCredentialRef>,
    /// What a query of the Prometheus server gives that the operator was told of: for model servers that
    /// are asked past the proxies, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<DemandQuery>,
}

/// A query for requests in flight and waiting.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct DemandQuery {
    /// In Prometheus' language; it must give one number, such as
    /// `sum(vllm:num_requests_running{namespace="models"}) + sum(vllm:num_requests_waiting{namespace="models"})`.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}

/// All requests, without a choice among them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AllProxies {}

/// A `ProviderCredential` of the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct DemandCredentialRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether replicas are set or only recommended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AutoscalerMode {
    /// The number is only told.
    Recommend,
    /// The number is set.
    #[default]
    Scale,
}

/// What became of a `ModelAutoscaler`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelAutoscalerStatus {
    /// The generation that the rest of this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Accepted`: the specification is sound. `Active`: the target was found, and some proxy says what
    /// it has in flight; while none does, the last decision holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list")]
    pub conditions: Vec<Condition>,
    /// The replicas that the target asks for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub current_replicas: Option<i32>,
    /// How many there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub desired_replicas: Option<i32>,
    /// One word for the reason of the last decision; part of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub reason: Option<String>,
    /// What the last decision saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<AutoscalerInputs>,
}

/// What a decision saw.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerInputs {
    /// Requests in flight.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub in_flight: i64,
    /// Requests that wait for a replica.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub queued: i64,
    /// Requests a second, rounded up, that another target served because no replica had a place.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub passed_over: i64,
    /// The time in which 95 of 100 first tokens come, as in `1.2s`; of the slowest proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub first_token: Option<String>,
    /// Proxies that answered, of all, as in `2/2`; with `demand.prometheus` whether its server did.
    #[schemars(length(max = 16))]
    pub proxies: String,
}
