//! Which route serves a request: a model name, an API and some headers in, one route out.
//!
//! The order of decision, the first difference decides:
//!
//! 1. The pattern: an exact name, then the longest prefix, then the longest suffix, then `*`.
//! 2. `precedence`, higher first.
//! 3. How much `match` and `access` ask, more first: a route for one header, or for one consumer, is
//!    meant to be an exception.
//! 4. Age, older first; then namespace and name. So a conflict is decided the same way everywhere,
//!    and after every restart.
//!
//! A route that the caller may not use does not take part: another one may serve in its place.
//!
//! Names are found by hashing, once for each length of prefix and suffix in use, so the time does
//! not grow with the number of routes.

use std::{cmp::Reverse, fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{ObjectId, Route, wire};
use crate::dialect::Api;

/// A model name that a route claims; at most one `*`, at an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Pattern {
    /// This name.
    Exact(Arc<str>),
    /// Every name that begins so (`claude-*`).
    Prefix(Arc<str>),
    /// Every name that ends so (`*-latest`).
    Suffix(Arc<str>),
    /// Every name (`*`).
    Any,
}

/// How narrow a pattern is; smaller is narrower and decides first.
pub type Specificity = (u8, Reverse<usize>);

impl Pattern {
    /// Reads `spec.models[]`. The schema has checked that there is at most one `*`, at an end.
    pub fn parse(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Self::Any,
            (Some(suffix), _) => Self::Suffix(suffix.into()),
            (None, Some(prefix)) => Self::Prefix(prefix.into()),
            (None, None) => Self::Exact(text.into()),
        }
    }

    /// Whether a model name fits.
    pub fn matches(&self, model: &str) -> bool {
        match self {
            Self::Exact(name) => model == &**name,
            Self::Prefix(prefix) => model.starts_with(&**prefix),
            Self::Suffix(suffix) => model.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// How narrow it is.
    pub fn specificity(&self) -> Specificity {
        match self {
            Self::Exact(_) => (0, Reverse(0)),
            Self::Prefix(prefix) => (1, Reverse(prefix.len())),
            Self::Suffix(suffix) => (2, Reverse(suffix.len())),
            Self::Any => (3, Reverse(0)),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// What a request must have besides its model name. All parts must hold; empty parts hold always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// One of these APIs; sorted.
    pub apis: Vec<Api>,
    /// All of these headers; sorted by name.
    pub headers: Vec<HeaderMatch>,
}

/// What one header must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// The header.
    #[serde(with = "wire::header_name")]
    pub name: HeaderName,
    /// What its value must be.
    pub test: HeaderTest,
}

/// What a header's value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeaderTest {
    /// This value.
    Exact(Arc<str>),
    /// A value that begins so.
    Prefix(Arc<str>),
    /// Anything.
    Present,
}

impl Match {
    /// Whether a request has what is asked for.
    pub fn accepts(&self, api: Api, headers: &HeaderMap) -> bool {
        (self.apis.is_empty() || self.apis.contains(&api))
            && self.headers.iter().all(|header| header.accepts(headers))
    }

    fn demands(&self) -> usize {
        usize::from(!self.apis.is_empty()) + self.headers.len()
    }
}

impl HeaderMatch {
    fn accepts(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| match &self.test {
            HeaderTest::Exact(wanted) => value.as_bytes() == wanted.as_bytes(),
            HeaderTest::Prefix(wanted) => value.as_bytes().starts_with(wanted.as_bytes()),
            HeaderTest::Present => true,
        })
    }
}

/// A route's place in the order of decision, the pattern aside (rules 2 to 4).
pub type Rank<'a> = (Reverse<i32>, Reverse<usize>, u64, &'a ObjectId);

impl Route {
    /// The place in the order of decision among routes whose patterns are equally narrow.
    pub fn rank(&self) -> Rank<'_> {
        let demands = self.matches.demands() + usize::from(self.access.is_narrow());
        (Reverse(self.precedence), Reverse(demands), self.created, &self.id)
    }
}

/// The routes that claim some text, by text; indices into the table's sorted list.
type ByText = FxHashMap<Arc<str>, Vec<usize>>;

/// All names of a table, hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    exact: ByText,
    /// By length, longest first.
    prefixes: Vec<(usize, ByText)>,
    suffixes: Vec<(usize, ByText)>,
    any: Vec<usize>,
}

impl Index {
    /// Indexes routes that are in order of rank, so that every list is too.
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        let mut index = Self::default();
        for (at, route) in routes.iter().enumerate() {
            for pattern in &route.models {
                match pattern {
                    Pattern::Exact(name) => index.exact.entry(Arc::clone(name)).or_default(),
                    Pattern::Prefix(text) => of_length(&mut index.prefixes, text),
                    Pattern::Suffix(text) => of_length(&mut index.suffixes, text),
                    Pattern::Any => &mut index.any,
                }
                .push(at);
            }
        }
        index
    }

    /// Where the first route for a model that `accepts` holds for stands in `routes`.
    pub(super) fn position(
        &self,
        routes: &[Arc<Route>],
        model: &str,
        accepts: impl Fn(&Route) -> bool,
    ) -> Option<usize> {
        let first = |claims: Option<&Vec<usize>>| {
            let accepts = |at: &usize| routes.get(*at).is_some_and(|route| accepts(route));
            claims?.iter().copied().find(accepts)
        };
        let by_prefix = || {
            self.prefixes.iter().find_map(|(length, texts)| first(texts.get(model.get(..*length)?)))
        };
        let by_suffix = || {
            self.suffixes.iter().find_map(|(length, texts)| {
                first(texts.get(model.get(model.len().checked_sub(*length)?..)?))
            })
        };
        first(self.exact.get(model))
            .or_else(by_prefix)
            .or_else(by_suffix)
            .or_else(|| first(Some(&self.any)))
    }

    /// The exact names, sorted, each with the first of its routes that `serves` holds for.
    pub(super) fn models<'a>(
        &'a self,
        routes: &'a [Arc<Route>],
        serves: impl Fn(&Route) -> bool,
    ) -> Vec<(&'a str, &'a Arc<Route>)> {
        let mut models: Vec<_> = self
            .exact
            .iter()
            .filter_map(|(name, claims)| {
                let route =
                    claims.iter().filter_map(|at| routes.get(*at)).find(|route| serves(route))?;
                Some((&**name, route))
            })
            .collect();
        models.sort_unstable_by_key(|(name, _)| *name);
        models
    }
}

/// The list of claims on `text` among texts of its length.
fn of_length<'a>(by_length: &'a mut Vec<(usize, ByText)>, text: &Arc<str>) -> &'a mut Vec<usize> {
    let length = text.len();
    let at = match by_length.binary_search_by(|(other, _)| length.cmp(other)) {
        Ok(at) => at,
        Err(at) => {
            by_length.insert(at, (length, ByText::default()));
            at
        }
    };
    #[expect(clippy::indexing_slicing, reason = "found or inserted at this very index")]
    by_length[at].1.entry(Arc::clone(text)).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{
        Access, Caller, Choosing, Consumer, Failover, FailoverSet, Namespaces, Table,
    };

    fn route(name: &str, models: &[&str]) -> Route {
        Route {
            id: ObjectId::new("team", name),
            created: 0,
            models: models.iter().map(|model| Pattern::parse(model)).collect(),
            matches: Match::default(),
            precedence: 0,
            access: Access::of_namespace(&"team".into()),
            targets: Vec::new(),
            choosing: Choosing::default(),
            failover: Failover {
                max_attempts: 1,
                total_budget: std::time::Duration::from_secs(1),
                on: FailoverSet::default(),
            },
            paused: false,
        }
    }

    fn serves(table: &Table, model: &str) -> Option<String> {
        let none = HeaderMap::new();
        let found = table.find(Api::ChatCompletions, model, &none, Caller::Anonymous);
        found.map(|route| route.id.name.to_string())
    }

    #[test]
    fn the_narrowest_pattern_serves() {
        let table = Table::new(
            1,
            vec![
                route("any", &["*"]),
                route("short", &["claude-*"]),
                route("long", &["claude-sonnet-*"]),
                route("suffix", &["*-latest"]),
                route("exact", &["claude-sonnet-5"]),
            ],
        );
        for (model, expected) in [
            ("claude-sonnet-5", "exact"),
            ("claude-sonnet-4", "long"),
            ("claude-opus", "short"),
            ("claude-latest", "short"),
            ("gpt-latest", "suffix"),
            ("gpt", "any"),
            ("cla", "any"),
            ("\u{e9}", "any"),
        ] {
            assert_eq!(serves(&table, model).as_deref(), Some(expected), "{model}");
        }
    }

    #[test]
    fn precedence_then_demands_then_age_then_name_decide() {
        let asks = |route: Route| {
            let header = HeaderMatch {
                name: HeaderName::from_static("x-tier"),
                test: HeaderTest::Exact("gold".into()),
            };
            Route { matches: Match { apis: vec![], headers: vec![header] }, ..route }
        };
        let table = Table::new(
            1,
            vec![
                Route { created: 2, ..route("a-young", &["m", "n"]) },
                Route { created: 1, ..route("z-old", &["m", "n"]) },
                asks(route("gold", &["m", "n"])),
                Route { precedence: 1, ..route("first", &["n"]) },
            ],
        );
        let mut gold = HeaderMap::new();
        gold.insert("x-tier", "gold".parse().unwrap());
        assert_eq!(serves(&table, "m").as_deref(), Some("z-old"));
        assert_eq!(serves(&table, "n").as_deref(), Some("first"));
        let found = table.find(Api::Messages, "m", &gold, Caller::Anonymous).unwrap();
        assert_eq!(&*found.id.name, "gold");
    }

    #[test]
    fn a_listing_names_what_the_api_may_ask_for() {
        let only = Match { apis: vec![Api::Messages], headers: vec![] };
        let messages = Route { matches: only, ..route("messages", &["m"]) };
        let table = Table::new(1, vec![messages, route("all", &["a", "b-*"])]);
        let names = |api| {
            let models = table.models(api, Caller::Anonymous);
            models.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(Api::ChatCompletions), ["a"]);
        assert_eq!(names(Api::Messages), ["a", "m"]);
    }

    /// Two teams use one name; one consumer has a route of its own; another team sees none of it.
    #[test]
    fn a_route_that_the_caller_may_not_use_is_not_there() {
        let access = |namespaces: &[&str], consumers: &[ObjectId]| Access {
            anonymous: false,
            namespaces: Namespaces::These(namespaces.iter().map(|name| (*name).into()).collect()),
            consumers: consumers.iter().cloned().collect(),
            groups: [].into(),
        };
        let vip = ObjectId::new("b", "vip");
        let table = Table::new(
            1,
            vec![
                Route { access: access(&["a"], &[]), ..route("for-a", &["chat"]) },
                Route { access: access(&["b"], &[]), ..route("for-b", &["chat"]) },
                Route { access: access(&[], &[vip]), ..route("for-vip", &["chat", "only"]) },
            ],
        );
        for (namespace, name, chat, models) in [
            ("a", "x", Some("for-a"), &["chat"][..]),
            ("b", "x", Some("for-b"), &["chat"]),
            ("b", "vip", Some("for-vip"), &["chat", "only"]),
            ("c", "x", None, &[]),
        ] {
            let id = ObjectId::new(namespace, name);
            let (groups, keys) = (Vec::new(), Vec::new());
            let consumer = Consumer { id, groups, preference: None, keys };
            let caller = Caller::Consumer(&consumer);
            let found = table.find(Api::Messages, "chat", &HeaderMap::new(), caller);
            assert_eq!(found.map(|route| &*route.id.name), chat, "{namespace}/{name}");
            let listed = table.models(Api::Messages, caller);
            assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), models);
        }
    }
}
