//! Two routes that claim one name in the same way: who keeps it, and what the other is told.
//!
//! Routes that ask for different things (another pattern, another `match`) do not conflict: the
//! order of decision in `table/matcher.rs` chooses between them for each request. Where pattern and
//! `match` are the same, one of the two would never be reached, so it loses the name and is told.
//! The winner is the one that the matcher would choose: higher `precedence`, then older, then
//! namespace and name. So a conflict ends the same way everywhere and after every restart.

use std::{cmp::Ordering, collections::BTreeMap};

use super::report::{Problem, Reason};
use crate::table::{Match, ObjectId, Pattern, Route};

/// A name that a route keeps.
#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    matches: &'a Match,
    precedence: i32,
    created: u64,
    id: &'a ObjectId,
}

/// Takes names from the routes that lose them. The result is in the order of `routes`: what each
/// route lost, in its own words.
pub(super) fn settle(routes: &mut [Route]) -> Vec<Vec<Problem>> {
    let mut order: Vec<_> = routes.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.rank().cmp(&b.rank()));
    let mut kept: BTreeMap<&Pattern, Vec<Claim<'_>>> = BTreeMap::new();
    let mut lost: Vec<(usize, Pattern, Problem)> = Vec::new();
    for (at, route) in order {
        let claim = Claim {
            matches: &route.matches,
            precedence: route.precedence,
            created: route.created,
            id: &route.id,
        };
        for (index, pattern) in route.models.iter().enumerate() {
            let claims = kept.entry(pattern).or_default();
            match claims.iter().find(|other| *other.matches == route.matches) {
                None => claims.push(claim),
                // The same name twice in one route is one name.
                Some(winner) if winner.id == claim.id => {}
                Some(winner) => {
                    lost.push((at, pattern.clone(), told(pattern, index, *winner, claim)));
                }
            }
        }
    }
    let mut problems = vec![Vec::new(); routes.len()];
    for (at, pattern, problem) in lost {
        if let (Some(route), Some(told)) = (routes.get_mut(at), problems.get_mut(at)) {
            route.models.retain(|name| *name != pattern);
            told.push(problem);
        }
    }
    problems
}

fn told(pattern: &Pattern, index: usize, winner: Claim<'_>, loser: Claim<'_>) -> Problem {
    let why = match (winner.precedence.cmp(&loser.precedence), winner.created.cmp(&loser.created)) {
        (Ordering::Greater, _) => "whose `precedence` is higher",
        (Ordering::Equal | Ordering::Less, Ordering::Less) => "which is older",
        (Ordering::Equal | Ordering::Less, Ordering::Equal | Ordering::Greater) => {
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
