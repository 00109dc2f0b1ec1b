//! Where an operator looks, by what it was told.

use super::Settings;
use crate::{
    control::kind::{Kind, Scope},
    table::ObjectId,
};

/// What is watched for as long as the process lives.
pub(super) fn scopes(settings: &Settings) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for kind in [Kind::ModelConsumer, Kind::ModelRoute, Kind::ProviderCredential] {
        scopes.extend(of_kind(settings, kind));
    }
    match &settings.watched {
        None => scopes.push(Scope::all(Kind::Namespace, None)),
        Some(names) => {
            let one =
                |name: &String| Scope::one(Kind::Namespace, &ObjectId::new("", name.as_str()));
            scopes.extend(names.iter().map(one));
        }
    }
    let pods = Scope::all(Kind::Pod, Some(settings.namespace.as_str().into()));
    scopes.push(Scope { labels: Some(settings.proxies.as_str().into()), ..pods });
    scopes
}

/// All objects of a kind in the namespaces that are watched.
pub(super) fn of_kind(settings: &Settings, kind: Kind) -> Vec<Scope> {
    match &settings.watched {
        None => vec![Scope::all(kind, None)],
        Some(names) => {
            names.iter().map(|name| Scope::all(kind, Some(name.as_str().into()))).collect()
        }
    }
}
