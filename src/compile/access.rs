//! `spec.access` of a route to the [`Access`] that the proxy asks.
//!
//! What a route says stays in its own words (names, groups, namespaces) and is not multiplied out
//! into consumers: a new consumer then changes no route. Only a selector is resolved, to namespaces.
//!
//! A consumer that is named and does not exist is told within the route's own namespace. Elsewhere
//! the answer would be a way to list another team's consumers, and a consumer that comes later must
//! not need an edit here.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    report::{Problem, Reason},
    resolve::{self, Known},
    value::{label, near},
};
use crate::{
    api::{AccessSpec, AllowedNamespaces, ConsumerRef, GroupRef, NamespacesFrom},
    table::{Access, Namespaces, ObjectId},
};

/// Who may use the route `id`. What is wrong is told; None when the specification itself is.
pub(super) fn build(
    id: &ObjectId,
    spec: Option<&AccessSpec>,
    known: Known<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Access> {
    const FIELD: &str = "spec.access";
    let Some(AccessSpec { consumers, groups, namespaces }) = spec else {
        return Some(Access::of_namespace(&id.namespace));
    };
    let before = problems.len();
    if consumers.is_empty() && groups.is_empty() && namespaces.is_none() {
        let message = "give at least one of `consumers`, `groups` and `namespaces`";
        problems.push(Problem::invalid(FIELD, message));
    }
    let mut named = BTreeSet::new();
    for (at, ConsumerRef { name, namespace }) in consumers.iter().enumerate() {
        let consumer = in_namespace(id, name, namespace.as_deref());
        if consumer.namespace == id.namespace && !known.consumers.contains_key(&consumer) {
            problems.push(missing(&consumer, known, &format!("{FIELD}.consumers[{at}]")));
        }
        named.insert(consumer);
    }
    let mut of_groups = BTreeSet::new();
    for (at, GroupRef { name, namespace }) in groups.iter().enumerate() {
        if let Err(message) = label(name) {
            problems.push(Problem::invalid(&format!("{FIELD}.groups[{at}].name"), message));
        }
        of_groups.insert(in_namespace(id, name, namespace.as_deref()));
    }
    if let Some(allowed) = namespaces {
        resolve::check_grant(allowed, &format!("{FIELD}.namespaces"), problems);
    }
    let sound = !problems.iter().skip(before).any(Problem::rejects);
    let namespaces = namespaces
        .as_ref()
        .map_or(Namespaces::These(BTreeSet::new()), |allowed| admitted(id, allowed, known));
    sound.then_some(Access {
        // A route for everybody is also for those whom the proxy lets in without a key.
        anonymous: namespaces == Namespaces::All,
        namespaces,
        consumers: named,
        groups: of_groups,
    })
}

fn in_namespace(route: &ObjectId, name: &str, namespace: Option<&str>) -> ObjectId {
    ObjectId::new(namespace.unwrap_or(&route.namespace), name)
}

/// Only namespaces that have a consumer matter.
fn admitted(id: &ObjectId, allowed: &AllowedNamespaces, known: Known<'_>) -> Namespaces {
    match allowed.from {
        NamespacesFrom::All => Namespaces::All,
        NamespacesFrom::Same => Namespaces::These([Arc::clone(&id.namespace)].into()),
        NamespacesFrom::Selector => {
            let with_consumers: BTreeSet<_> =
                known.consumers.keys().map(|consumer| &consumer.namespace).collect();
            let selected = with_consumers.into_iter().filter(|name| known.permits(allowed, name));
            Namespaces::These(selected.cloned().collect())
        }
    }
}

fn missing(consumer: &ObjectId, known: Known<'_>, field: &str) -> Problem {
    let there = || {
        let same = known.consumers.keys().filter(|other| other.namespace == consumer.namespace);
        same.map(|other| &*other.name)
    };
    let message = format!(
        "there is no ModelConsumer {consumer}; there are: {}",
        near(&consumer.name, there())
    );
    Problem::at(Reason::ConsumerNotFound, field, message)
}
