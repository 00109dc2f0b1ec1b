//! Resources in, a routing table and one report an object out.
//!
//! ```text
//! ProviderCredential ─┬─ Secret, ConfigMap ─► Credential ─┐
//!                     └─ allowedRoutes ─────────────┐     │
//! ModelRoute ─► targets[].credentialRef ────────────┴──► Target ─► Route ─► names ─► Table
//! ```
//!
//! Pure, total and deterministic: any set of objects gives a table, and the same set gives the same
//! one. A bad object changes nothing but its own report; a bad target is taken out of its route and
//! named, and the rest of the route serves. An object that was good before and is not any more keeps
//! its last good version serving ([`LastGood`]), because a mistake in an edit must not be an outage.

mod credential;
pub mod report;
mod route;
mod value;

use std::{collections::BTreeMap, sync::Arc};

pub use self::report::{Condition, Report, Status};
use crate::{
    api::{ModelRouteSpec, ProviderCredentialSpec},
    table::{Credential, Match, ObjectId, Pattern, Route, Table},
};

/// Where an object was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file.
    pub file: String,
    /// The line of its first field, from 1.
    pub line: usize,
}

/// An object, or why it could not be decoded.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Where it was read.
    pub source: Source,
    /// The object's specification, or what is wrong with it.
    pub spec: Result<T, Vec<Condition>>,
}

/// Everything that `compile` may look at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `ModelRoute`s.
    pub routes: BTreeMap<ObjectId, Entry<ModelRouteSpec>>,
    /// `ProviderCredential`s.
    pub credentials: BTreeMap<ObjectId, Entry<ProviderCredentialSpec>>,
    /// `Secret`s, decoded.
    pub secrets: BTreeMap<ObjectId, BTreeMap<String, String>>,
    /// `ConfigMap`s.
    pub config_maps: BTreeMap<ObjectId, BTreeMap<String, String>>,
    /// Environment variables that some key names, as far as they are set.
    pub environment: BTreeMap<String, String>,
    /// What could not be read as an object at all.
    pub unread: Vec<Report>,
}

/// What the process allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plain http, loopback and private addresses.
    pub allow_private_endpoints: bool,
}

/// The last good version of each object.
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
    /// One a `ModelRoute` or `ProviderCredential`, in order of file and line.
    pub reports: Vec<Report>,
}

/// Joins everything. `revision` becomes the table's.
pub fn compile(
    snapshot: &Snapshot,
    options: Options,
    revision: u64,
    last: &mut LastGood,
) -> Compiled {
    last.routes.retain(|id, _| snapshot.routes.contains_key(id));
    last.credentials.retain(|id, _| snapshot.credentials.contains_key(id));
    let mut reports = snapshot.unread.clone();
    let mut credentials: BTreeMap<ObjectId, Usable> = BTreeMap::new();
    for (id, entry) in &snapshot.credentials {
        let mut report = Report::new("ProviderCredential", id, &entry.source);
        let built = entry.spec.as_ref().map_err(Clone::clone).and_then(|spec| {
            let built = credential::build(id, spec, snapshot, options, &mut report)?;
            last.credentials.insert(id.clone(), spec.clone());
            Ok(Usable { credential: Arc::new(built), allowed: spec.allowed_routes.clone() })
        });
        let usable = built.or_else(|conditions| {
            report.extend(conditions);
            let good = last.credentials.get(id).ok_or(())?;
            let mut ignored = Report::new("ProviderCredential", id, &entry.source);
            let built = credential::build(id, good, snapshot, options, &mut ignored);
            report.still_serving();
            let credential = Arc::new(built.map_err(|_bad| ())?);
            Ok::<_, ()>(Usable { credential, allowed: good.allowed_routes.clone() })
        });
        if let Ok(usable) = usable {
            credentials.insert(id.clone(), usable);
        }
        reports.push(report);
    }
    let mut routes = Vec::new();
    for (id, entry) in &snapshot.routes {
        let mut report = Report::new("ModelRoute", id, &entry.source);
        let built = entry.spec.as_ref().map_err(Clone::clone).and_then(|spec| {
            let built = route::build(id, spec, &credentials, &mut report)?;
            last.routes.insert(id.clone(), spec.clone());
            Ok(built)
        });
        let built = built.or_else(|conditions| {
            report.extend(conditions);
            let good = last.routes.get(id).ok_or(())?;
            let mut ignored = Report::new("ModelRoute", id, &entry.source);
            let built = route::build(id, good, &credentials, &mut ignored).map_err(|_bad| ())?;
            report.still_serving();
            Ok::<_, ()>(built)
        });
        if let Ok(built) = built {
            routes.push((built, reports.len()));
        }
        reports.push(report);
    }
    let routes = names(routes, &mut reports);
    reports.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
    Compiled { table: Table::new(revision, routes), reports }
}

/// A credential that routes can use, and which.
#[derive(Debug)]
struct Usable {
    credential: Arc<Credential>,
    allowed: crate::api::AllowedRoutes,
}

/// Gives each name to one route: those that ask for the same in the same way are told who won.
fn names(mut routes: Vec<(Route, usize)>, reports: &mut [Report]) -> Vec<Route> {
    routes.sort_by(|(a, _), (b, _)| a.rank().cmp(&b.rank()));
    let mut owners: Vec<(Pattern, Match, i32, ObjectId)> = Vec::new();
    for (route, at) in &mut routes {
        let (matches, precedence, id) = (route.matches.clone(), route.precedence, route.id.clone());
        route.models.retain(|pattern| {
            let owner = owners.iter().find(|(other, asks, rank, _)| {
                other == pattern && *asks == matches && *rank == precedence
            });
            let Some((.., owner)) = owner else {
                owners.push((pattern.clone(), matches.clone(), precedence, id.clone()));
                return true;
            };
            if let Some(report) = reports.get_mut(*at) {
                report.push(Condition::name_taken(&pattern.to_string(), owner));
            }
            false
        });
    }
    let owning = routes.into_iter().filter(|(route, _)| !route.models.is_empty());
    owning.map(|(route, _)| route).collect()
}
