//! Which `Secret`s, `ConfigMap`s and Services an object names, as scopes to be watched. No other is looked at.

use std::sync::Arc;

use super::kind::{Kind, Scope};
use crate::{
    api::{ModelConsumerSpec, ProviderCredentialSpec},
    compile::{named, service},
    table::ObjectId,
};

/// Which watches must begin and end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Begin.
    pub begin: Vec<Scope>,
    /// End.
    pub end: Vec<Scope>,
}

/// The Secrets that a consumer names.
pub(super) fn secrets(id: &ObjectId, spec: &ModelConsumerSpec) -> impl Iterator<Item = Scope> {
    let namespace = Arc::clone(&id.namespace);
    let named = spec.auth.api_keys.iter().filter_map(|key| key.secret_ref.as_ref());
    named.map(move |secret| {
        Scope::one(Kind::Secret, &ObjectId::new(Arc::clone(&namespace), secret.name.as_str()))
    })
}

/// The scopes that a credential names.
pub(super) fn scopes(id: &ObjectId, spec: &ProviderCredentialSpec) -> impl Iterator<Item = Scope> {
    let (secrets, config_maps) = named(id, spec);
    let secrets = secrets.into_iter().map(|id| Scope::one(Kind::Secret, &id));
    let config_maps = config_maps.into_iter().map(|id| Scope::one(Kind::ConfigMap, &id));
    secrets.chain(config_maps).chain(service(id, spec).map(|id| Scope::slices(&id)))
}
