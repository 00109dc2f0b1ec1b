//! Which keys providers refuse, as the proxies that serve have met it.
//!
//! Pure. A proxy learns of a key by using it, so one may know what the others have not met yet: what
//! the worst of them says counts. A proxy that falls silent keeps what it said, for as long as it
//! serves; one that has said nothing yet, as after a restart of this process, takes nothing back.

use std::collections::{BTreeMap, BTreeSet};

use crate::table::ObjectId;

/// The most keys that are named.
const MOST: usize = 8;

/// Why a provider refused a key, as a proxy tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The provider does not know the key, or does not allow it what was asked.
    Rejected,
    /// The account is not paid.
    Unpaid,
}

/// The refused keys of each credential.
pub type Refused = BTreeMap<ObjectId, BTreeMap<String, Refusal>>;

/// What the proxies that serve say of keys, by instance; `None` before the first word.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<String, Option<Refused>>);

impl Keys {
    /// These serve now; what the others said counts no more.
    pub fn serves<'a>(&mut self, instances: impl Iterator<Item = &'a String>) {
        let mut known = std::mem::take(&mut self.0);
        self.0 = instances.map(|it| (it.clone(), known.remove(it).flatten())).collect();
    }

    /// One has said which keys it knows as refused: the credentials of which it says something else
    /// than before.
    pub fn told(&mut self, instance: &str, refused: Refused) -> BTreeSet<ObjectId> {
        let Some(known) = self.0.get_mut(instance) else { return BTreeSet::new() };
        let was = known.replace(refused).unwrap_or_default();
        let is = known.iter().flatten();
        let changed = is.filter(|(id, keys)| was.get(*id) != Some(*keys)).map(|(id, _)| id.clone());
        let mut changed: BTreeSet<_> = changed.collect();
        changed.extend(was.into_keys().filter(|id| !known.iter().any(|is| is.contains_key(id))));
        changed
    }

    /// Whether every proxy that serves has said something.
    pub fn have_all_told(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(Option::is_some)
    }

    /// The refused keys of a credential, with what the first proxy that knows of it says.
    pub fn of(&self, credential: &ObjectId) -> BTreeMap<&str, Refusal> {
        let told = self.0.values().flatten().filter_map(|refused| refused.get(credential));
        let mut all = BTreeMap::new();
        for (key, why) in told.flatten() {
            let known = all.entry(key.as_str()).or_insert(*why);
            *known = (*known).min(*why);
        }
        all
    }
}

/// What is to be said of refused keys; the key's names only.
pub fn message(refused: &BTreeMap<&str, Refusal>) -> String {
    let one = |(key, why): (&&str, &Refusal)| match why {
        Refusal::Rejected => {
            format!("key `{key}`: the provider rejects it; put one that is valid into its Secret")
        }
        Refusal::Unpaid => {
            format!("key `{key}`: the provider wants its bill paid; pay it, or put in another key")
        }
    };
    let mut all: Vec<_> = refused.iter().take(MOST).map(one).collect();
    let more = refused.len().saturating_sub(MOST);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId::new("team", name)
    }

    fn refused(rows: &[(&str, &str, Refusal)]) -> Refused {
        let mut all = Refused::new();
        for (credential, key, why) in rows {
            all.entry(id(credential)).or_default().insert((*key).to_owned(), *why);
        }
        all
    }

    fn serving(instances: &[&str]) -> Keys {
        let mut keys = Keys::default();
        keys.serves(instances.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().iter());
        keys
    }

    #[test]
    fn what_one_proxy_has_met_counts_until_it_meets_something_else_or_goes() {
        let mut keys = serving(&["p", "q"]);
        let bad = refused(&[("openai", "k1", Refusal::Rejected)]);
        assert_eq!(keys.told("p", bad.clone()), [id("openai")].into());
        assert!(!keys.have_all_told());
        assert!(keys.told("q", Refused::new()).is_empty());
        assert!(keys.have_all_told());
        assert_eq!(keys.of(&id("openai")), [("k1", Refusal::Rejected)].into());
        assert!(keys.told("p", bad.clone()).is_empty(), "the same again is no news");
        assert_eq!(keys.told("p", Refused::new()), [id("openai")].into());
        assert!(keys.of(&id("openai")).is_empty());
        keys.told("p", bad.clone());
        keys.serves(["q".to_owned()].iter());
        assert!(keys.of(&id("openai")).is_empty());
        assert!(keys.told("p", bad).is_empty(), "it does not serve");
    }

    #[test]
    fn another_key_or_another_cause_is_news() {
        let mut keys = serving(&["p"]);
        let of = |key, why| refused(&[("openai", key, why)]);
        keys.told("p", of("k1", Refusal::Unpaid));
        assert_eq!(keys.told("p", of("k1", Refusal::Rejected)), [id("openai")].into());
        assert_eq!(keys.told("p", of("k2", Refusal::Rejected)), [id("openai")].into());
    }

    #[test]
    fn a_message_names_a_bounded_number_of_keys() {
        let names: Vec<_> = (0..16).map(|at| format!("k{at:02}")).collect();
        let all: BTreeMap<_, _> =
            names.iter().map(|name| (name.as_str(), Refusal::Unpaid)).collect();
        let text = message(&all);
        assert!(text.contains("`k07`") && !text.contains("`k08`"), "{text}");
        assert!(text.ends_with("and 8 more") && text.len() < 1024, "{text}");
    }
}
