//! The names of a table, hashed, and the order in which routes that claim the same one decide.

use std::{cmp::Reverse, sync::Arc};

use rustc_hash::FxHashMap;

use super::{id::ObjectId, matcher::Pattern, route::Route};

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
    use http::{HeaderMap, HeaderName};

    use super::*;
    use crate::{
        dialect::Api,
        table::{
            Access, Caller, Choosing, Consumer, Failover, FailoverSet, HeaderMatch, HeaderTest,
            Match, Namespaces, Table,
        },
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
