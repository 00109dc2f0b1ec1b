//! The routing table: what the proxy runs on.
//!
//! Immutable once built, comparable, cheap to share: a request takes one `Arc` of it and keeps that
//! table from its first byte to its last. Everything is resolved: no reference, no default, no text
//! that still has to be parsed. `compile` makes it; this room knows no resource kind, no clock, no
//! socket.

pub mod address;
#[cfg(test)]
pub(crate) mod arbitrary;
pub mod backend;
pub mod base;
pub mod choosing;
pub mod consumer;
#[cfg(test)]
mod crashes;
pub mod head;
pub mod matcher;
pub mod overlay;
pub mod policy;
pub mod publish;
mod reference;
pub mod secret;
mod wire;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{
    backend::{Backend, Backends},
    base::Contents,
    choosing::{
        Affinity, AffinityBy, Choosing, CircuitBreaker, Hedge, Preference, Queue, Shares, Slo,
        Strategy,
    },
    consumer::{Access, Caller, Consumer, ConsumerKey, Consumers, Digest, Namespaces},
    head::{Head, Slot, Stamp, Token},
    matcher::{HeaderMatch, HeaderTest, Match, Pattern, Specificity},
    policy::{Failover, FailoverOn, FailoverSet, Overrides, Timeouts},
    secret::Secret,
};
use crate::{
    dialect::{Api, Dialect, Traits},
    provider::{Ability, Pricing, Provider},
};

/// One version of the routing table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Which version this is; grows by one with every change.
    pub revision: u64,
    /// In order of decision: the first that matches serves. [`Table::new`] sorts them.
    routes: Vec<Arc<Route>>,
    /// Their names, hashed.
    index: matcher::Index,
    /// Who may call.
    consumers: Consumers,
    /// The pods of credentials that name a Service.
    backends: Backends,
}

impl Table {
    /// Puts the routes in order of decision and indexes their names. Nobody may call with a key yet.
    pub fn new(revision: u64, routes: Vec<Route>) -> Self {
        Self::of_shared(revision, routes.into_iter().map(Arc::new).collect())
    }

    /// As [`Table::new`], of routes that another table may hold too.
    pub fn of_shared(revision: u64, mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let index = matcher::Index::new(&routes);
        let (consumers, backends) = Default::default();
        Self { revision, routes, index, consumers, backends }
    }

    /// The same table with these consumers.
    #[must_use]
    pub fn with_consumers(self, consumers: Consumers) -> Self {
        Self { consumers, ..self }
    }

    /// Who may call.
    pub const fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// The same table with these backends.
    #[must_use]
    pub fn with_backends(self, backends: Backends) -> Self {
        Self { backends, ..self }
    }

    /// The pods of each credential that names a Service.
    pub const fn backends(&self) -> &Backends {
        &self.backends
    }

    /// All routes in order of decision.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route that serves a request: exact names before prefixes before suffixes before `*`, and
    /// within one of these by precedence, then by how much `match` and `access` ask, then by age and
    /// name. A route that the caller may not use is not there.
    pub fn find(
        &self,
        api: Api,
        model: &str,
        headers: &http::HeaderMap,
        caller: Caller<'_>,
    ) -> Option<&Arc<Route>> {
        self.routes.get(self.position(api, model, headers, caller)?)
    }

    /// Where the route that [`Table::find`] gives stands in [`Table::routes`], for those who keep
    /// something beside each route.
    pub fn position(
        &self,
        api: Api,
        model: &str,
        headers: &http::HeaderMap,
        caller: Caller<'_>,
    ) -> Option<usize> {
        let accepts =
            |route: &Route| route.matches.accepts(api, headers) && route.access.permits(caller);
        self.index.position(&self.routes, model, accepts)
    }

    /// Whether a route of the caller's own namespace would serve a request if its `access` let it.
    ///
    /// Only such a route may be spoken of: what other namespaces have is not told to who may not use
    /// it.
    pub fn is_kept_from(
        &self,
        api: Api,
        model: &str,
        headers: &http::HeaderMap,
        consumer: &Consumer,
    ) -> bool {
        let accepts = |route: &Route| {
            route.matches.accepts(api, headers) && route.id.namespace == consumer.id.namespace
        };
        self.index.position(&self.routes, model, accepts).is_some()
    }

    /// The exact model names that a caller may ask for by `api`, sorted, each with its route.
    pub fn models(&self, api: Api, caller: Caller<'_>) -> Vec<(&str, &Arc<Route>)> {
        let serves = |route: &Route| {
            let apis = &route.matches.apis;
            (apis.is_empty() || apis.contains(&api)) && route.access.permits(caller)
        };
        self.index.models(&self.routes, serves)
    }
}

/// A namespace and a name; `namespace/name` where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectId {
    /// The namespace; `default` for files that give none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectId {
    /// Names an object.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ObjectId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self::new(namespace, name)),
            None => Err(format!("`{text}` is not namespace/name")),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One model route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which `ModelRoute` this is.
    pub id: ObjectId,
    /// Seconds since the Unix epoch at which the object was created; 0 for files. Older wins a tie.
    pub created: u64,
    /// The names that it really owns.
    pub models: Vec<Pattern>,
    /// What else a request must have.
    pub matches: Match,
    /// Decides between routes that match equally well; higher wins.
    pub precedence: i32,
    /// Who may use it.
    pub access: Access,
    /// Where it can go. Never empty unless every target was taken out, and then each request gets a
    /// clear error.
    pub targets: Vec<Arc<Target>>,
    /// How one of them is chosen.
    #[serde(default)]
    pub choosing: Choosing,
    /// When to go elsewhere, and how often.
    pub failover: Failover,
    /// Answer 503 to everything.
    pub paused: bool,
}

/// One way to reach a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The name within its route: label, header value, status key.
    pub name: Arc<str>,
    /// The account or server.
    #[serde(with = "reference")]
    pub credential: Arc<Credential>,
    /// The upstream's own name of the model.
    pub model: Arc<str>,
    /// What this model takes and refuses.
    pub traits: Traits,
    /// What is known of what it can do.
    #[serde(default)]
    pub ability: Ability,
    /// What it costs; none where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Arc<Pricing>>,
    /// Lower tiers are tried first.
    pub tier: u8,
    /// Share within its tier; 0 takes no traffic.
    pub weight: u32,
    /// So many of a hundred answers are good; none where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u32>,
    /// How long each step may take, the route's values under the target's.
    pub timeouts: Timeouts,
    /// Fields of the upstream request to set or remove.
    pub overrides: Overrides,
}

impl Target {
    /// The wire format that this target speaks.
    pub fn dialect(&self) -> Dialect {
        self.credential.provider.dialect
    }
}

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
    /// Whether it is a Service: then its pods are connected to, which stand in [`Table::backends`],
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
    pub cooldown_rate_limited: std::time::Duration,
    /// How long it rests after the provider refused it.
    #[serde(with = "wire::millis")]
    pub cooldown_rejected: std::time::Duration,
}

#[cfg(test)]
mod tests;
