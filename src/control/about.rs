//! What is known of one object beside what `compile` looks at: which version it is, and since when.
//!
//! Pure. The times are those at which a version was first seen here, so that a status that is late can
//! be told from one that is new.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{compile::Entry, table::ObjectId};

/// What is known of an object of ours beside what `compile` looks at.
#[derive(Clone, Debug)]
pub struct About<T> {
    /// Tells it from an earlier object of the same name.
    pub uid: String,
    /// Which version of the specification is known.
    pub generation: i64,
    /// When this version was first seen.
    pub seen: Instant,
    /// What its status says now.
    pub status: T,
}

/// Takes over what is known of an object; a version that was seen before keeps its time.
pub(super) fn note<T>(all: &mut BTreeMap<ObjectId, About<T>>, id: ObjectId, mut about: About<T>) {
    let same = |was: &&About<T>| was.uid == about.uid && was.generation == about.generation;
    if let Some(was) = all.get(&id).filter(same) {
        about.seen = was.seen;
    }
    all.insert(id, about);
}

/// Whether `compile` would see a difference between two versions of an object.
pub(super) fn differs<S: PartialEq>(was: Option<&Entry<S>>, is: &Entry<S>) -> bool {
    was.is_none_or(|was| {
        was.spec != is.spec || was.created != is.created || was.problems != is.problems
    })
}
