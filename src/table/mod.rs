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
mod credential;
pub mod head;
mod id;
mod index;
pub mod matcher;
pub mod overlay;
pub mod policy;
pub mod publish;
mod quota;
mod reference;
mod route;
pub mod secret;
mod wire;

use std::{collections::BTreeMap, sync::Arc};

pub use self::{
    backend::{Backend, Backends},
    base::Contents,
    choosing::{
        Affinity, AffinityBy, Choosing, CircuitBreaker, Hedge, Preference, Queue, Shares, Slo,
        Spillover, Strategy,
    },
    consumer::{Access, Caller, Consumer, ConsumerKey, Consumers, Digest, Namespaces},
    credential::{Credential, Endpoint, Key},
    head::{Head, Slot, Stamp, Token},
    id::ObjectId,
    matcher::{HeaderMatch, HeaderTest, Match, Pattern, Specificity},
    policy::{Failover, FailoverOn, FailoverSet, Overrides, Timeouts},
    quota::{Quota, QuotaPart},
    route::{Route, Target},
    secret::Secret,
};
use crate::dialect::Api;

/// One version of the routing table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Which version this is; grows by one with every change.
    pub revision: u64,
    /// In order of decision: the first that matches serves. [`Table::new`] sorts them.
    routes: Vec<Arc<Route>>,
    /// Their names, hashed.
    index: index::Index,
    /// Who may call.
    consumers: Consumers,
    /// The pods of credentials that name a Service.
    backends: Backends,
    /// How many proxies share each quota; 0 where there is none.
    proxies: u32,
    /// What the next dollar of accounts costs.
    prices: Prices,
}

/// What the next dollar of each account with spend tiers costs, in thousandths of the list price.
pub type Prices = BTreeMap<ObjectId, u32>;

impl Table {
    /// Puts the routes in order of decision and indexes their names. Nobody may call with a key yet.
    pub fn new(revision: u64, routes: Vec<Route>) -> Self {
        Self::of_shared(revision, routes.into_iter().map(Arc::new).collect())
    }

    /// As [`Table::new`], of routes that another table may hold too.
    pub fn of_shared(revision: u64, mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let index = index::Index::new(&routes);
        let (consumers, backends, prices) = Default::default();
        Self { revision, routes, index, consumers, backends, proxies: 0, prices }
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

    /// The same table, of which so many proxies share each quota.
    #[must_use]
    pub fn with_proxies(self, proxies: u32) -> Self {
        Self { proxies, ..self }
    }

    /// The same table with these prices.
    #[must_use]
    pub fn with_prices(self, prices: Prices) -> Self {
        Self { prices, ..self }
    }

    /// What the next dollar of each account with spend tiers costs, as far as somebody has worked it out.
    pub const fn prices(&self) -> &Prices {
        &self.prices
    }

    /// How many proxies share each quota; 0 where there is none to share.
    pub const fn proxies(&self) -> u32 {
        self.proxies
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

#[cfg(test)]
mod tests;
