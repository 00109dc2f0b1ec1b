//! Resources in, a routing table and one report an object out.
//!
//! ```text
//! ProviderCredential ─┬─ EndpointSlice ───────► Backend ───── each pod ─────────────► Table
//!                     ├─ Secret, ConfigMap ─► Credential ─┐
//!                     └─ allowedRoutes ─────────────┐     │
//! ModelRoute ─► targets[].credentialRef ────────────┴──► Target ─► Route ─► names ─► Table
//!             (route.rs)      (resolve.rs)      (credential.rs)      (conflict.rs)      ▲
//! ModelConsumer ─► Secret ─► Consumer ─► each key has one owner ────────────────────────┘
//!             (consumer.rs)
//! ```
//!
//! Pure, total and deterministic: any set of objects gives a table, and the same set gives the same
//! one. A bad object changes nothing but its own report; a bad target is taken out of its route and
//! named, and the rest of the route serves.
//!
//! An object that was good before and is not any more keeps its last good version serving
//! ([`LastGood`]), because a mistake in an edit must not be an outage. What that version refers to is
//! resolved anew each time, so a revoked grant or a rotated key counts at once.
//!
//! [`compile`] does everything in one go; a [`Compiler`] remembers, and does again only what a change
//! reaches.

mod ability;
mod access;
mod autoscaler;
mod backend;
mod choosing;
mod compiler;
mod conflict;
mod consumer;
mod credential;
mod endpoint;
mod inherit;
mod last_good;
mod options;
mod pricing;
mod quota;
pub mod render;
pub mod report;
mod resolve;
mod route;
mod secret;
mod settle;
pub mod slice;
pub mod snapshot;
mod source;
mod spend;
mod touched;
pub mod value;

use std::sync::Arc;

pub use self::{
    autoscaler::autoscaler,
    compiler::Compiler,
    last_good::LastGood,
    options::Options,
    report::{Condition, ConditionType, Problem, Ready, Reason, Report, TargetState},
    settle::{named, service},
    snapshot::{Entry, Snapshot},
    source::Source,
    touched::{Reached, Touched},
};
use crate::{
    provider::PROVIDERS,
    table::{ObjectId, Table},
};

/// The values that `spec.provider` may have, sorted.
pub fn providers() -> Vec<&'static str> {
    PROVIDERS.iter().map(|row| row.name).collect()
}

/// The result.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the proxy runs on.
    pub table: Table,
    /// One an object of ours and thing that could not be read, in order of file and line.
    pub reports: Vec<Report>,
}

impl Compiled {
    /// Whether a table says the very same, whatever its revision: then nothing is published.
    pub fn same_as(&self, table: &Table) -> bool {
        self.table.routes() == table.routes()
            && self.table.consumers() == table.consumers()
            && self.table.backends() == table.backends()
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
    last.routes.retain(|id, _| snapshot.routes.contains_key(id));
    last.consumers.retain(|id, _| snapshot.consumers.contains_key(id));
    last.credentials.retain(|id, _| snapshot.credentials.contains_key(id));
    let mut compiler = Compiler::new(options, std::mem::take(last));
    compiler.update(snapshot, &Touched::everything(snapshot));
    let mut reports = snapshot.unread.clone();
    reports.extend(compiler.reports().cloned());
    reports.sort_by(|a, b| order(a).cmp(&order(b)));
    let table = Table::of_shared(revision, compiler.served().map(Arc::clone).collect())
        .with_consumers(compiler.consumers().clone())
        .with_backends(compiler.backends().clone());
    *last = compiler.last;
    Compiled { table, reports }
}

/// Reports stand as the objects were written.
fn order(report: &Report) -> (&str, usize, &str, &Option<ObjectId>) {
    (&report.source.file, report.source.line, &report.kind, &report.id)
}

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
