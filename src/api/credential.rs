//! `ProviderCredential`: one account at one provider, or one self-hosted server.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    bounds,
    condition::{self, Condition},
    is_default,
    pricing::ModelSpec,
    quota::QuotaSpec,
    service::ServiceSpec,
    spend::{SpendStatus, SpendTierSpec},
};

/// What a `ProviderCredential` is.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ProviderCredential",
    plural = "providercredentials",
    shortname = "pcred",
    category = "trunkline",
    namespaced,
    status = "ProviderCredentialStatus",
    derive = "PartialEq",
    doc = "One account at one provider, or one self-hosted server.",
    printcolumn = r#"{"name":"Provider","type":"string","jsonPath":".spec.provider"}"#,
    printcolumn = r#"{"name":"Keys","type":"string","jsonPath":".status.usableKeys","description":"Usable keys of all."}"#,
    printcolumn = r#"{"name":"Routes","type":"integer","jsonPath":".status.routes","description":"Routes that use it."}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.programmed","description":"Ready proxies that run it, of all."}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Spent","type":"string","priority":1,"jsonPath":".status.spend.usd","description":"US dollars of this month, with spend tiers."}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","priority":1,"jsonPath":".spec.endpoint.baseURL"}"#,
    printcolumn = r#"{"name":"Service","type":"string","priority":1,"jsonPath":".spec.endpoint.service.name"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "!self.provider.endsWith('Compatible') || (has(self.endpoint) && (has(self.endpoint.baseURL) || has(self.endpoint.service)))"
    ).message("a provider `…Compatible` needs `endpoint.baseURL` or `endpoint.service`: nobody else knows where your server is"))]
#[x_kube(validation = Rule::new(
        "self.provider.endsWith('Compatible') || !has(self.endpoint) || !has(self.endpoint.service)"
    ).message("`endpoint.service` needs a provider `…Compatible`: a key of another provider goes to that provider only"))]
pub struct ProviderCredentialSpec {
    /// Whose API is spoken. A key of a provider only ever goes to that provider's own hosts; with
    /// `…Compatible` it goes to `endpoint.baseURL`.
    #[schemars(length(min = 1, max = 63))]
    pub provider: String,
    /// Where the API is, when it is not where the provider says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub endpoint: EndpointSpec,
    /// How to show who calls; exactly one member.
    pub auth: AuthSpec,
    /// Models whose prices or limits the built-in catalogue does not know, or has not as they are
    /// for this account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub models: Vec<ModelSpec>,
    /// How much of the account may be used.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quota: QuotaSpec,
    /// What is dearer beyond a volume of the billing month. Requests are chosen by what the next dollar
    /// costs, by the forecast for the month's end, so that accounts are used up evenly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["aboveUSD"]
    ))]
    #[x_kube(validation = Rule::new("self.all(a, self.all(b, a.aboveUSD == b.aboveUSD || double(a.aboveUSD) > double(b.aboveUSD) || double(a.aboveUSD) < double(b.aboveUSD) && double(a.multiplier) <= double(b.multiplier)))")
        .message("thresholds must differ and multipliers must rise with them; a discount for volume is not planned for"))]
    pub spend_tiers: Vec<SpendTierSpec>,
    /// Which routes may use this credential. Its owner grants.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// Where an API is.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.baseURL) || !self.baseURL.startsWith('http:')")
    .message("`tls` means nothing for a base URL with http://"))]
#[x_kube(validation = Rule::new("!has(self.baseURL) || !has(self.service)")
    .message("give at most one of `baseURL` and `service`"))]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.service) || self.service.scheme == 'HTTPS'")
    .message("`tls` means nothing for a service without `scheme: HTTPS`"))]
pub struct EndpointSpec {
    /// What the provider's own SDK calls its base URL: OpenAI's ends in `/v1`, Anthropic's and
    /// Gemini's have no version. `https`, unless the process was started with
    /// `--allow-private-endpoints`.
    #[serde(rename = "baseURL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::base_url")]
    pub base_url: Option<String>,
    /// A Service of this namespace whose pods are balanced one by one, in place of `baseURL`. Only for
    /// providers `…Compatible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
    /// How the server's certificate is verified. There is no way not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// How the server's certificate is verified. There is no way not to.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The certificates (PEM) to trust instead of the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
    /// The name to ask for and to verify instead of the URL's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::host_name")]
    pub server_name: Option<String>,
}

/// Names a key of a `ConfigMap` or `Secret` in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// `ConfigMap` or `Secret`.
    #[serde(default)]
    pub kind: CaBundleKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "default_bundle_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_bundle_key() -> String {
    "ca.crt".to_owned()
}

/// Where certificates are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CaBundleKind {
    /// In a `ConfigMap`.
    #[default]
    ConfigMap,
    /// In a `Secret`.
    Secret,
}

/// How to show who calls; exactly one member.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.none) != has(self.apiKey)")
    .message("give exactly one of `none` and `apiKey`"))]
pub struct AuthSpec {
    /// The server asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoAuth>,
    /// API keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeysSpec>,
}

/// The server asks for nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct NoAuth {}

/// A pool of API keys.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeysSpec {
    /// The keys; traffic is shared by weight.
    #[schemars(length(min = 1, max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    #[x_kube(validation = Rule::new("self.exists(k, k.weight > 0)")
        .message("at least one key needs a weight above 0"))]
    pub keys: Vec<ApiKeySpec>,
    /// How long a key rests.
    #[serde(default)]
    pub cooldown: CooldownSpec,
}

/// One API key: from a Secret, or from the environment of a process that reads files.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.env)")
    .message("give exactly one of `secretRef` and `env`"))]
pub struct ApiKeySpec {
    /// The name within the pool; it stands in metrics and logs.
    #[schemars(schema_with = "bounds::label")]
    pub name: String,
    /// A Secret of the same namespace, and the key in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// An environment variable, for a laptop. Only a process that reads its manifests from files
    /// takes it; in a cluster the key is reported as unresolved, since the variable would be the
    /// operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::variable")]
    pub env: Option<String>,
    /// Share within the pool; 0 takes no traffic.
    #[serde(default = "bounds::default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}

/// Names a key of a Secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How long a key rests; `0s` is not at all.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CooldownSpec {
    /// After the provider limited it (429), unless the provider says for how long.
    #[schemars(schema_with = "bounds::pause")]
    pub on_rate_limit: String,
    /// After the provider refused it (401, 402, 403).
    #[schemars(schema_with = "bounds::pause")]
    pub on_rejected: String,
}

impl Default for CooldownSpec {
    fn default() -> Self {
        Self { on_rate_limit: "30s".to_owned(), on_rejected: "10m".to_owned() }
    }
}

/// Which routes may use a credential.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// The namespaces of these routes.
    pub namespaces: AllowedNamespaces,
}

/// The namespaces from which a credential may be used.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("`selector` goes with `from: Selector`, and only with it"))]
pub struct AllowedNamespaces {
    /// `Same`: its own. `All`: every one. `Selector`: those whose labels match `selector`.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the namespaces. All parts must hold; an empty selector matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// From where a credential may be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum NamespacesFrom {
    /// Every namespace.
    All,
    /// Its own namespace.
    #[default]
    Same,
    /// The namespaces whose labels match.
    Selector,
}

/// A question to labels, as everywhere in Kubernetes; all parts must hold.
///
/// Kubernetes' own type has no bounds, and without them the cost of a rule cannot be estimated.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and the values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Labels and what they must be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelExpression>,
}

/// What one label must be.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == has(self.values)")
    .message("`In` and `NotIn` need `values`, `Exists` and `DoesNotExist` take none"))]
pub struct LabelExpression {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`: one of `values`. `NotIn`: none of them, or no such label. `Exists`: there.
    /// `DoesNotExist`: not there.
    pub operator: LabelOperator,
    /// The values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::label_values")]
    pub values: Option<Vec<String>>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LabelOperator {
    /// Not there.
    DoesNotExist,
    /// There.
    Exists,
    /// One of the values.
    In,
    /// None of the values, or not there.
    NotIn,
}

/// What became of a `ProviderCredential`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderCredentialStatus {
    /// The generation that the rest of this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// `Accepted`: the specification is sound. `ResolvedRefs`: every key and certificate was found.
    /// `Programmed`: every ready proxy runs this generation. `Ready`: routes can use it; `Degraded`
    /// when with fewer keys, `NoReadyPod` when its Service has no pod that is ready: requests then wait.
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
    /// How many routes use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub routes: Option<i32>,
    /// What was spent this month, where it has `spendTiers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<SpendStatus>,
}
