//! What became of one object: whether it serves as it is written, as it was, or not at all, and what
//! is said of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Entry, Problem, Ready, Reason, Report, Source, Touched, report::TargetState};
use crate::{
    api::{CaBundleKind, ProviderCredentialSpec},
    table::{ObjectId, Route},
};

/// Each target of a route, with why it cannot be used where it cannot. `notes` are what is said of
/// targets without a ready pod.
pub(super) fn states(
    targets: &[String],
    route: &Route,
    problems: &[Problem],
    notes: &[(Arc<str>, String)],
) -> Vec<TargetState> {
    let state = |(at, name): (usize, &String)| {
        let usable = route.targets.iter().any(|target| *target.name == **name);
        let field = format!("spec.targets[{at}]");
        let told = problems.iter().find(|problem| {
            problem
                .field
                .strip_prefix(&field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let note = notes.iter().find(|(target, _)| **target == **name);
        let reason = match told {
            _ if usable && note.is_some() => Reason::NoReadyPod,
            _ if usable => Reason::Ready,
            Some(problem) => problem.reason,
            None => Reason::CredentialNotReady,
        };
        let message = told.filter(|_| !usable).map(|problem| problem.message.clone());
        let message = message.or_else(|| note.map(|(_, note)| note.clone()).filter(|_| usable));
        TargetState { name: name.clone(), usable, reason, message: message.unwrap_or_default() }
    };
    targets.iter().enumerate().map(state).collect()
}

/// Whether a credential names one of the objects that changed.
pub(super) fn names_any(id: &ObjectId, spec: &ProviderCredentialSpec, touched: &Touched) -> bool {
    let (secrets, config_maps) = named(id, spec);
    secrets.iter().any(|name| touched.secrets.contains(name))
        || config_maps.iter().any(|name| touched.config_maps.contains(name))
        || service(id, spec).is_some_and(|name| touched.services.contains(&name))
}

/// The Service that a credential names.
pub fn service(id: &ObjectId, spec: &ProviderCredentialSpec) -> Option<ObjectId> {
    let service = spec.endpoint.service.as_ref()?;
    Some(ObjectId::new(Arc::clone(&id.namespace), service.name.as_str()))
}

/// The `Secret`s and `ConfigMap`s that a credential names.
pub fn named(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
    let own = |name: &str| ObjectId::new(Arc::clone(&id.namespace), name);
    let keys = spec.auth.api_key.iter().flat_map(|pool| &pool.keys);
    let mut secrets: BTreeSet<_> =
        keys.filter_map(|key| Some(own(&key.secret_ref.as_ref()?.name))).collect();
    let mut config_maps = BTreeSet::new();
    if let Some(bundle) = spec.endpoint.tls.as_ref().and_then(|tls| tls.ca_bundle_ref.as_ref()) {
        match bundle.kind {
            CaBundleKind::ConfigMap => config_maps.insert(own(&bundle.name)),
            CaBundleKind::Secret => secrets.insert(own(&bundle.name)),
        };
    }
    (secrets, config_maps)
}

/// What became of one object: the version that serves, if any, and what is said.
pub(super) struct Settled<B> {
    pub(super) built: Option<B>,
    pub(super) problems: Vec<Problem>,
    /// Whether `built` is an earlier version.
    pub(super) last_good: bool,
}

/// Builds an object as it is written, else as it was last good.
pub(super) fn settle<S, B>(
    id: &ObjectId,
    entry: &Entry<S>,
    last: &mut BTreeMap<ObjectId, Arc<S>>,
    build: impl Fn(&S, &mut Vec<Problem>) -> Option<B>,
) -> Settled<(B, Arc<S>)> {
    let mut problems = entry.problems.clone();
    let mut found = Vec::new();
    let built = entry.spec.as_ref().and_then(|spec| {
        let built = build(spec, &mut found)?;
        Some((built, Arc::clone(spec)))
    });
    // The schema may have said it already.
    let same = |a: &Problem, b: &Problem| (&a.field, a.reason) == (&b.field, b.reason);
    found.retain(|problem| !entry.problems.iter().any(|told| same(told, problem)));
    problems.extend(found);
    if let (Some((_, spec)), false) = (&built, problems.iter().any(Problem::rejects)) {
        last.insert(id.clone(), Arc::clone(spec));
        return Settled { built, problems, last_good: false };
    }
    // What the earlier version lacks is not told: the words would be about a text that is gone.
    let built =
        last.get(id).and_then(|spec| Some((build(spec, &mut Vec::new())?, Arc::clone(spec))));
    Settled { last_good: built.is_some(), built, problems }
}

pub(super) fn about(
    kind: &str,
    id: &ObjectId,
    source: &Source,
    mut problems: Vec<Problem>,
    ready: Ready,
) -> Report {
    problems.sort_by_key(|problem| source.line_of(&problem.field));
    Report { problems, ready: Some(ready), ..Report::new(kind, Some(id.clone()), source.clone()) }
}
