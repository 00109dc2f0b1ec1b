//! Compiling again after a change: only what the change can reach is built anew.
//!
//! The result is that of compiling everything, always; a property test holds the two together, and
//! [`super::compile`] is this with everything touched. What reaches what:
//!
//! * a `Secret` or `ConfigMap` reaches the credentials that name it;
//! * a credential reaches the routes that name it, and, when it comes or goes, those routes of its
//!   namespace whose report may list what there is;
//! * a namespace's labels reach its routes;
//! * a route reaches those that claim a name in the same way.
//!
//! What comes out equal to what was there keeps its place in memory, so a table after a change
//! shares all the rest with the one before, and comparing the two costs next to nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    ConditionType, Entry, LastGood, Options, Problem, Ready, Reason, Report, Snapshot, Source,
    conflict::Names,
    credential,
    report::TargetState,
    resolve::{Known, Offer},
    route,
};
use crate::{
    api::{CaBundleKind, ModelRouteSpec, ProviderCredentialSpec},
    table::{Credential, ObjectId, Route},
};

/// Objects that came, went or changed since the last call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// `ModelRoute`s.
    pub routes: BTreeSet<ObjectId>,
    /// `ProviderCredential`s.
    pub credentials: BTreeSet<ObjectId>,
    /// `Secret`s.
    pub secrets: BTreeSet<ObjectId>,
    /// `ConfigMap`s.
    pub config_maps: BTreeSet<ObjectId>,
    /// Namespaces, by name.
    pub namespaces: BTreeSet<Arc<str>>,
}

impl Touched {
    /// All of our own objects.
    pub fn everything(snapshot: &Snapshot) -> Self {
        Self {
            routes: snapshot.routes.keys().cloned().collect(),
            credentials: snapshot.credentials.keys().cloned().collect(),
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
}

/// Everything that was compiled, and how it hangs together.
#[derive(Debug, Default)]
pub struct Compiler {
    options: Options,
    pub(super) last: LastGood,
    offers: BTreeMap<ObjectId, Offer>,
    credential_reports: BTreeMap<ObjectId, Report>,
    routes: BTreeMap<ObjectId, Held>,
    /// Which routes name a credential.
    users: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    names: Names,
}

/// One route.
#[derive(Debug)]
struct Held {
    /// As it asks to be, with every name; none when nothing of it serves.
    asked: Option<Route>,
    problems: Vec<Problem>,
    last_good: bool,
    source: Source,
    /// The names of the targets of the version that serves, else of the one that was written.
    targets: Vec<String>,
    /// The credentials that it names.
    named: BTreeSet<ObjectId>,
    /// As it is, with the names that it owns; none when it owns none.
    served: Option<Arc<Route>>,
    report: Report,
}

impl Compiler {
    /// One that has compiled nothing yet.
    pub fn new(options: Options, last: LastGood) -> Self {
        Self { options, last, ..Self::default() }
    }

    /// The routes of the table, by name.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values().filter_map(|held| held.served.as_ref())
    }

    /// One route of the table.
    pub fn route(&self, id: &ObjectId) -> Option<&Arc<Route>> {
        self.routes.get(id)?.served.as_ref()
    }

    /// A credential, as far as there is something to connect with.
    pub fn credential(&self, id: &ObjectId) -> Option<&Arc<Credential>> {
        self.offers.get(id)?.credential.as_ref()
    }

    /// What is said of a `ModelRoute`.
    pub fn route_report(&self, id: &ObjectId) -> Option<&Report> {
        self.routes.get(id).map(|held| &held.report)
    }

    /// What is said of a `ProviderCredential`.
    pub fn credential_report(&self, id: &ObjectId) -> Option<&Report> {
        self.credential_reports.get(id)
    }

    /// What is said of everything.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.credential_reports.values().chain(self.routes.values().map(|held| &held.report))
    }

    /// The versions of a credential that are in use: the one that is written and the last good one.
    pub fn versions(&self, id: &ObjectId, snapshot: &Snapshot) -> Vec<Arc<ProviderCredentialSpec>> {
        let written = snapshot.credentials.get(id).and_then(|entry| entry.spec.as_ref());
        written.into_iter().chain(self.last.credentials.get(id)).map(Arc::clone).collect()
    }

    /// How many served routes name a credential.
    pub fn uses(&self, id: &ObjectId) -> usize {
        let users = self.users.get(id).into_iter().flatten();
        users.filter(|route| self.route(route).is_some()).count()
    }

    /// Brings everything up to `snapshot`, which differs in what is `touched` from that of the last
    /// call.
    pub fn update(&mut self, snapshot: &Snapshot, touched: &Touched) -> Reached {
        let (credentials, mut dirty) = self.update_credentials(snapshot, touched);
        dirty.extend(touched.routes.iter().cloned());
        for namespace in &touched.namespaces {
            dirty.extend(self.in_namespace(namespace).map(|(id, _)| id.clone()));
        }
        let mut contested = BTreeSet::new();
        for id in &dirty {
            contested.extend(self.rebuild(id, snapshot));
        }
        let routes: BTreeSet<_> = dirty.union(&contested).cloned().collect();
        for id in &routes {
            self.settle_names(id);
        }
        Reached { routes, credentials }
    }

    /// Builds what is touched; the credentials that were, and the routes that this reaches.
    fn update_credentials(
        &mut self,
        snapshot: &Snapshot,
        touched: &Touched,
    ) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        let mut dirty = touched.credentials.clone();
        if !touched.secrets.is_empty() || !touched.config_maps.is_empty() {
            let last = &self.last.credentials;
            let versions = snapshot.credentials.iter().flat_map(|(id, entry)| {
                entry.spec.iter().chain(last.get(id)).map(move |spec| (id, spec))
            });
            let reached = versions.filter(|(id, spec)| names_any(id, spec, touched));
            dirty.extend(reached.map(|(id, _)| id.clone()));
        }
        let mut routes = BTreeSet::new();
        for id in &dirty {
            let was = (self.offers.remove(id), self.credential_reports.remove(id).is_some());
            let (offer, report) = self.build_credential(id, snapshot, was.0.as_ref());
            if was.0 != offer || was.1 != report.is_some() {
                routes.extend(self.users.get(id).into_iter().flatten().cloned());
                let unresolved = self.in_namespace(&id.namespace).filter(|(_, held)| {
                    let of = |problem: &Problem| problem.reason.condition();
                    held.problems.iter().any(|told| of(told) == ConditionType::ResolvedRefs)
                });
                routes.extend(unresolved.map(|(id, _)| id.clone()));
            }
            self.offers.extend(offer.map(|offer| (id.clone(), offer)));
            self.credential_reports.extend(report.map(|report| (id.clone(), report)));
        }
        (dirty, routes)
    }

    fn build_credential(
        &mut self,
        id: &ObjectId,
        snapshot: &Snapshot,
        was: Option<&Offer>,
    ) -> (Option<Offer>, Option<Report>) {
        let last = &mut self.last.credentials;
        let Some(entry) = snapshot.credentials.get(id) else {
            last.remove(id);
            return (None, None);
        };
        let options = self.options;
        let settled = settle(id, entry, last, |spec, problems| {
            credential::build(id, spec, snapshot, options, problems)
        });
        let Settled { built, problems, last_good } = settled;
        let ready = match &built {
            None => Ready { status: false, reason: Reason::NotAccepted, usable: 0, total: 0 },
            Some((credential::Built { credential, usable, total }, _)) => {
                let (usable, total) = (*usable, *total);
                let reason = match credential {
                    None => Reason::NoUsableKey,
                    Some(_) if last_good => Reason::LastGood,
                    Some(_) if usable < total => Reason::Degraded,
                    Some(_) => Reason::Ready,
                };
                Ready { status: credential.is_some(), reason, usable, total }
            }
        };
        let report = about("ProviderCredential", id, &entry.source, problems, ready);
        let offer = built.map(|(built, spec)| {
            let credential = built.credential.map(|built| {
                let same =
                    was.and_then(|was| was.credential.as_ref()).filter(|was| ***was == built);
                same.map_or_else(|| Arc::new(built.clone()), Arc::clone)
            });
            Offer { credential, allowed: spec.allowed_routes.namespaces.clone() }
        });
        (offer, Some(report))
    }

    /// The routes of a namespace.
    fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Held)> {
        let from = self.routes.range(ObjectId::new(namespace, "")..);
        from.take_while(move |(id, _)| &*id.namespace == namespace)
    }

    /// Builds a route, or forgets it; the routes that claim a name in the same way.
    fn rebuild(&mut self, id: &ObjectId, snapshot: &Snapshot) -> BTreeSet<ObjectId> {
        let was = self.routes.remove(id);
        if let Some(was) = &was {
            for named in &was.named {
                if let Some(users) = self.users.get_mut(named) {
                    users.remove(id);
                }
            }
        }
        let held = self.build_route(id, snapshot, was.as_ref().and_then(|was| was.served.clone()));
        for named in held.iter().flat_map(|held| &held.named) {
            self.users.entry(named.clone()).or_default().insert(id.clone());
        }
        let asked = |held: Option<&Held>| held.and_then(|held| held.asked.clone());
        let reached =
            self.names.replace(asked(was.as_ref()).as_ref(), asked(held.as_ref()).as_ref());
        self.routes.extend(held.map(|held| (id.clone(), held)));
        reached
    }

    fn build_route(
        &mut self,
        id: &ObjectId,
        snapshot: &Snapshot,
        served: Option<Arc<Route>>,
    ) -> Option<Held> {
        let last = &mut self.last.routes;
        let Some(entry) = snapshot.routes.get(id) else {
            last.remove(id);
            return None;
        };
        let Snapshot { credentials: written, namespaces, .. } = snapshot;
        let known = Known { credentials: &self.offers, written, namespaces };
        let settled = settle(id, entry, last, |spec, problems| {
            route::build(id, spec, entry.created, known, problems)
        });
        let Settled { built, problems, last_good } = settled;
        let versions = entry.spec.iter().chain(last.get(id));
        let named = versions.flat_map(|spec| &spec.targets).map(|target| {
            let wanted = &target.credential_ref;
            let owner = wanted.namespace.as_deref().unwrap_or(&id.namespace);
            ObjectId::new(owner, wanted.name.as_str())
        });
        let (asked, spec) = built.unzip();
        let spec: Option<&ModelRouteSpec> = spec.as_deref().or(entry.spec.as_deref());
        let targets = spec.into_iter().flat_map(|spec| &spec.targets);
        Some(Held {
            asked,
            problems,
            last_good,
            source: entry.source.clone(),
            targets: targets.map(|target| target.name.clone()).collect(),
            named: named.collect(),
            served,
            report: Report::new("ModelRoute", Some(id.clone()), entry.source.clone()),
        })
    }

    /// Gives a route the names that it owns, and says what became of it.
    fn settle_names(&mut self, id: &ObjectId) {
        let Some(held) = self.routes.get_mut(id) else { return };
        let mut problems = held.problems.clone();
        let total = held.targets.len();
        let Some(asked) = &held.asked else {
            let ready = Ready { status: false, reason: Reason::NotAccepted, usable: 0, total };
            held.report = about("ModelRoute", id, &held.source, problems, ready);
            held.served = None;
            return;
        };
        let lost = self.names.lost(asked);
        let mut route = asked.clone();
        route.models.retain(|name| !lost.iter().any(|(lost, _)| lost == name));
        let lost_any = !lost.is_empty();
        problems.extend(lost.into_iter().map(|(_, problem)| problem));
        let usable = route.targets.len();
        let reason = if route.models.is_empty() {
            Reason::NameTaken
        } else if route.paused {
            Reason::Paused
        } else if usable == 0 {
            Reason::NoUsableTarget
        } else if held.last_good {
            Reason::LastGood
        } else if usable < total || lost_any {
            Reason::Degraded
        } else {
            Reason::Ready
        };
        let status = matches!(reason, Reason::LastGood | Reason::Degraded | Reason::Ready);
        let ready = Ready { status, reason, usable, total };
        let targets = states(&held.targets, &route, &held.problems);
        let models = route.models.iter().map(ToString::to_string).collect();
        let report = about("ModelRoute", id, &held.source, problems, ready);
        held.report = Report { targets, models, ..report };
        held.served = match held.served.take() {
            _ if route.models.is_empty() => None,
            Some(same) if *same == route => Some(same),
            Some(_) | None => Some(Arc::new(route)),
        };
    }
}

/// Each target of a route, with why it cannot be used where it cannot.
fn states(targets: &[String], route: &Route, problems: &[Problem]) -> Vec<TargetState> {
    let state = |(at, name): (usize, &String)| {
        let usable = route.targets.iter().any(|target| *target.name == **name);
        let field = format!("spec.targets[{at}]");
        let told = problems.iter().find(|problem| {
            problem
                .field
                .strip_prefix(&field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let reason = match told {
            _ if usable => Reason::Ready,
            Some(problem) => problem.reason,
            None => Reason::CredentialNotReady,
        };
        let message = told.filter(|_| !usable).map(|problem| problem.message.clone());
        TargetState { name: name.clone(), usable, reason, message: message.unwrap_or_default() }
    };
    targets.iter().enumerate().map(state).collect()
}

/// Whether a credential names one of the objects that changed.
fn names_any(id: &ObjectId, spec: &ProviderCredentialSpec, touched: &Touched) -> bool {
    let (secrets, config_maps) = named(id, spec);
    secrets.iter().any(|name| touched.secrets.contains(name))
        || config_maps.iter().any(|name| touched.config_maps.contains(name))
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
struct Settled<B> {
    built: Option<B>,
    problems: Vec<Problem>,
    /// Whether `built` is an earlier version.
    last_good: bool,
}

/// Builds an object as it is written, else as it was last good.
fn settle<S, B>(
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

fn about(
    kind: &str,
    id: &ObjectId,
    source: &Source,
    mut problems: Vec<Problem>,
    ready: Ready,
) -> Report {
    problems.sort_by_key(|problem| source.line_of(&problem.field));
    Report { problems, ready: Some(ready), ..Report::new(kind, Some(id.clone()), source.clone()) }
}
