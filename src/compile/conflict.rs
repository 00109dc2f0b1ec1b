//! Two routes that claim one name in the same way: who keeps it, and what the other is told.
//!
//! Routes that ask for different things (another pattern, another `match`, other callers) do not
//! conflict: the order of decision in `table/matcher.rs` chooses between them for each request. Where
//! pattern and `match` are the same and everybody whom the second lets in is let in by the first, it
//! would never be reached, so it loses the name and is told. Two teams may so use the same name.
//! The winner is the one that the matcher would choose: higher `precedence`, then older, then
//! namespace and name. So a conflict ends the same way everywhere and after every restart.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::report::{Problem, Reason};
use crate::table::{Access, Match, ObjectId, Pattern, Route};

/// A route's place among those that claim the same; smaller wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    precedence: Reverse<i32>,
    demands: Reverse<usize>,
    created: u64,
    id: ObjectId,
}

impl Claim {
    fn of(route: &Route) -> Self {
        let (precedence, demands, created, id) = route.rank();
        Self { precedence, demands, created, id: id.clone() }
    }
}

/// Who claims what.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<(Pattern, Match), BTreeMap<Claim, Access>>);

impl Names {
    /// Takes over that a route's claims changed. The routes that this concerns.
    pub(super) fn replace(
        &mut self,
        was: Option<&Route>,
        is: Option<&Route>,
    ) -> BTreeSet<ObjectId> {
        let mut reached = BTreeSet::new();
        for (name, claim, _) in was.into_iter().flat_map(claims) {
            if let Some(claims) = self.0.get_mut(&name) {
                claims.remove(&claim);
                reached.extend(claims.keys().map(|claim| claim.id.clone()));
                if claims.is_empty() {
                    self.0.remove(&name);
                }
            }
        }
        for (name, claim, access) in is.into_iter().flat_map(claims) {
            let claims = self.0.entry(name).or_default();
            claims.insert(claim, access);
            reached.extend(claims.keys().map(|claim| claim.id.clone()));
        }
        reached
    }

    /// The names that a route claims and does not get, each with its own words: those that a route
    /// before it claims, for everybody whom this one is for. `consumers` says whether there are any:
    /// without them every caller is anonymous, and `access` tells nobody apart.
    pub(super) fn lost(&self, route: &Route, consumers: bool) -> Vec<(Pattern, Problem)> {
        let mine = Claim::of(route);
        let hides = |(_, access): &(&Claim, &Access)| {
            let everybody = !consumers && access.anonymous && route.access.anonymous;
            everybody || access.covers(&route.access)
        };
        let lost = route.models.iter().enumerate().filter_map(|(index, pattern)| {
            let name = (pattern.clone(), route.matches.clone());
            let (winner, _) = self.0.get(&name)?.range(..&mine).find(hides)?;
            Some((pattern.clone(), told(pattern, index, winner, &mine)))
        });
        lost.collect()
    }
}

fn claims(route: &Route) -> impl Iterator<Item = ((Pattern, Match), Claim, Access)> {
    let claim = Claim::of(route);
    route.models.iter().map(move |name| {
        let name = (name.clone(), route.matches.clone());
        (name, claim.clone(), route.access.clone())
    })
}

fn told(pattern: &Pattern, index: usize, winner: &Claim, loser: &Claim) -> Problem {
    let why = match (winner.precedence.cmp(&loser.precedence), winner.created.cmp(&loser.created)) {
        (Ordering::Less, _) => "whose `precedence` is higher",
        (Ordering::Equal | Ordering::Greater, Ordering::Less) => "which is older",
        (Ordering::Equal | Ordering::Greater, Ordering::Equal | Ordering::Greater) => {
            "whose name comes first"
        }
    };
    let field = format!("spec.models[{index}]");
    let message = format!(
        "`{pattern}` belongs to ModelRoute {}, {why}; choose another name, another `match` or \
         `access`, or a higher `precedence`",
        winner.id
    );
    Problem::at(Reason::NameTaken, &field, message)
}
