//! `ProviderCredential`: one account at one provider, or one self-hosted server.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One account at one provider, or one self-hosted server.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "ProviderCredential",
    plural = "providercredentials",
    shortname = "pcred",
    category = "trunkline",
    namespaced,
    doc = "One account at one provider, or one self-hosted server.",
    printcolumn = r#"{"name":"Provider","type":"string","jsonPath":".spec.provider"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderCredentialSpec {
    /// Whose API is spoken. A key of a provider only ever goes to that provider's own hosts; the
    /// `…Compatible` ones go to `endpoint.baseURL`.
    #[schemars(length(min = 1, max = 63))]
    pub provider: String,
    /// Where the API is, when it is not where the provider says.
    #[serde(default)]
    pub endpoint: EndpointSpec,
    /// How to show who calls; exactly one member.
    pub auth: Auth,
    /// Which routes may use it.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// Where an API is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSpec {
    /// What the provider's own SDK calls its base URL: OpenAI's ends in `/v1`, Anthropic's and
    /// Gemini's have no version.
    #[serde(rename = "baseURL", default)]
    #[schemars(length(max = 512))]
    pub base_url: String,
    /// How the server's certificate is verified.
    #[serde(default)]
    pub tls: Tls,
}

/// How a server's certificate is verified. There is no way not to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A `ConfigMap`'s key with the certificates (PEM) to trust instead of the system's.
    #[serde(default)]
    pub ca_bundle_ref: ConfigMapKeyRef,
    /// The name to verify instead of the URL's host.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub server_name: String,
}

/// Names a key of a `ConfigMap` in the same namespace; none when the name is empty.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapKeyRef {
    /// The `ConfigMap`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(max = 253))]
    pub key: String,
}

/// How to show who calls; exactly one member.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// The server asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoAuth>,
    /// API keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeys>,
}

/// The server asks for nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct NoAuth {}

/// A pool of API keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// The keys; traffic is shared by weight.
    #[schemars(length(min = 1, max = 16))]
    pub keys: Vec<ApiKey>,
    /// How long a key rests.
    #[serde(default)]
    pub cooldown: Cooldown,
}

/// One API key: from a Secret, or from the environment of a process that reads files.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The name within the pool.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A Secret's key.
    #[serde(default)]
    pub secret_ref: SecretKeyRef,
    /// An environment variable. Only where manifests are read from files; a cluster refuses it.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub env: String,
    /// Share within the pool.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}

const fn hundred() -> i32 {
    100
}

/// Names a key of a Secret in the same namespace; none when the name is empty.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretKeyRef {
    /// The Secret.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(max = 253))]
    pub key: String,
}

/// How long a key rests.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cooldown {
    /// After the provider limited it, unless the provider says how long.
    #[schemars(length(min = 2, max = 16))]
    pub on_rate_limit: String,
    /// After the provider refused it.
    #[schemars(length(min = 2, max = 16))]
    pub on_rejected: String,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { on_rate_limit: "10s".to_owned(), on_rejected: "10m".to_owned() }
    }
}

/// Which routes may use a credential: the owner grants.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// The namespaces of these routes.
    pub namespaces: AllowedNamespaces,
}

/// The namespaces from which a credential may be used.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedNamespaces {
    /// Its own, or all.
    pub from: From,
}

/// From where a credential may be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum From {
    /// Every namespace.
    All,
    /// Its own namespace.
    #[default]
    Same,
}
