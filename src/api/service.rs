//! `spec.endpoint.service`: a Service of the cluster whose pods are balanced one by one.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// A Service of the credential's own namespace. Its pods are connected to at their own addresses, as
/// they become ready and go; the Service's address is not used.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The Service.
    #[schemars(schema_with = "bounds::service_name")]
    pub name: String,
    /// The name of the Service's port, or the number of the port on which its pods listen.
    #[schemars(schema_with = "bounds::port")]
    pub port: ServicePort,
    /// How the pods are spoken to. With `HTTPS` their certificate must be for the name
    /// `NAME.NAMESPACE.svc`, or for `tls.serverName`.
    #[serde(default)]
    pub scheme: Scheme,
    /// Where the API begins, as at the end of a base URL: `/v1` for most servers that speak OpenAI's
    /// API, `/` for those that speak Anthropic's or Gemini's.
    #[schemars(schema_with = "bounds::base_path")]
    pub path: String,
}

/// How pods are spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// In plain text.
    #[default]
    Http,
    /// By TLS.
    Https,
}

/// A port by its name or its number.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ServicePort {
    /// The number of the port on which pods listen.
    Number(i32),
    /// The name that the Service gives it.
    Name(String),
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}
