//! `ModelRoute`: a model name that clients may ask for, and where it can go.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AccessSpec, bounds,
    choosing::{
        AffinitySpec, CircuitBreakerSpec, HedgeSpec, QueueSpec, SloSpec, SpilloverSpec,
        StrategySpec,
    },
    condition::{self, Condition},
    is_default,
    pricing::PricingSpec,
    requirements::RequirementsSpec,
};

/// What a `ModelRoute` asks for.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ModelRoute",
    plural = "modelroutes",
    shortname = "mroute",
    category = "trunkline",
    namespaced,
    status = "ModelRouteStatus",
    derive = "PartialEq",
    doc = "A model name that clients may ask for, and the targets that can serve it.",
    printcolumn = r#"{"name":"Models","type":"string","jsonPath":".spec.models"}"#,
    printcolumn = r#"{"name":"Targets","type":"string","jsonPath":".status.usableTargets","description":"Usable targets of all."}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.programmed","description":"Ready proxies that run it, of all."}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"ResolvedRefs","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"ResolvedRefs\")].status"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.slo) || self.strategy.type != 'Weighted'")
    .message("`Weighted` chooses by weight alone; `slo` needs another `strategy.type`"))]
#[x_kube(validation = Rule::new("!has(self.spillover) || self.targets.exists(a, self.targets.exists(b, a.tier < b.tier))")
    .message("`spillover` needs targets in at least two tiers"))]
pub struct ModelRouteSpec {
    /// Names that a client may write in `model`. One `*` may stand at the beginning or at the end.
    /// An exact name decides before a prefix, a prefix before a suffix, and a suffix before `*`.
    #[schemars(schema_with = "bounds::model_patterns")]
    pub models: Vec<String>,
    /// What a request must have besides its model name. All parts must hold.
    #[serde(rename = "match", default, skip_serializing_if = "is_default")]
    pub matches: MatchSpec,
    /// Decides between routes that match equally well; higher wins.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub precedence: i32,
    /// Who may use it. When left out: every consumer of the route's own namespace, and callers
    /// without a key where the proxy lets these in at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,
    /// Where a request can go. The lowest tier that has a usable target serves, shared by weight.
    #[schemars(length(min = 1, max = 32), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    #[x_kube(validation = Rule::new("self.exists(t, t.weight > 0)")
        .message("at least one target needs a weight above 0"))]
    pub targets: Vec<TargetSpec>,
    /// Which of the usable targets of a tier serves a request.
    #[serde(default)]
    pub strategy: StrategySpec,
    /// What every target must be able to do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requirements: RequirementsSpec,
    /// What a target must hold to be chosen while another one does. Not for `Weighted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloSpec>,
    /// Sends what belongs together to the same target, key and pod; not done when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<AffinitySpec>,
    /// When a target that fails is left alone.
    #[serde(default)]
    pub circuit_breaker: CircuitBreakerSpec,
    /// Asks a second target when the first is late; not done when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgeSpec>,
    /// How requests wait while a Service that they could go to has no pod that is ready.
    #[serde(default)]
    pub queue: QueueSpec,
    /// Sends requests to the next tier while a lower one is full; not done when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spillover: Option<SpilloverSpec>,
    /// When a failed attempt is followed by another one.
    #[serde(default)]
    pub failover: FailoverSpec,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,
    /// Answers 503 to every request, and keeps the names.
    #[serde(default)]
    pub paused: bool,
}

/// What a request must have besides its model name. All parts must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchSpec {
    /// One of these APIs: `ChatCompletions` is `POST /v1/chat/completions`, `Messages` is
    /// `POST /v1/messages`. Every API when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub apis: Vec<ApiName>,
    /// All of these headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub headers: Vec<HeaderSpec>,
}

/// A client API.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ApiName {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/messages`.
    Messages,
}

/// What one header must be.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Present') != has(self.value)")
    .message("`Exact` and `Prefix` need a `value`, `Present` takes none"))]
pub struct HeaderSpec {
    /// The header's name; upper and lower case are the same.
    #[schemars(schema_with = "bounds::header_name")]
    pub name: String,
    /// How the value is compared: `Exact` with the whole of it, `Prefix` with its beginning,
    /// `Present` not at all.
    #[serde(rename = "type", default)]
    pub kind: HeaderType,
    /// The value, or its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::header_value")]
    pub value: Option<String>,
}

/// How a header's value is compared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum HeaderType {
    /// The whole value.
    #[default]
    Exact,
    /// Its beginning.
    Prefix,
    /// The header must be there.
    Present,
}

/// One way to reach a model.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// The name within the route; it stands in metrics, logs and `x-trunkline-target`.
    #[schemars(schema_with = "bounds::label")]
    pub name: String,
    /// The account or server.
    pub credential_ref: CredentialRef,
    /// The upstream's own name of the model. It is never taken from the request.
    #[schemars(schema_with = "bounds::upstream_model")]
    pub model: String,
    /// Lower tiers are tried first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 15))]
    pub tier: i32,
    /// Share within the tier; 0 takes no traffic.
    #[serde(default = "bounds::default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
    /// What the model costs here, where neither its credential nor the built-in catalogue says it
    /// right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<PricingSpec>,
    /// So many of a hundred answers are good, by an evaluation of your own; for `Balanced`. A target
    /// that says nothing counts as the worst of those that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub quality: Option<i32>,
    /// How long each step may take, where this target differs from the route.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TargetTimeouts,
    /// Fields of the upstream request to set or to leave out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overrides: OverridesSpec,
}

/// Names a `ProviderCredential`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the route's own when left out. Another namespace must allow it, in the
    /// credential's `spec.allowedRoutes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Top-level fields of the upstream request, in the upstream's own terms.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OverridesSpec {
    /// Fields and the values that they get. Not `model` and `stream`: these belong to the route and
    /// to the client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::free_map")]
    pub set: BTreeMap<String, Value>,
    /// Fields that are left out. Not `model` and `stream`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::field_names")]
    #[x_kube(validation = Rule::new("!self.exists(f, f in ['model', 'stream'])")
        .message("`model` and `stream` cannot be left out"))]
    pub remove: Vec<String>,
}

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverSpec {
    /// Attempts in all, over every target and key.
    #[schemars(range(min = 1, max = 8))]
    pub max_attempts: i32,
    /// From the request's arrival to the first byte of a streamed answer, over all attempts. No
    /// attempt begins after it; an answer that is not streamed may then still be written.
    #[schemars(schema_with = "bounds::duration")]
    pub total_budget: String,
    /// The failures that another attempt may mend; none when empty. `Connect`: no connection.
    /// `ContextExceeded`: the request does not fit the model's context. `CredentialRejected`: the
    /// provider refused the key. `ModelNotFound`: the provider does not know the model.
    /// `Overloaded`: 503 or 529. `RateLimited`: 429. `ServerError`: another 5xx, or an answer that
    /// broke before its first token. `Timeout`: no headers or no first token in time.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub retry_on: Vec<FailoverReason>,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            total_budget: "30s".to_owned(),
            retry_on: FailoverReason::ALL.to_vec(),
        }
    }
}

/// A failure that another attempt may mend.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum FailoverReason {
    /// No connection.
    Connect,
    /// The request does not fit the model's context.
    ContextExceeded,
    /// The provider refused our key, or it has no money.
    CredentialRejected,
    /// The provider does not know the model.
    ModelNotFound,
    /// 503 or 529.
    Overloaded,
    /// 429.
    RateLimited,
    /// 5xx, or an answer that broke before its first token.
    ServerError,
    /// No headers or no first token in time.
    Timeout,
}

impl FailoverReason {
    /// Every failure; the default of `retryOn`.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::ContextExceeded,
        Self::CredentialRejected,
        Self::ModelNotFound,
        Self::Overloaded,
        Self::RateLimited,
        Self::ServerError,
        Self::Timeout,
    ];
}

/// How long each step may take: numbers with ms, s, m or h, as in `1500ms` or `1m30s`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeoutsSpec {
    /// Name look-up, TCP and TLS together.
    #[schemars(schema_with = "bounds::duration")]
    pub connect: String,
    /// To the head of the response. An answer that is not streamed sends it when all of it is written,
    /// which for a model that thinks takes minutes; a stream sends it by `firstToken` at the latest.
    #[schemars(schema_with = "bounds::duration")]
    pub headers: String,
    /// To the first meaningful token of a stream.
    #[schemars(schema_with = "bounds::duration")]
    pub first_token: String,
    /// Between two pieces of a stream.
    #[schemars(schema_with = "bounds::duration")]
    pub stream_idle: String,
    /// The whole request, every attempt and the last byte of the answer included.
    #[schemars(schema_with = "bounds::duration")]
    pub total: String,
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self {
            connect: "2s".to_owned(),
            headers: "300s".to_owned(),
            first_token: "10s".to_owned(),
            stream_idle: "15s".to_owned(),
            total: "600s".to_owned(),
        }
    }
}

/// How long each step may take, where a target differs from its route.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTimeouts {
    /// Name look-up, TCP and TLS together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub connect: Option<String>,
    /// To the head of the response. An answer that is not streamed sends it when it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub headers: Option<String>,
    /// To the first meaningful token of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub first_token: Option<String>,
    /// Between two pieces of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub stream_idle: Option<String>,
    /// The whole request, every attempt and the last byte of the answer included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub total: Option<String>,
}

/// What became of a `ModelRoute`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRouteStatus {
    /// The generation that the rest of this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Accepted`: the specification is sound and owns its names. `ResolvedRefs`: every credential
    /// was found and may be used. `Programmed`: every ready proxy runs this generation. `Ready`:
    /// requests are served; `Degraded` when by fewer targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list")]
    pub conditions: Vec<Condition>,
    /// Usable targets of all, as in `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub usable_targets: Option<String>,
    /// Ready proxies that run this generation, of all that are ready, as in `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub programmed: Option<String>,
    /// The names of `spec.models` that the route really owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::owned_models")]
    pub models: Vec<String>,
    /// What became of each target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub targets: Vec<TargetStatus>,
}

/// What became of one target.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The target.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Whether requests can go to it.
    pub state: UsableState,
    /// One word for the cause; part of the API.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// What, where and what to do, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Whether requests can go somewhere.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UsableState {
    /// They cannot.
    Unusable,
    /// They can.
    Usable,
}
