//! Compiling again after a change: only what the change can reach is built anew.
//!
//! The result is that of compiling everything, always; a property test holds the two together, and
//! [`super::compile`] is this with everything touched. What reaches what:
//!
//! * a `Secret`, `ConfigMap` or Service reaches the credentials that name it;
//! * a credential reaches the routes that name it, and, when it comes or goes, those routes of its
//!   namespace whose report may list what there is;
//! * a consumer or a namespace's labels reach every route: whom `access` lets in hangs on them;
//! * a route reaches those that claim a name in the same way.
//!
//! What comes out equal to what was there keeps its place in memory, so a table after a change
//! shares all the rest with the one before, and comparing the two costs next to nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    ConditionType, LastGood, Options, Problem, Reached, Ready, Reason, Report, Snapshot, Source,
    Touched,
    backend::Found,
    conflict::Names,
    consumer, credential,
    inherit::Inherited,
    pricing,
    resolve::{Known, Offer},
    route,
    settle::{Settled, about, names_any, settle, states},
};
use crate::{
    api::{ModelConsumerSpec, ModelRouteSpec, ProviderCredentialSpec},
    table::{Backends, Consumers, Credential, ObjectId, Route, Target},
};

/// Everything that was compiled, and how it hangs together.
#[derive(Debug, Default)]
pub struct Compiler {
    options: Options,
    pub(super) last: LastGood,
    offers: BTreeMap<ObjectId, Offer>,
    credential_reports: BTreeMap<ObjectId, Report>,
    backends: Backends,
    consumers: Consumers,
    consumer_reports: BTreeMap<ObjectId, Report>,
    /// Whether there is a consumer at all, good or bad.
    any_consumer: bool,
    routes: BTreeMap<ObjectId, Held>,
    /// Which routes name a credential.
    users: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    names: Names,
    inherited: Inherited,
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

    /// Takes over what is published: it serves in place of what is not sound and was never seen to be.
    /// To be called before the first update.
    pub fn inherit<'a>(
        &mut self,
        routes: impl IntoIterator<Item = &'a Arc<Route>>,
        consumers: &Consumers,
        backends: Backends,
    ) {
        self.inherited = Inherited::new(routes, consumers, backends);
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

    /// What is said of a `ModelConsumer`.
    pub fn consumer_report(&self, id: &ObjectId) -> Option<&Report> {
        self.consumer_reports.get(id)
    }

    /// Who may call.
    pub const fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// The pods of each credential that names a Service.
    pub const fn backends(&self) -> &Backends {
        &self.backends
    }

    /// What is said of everything.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        let callers = self.consumer_reports.values();
        self.credential_reports
            .values()
            .chain(callers)
            .chain(self.routes.values().map(|held| &held.report))
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
        let consumers = self.update_consumers(snapshot, touched);
        if !touched.consumers.is_empty() || !touched.namespaces.is_empty() {
            // Who there is, and where, decides which names conflict and whom a route's `access` lets
            // in, wherever the route is.
            dirty.extend(self.routes.keys().cloned());
        }
        dirty.extend(touched.routes.iter().cloned());
        let (mut contested, mut used) = (BTreeSet::new(), BTreeSet::new());
        for id in &dirty {
            self.rebuild(id, snapshot, &mut contested, &mut used);
        }
        let routes: BTreeSet<_> = dirty.union(&contested).cloned().collect();
        for id in &routes {
            self.settle_names(id);
        }
        let others = contested.difference(&dirty).filter_map(|id| self.routes.get(id));
        used.extend(others.flat_map(|held| &held.named).cloned());
        Reached { routes, credentials, consumers, used }
    }

    /// Builds what is touched; the credentials that were, and the routes that this reaches.
    fn update_credentials(
        &mut self,
        snapshot: &Snapshot,
        touched: &Touched,
    ) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        let mut dirty = touched.credentials.clone();
        if !touched.secrets.is_empty()
            || !touched.config_maps.is_empty()
            || !touched.services.is_empty()
        {
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
        let was_backend = self.backends.remove(id);
        let last = &mut self.last.credentials;
        let Some(entry) = snapshot.credentials.get(id) else {
            last.remove(id);
            self.inherited.forget_credential(id);
            return (None, None);
        };
        let options = self.options;
        let settled = settle(id, entry, last, |spec, problems| {
            credential::build(id, spec, snapshot, options, problems)
        });
        let Settled { built, problems, last_good } = settled;
        let Some((built, spec)) = built else {
            let offer = self.inherited.offer(id);
            self.backends.extend(self.inherited.backend(id).map(|pods| (id.clone(), pods)));
            let keys = offer.as_ref().and_then(|offer| offer.credential.as_ref());
            let usable = keys.map_or(0, |credential| credential.keys.len());
            let status = offer.is_some();
            let reason = if status { Reason::LastGood } else { Reason::NotAccepted };
            let ready = Ready { status, reason, usable, total: usable };
            let report = about("ProviderCredential", id, &entry.source, problems, ready);
            return (offer, Some(report));
        };
        if !last_good {
            self.inherited.forget_credential(id);
        }
        let credential::Built { credential, usable, total, found } = built;
        let Found { backend, note } = found.unwrap_or_default();
        if spec.endpoint.service.is_some() {
            let same = was_backend.filter(|was| **was == backend);
            self.backends.insert(id.clone(), same.unwrap_or_else(|| Arc::new(backend)));
        }
        let reason = match credential {
            None => Reason::NoUsableKey,
            Some(_) if last_good => Reason::LastGood,
            Some(_) if !note.is_empty() => Reason::NoReadyPod,
            Some(_) if usable < total => Reason::Degraded,
            Some(_) => Reason::Ready,
        };
        let ready = Ready { status: credential.is_some(), reason, usable, total };
        let report = about("ProviderCredential", id, &entry.source, problems, ready);
        let report = Report { note: note.clone(), ..report };
        let credential = credential.map(|built| {
            let same = was.and_then(|was| was.credential.as_ref()).filter(|was| ***was == built);
            same.map_or_else(|| Arc::new(built.clone()), Arc::clone)
        });
        let (models, allowed) = (spec.models.clone(), spec.allowed_routes.namespaces.clone());
        (Some(Offer { credential, models, allowed, note }), Some(report))
    }

    /// Builds all consumers, if one of them or a Secret that one names is touched: a key has one owner,
    /// so one consumer's key is another's loss. They are few.
    fn update_consumers(&mut self, snapshot: &Snapshot, touched: &Touched) -> BTreeSet<ObjectId> {
        let last = &self.last.consumers;
        let mut versions = snapshot.consumers.iter().flat_map(|(id, entry)| {
            entry.spec.iter().chain(last.get(id)).map(move |spec| (id, spec))
        });
        let named = |(id, spec): (&ObjectId, &Arc<ModelConsumerSpec>)| {
            let secrets = consumer::secrets(id, spec);
            secrets.iter().any(|name| touched.secrets.contains(name))
        };
        if touched.consumers.is_empty() && (touched.secrets.is_empty() || !versions.any(named)) {
            return BTreeSet::new();
        }
        drop(versions);
        self.any_consumer = !snapshot.consumers.is_empty();
        let gone = std::mem::take(&mut self.consumer_reports).into_keys();
        let reached = gone.chain(touched.consumers.iter().cloned()).collect();
        let (consumers, reports) =
            consumer::all(snapshot, &mut self.last.consumers, &mut self.inherited);
        self.consumers = consumers;
        let named = |report: Report| Some((report.id.clone()?, report));
        self.consumer_reports = reports.into_iter().filter_map(named).collect();
        reached
    }

    /// The versions of a consumer that are in use, as [`Compiler::versions`].
    pub fn consumer_versions(
        &self,
        id: &ObjectId,
        snapshot: &Snapshot,
    ) -> Vec<Arc<ModelConsumerSpec>> {
        let written = snapshot.consumers.get(id).and_then(|entry| entry.spec.as_ref());
        written.into_iter().chain(self.last.consumers.get(id)).map(Arc::clone).collect()
    }

    /// The routes of a namespace.
    fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Held)> {
        let from = self.routes.range(ObjectId::new(namespace, "")..);
        from.take_while(move |(id, _)| &*id.namespace == namespace)
    }

    /// Builds a route, or forgets it: which routes claim a name in the same way, and which credentials
    /// it names or named.
    fn rebuild(
        &mut self,
        id: &ObjectId,
        snapshot: &Snapshot,
        contested: &mut BTreeSet<ObjectId>,
        used: &mut BTreeSet<ObjectId>,
    ) {
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
        let (old, new) = (was.as_ref(), held.as_ref());
        used.extend(old.into_iter().chain(new).flat_map(|held| &held.named).cloned());
        let asked = |held: Option<&Held>| held.and_then(|held| held.asked.clone());
        contested.extend(self.names.replace(asked(old).as_ref(), asked(new).as_ref()));
        self.routes.extend(held.map(|held| (id.clone(), held)));
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
            self.inherited.forget_route(id);
            return None;
        };
        let Snapshot { credentials: written, consumers, namespaces, .. } = snapshot;
        let known = Known { credentials: &self.offers, written, consumers, namespaces };
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
        let mut held = Held {
            asked: None,
            problems,
            last_good,
            source: entry.source.clone(),
            targets: Vec::new(),
            named: named.collect(),
            served,
            report: Report::new("ModelRoute", Some(id.clone()), entry.source.clone()),
        };
        let names =
            |spec: &ModelRouteSpec| spec.targets.iter().map(|target| target.name.clone()).collect();
        if let Some((route, spec)) = built {
            held.targets = names(&spec);
            held.asked = Some(route);
            if !last_good {
                self.inherited.forget_route(id);
            }
        } else if let Some((route, targets, named)) = self.inherited.route(id, known) {
            (held.asked, held.targets, held.last_good) = (Some(route), targets, true);
            held.named.extend(named);
        } else {
            held.targets = entry.spec.as_deref().map(names).unwrap_or_default();
        }
        Some(held)
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
        let lost = self.names.lost(asked, self.any_consumer);
        let mut route = asked.clone();
        route.models.retain(|name| !lost.iter().any(|(lost, _)| lost == name));
        let lost_any = !lost.is_empty();
        problems.extend(lost.into_iter().map(|(_, problem)| problem));
        let usable = route.targets.len();
        let note = |target: &Arc<Target>| {
            let note = &self.offers.get(&target.credential.id)?.note;
            (!note.is_empty()).then(|| (Arc::clone(&target.name), note.clone()))
        };
        let notes: Vec<_> = route.targets.iter().filter_map(note).collect();
        let reason = if route.models.is_empty() {
            Reason::NameTaken
        } else if route.paused {
            Reason::Paused
        } else if usable == 0 {
            Reason::NoUsableTarget
        } else if held.last_good {
            Reason::LastGood
        } else if notes.len() == usable {
            Reason::NoReadyPod
        } else if usable < total || lost_any || !notes.is_empty() {
            Reason::Degraded
        } else {
            Reason::Ready
        };
        let status = matches!(
            reason,
            Reason::LastGood | Reason::Degraded | Reason::NoReadyPod | Reason::Ready
        );
        let ready = Ready { status, reason, usable, total };
        let targets = states(&held.targets, &route, &held.problems, &notes);
        let notes: Vec<_> =
            notes.iter().map(|(target, note)| format!("target `{target}`: {note}")).collect();
        let models = route.models.iter().map(ToString::to_string).collect();
        let report = about("ModelRoute", id, &held.source, problems, ready);
        let (unpriced, note) = (pricing::unknown(&route.targets), notes.join("; "));
        held.report = Report { targets, models, unpriced, note, ..report };
        held.served = match held.served.take() {
            _ if route.models.is_empty() => None,
            Some(same) if *same == route => Some(same),
            Some(_) | None => Some(Arc::new(route)),
        };
    }
}
