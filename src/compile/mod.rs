//! Resources in, a routing table and one report an object out.
//!
//! ```text
//! ProviderCredential ─┬─ Secret, ConfigMap ─► Credential ─┐
//!                     └─ allowedRoutes ─────────────┐     │
//! ModelRoute ─► targets[].credentialRef ────────────┴──► Target ─► Route ─► names ─► Table
//!             (route.rs)      (resolve.rs)      (credential.rs)      (conflict.rs)
//! ```
//!
//! Pure, total and deterministic: any set of objects gives a table, and the same set gives the same
//! one. A bad object changes nothing but its own report; a bad target is taken out of its route and
//! named, and the rest of the route serves.
//!
//! An object that was good before and is not any more keeps its last good version serving
//! ([`LastGood`]), because a mistake in an edit must not be an outage. What that version refers to is
//! resolved anew each time, so a revoked grant or a rotated key counts at once.

mod conflict;
mod credential;
mod endpoint;
pub mod render;
pub mod report;
mod resolve;
mod route;
pub mod snapshot;
pub mod value;

use std::{collections::BTreeMap, sync::Arc};

use self::resolve::{Known, Offer};
pub use self::{
    report::{Condition, ConditionType, Problem, Ready, Reason, Report},
    snapshot::{Entry, Snapshot, Source},
};
use crate::{
    api::{ModelRouteSpec, ProviderCredentialSpec},
    provider::PROVIDERS,
    table::{ObjectId, Route, Table},
};

/// The values that `spec.provider` may have, sorted.
pub fn providers() -> Vec<&'static str> {
    PROVIDERS.iter().map(|row| row.name).collect()
}

/// What the process allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plain http, loopback and private addresses.
    pub allow_private_endpoints: bool,
}

/// The last good version of each object that still exists.
#[derive(Clone, Debug, Default)]
pub struct LastGood {
    routes: BTreeMap<ObjectId, ModelRouteSpec>,
    credentials: BTreeMap<ObjectId, ProviderCredentialSpec>,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the proxy runs on.
    pub table: Table,
    /// One a `ModelRoute`, `ProviderCredential` and thing that could not be read, in order of file
    /// and line.
    pub reports: Vec<Report>,
}

impl Compiled {
    /// Whether a table has the very same routes, whatever its revision: then nothing is published.
    pub fn same_routes_as(&self, table: &Table) -> bool {
        self.table.routes() == table.routes()
    }
}

/// Joins everything. `revision` becomes the table's. `last` gets the versions that are good now, and
/// loses those of objects that are gone.
pub fn compile(
    snapshot: &Snapshot,
    options: Options,
    revision: u64,
    last: &mut LastGood,
) -> Compiled {
    let mut reports = snapshot.unread.clone();
    let offers = credentials(snapshot, options, &mut last.credentials, &mut reports);
    let Snapshot { credentials: written, namespaces, .. } = snapshot;
    let known = Known { credentials: &offers, written, namespaces };
    let routes = routes(snapshot, known, &mut last.routes, &mut reports);
    reports.sort_by(|a, b| order(a).cmp(&order(b)));
    Compiled { table: Table::new(revision, routes), reports }
}

/// Reports stand as the objects were written.
fn order(report: &Report) -> (&str, usize, &str, &Option<ObjectId>) {
    (&report.source.file, report.source.line, &report.kind, &report.id)
}

/// What became of one object: the version that serves, if any, and what is said.
struct Settled<B> {
    built: Option<B>,
    problems: Vec<Problem>,
    /// Whether `built` is an earlier version.
    last_good: bool,
}

/// Builds an object as it is written, else as it was last good.
fn settle<S: Clone, B>(
    id: &ObjectId,
    entry: &Entry<S>,
    last: &mut BTreeMap<ObjectId, S>,
    build: impl Fn(&S, &mut Vec<Problem>) -> Option<B>,
) -> Settled<(B, S)> {
    let mut problems = entry.problems.clone();
    let mut found = Vec::new();
    let built = entry.spec.as_ref().and_then(|spec| {
        let built = build(spec, &mut found)?;
        Some((built, spec.clone()))
    });
    // The schema may have said it already.
    let same = |a: &Problem, b: &Problem| (&a.field, a.reason) == (&b.field, b.reason);
    found.retain(|problem| !entry.problems.iter().any(|told| same(told, problem)));
    problems.extend(found);
    if let (Some((_, spec)), false) = (&built, problems.iter().any(Problem::rejects)) {
        last.insert(id.clone(), spec.clone());
        return Settled { built, problems, last_good: false };
    }
    // What the earlier version lacks is not told: the words would be about a text that is gone.
    let built = last.get(id).and_then(|spec| Some((build(spec, &mut Vec::new())?, spec.clone())));
    Settled { last_good: built.is_some(), built, problems }
}

fn credentials(
    snapshot: &Snapshot,
    options: Options,
    last: &mut BTreeMap<ObjectId, ProviderCredentialSpec>,
    reports: &mut Vec<Report>,
) -> BTreeMap<ObjectId, Offer> {
    last.retain(|id, _| snapshot.credentials.contains_key(id));
    let mut offers = BTreeMap::new();
    for (id, entry) in &snapshot.credentials {
        let Settled { built, problems, last_good } = settle(id, entry, last, |spec, problems| {
            credential::build(id, spec, snapshot, options, problems)
        });
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
        reports.push(about("ProviderCredential", id, &entry.source, problems, ready));
        if let Some((built, spec)) = built {
            let credential = built.credential.map(Arc::new);
            let allowed = spec.allowed_routes.namespaces;
            offers.insert(id.clone(), Offer { credential, allowed });
        }
    }
    offers
}

fn routes(
    snapshot: &Snapshot,
    known: Known<'_>,
    last: &mut BTreeMap<ObjectId, ModelRouteSpec>,
    reports: &mut Vec<Report>,
) -> Vec<Route> {
    last.retain(|id, _| snapshot.routes.contains_key(id));
    let mut built_routes = Vec::new();
    let mut told = Vec::new();
    for (id, entry) in &snapshot.routes {
        let settled = settle(id, entry, last, |spec, problems| {
            route::build(id, spec, entry.created, known, problems)
        });
        let Settled { built, problems, last_good } = settled;
        let Some((route, spec)) = built else {
            let total = entry.spec.as_ref().map_or(0, |spec| spec.targets.len());
            let ready = Ready { status: false, reason: Reason::NotAccepted, usable: 0, total };
            reports.push(about("ModelRoute", id, &entry.source, problems, ready));
            continue;
        };
        told.push((id, entry, problems, last_good, spec.targets.len()));
        built_routes.push(route);
    }
    let lost = conflict::settle(&mut built_routes);
    for ((told, lost), route) in told.into_iter().zip(lost).zip(&built_routes) {
        let (id, entry, mut problems, last_good, total) = told;
        let lost_any = !lost.is_empty();
        problems.extend(lost);
        let usable = route.targets.len();
        let reason = if route.models.is_empty() {
            Reason::NameTaken
        } else if route.paused {
            Reason::Paused
        } else if usable == 0 {
            Reason::NoUsableTarget
        } else if last_good {
            Reason::LastGood
        } else if usable < total || lost_any {
            Reason::Degraded
        } else {
            Reason::Ready
        };
        let status = matches!(reason, Reason::LastGood | Reason::Degraded | Reason::Ready);
        let ready = Ready { status, reason, usable, total };
        reports.push(about("ModelRoute", id, &entry.source, problems, ready));
    }
    built_routes.retain(|route| !route.models.is_empty());
    built_routes
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

#[cfg(test)]
mod tests;
