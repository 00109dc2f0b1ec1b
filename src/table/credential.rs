//! An account or a server: where it is, and the keys that open it.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{id::ObjectId, quota::Quota, secret::Secret, wire};
use crate::provider::{Provider, Schedule};

/// One account at one provider, or one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Which `ProviderCredential` this is.
    pub id: ObjectId,
    /// The provider's row.
    #[serde(with = "wire::provider")]
    pub provider: &'static Provider,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The keys to choose from; empty where the server asks for none.
    pub keys: Vec<Key>,
    /// How much of it may be used.
    #[serde(default, skip_serializing_if = "Quota::is_empty")]
    pub quota: Quota,
    /// What is dearer beyond a volume of the month.
    #[serde(default, skip_serializing_if = "Schedule::is_empty")]
    pub tiers: Schedule,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Whether TLS is spoken; plain text only with `--allow-private-endpoints`.
    pub tls: bool,
    /// Host name or address, lower case, no brackets.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// The base URL's path, without a final slash; often empty.
    pub base_path: Arc<str>,
    /// Certificates (PEM) to trust instead of the usual ones.
    #[serde(default, with = "wire::bytes")]
    pub ca: Option<Arc<[u8]>>,
    /// The name to ask for and verify instead of `host`.
    #[serde(default)]
    pub server_name: Option<Arc<str>>,
    /// Whether it is a Service: then its pods are connected to, which stand in [`Table::backends`](super::Table::backends),
    /// and `host` is never looked up.
    #[serde(default)]
    pub service: bool,
}

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name within its pool.
    pub name: Arc<str>,
    /// The key itself.
    #[serde(with = "wire::exposed")]
    pub secret: Secret,
    /// Share within its pool.
    pub weight: u32,
    /// How long it rests after the provider limited it, unless the provider says longer.
    #[serde(with = "wire::millis")]
    pub cooldown_rate_limited: Duration,
    /// How long it rests after the provider refused it.
    #[serde(with = "wire::millis")]
    pub cooldown_rejected: Duration,
}
