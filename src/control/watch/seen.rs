//! What one watch has seen: which objects there are, and how far the API server's history was read.
//!
//! Pure. It answers the two questions on which the table hangs: may this list be believed, and what
//! changed by it. A list is older than what was seen when its own `resourceVersion` is (these are
//! ordered numbers, by the API's contract since Kubernetes 1.35 and in fact ever since); the newest
//! object in it says nothing, because the newest may have been deleted.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    control::object::{Object, Read},
    table::ObjectId,
};

/// One thing that changed.
#[derive(Debug)]
pub enum Change {
    /// The object is there, as it is here.
    Applied(ObjectId, Object),
    /// The object is gone.
    Deleted(ObjectId),
}

/// A complete list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) version: u64,
    pub(super) objects: Vec<Read>,
}

/// Whether a list may be believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It shows the present.
    Take,
    /// It shows a past that was already left behind.
    Stale,
    /// It lacks objects whose deletion nobody saw; these must be asked for by name.
    Lacks(Vec<ObjectId>),
}

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The highest version of anything that was seen.
    version: u64,
    known: BTreeMap<ObjectId, u64>,
}

impl Seen {
    /// Objects that are known from elsewhere: a first list that lacks them is doubted too.
    pub(super) fn new(known: impl IntoIterator<Item = ObjectId>) -> Self {
        Self { version: 0, known: known.into_iter().map(|id| (id, 0)).collect() }
    }

    /// How far the history was read.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Judges a list.
    pub(super) fn judge(&self, list: &Listed) -> Verdict {
        if list.version < self.version {
            return Verdict::Stale;
        }
        let there: BTreeSet<_> = list.objects.iter().map(|read| &read.id).collect();
        let lacks: Vec<_> = self.known.keys().filter(|id| !there.contains(id)).cloned().collect();
        if lacks.is_empty() { Verdict::Take } else { Verdict::Lacks(lacks) }
    }

    /// Takes a list over, and says what changed by it: also what is gone.
    pub(super) fn take(&mut self, list: Listed) -> Vec<Change> {
        self.version = self.version.max(list.version);
        let mut before = std::mem::take(&mut self.known);
        let mut changes = Vec::new();
        for Read { id, version, object } in list.objects {
            let known = before.remove(&id);
            self.known.insert(id.clone(), version);
            if known != Some(version) {
                changes.push(Change::Applied(id, object));
            }
        }
        changes.extend(before.into_keys().map(Change::Deleted));
        changes
    }

    /// Takes over that an object is there; `None` when something newer of it was seen.
    pub(super) fn applied(&mut self, read: Read) -> Option<Change> {
        let Read { id, version, object } = read;
        self.version = self.version.max(version);
        if self.known.get(&id).is_some_and(|known| *known >= version) {
            return None;
        }
        self.known.insert(id.clone(), version);
        Some(Change::Applied(id, object))
    }

    /// Takes over that an object is gone; `None` when it was never there or has come back since.
    pub(super) fn deleted(&mut self, id: ObjectId, version: u64) -> Option<Change> {
        self.version = self.version.max(version);
        self.known.get(&id).filter(|known| **known <= version)?;
        self.known.remove(&id);
        Some(Change::Deleted(id))
    }

    /// Takes over that nothing happened up to here.
    pub(super) fn passed(&mut self, version: u64) {
        self.version = self.version.max(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId::new("team", name)
    }

    fn read(name: &str, version: u64) -> Read {
        Read { id: id(name), version, object: Object::Namespace([].into()) }
    }

    fn list(version: u64, objects: &[(&str, u64)]) -> Listed {
        let objects = objects.iter().map(|(name, version)| read(name, *version)).collect();
        Listed { version, objects }
    }

    fn names(changes: &[Change]) -> Vec<String> {
        let name = |change: &Change| match change {
            Change::Applied(id, _) => format!("+{}", id.name),
            Change::Deleted(id) => format!("-{}", id.name),
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn a_list_tells_what_came_changed_and_went_and_nothing_else() {
        let mut seen = Seen::default();
        assert_eq!(names(&seen.take(list(9, &[("a", 1), ("b", 2), ("c", 3)]))), ["+a", "+b", "+c"]);
        let next = list(12, &[("a", 1), ("b", 11), ("d", 12)]);
        assert_eq!(seen.judge(&next), Verdict::Lacks(vec![id("c")]));
        assert_eq!(names(&seen.take(next)), ["+b", "+d", "-c"]);
    }

    #[test]
    fn a_list_is_old_by_its_own_version_not_by_its_newest_object() {
        let mut seen = Seen::default();
        seen.take(list(30, &[("a", 30)]));
        assert!(seen.applied(read("b", 50)).is_some());
        assert!(seen.deleted(id("b"), 60).is_some());
        assert_eq!(seen.judge(&list(59, &[("a", 30), ("b", 50)])), Verdict::Stale);
        assert_eq!(seen.judge(&list(60, &[("a", 30)])), Verdict::Take);
        seen.passed(70);
        assert_eq!(seen.judge(&list(69, &[("a", 30)])), Verdict::Stale, "a bookmark counts too");
    }

    #[test]
    fn an_event_that_comes_twice_or_late_changes_nothing() {
        let mut seen = Seen::default();
        seen.take(list(9, &[("a", 5)]));
        assert!(seen.applied(read("a", 5)).is_none());
        assert!(seen.applied(read("a", 4)).is_none());
        assert!(seen.deleted(id("a"), 4).is_none());
        assert!(seen.applied(read("a", 10)).is_some());
        assert!(seen.deleted(id("a"), 11).is_some());
        assert!(seen.deleted(id("a"), 12).is_none());
    }

    #[test]
    fn what_was_published_is_missed_by_the_first_list_too() {
        let seen = Seen::new([id("a")]);
        assert_eq!(seen.judge(&list(9, &[])), Verdict::Lacks(vec![id("a")]));
        assert_eq!(seen.judge(&list(9, &[("a", 3)])), Verdict::Take);
    }
}
