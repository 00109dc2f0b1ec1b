//! What changed since the last compile, and how far that reached.
//!
//! Whoever holds the objects says which were touched; `compiler` builds those anew, and what refers to
//! them, and says whose reports and routes may differ now.

use std::{collections::BTreeSet, sync::Arc};

use super::Snapshot;
use crate::table::ObjectId;

/// Objects that came, went or changed since the last call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// `ModelRoute`s.
    pub routes: BTreeSet<ObjectId>,
    /// `ProviderCredential`s.
    pub credentials: BTreeSet<ObjectId>,
    /// `ModelConsumer`s.
    pub consumers: BTreeSet<ObjectId>,
    /// `Secret`s.
    pub secrets: BTreeSet<ObjectId>,
    /// `ConfigMap`s.
    pub config_maps: BTreeSet<ObjectId>,
    /// Services, whose `EndpointSlice`s changed.
    pub services: BTreeSet<ObjectId>,
    /// Namespaces, by name.
    pub namespaces: BTreeSet<Arc<str>>,
}

impl Touched {
    /// All of our own objects.
    pub fn everything(snapshot: &Snapshot) -> Self {
        Self {
            routes: snapshot.routes.keys().cloned().collect(),
            credentials: snapshot.credentials.keys().cloned().collect(),
            consumers: snapshot.consumers.keys().cloned().collect(),
            ..Self::default()
        }
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a change has reached: objects that were built anew, and those that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// `ModelRoute`s.
    pub routes: BTreeSet<ObjectId>,
    /// `ProviderCredential`s.
    pub credentials: BTreeSet<ObjectId>,
    /// `ModelConsumer`s.
    pub consumers: BTreeSet<ObjectId>,
    /// `ProviderCredential`s that other routes use now, though nothing else about them changed.
    pub used: BTreeSet<ObjectId>,
}
