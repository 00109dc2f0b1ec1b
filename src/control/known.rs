//! How far each scope is known, and what it means when the API server refuses to show one.
//!
//! Pure. A refusal is no proof that nothing is there, so by itself it holds the table back. It is one
//! for a namespace that does not exist: the rights that were given in it went with it, and the API
//! server lets a namespace go only after everything in it.

use std::{collections::BTreeMap, sync::Arc};

use super::kind::{Kind, Scope};
use crate::table::ObjectId;

/// How far a scope is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody has answered yet.
    Asked,
    /// The API server says that we may not look.
    Refused,
    /// We may not look, and there was no such namespace to look in. It stays so until the API server
    /// shows something: a namespace that comes back without its rights must not hold up the others.
    Gone,
    /// All of it.
    Told,
    /// All of it, until we were not allowed to look any more: what was known stays.
    Kept,
}

impl Known {
    /// What it is after a refusal.
    pub(super) const fn refused(self) -> Self {
        match self {
            Self::Gone => Self::Gone,
            Self::Asked | Self::Refused => Self::Refused,
            Self::Kept | Self::Told => Self::Kept,
        }
    }

    /// Whether there is nothing to wait for. `in_use` says whether what is published has something
    /// of the scope in it.
    pub(super) fn is_settled(self, kind: Kind, in_use: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Asked => false,
            Self::Gone | Self::Kept | Self::Told => true,
            Self::Refused => match kind {
                Kind::ConfigMap | Kind::EndpointSlice | Kind::Secret => !in_use(),
                // Without the pods there is a table, only nobody to ask who runs it.
                Kind::Pod => true,
                Kind::ModelAutoscaler
                | Kind::ModelConsumer
                | Kind::ModelRoute
                | Kind::Namespace
                | Kind::ProviderCredential => false,
            },
        }
    }
}

/// Notes which refused scopes lie in namespaces that were looked for and do not exist, and says of which
/// of these something is known still.
pub(super) fn note_gone<Labels>(
    scopes: &mut BTreeMap<Scope, Known>,
    namespaces: &BTreeMap<String, Labels>,
) -> Vec<Scope> {
    let gone = |scope: &Scope, scopes: &BTreeMap<Scope, Known>| {
        let Some(namespace) = &scope.namespace else { return false };
        let looked_for = Scope::one(Kind::Namespace, &ObjectId::new("", Arc::clone(namespace)));
        scopes.get(&looked_for) == Some(&Known::Told) && !namespaces.contains_key(&**namespace)
    };
    let refused = scopes.iter().filter(|(_, known)| matches!(known, Known::Kept | Known::Refused));
    let found: BTreeMap<Scope, Known> = refused
        .filter(|(scope, _)| gone(scope, scopes))
        .map(|(scope, known)| (scope.clone(), *known))
        .collect();
    scopes.extend(found.keys().map(|scope| (scope.clone(), Known::Gone)));
    found.into_iter().filter(|(_, known)| *known == Known::Kept).map(|(scope, _)| scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(namespace: Known) -> BTreeMap<Scope, Known> {
        let routes = Scope::all(Kind::ModelRoute, Some("team".into()));
        let name = Scope::one(Kind::Namespace, &ObjectId::new("", "team"));
        [(routes, Known::Refused), (name, namespace)].into()
    }

    fn routes(mut scopes: BTreeMap<Scope, Known>, namespaces: &[&str]) -> Known {
        let namespaces = namespaces.iter().map(|name| ((*name).to_owned(), ())).collect();
        assert!(note_gone(&mut scopes, &namespaces).is_empty());
        scopes[&Scope::all(Kind::ModelRoute, Some("team".into()))]
    }

    #[test]
    fn a_refusal_proves_nothing_unless_the_namespace_is_known_not_to_exist() {
        assert_eq!(routes(scopes(Known::Told), &["other"]), Known::Gone);
        assert_eq!(routes(scopes(Known::Told), &["team"]), Known::Refused);
        assert_eq!(routes(scopes(Known::Asked), &[]), Known::Refused);
        assert_eq!(routes(scopes(Known::Refused), &[]), Known::Refused);
    }

    #[test]
    fn what_was_known_before_a_refusal_goes_with_the_namespace_and_not_before() {
        let mut scopes = scopes(Known::Told);
        let routes = Scope::all(Kind::ModelRoute, Some("team".into()));
        scopes.insert(routes.clone(), Known::Told.refused());
        assert!(scopes[&routes].is_settled(Kind::ModelRoute, || true));
        let mut namespaces = BTreeMap::from([("team".to_owned(), "labels")]);
        assert!(note_gone(&mut scopes, &namespaces).is_empty());
        namespaces.clear();
        assert_eq!(note_gone(&mut scopes, &namespaces), std::slice::from_ref(&routes));
        assert_eq!(scopes[&routes], Known::Gone);
    }

    #[test]
    fn a_namespace_that_comes_back_without_its_rights_holds_nothing_up() {
        assert!(Known::Gone.refused().is_settled(Kind::ModelRoute, || true));
        assert!(!Known::Asked.refused().is_settled(Kind::ModelRoute, || false));
    }
}
