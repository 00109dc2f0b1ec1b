//! One `ModelConsumer` with its Secrets to one [`Consumer`], and one key to one consumer.
//!
//! A key says who calls, so it can belong to one consumer only. Where two name the same key the
//! older one keeps it: a new object must not be able to take the name, the routes and the bill of
//! one that is in use.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use secrecy::ExposeSecret;

use super::{
    Snapshot,
    inherit::Inherited,
    report::{Problem, Ready, Reason, Report},
    secret::{self, Place},
    settle::{Settled, about, settle},
    value::label,
};
use crate::{
    api::{ModelConsumerSpec, PreferenceName},
    table::{Consumer, ConsumerKey, Consumers, Digest, ObjectId, Preference},
};

/// A consumer as far as it could be made.
#[derive(Debug)]
struct Built {
    pub(super) consumer: Consumer,
    /// Where each of its keys stands in the specification.
    pub(super) places: Vec<usize>,
    /// Keys that it names.
    pub(super) total: usize,
}

impl Built {
    fn published(consumer: &Consumer) -> Self {
        let total = consumer.keys.len();
        Self { consumer: consumer.clone(), places: (0..total).collect(), total }
    }
}

/// Builds a consumer. A key that cannot be had is left out and told; the others are good.
///
/// None when the specification itself is wrong, which has then been told.
fn build(
    id: &ObjectId,
    spec: &ModelConsumerSpec,
    snapshot: &Snapshot,
    problems: &mut Vec<Problem>,
) -> Option<Built> {
    let ModelConsumerSpec { groups, preference, auth } = spec;
    let before = problems.len();
    for (at, group) in groups.iter().enumerate() {
        if let Err(message) = label(group) {
            problems.push(Problem::invalid(&format!("spec.groups[{at}]"), message));
        }
    }
    if auth.api_keys.is_empty() {
        problems.push(Problem::invalid("spec.auth.apiKeys", "needs at least 1 item"));
    }
    let (mut keys, mut places) = (Vec::new(), Vec::new());
    for (at, key) in auth.api_keys.iter().enumerate() {
        let field = field(at);
        if let Err(message) = label(&key.name) {
            problems.push(Problem::invalid(&format!("{field}.name"), message));
        }
        let place = Place { id, secret_ref: key.secret_ref.as_ref(), env: key.env.as_deref() };
        let digest = secret::read(place, &field, snapshot).and_then(|text| {
            Digest::of_key(text.expose_secret())
                .map_err(|unusable| Problem::at(Reason::KeyUnusable, &field, unusable))
        });
        match digest {
            Ok(digest) => {
                keys.push(ConsumerKey { name: key.name.as_str().into(), digest });
                places.push(at);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let sound = !problems.iter().skip(before).any(Problem::rejects);
    let groups = groups.iter().map(|group| group.as_str().into()).collect();
    let preference = preference.map(|name| match name {
        PreferenceName::Balanced => Preference::Balanced,
        PreferenceName::Economy => Preference::Economy,
        PreferenceName::Quality => Preference::Quality,
        PreferenceName::Speed => Preference::Speed,
    });
    let consumer = Consumer { id: id.clone(), groups, preference, keys };
    sound.then_some(Built { consumer, places, total: auth.api_keys.len() })
}

fn field(at: usize) -> String {
    format!("spec.auth.apiKeys[{at}]")
}

/// Takes keys from the consumers that share them with an older one. The result is in the order of
/// `consumers`: what each one lost. `created` is in that order too.
fn give_keys(consumers: &mut [Built], created: &[u64]) -> Vec<Vec<Problem>> {
    let mut order: Vec<_> = (0..consumers.len()).zip(created.iter().copied()).collect();
    // Consumers stand in the order of their names, and the sort keeps it among those of one age.
    order.sort_by_key(|(_, created)| *created);
    let mut owners: BTreeMap<Digest, (ObjectId, u64)> = BTreeMap::new();
    let mut lost = vec![Vec::new(); consumers.len()];
    for (at, created) in order {
        let (Some(built), Some(lost)) = (consumers.get_mut(at), lost.get_mut(at)) else { continue };
        let Built { consumer, places, .. } = built;
        let keys = std::mem::take(&mut consumer.keys);
        for (key, place) in keys.into_iter().zip(places.iter()) {
            let (owner, since) =
                owners.entry(key.digest).or_insert_with(|| (consumer.id.clone(), created));
            // The same key twice in one consumer is one key.
            if *owner == consumer.id {
                consumer.keys.push(key);
            } else {
                lost.push(told(&field(*place), owner, (*since).cmp(&created), &consumer.id));
            }
        }
    }
    lost
}

/// Whose key it is is told within a namespace only.
fn told(field: &str, owner: &ObjectId, age: Ordering, loser: &ObjectId) -> Problem {
    let owner = if owner.namespace == loser.namespace {
        format!("ModelConsumer {owner}")
    } else {
        "a ModelConsumer of another namespace".to_owned()
    };
    let why = match age {
        Ordering::Less => "which is older",
        Ordering::Equal | Ordering::Greater => "whose name comes first",
    };
    let message = format!("the key belongs to {owner}, {why}; give each consumer keys of its own");
    Problem::at(Reason::KeyTaken, field, message)
}

/// The Secrets that a consumer names.
pub(super) fn secrets(id: &ObjectId, spec: &ModelConsumerSpec) -> BTreeSet<ObjectId> {
    let named = spec.auth.api_keys.iter().filter_map(|key| key.secret_ref.as_ref());
    named.map(|secret| ObjectId::new(Arc::clone(&id.namespace), secret.name.as_str())).collect()
}

/// Builds every consumer, and says what became of each.
pub(super) fn all(
    snapshot: &Snapshot,
    last: &mut BTreeMap<ObjectId, Arc<ModelConsumerSpec>>,
    inherited: &mut Inherited,
) -> (Consumers, Vec<Report>) {
    let mut reports = Vec::new();
    last.retain(|id, _| snapshot.consumers.contains_key(id));
    inherited.retain_consumers(|id| snapshot.consumers.contains_key(id));
    let (mut all, mut created, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let mut unknown = Vec::new();
    for (id, entry) in &snapshot.consumers {
        let Settled { built, problems, last_good } =
            settle(id, entry, last, |spec, problems| build(id, spec, snapshot, problems));
        let built = built.map(|(built, _)| (built, last_good));
        if let Some((_, false)) = built {
            inherited.forget_consumer(id);
        }
        let published = || Some((Built::published(inherited.consumer(id)?), true));
        let Some((built, last_good)) = built.or_else(published) else {
            let ready = Ready { status: false, reason: Reason::NotAccepted, usable: 0, total: 0 };
            reports.push(about("ModelConsumer", id, &entry.source, problems, ready));
            let (groups, keys) = (Vec::new(), Vec::new());
            unknown.push(Consumer { id: id.clone(), groups, preference: None, keys });
            continue;
        };
        told.push((id, entry, problems, last_good));
        created.push(entry.created);
        all.push(built);
    }
    let lost = give_keys(&mut all, &created);
    for (((id, entry, mut problems, last_good), lost), built) in
        told.into_iter().zip(lost).zip(&all)
    {
        problems.extend(lost);
        let (usable, total) = (built.consumer.keys.len(), built.total);
        let reason = if usable == 0 {
            Reason::NoUsableKey
        } else if last_good {
            Reason::LastGood
        } else if usable < total {
            Reason::Degraded
        } else {
            Reason::Ready
        };
        let ready = Ready { status: usable > 0, reason, usable, total };
        reports.push(about("ModelConsumer", id, &entry.source, problems, ready));
    }
    // Where no consumer is good, the bad ones stand in the table without keys: to take them out would
    // let everybody in where callers without a key are served until there is a consumer.
    let good = all.into_iter().map(|built| built.consumer);
    let all: Vec<_> = if good.len() == 0 { unknown } else { good.collect() };
    (Consumers::new(all.into_iter().map(Arc::new)), reports)
}
