//! Who calls, and which routes they may use.
//!
//! A consumer's key is not here, only its SHA-256: whoever reads the table cannot call with it. A
//! plain digest is enough because keys are random and long ([`Digest::of_key`] refuses short ones);
//! a slow hash protects passwords, and would cost a core for each few hundred requests.
//!
//! A key is found by its digest, so the time does not grow with the number of consumers. What is
//! found is compared in constant time.

use std::{collections::BTreeSet, fmt, sync::Arc};

use http::HeaderValue;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    ObjectId,
    choosing::Preference,
    secret::UnusableKey,
    wire::{hex, unhex},
};

/// The fewest bytes of a consumer's key. Random ones, this many cannot be guessed.
const SHORTEST_KEY: usize = 16;

/// The SHA-256 of a key; in hexadecimal where it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a key that a client shows.
    pub fn of(shown: &[u8]) -> Self {
        Self(Sha256::digest(shown.trim_ascii()).into())
    }

    /// The digest of a key that is to be good.
    ///
    /// # Errors
    /// When no client could send it, or anybody could guess it.
    pub fn of_key(text: &str) -> Result<Self, UnusableKey> {
        let key = text.trim_ascii();
        if key.is_empty() {
            return Err(UnusableKey::Empty);
        }
        if HeaderValue::from_str(key).is_err() {
            return Err(UnusableKey::Malformed);
        }
        if key.len() < SHORTEST_KEY {
            return Err(UnusableKey::Short(SHORTEST_KEY));
        }
        Ok(Self::of(key.as_bytes()))
    }

    /// Where to look for it. Digests are even, so any bytes of them are a good hash.
    fn place(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        unhex(&text).map(Self).ok_or("a digest has 64 hexadecimal digits")
    }
}

/// Of a weak key a digest would tell too much.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([redacted])")
    }
}

/// One `ModelConsumer`. When none is good, those that are not are here, without groups and keys: a
/// mistake in the only one must not open the door to callers without a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// Which `ModelConsumer` this is.
    pub id: ObjectId,
    /// The groups that it belongs to, within its namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
    /// What matters most to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<Preference>,
    /// Its keys; each of them is good.
    pub keys: Vec<ConsumerKey>,
}

/// One key of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerKey {
    /// The name within the consumer.
    pub name: Arc<str>,
    /// What it is known by.
    pub digest: Digest,
}

/// All consumers of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    /// In order of their names.
    all: Vec<Arc<Consumer>>,
    /// Where each key is: by a piece of its digest, then consumer and key.
    places: FxHashMap<u64, Vec<(usize, usize)>>,
}

impl Consumers {
    /// Indexes the keys.
    pub fn new(all: impl IntoIterator<Item = Arc<Consumer>>) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let mut places: FxHashMap<u64, Vec<(usize, usize)>> = FxHashMap::default();
        for (at, consumer) in all.iter().enumerate() {
            for (key_at, key) in consumer.keys.iter().enumerate() {
                places.entry(key.digest.place()).or_default().push((at, key_at));
            }
        }
        Self { all, places }
    }

    /// All of them, in order of their names.
    pub fn all(&self) -> &[Arc<Consumer>] {
        &self.all
    }

    /// Whose key this is, and which of its keys.
    pub fn find(&self, shown: &Digest) -> Option<(&Arc<Consumer>, &ConsumerKey)> {
        self.places.get(&shown.place())?.iter().find_map(|(at, key_at)| {
            let consumer = self.all.get(*at)?;
            let key = consumer.keys.get(*key_at)?;
            bool::from(key.digest.0.ct_eq(&shown.0)).then_some((consumer, key))
        })
    }
}

/// Who asks, as far as routes are concerned.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// Somebody without a key, where such callers are let in.
    Anonymous,
    /// A consumer.
    Consumer(&'a Consumer),
}

/// Who may use a route: whoever any part names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Callers without a key.
    pub anonymous: bool,
    /// Every consumer of these namespaces.
    pub namespaces: Namespaces,
    /// These consumers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub consumers: BTreeSet<ObjectId>,
    /// The consumers of these groups, each in its namespace.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<ObjectId>,
}

/// Some namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespaces {
    /// Every one.
    All,
    /// These.
    These(BTreeSet<Arc<str>>),
}

impl Caller<'_> {
    /// What matters most to the caller, if it says so.
    pub fn preference(self) -> Option<Preference> {
        match self {
            Self::Anonymous => None,
            Self::Consumer(consumer) => consumer.preference,
        }
    }
}

impl Access {
    /// What holds for a route that says nothing: the consumers of its namespace, and whoever is let
    /// in without a key.
    pub fn of_namespace(namespace: &Arc<str>) -> Self {
        Self {
            anonymous: true,
            namespaces: Namespaces::These([Arc::clone(namespace)].into()),
            consumers: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    /// Whether a caller may use the route.
    pub fn permits(&self, caller: Caller<'_>) -> bool {
        match caller {
            Caller::Anonymous => self.anonymous,
            Caller::Consumer(consumer) => {
                let Consumer { id, groups, .. } = consumer;
                let group =
                    |name: &ObjectId| name.namespace == id.namespace && groups.contains(&name.name);
                self.namespaces.contain(&id.namespace)
                    || self.consumers.contains(id)
                    || self.groups.iter().any(group)
            }
        }
    }

    /// Whether it permits everybody whom another one permits, whatever consumers there are.
    pub fn covers(&self, other: &Self) -> bool {
        let namespaces = match (&self.namespaces, &other.namespaces) {
            (Namespaces::All, _) => true,
            (Namespaces::These(_), Namespaces::All) => false,
            (these @ Namespaces::These(_), Namespaces::These(others)) => {
                others.iter().all(|namespace| these.contain(namespace))
            }
        };
        let named = |own: &BTreeSet<ObjectId>, id: &ObjectId| {
            self.namespaces.contain(&id.namespace) || own.contains(id)
        };
        namespaces
            && (self.anonymous || !other.anonymous)
            && other.consumers.iter().all(|id| named(&self.consumers, id))
            && other.groups.iter().all(|id| named(&self.groups, id))
    }

    /// Whether it names callers one by one: such a route is meant to be an exception.
    pub fn is_narrow(&self) -> bool {
        matches!(&self.namespaces, Namespaces::These(these) if these.is_empty())
    }
}

impl Namespaces {
    fn contain(&self, namespace: &Arc<str>) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "tk-0123456789abcdef";

    fn consumer(name: &str, groups: &[&str], keys: &[&str]) -> Consumer {
        let (namespace, name) = name.split_once('/').unwrap();
        let key = |text: &&str| ConsumerKey {
            name: (*text).into(),
            digest: Digest::of_key(text).unwrap(),
        };
        Consumer {
            id: ObjectId::new(namespace, name),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            preference: None,
            keys: keys.iter().map(key).collect(),
        }
    }

    fn nobody() -> Access {
        Access {
            anonymous: false,
            namespaces: Namespaces::These(BTreeSet::new()),
            consumers: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    #[test]
    fn every_key_of_a_consumer_finds_it_and_nothing_else_does() {
        let second = "tk-another-key-of-it";
        let all = vec![consumer("team/b", &[], &[KEY, second]), consumer("team/a", &[], &[])];
        let consumers = Consumers::new(all.into_iter().map(Arc::new));
        let found = |key: &str| {
            let (consumer, key) = consumers.find(&Digest::of(key.as_bytes()))?;
            Some((consumer.id.to_string(), key.name.to_string()))
        };
        assert_eq!(found(KEY), Some(("team/b".to_owned(), KEY.to_owned())));
        assert_eq!(found(&format!(" {second}\n")).unwrap().1, second);
        assert_eq!(found("tk-0123456789abcdeg"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn a_key_that_can_be_guessed_or_not_be_sent_is_none() {
        assert_eq!(Digest::of_key(" \n"), Err(UnusableKey::Empty));
        assert_eq!(Digest::of_key("0123456789abcde"), Err(UnusableKey::Short(16)));
        assert_eq!(Digest::of_key("0123456789abcdef\r\nx: y"), Err(UnusableKey::Malformed));
        let digest = Digest::of_key(KEY).unwrap();
        assert_eq!(digest, Digest::of(format!("{KEY}\n").as_bytes()), "a file's last line break");
        assert_eq!(format!("{digest:?}"), "Digest([redacted])");
        let written = serde_json::to_string(&digest).unwrap();
        assert!(written.len() == 66 && !written.contains(KEY));
        assert_eq!(serde_json::from_str::<Digest>(&written).unwrap(), digest);
        for bad in ["\"\"", "\"zz\"", &written.replace('"', "\"0")] {
            assert!(serde_json::from_str::<Digest>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_route_without_access_is_for_its_own_namespace() {
        let access = Access::of_namespace(&"team".into());
        assert!(access.permits(Caller::Consumer(&consumer("team/a", &[], &[]))));
        assert!(!access.permits(Caller::Consumer(&consumer("other/a", &["team"], &[]))));
        assert!(access.permits(Caller::Anonymous));
    }

    /// A group's name in another namespace is another group: otherwise whoever may write consumers
    /// anywhere could let them in everywhere.
    #[test]
    fn consumers_and_groups_count_in_their_own_namespace_only() {
        let by_name = Access { consumers: [ObjectId::new("team", "a")].into(), ..nobody() };
        let by_group = Access { groups: [ObjectId::new("team", "gold")].into(), ..nobody() };
        let permits =
            |access: &Access, consumer: &Consumer| access.permits(Caller::Consumer(consumer));
        let (mine, other) = (consumer("team/a", &["gold"], &[]), consumer("x/a", &["gold"], &[]));
        for access in [by_name, by_group] {
            assert!(permits(&access, &mine) && !permits(&access, &other), "{access:?}");
            assert!(!permits(&access, &consumer("team/b", &["golden"], &[])), "{access:?}");
            assert!(!access.permits(Caller::Anonymous), "{access:?}");
        }
        assert!(!permits(&nobody(), &mine));
    }

    #[test]
    fn one_access_covers_another_when_nobody_is_left_over() {
        let own = Access::of_namespace(&"team".into());
        let one = Access { consumers: [ObjectId::new("team", "a")].into(), ..nobody() };
        let gold = Access { groups: [ObjectId::new("other", "gold")].into(), ..nobody() };
        let all = Access { anonymous: true, namespaces: Namespaces::All, ..nobody() };
        for access in [&own, &one, &gold, &all] {
            assert!(access.covers(access) && access.covers(&nobody()) && all.covers(access));
        }
        assert!(own.covers(&one) && !one.covers(&own));
        assert!(!own.covers(&gold) && !gold.covers(&one) && !own.covers(&all));
        let keyed = Access { anonymous: false, ..own.clone() };
        assert!(own.covers(&keyed) && !keyed.covers(&own));
    }
}
