//! What lies between two tables: the few things that differ, by name.
//!
//! `Overlay::between(base, table)` applied to `base` is `table`, for any two tables; a test holds it.
//! Routes stay text until they are applied, because the credentials that they name may stand in the
//! base. A changed credential is one entry: the routes that use it are rebuilt when it is applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Backend, Consumer, Credential, ObjectId, Route, Target,
    base::{Contents, Refused, Routes, Unreadable, check_consumers, check_credentials},
    reference::{Credentials, resolving},
};

/// Changes of named things.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "V: Deserialize<'de>"))]
pub struct Changes<V> {
    /// New, or no longer as in the base.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    put: BTreeMap<ObjectId, V>,
    /// In the base, and no more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<ObjectId>,
}

/// Everything that differs from a base.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Overlay {
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    backends: Changes<Arc<Backend>>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    consumers: Changes<Arc<Consumer>>,
    #[serde(default)]
    credentials: Changes<Arc<Credential>>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    prices: Changes<u32>,
    /// How many proxies share each quota, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxies: Option<u32>,
    #[serde(default)]
    routes: Changes<Box<RawValue>>,
}

impl<V> Default for Changes<V> {
    fn default() -> Self {
        Self { put: BTreeMap::new(), gone: BTreeSet::new() }
    }
}

impl<V: Clone + PartialEq> Changes<V> {
    fn between(base: &BTreeMap<ObjectId, V>, after: &BTreeMap<ObjectId, V>) -> Self {
        let differs = |(id, value): &(&ObjectId, &V)| base.get(*id) != Some(*value);
        let owned = |(id, value): (&ObjectId, &V)| (id.clone(), value.clone());
        Self {
            put: after.iter().filter(differs).map(owned).collect(),
            gone: base.keys().filter(|id| !after.contains_key(*id)).cloned().collect(),
        }
    }
}

impl<V> Changes<V> {
    fn apply(self, to: &mut BTreeMap<ObjectId, V>) {
        to.retain(|id, _| !self.gone.contains(id));
        to.extend(self.put);
    }

    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }
}

impl Overlay {
    /// What turns `base` into `table`.
    ///
    /// # Errors
    /// When a route cannot be written; it is not left out.
    pub fn between(base: &Contents, table: &Contents) -> Result<Self, Refused> {
        let credentials = Changes::between(&base.credentials, &table.credentials);
        // What applying makes of the base by itself need not be sent.
        let rebuilt =
            base.routes.iter().map(|(id, route)| (id.clone(), with(route, &credentials.put)));
        let Changes { put, gone } = Changes::between(&rebuilt.collect(), &table.routes);
        let text = |(id, route)| Ok((id, to_raw_value::<Arc<Route>>(&route)?));
        let put = put.into_iter().map(text).collect::<Result<_, serde_json::Error>>();
        let put = put.map_err(|error| Refused::Unwritable(error.to_string()))?;
        let consumers = Changes::between(&base.consumers, &table.consumers);
        let backends = Changes::between(&base.backends, &table.backends);
        let proxies = (base.proxies != table.proxies).then_some(table.proxies);
        let prices = Changes::between(&base.prices, &table.prices);
        Ok(Self {
            backends,
            consumers,
            credentials,
            prices,
            proxies,
            routes: Changes { put, gone },
        })
    }

    /// The table that it makes of `base`.
    ///
    /// # Errors
    /// When any part of it cannot be used; nothing is applied by halves.
    pub fn apply(&self, base: &Contents) -> Result<Contents, Unreadable> {
        let Self {
            backends: changed_backends,
            consumers: changed_consumers,
            credentials: changed,
            prices: changed_prices,
            proxies,
            routes: changed_routes,
        } = self;
        check_consumers(&changed_consumers.put)?;
        check_credentials(&changed.put)?;
        let mut backends = base.backends.clone();
        changed_backends.clone().apply(&mut backends);
        let mut consumers = base.consumers.clone();
        changed_consumers.clone().apply(&mut consumers);
        let mut credentials = base.credentials.clone();
        changed.clone().apply(&mut credentials);
        let (put, credentials) = resolving(credentials, || {
            let read = |id: &ObjectId, text: &RawValue| {
                let route: Arc<Route> = serde_json::from_str(text.get())?;
                if route.id == *id {
                    Ok((id.clone(), route))
                } else {
                    Err(Unreadable::Misnamed(id.clone()))
                }
            };
            let routes = changed_routes.put.iter();
            routes.map(|(id, text)| read(id, text)).collect::<Result<Routes, Unreadable>>()
        });
        let mut routes = base.routes.clone();
        Changes { put: put?, gone: changed_routes.gone.clone() }.apply(&mut routes);
        if !changed.is_empty() {
            for route in routes.values_mut() {
                if uses(route, |id| changed.gone.contains(id)) {
                    return Err(Unreadable::Dangling(route.id.clone()));
                }
                *route = with(route, &changed.put);
            }
        }
        let mut prices = base.prices.clone();
        changed_prices.clone().apply(&mut prices);
        let proxies = proxies.unwrap_or(base.proxies);
        Ok(Contents { backends, consumers, credentials, prices, proxies, routes })
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
            && self.consumers.is_empty()
            && self.credentials.is_empty()
            && self.prices.is_empty()
            && self.proxies.is_none()
            && self.routes.is_empty()
    }

    /// About how many bytes it has.
    pub fn len(&self) -> usize {
        self.routes.put.values().map(|text| text.get().len()).sum::<usize>()
            + self.credentials.put.values().map(|credential| weight(credential)).sum::<usize>()
            + self.consumers.put.values().map(|consumer| weight_of(consumer)).sum::<usize>()
            + self.backends.put.values().map(|backend| 64 + 32 * backend.pods.len()).sum::<usize>()
            + 64 * (self.routes.gone.len()
                + self.prices.put.len()
                + self.prices.gone.len()
                + self.backends.gone.len()
                + self.credentials.gone.len()
                + self.consumers.gone.len())
    }
}

/// About how many bytes a credential is written in.
fn weight(credential: &Credential) -> usize {
    512 + 256 * credential.keys.len() + credential.endpoint.ca.as_ref().map_or(0, |ca| ca.len())
}

/// About how many bytes a consumer is written in.
fn weight_of(consumer: &Consumer) -> usize {
    128 + 160 * consumer.keys.len() + 64 * consumer.groups.len()
}

fn uses(route: &Route, wanted: impl Fn(&ObjectId) -> bool) -> bool {
    route.targets.iter().any(|target| wanted(&target.credential.id))
}

/// A route with those of its credentials that have changed; the same route when none has.
fn with(route: &Arc<Route>, changed: &Credentials) -> Arc<Route> {
    let differs = |target: &Target| {
        let new = changed.get(&target.credential.id)?;
        (**new != *target.credential).then(|| Arc::clone(new))
    };
    if changed.is_empty() || !route.targets.iter().any(|target| differs(target).is_some()) {
        return Arc::clone(route);
    }
    let renew = |target: &Arc<Target>| match differs(target) {
        Some(credential) => Arc::new(Target { credential, ..Target::clone(target) }),
        None => Arc::clone(target),
    };
    let targets = route.targets.iter().map(renew).collect();
    Arc::new(Route { targets, ..Route::clone(route) })
}
