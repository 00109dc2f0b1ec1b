//! `ModelRoute`: a model name that clients may ask for, and where it can go.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A model name that clients may ask for, and the targets that can serve it.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ModelRoute",
    plural = "modelroutes",
    shortname = "mroute",
    category = "trunkline",
    namespaced,
    doc = "A model name that clients may ask for, and the targets that can serve it.",
    printcolumn = r#"{"name":"Models","type":"string","jsonPath":".spec.models[*]"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ModelRouteSpec {
    /// Names that a client may write in `model`. One `*` may stand at the beginning or the end.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub models: Vec<String>,
    /// What a request must have besides its model name. All parts must hold.
    #[serde(default)]
    #[serde(rename = "match")]
    pub matches: MatchSpec,
    /// Decides between routes that match equally well; higher wins.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub precedence: i32,
    /// Where a request can go. The lowest tier that has a usable target serves.
    #[schemars(length(min = 1, max = 32))]
    pub targets: Vec<TargetSpec>,
    /// When a failed attempt is followed by another.
    #[serde(default)]
    pub failover: FailoverSpec,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,
    /// Answer 503 to every request.
    #[serde(default)]
    pub paused: bool,
}

/// What a request must have besides its model name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchSpec {
    /// One of these APIs; every one when empty.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub apis: Vec<ApiName>,
    /// All of these headers.
    #[serde(default)]
    #[schemars(length(max = 8))]
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
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderSpec {
    /// The header's name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// How the value is compared.
    #[serde(rename = "type", default)]
    pub kind: HeaderType,
    /// The value, or its beginning. Not for `Present`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
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
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// The name within the route: metric label and header value.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The account or server.
    pub credential_ref: CredentialRef,
    /// The upstream's own name of the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// Lower tiers are tried first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 15))]
    pub tier: i32,
    /// Share within the tier; 0 takes no traffic.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
    /// Limits of this target where they differ from the route's.
    #[serde(default)]
    pub timeouts: TargetTimeouts,
    /// Fields of the upstream request to set or remove.
    #[serde(default)]
    pub overrides: OverridesSpec,
}

const fn hundred() -> i32 {
    100
}

/// Names a `ProviderCredential`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the route's own when empty. Another one must allow it (`allowedRoutes`).
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub namespace: String,
}

/// Top-level fields of the upstream request, in the upstream's own terms.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OverridesSpec {
    /// Fields and the values that they get.
    #[serde(default)]
    #[schemars(schema_with = "free_map")]
    pub set: BTreeMap<String, Value>,
    /// Fields that are left out.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub remove: Vec<String>,
}

/// An object whose values may be anything.
fn free_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": 16, "default": {},
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true},
    })
}

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverSpec {
    /// Attempts in all, over every target and key.
    #[schemars(range(min = 1, max = 8))]
    pub max_attempts: i32,
    /// From the request's arrival to the first byte of the answer, over all attempts.
    #[schemars(length(min = 2, max = 16))]
    pub total_budget: String,
    /// The failures that another attempt may mend.
    #[schemars(length(max = 8))]
    pub on: Vec<FailoverReason>,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        use FailoverReason::{
            Connect, ContextExceeded, CredentialRejected, ModelNotFound, Overloaded, RateLimited,
            ServerError, Timeout,
        };
        Self {
            max_attempts: 3,
            total_budget: "30s".to_owned(),
            on: vec![
                Connect,
                Timeout,
                RateLimited,
                Overloaded,
                ServerError,
                CredentialRejected,
                ContextExceeded,
                ModelNotFound,
            ],
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

/// How long each step may take: a number and ms, s, m or h.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeoutsSpec {
    /// Name look-up, TCP and TLS together.
    #[schemars(length(min = 2, max = 16))]
    pub connect: String,
    /// To the head of the response; of an answer that is not streamed, until it is written.
    #[schemars(length(min = 2, max = 16))]
    pub headers: String,
    /// To the first meaningful token of a stream.
    #[schemars(length(min = 2, max = 16))]
    pub first_token: String,
    /// Between two pieces of a stream.
    #[schemars(length(min = 2, max = 16))]
    pub stream_idle: String,
    /// The whole request.
    #[schemars(length(min = 2, max = 16))]
    pub total: String,
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self {
            connect: "2s".to_owned(),
            headers: "60s".to_owned(),
            first_token: "10s".to_owned(),
            stream_idle: "15s".to_owned(),
            total: "600s".to_owned(),
        }
    }
}

/// Limits of one target; an empty one is the route's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetTimeouts {
    /// Name look-up, TCP and TLS together.
    #[schemars(length(max = 16))]
    pub connect: String,
    /// To the head of the response.
    #[schemars(length(max = 16))]
    pub headers: String,
    /// To the first meaningful token of a stream.
    #[schemars(length(max = 16))]
    pub first_token: String,
    /// Between two pieces of a stream.
    #[schemars(length(max = 16))]
    pub stream_idle: String,
    /// The whole request.
    #[schemars(length(max = 16))]
    pub total: String,
}
