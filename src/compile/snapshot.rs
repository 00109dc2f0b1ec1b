//! What `compile` looks at: every object that matters, decoded, each with the place it came from.
//!
//! Who fills a [`Snapshot`] (a folder, or the watches of an operator) decides nothing: an object that could not be decoded is
//! in it too, with the reasons, so that everything that somebody wrote gets a report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use secrecy::{SecretSlice, SecretString};

use super::{
    report::{Problem, Report},
    slice::Slices,
    source::Source,
};
use crate::{
    api::{ModelConsumerSpec, ModelRouteSpec, ProviderCredentialSpec},
    table::ObjectId,
};

/// Everything that `compile` may look at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `ModelRoute`s.
    pub routes: BTreeMap<ObjectId, Entry<ModelRouteSpec>>,
    /// `ProviderCredential`s.
    pub credentials: BTreeMap<ObjectId, Entry<ProviderCredentialSpec>>,
    /// `ModelConsumer`s.
    pub consumers: BTreeMap<ObjectId, Entry<ModelConsumerSpec>>,
    /// `Secret`s, decoded.
    pub secrets: BTreeMap<ObjectId, BTreeMap<String, SecretSlice<u8>>>,
    /// `ConfigMap`s.
    pub config_maps: BTreeMap<ObjectId, BTreeMap<String, String>>,
    /// `Secret`s and `ConfigMap`s that this process has no right to read.
    pub refused: BTreeSet<ObjectId>,
    /// `EndpointSlice`s, by their Service.
    pub services: BTreeMap<ObjectId, Slices>,
    /// Services whose `EndpointSlice`s this process has no right to read.
    pub refused_services: BTreeSet<ObjectId>,
    /// The labels of each namespace that is known.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Environment variables that some key names, as far as they are set. `None` where keys may not
    /// come from the environment at all: in a cluster it would be the operator's own.
    pub environment: Option<BTreeMap<String, SecretString>>,
    /// What is said of files and objects that are none of the above.
    pub unread: Vec<Report>,
}

/// One object of ours.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Where it was read.
    pub source: Source,
    /// Seconds since the Unix epoch at which it was created; 0 for files.
    pub created: u64,
    /// The specification, as far as it could be decoded.
    pub spec: Option<Arc<T>>,
    /// What is already known to be wrong with it. Any of these keeps it from being accepted.
    pub problems: Vec<Problem>,
}
