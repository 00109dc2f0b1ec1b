//! What a process finds published when it starts: what must not go by itself.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    control::{kind::Kind, progress::Key},
    table::{Backends, Consumers, ObjectId, Prices, Route, publish::Published},
};

/// What is in the published table.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) table: Vec<Arc<Route>>,
    pub(super) keys: Consumers,
    pub(super) backends: Backends,
    pub(super) proxies: u32,
    pub(super) prices: Prices,
    pub(super) routes: BTreeSet<ObjectId>,
    pub(super) credentials: BTreeSet<ObjectId>,
    pub(super) consumers: BTreeSet<ObjectId>,
    pub(super) namespaces: BTreeSet<ObjectId>,
    /// Those of them with keys or pods.
    pub(super) guarded: BTreeSet<Key>,
}

pub(super) fn known(published: &Published) -> Known {
    let mut known = Known::default();
    let Some(tables) = &published.tables else { return known };
    let table = tables.table.table(0);
    for consumer in table.consumers().all() {
        known.consumers.insert(consumer.id.clone());
        known.guarded.insert((Kind::ModelConsumer, consumer.id.clone()));
    }
    known.table = table.routes().to_vec();
    known.keys = table.consumers().clone();
    known.backends = table.backends().clone();
    known.proxies = table.proxies();
    known.prices = table.prices().clone();
    for route in &known.table {
        known.routes.insert(route.id.clone());
        for target in &route.targets {
            let credential = &target.credential;
            known.credentials.insert(credential.id.clone());
            if !credential.keys.is_empty() || credential.endpoint.service {
                known.guarded.insert((Kind::ProviderCredential, credential.id.clone()));
            }
        }
    }
    let all = known.routes.iter().chain(&known.credentials).chain(&known.consumers);
    known.namespaces = all.map(|id| ObjectId::new("", Arc::clone(&id.namespace))).collect();
    known
}
