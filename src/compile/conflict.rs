//! Two routes that claim one name in the same way: who keeps it, and what the other is told.
//!
//! Routes that ask for different things (another pattern, another `match`) do not conflict: the
//! order of decision in `table/matcher.rs` chooses between them for each request. Where pattern and
//! `match` are the same, one of the two would never be reached, so it loses the name and is told.
//! The winner is the one that the matcher would choose: higher `precedence`, then older, then
//! namespace and name. So a conflict ends the same way everywhere and after every restart.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, HashMap},
};

use super::report::{Problem, Reason};
use crate::table::{Match, ObjectId, Pattern, Route};

/// A route's place among those that claim the same; smaller wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    precedence: Reverse<i32>,
    created: u64,
    id: ObjectId,
}

impl Claim {
    fn of(route: &Route) -> Self {
        let Route { id, created, precedence, .. } = route;
        Self { precedence: Reverse(*precedence), created: *created, id: id.clone() }
    }
}

/// Who claims what.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<(Pattern, Match), BTreeSet<Claim>>);

impl Names {
    /// Takes over that a route's claims changed. The routes that this concerns.
    pub(super) fn replace(
        &mut self,
        was: Option<&Route>,
        is: Option<&Route>,
    ) -> BTreeSet<ObjectId> {
        let mut reached = BTreeSet::new();
        for (name, claim) in was.into_iter().flat_map(claims) {
            if let Some(claims) = self.0.get_mut(&name) {
                claims.remove(&claim);
                reached.extend(claims.iter().map(|claim| claim.id.clone()));
                if claims.is_empty() {
                    self.0.remove(&name);
                }
            }
        }
        for (name, claim) in is.into_iter().flat_map(claims) {
            let claims = self.0.entry(name).or_default();
            claims.insert(claim);
            reached.extend(claims.iter().map(|claim| claim.id.clone()));
        }
        reached
    }

    /// The names that a route claims and does not get, each with its own words.
    pub(super) fn lost(&self, route: &Route) -> Vec<(Pattern, Problem)> {
        let mine = Claim::of(route);
        let lost = route.models.iter().enumerate().filter_map(|(index, pattern)| {
            let name = (pattern.clone(), route.matches.clone());
            let winner = self.0.get(&name)?.first().filter(|winner| winner.id != mine.id)?;
            Some((pattern.clone(), told(pattern, index, winner, &mine)))
        });
        lost.collect()
    }
}

fn claims(route: &Route) -> impl Iterator<Item = ((Pattern, Match), Claim)> {
    let claim = Claim::of(route);
    route.models.iter().map(move |name| ((name.clone(), route.matches.clone()), claim.clone()))
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
        "`{pattern}` belongs to ModelRoute {}, {why}; choose another name, another `match`, or a \
         higher `precedence`",
        winner.id
    );
    Problem::at(Reason::NameTaken, &field, message)
}
