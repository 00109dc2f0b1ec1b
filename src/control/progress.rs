//! How far each object has come: from compiled to published to run by every proxy.
//!
//! Pure. For each object it is remembered under which version of the table its present generation,
//! and what that generation means, was first published. It has arrived where every proxy that serves
//! runs that version or a later one. A change of what the object means without a new generation (a
//! key that was rotated, a credential that came) counts too: a status must not say of the new what
//! was true of the old.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::kind::Kind;
use crate::table::{Consumer, Credential, ObjectId, Route, Stamp};

/// An object that has a status.
pub type Key = (Kind, ObjectId);

/// What an object means in the table, compared by place: equal things keep their place.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// A route as it is served.
    Route(Option<Arc<Route>>),
    /// A consumer as it may call.
    Consumer(Option<Arc<Consumer>>),
    /// A credential as targets use it.
    Credential(Option<Arc<Credential>>),
}

impl Meaning {
    fn same(&self, other: &Self) -> bool {
        fn place<T>(it: Option<&Arc<T>>) -> Option<*const T> {
            it.map(Arc::as_ptr)
        }
        match (self, other) {
            (Self::Route(a), Self::Route(b)) => place(a.as_ref()) == place(b.as_ref()),
            (Self::Credential(a), Self::Credential(b)) => place(a.as_ref()) == place(b.as_ref()),
            // All consumers are built anew together, so these are compared by what they are.
            (Self::Consumer(a), Self::Consumer(b)) => a == b,
            (Self::Route(_) | Self::Credential(_) | Self::Consumer(_), _) => false,
        }
    }
}

#[derive(Debug)]
struct Record {
    generation: i64,
    meaning: Meaning,
    /// When this began to be so, as far as anybody saw.
    changed: Instant,
    /// The first version that holds it.
    since: Option<Stamp>,
}

/// How far every object is.
#[derive(Debug, Default)]
pub struct Progress {
    records: BTreeMap<Key, Record>,
    /// Compiled and not published.
    unpublished: BTreeSet<Key>,
    /// Published and not everywhere.
    travelling: BTreeSet<Key>,
}

impl Progress {
    /// An object was compiled. `changed` is when that was first to be seen.
    pub fn compiled(&mut self, key: Key, generation: i64, meaning: Meaning, changed: Instant) {
        let known = self.records.get(&key);
        if known.is_some_and(|it| it.generation == generation && it.meaning.same(&meaning)) {
            return;
        }
        self.unpublished.insert(key.clone());
        self.travelling.remove(&key);
        self.records.insert(key, Record { generation, meaning, changed, since: None });
    }

    /// An object is gone.
    pub fn gone(&mut self, key: &Key) {
        self.records.remove(key);
        self.unpublished.remove(key);
        self.travelling.remove(key);
    }

    /// Everything that was compiled is in this version: the objects that are new in it.
    pub fn published(&mut self, stamp: Stamp) -> BTreeSet<Key> {
        let new = std::mem::take(&mut self.unpublished);
        for key in &new {
            if let Some(record) = self.records.get_mut(key) {
                record.since = Some(stamp);
            }
        }
        self.travelling.extend(new.iter().cloned());
        new
    }

    /// A new leader does not know what its predecessor published when: all of it counts from now.
    pub fn begin_term(&mut self) {
        self.travelling.clear();
        for (key, record) in &mut self.records {
            record.since = None;
            self.unpublished.insert(key.clone());
        }
    }

    /// What is compiled and could not be published.
    pub const fn unpublished(&self) -> &BTreeSet<Key> {
        &self.unpublished
    }

    /// The objects that have just arrived everywhere, with the time of their change.
    pub fn arrived(&mut self, fleet: &Fleet) -> Vec<(Key, Instant)> {
        let Some(oldest) = fleet.oldest() else { return Vec::new() };
        let here = |key: &Key| {
            let record = self.records.get(key)?;
            (record.since? <= oldest).then(|| (key.clone(), record.changed))
        };
        let arrived: Vec<_> = self.travelling.iter().filter_map(here).collect();
        for (key, _) in &arrived {
            self.travelling.remove(key);
        }
        arrived
    }

    /// The first version that holds an object as it is now; none while it is not published.
    pub fn since(&self, key: &Key) -> Option<Stamp> {
        self.records.get(key)?.since
    }

    /// When an object became what it is now.
    pub fn changed(&self, key: &Key) -> Option<Instant> {
        Some(self.records.get(key)?.changed)
    }
}

/// The proxies that serve, and what each runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet(BTreeMap<String, Option<Stamp>>);

impl Fleet {
    /// These serve now. What is known of those that served before stays.
    pub fn serves(&mut self, instances: BTreeSet<String>) -> bool {
        let same = instances.iter().eq(self.0.keys());
        self.0.retain(|instance, _| instances.contains(instance));
        for instance in instances {
            self.0.entry(instance).or_default();
        }
        !same
    }

    /// One has said what it runs. Silence takes nothing back: a proxy never goes back by itself.
    pub fn told(&mut self, instance: &str, stamp: Option<Stamp>) {
        if let Some(known) = self.0.get_mut(instance) {
            *known = stamp.or(*known);
        }
    }

    /// How many serve.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none serves.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many run this version or a later one.
    pub fn running(&self, stamp: Stamp) -> usize {
        self.0.values().filter(|runs| runs.is_some_and(|runs| runs >= stamp)).count()
    }

    /// The version that all of them run at least; none while one has not said, or none serves.
    fn oldest(&self) -> Option<Stamp> {
        self.0.values().copied().min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stamp(revision: u64) -> Stamp {
        Stamp { epoch: 1, revision }
    }

    fn key(name: &str) -> Key {
        (Kind::ModelRoute, ObjectId::new("team", name))
    }

    fn fleet(runs: &[(&str, Option<u64>)]) -> Fleet {
        let mut fleet = Fleet::default();
        fleet.serves(runs.iter().map(|(name, _)| (*name).to_owned()).collect());
        for (name, revision) in runs {
            fleet.told(name, revision.map(stamp));
        }
        fleet
    }

    #[tokio::test]
    async fn an_object_has_arrived_when_every_proxy_runs_what_first_held_it() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        progress.compiled(key("a"), 1, Meaning::Route(None), now);
        assert!(progress.arrived(&fleet(&[("p", Some(9))])).is_empty(), "not published");
        progress.published(stamp(5));
        progress.compiled(key("b"), 1, Meaning::Route(None), now);
        progress.published(stamp(6));
        assert!(progress.arrived(&fleet(&[])).is_empty(), "nobody runs it");
        assert!(progress.arrived(&fleet(&[("p", Some(6)), ("q", None)])).is_empty());
        assert_eq!(progress.arrived(&fleet(&[("p", Some(6)), ("q", Some(5))])), [(key("a"), now)]);
        assert_eq!(progress.since(&key("b")), Some(stamp(6)));
        assert_eq!(progress.arrived(&fleet(&[("p", Some(6)), ("q", Some(7))])), [(key("b"), now)]);
    }

    #[tokio::test]
    async fn a_new_generation_or_meaning_begins_anew_and_the_same_does_not() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        progress.compiled(key("a"), 1, Meaning::Route(None), now);
        progress.published(stamp(5));
        progress.compiled(key("a"), 1, Meaning::Route(None), now);
        assert!(progress.published(stamp(6)).is_empty());
        assert_eq!(progress.since(&key("a")), Some(stamp(5)));
        progress.compiled(key("a"), 2, Meaning::Route(None), now);
        assert_eq!(progress.since(&key("a")), None);
        assert_eq!(progress.published(stamp(7)), [key("a")].into());
        progress.begin_term();
        assert_eq!(progress.since(&key("a")), None);
    }

    #[test]
    fn a_proxy_that_falls_silent_still_runs_what_it_ran_and_a_new_start_runs_nothing() {
        let mut fleet = fleet(&[("p/0", Some(6))]);
        fleet.told("p/0", None);
        assert_eq!(fleet.running(stamp(6)), 1);
        assert!(fleet.serves(["p/1".to_owned()].into()));
        assert_eq!((fleet.running(stamp(1)), fleet.len()), (0, 1));
        assert!(!fleet.serves(["p/1".to_owned()].into()));
    }
}
