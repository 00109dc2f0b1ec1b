//! What a caller's preference makes of a route's strategy.
//!
//! A route of [`Strategy::Balanced`] weighs several things against each other; a caller may say how.
//! Every other strategy is the route's word alone: whoever wrote `Cheapest` or gave weights has
//! decided. The presets weigh quality, cost, speed and load as 25:55:10:10 (`Economy`), 40:30:20:10
//! (`Balanced`), 30:10:50:10 (`Speed`) and 70:10:10:10 (`Quality`). They are fixed, so that a caller
//! gets the same from every route.

use crate::table::{Preference, Shares, Strategy};

/// The strategy of a route for a caller.
pub fn of_caller(route: Strategy, caller: Option<Preference>) -> Strategy {
    match (route, caller) {
        (Strategy::Balanced(_), Some(preference)) => Strategy::Balanced(shares(preference)),
        (
            Strategy::Balanced(_)
            | Strategy::Cheapest
            | Strategy::Fastest
            | Strategy::LeastBusy
            | Strategy::Weighted,
            _,
        ) => route,
    }
}

const fn shares(preference: Preference) -> Shares {
    let (quality, cost, first_token, per_token) = match preference {
        Preference::Balanced => (40, 30, 15, 5),
        Preference::Economy => (25, 55, 8, 2),
        Preference::Quality => (70, 10, 8, 2),
        Preference::Speed => (30, 10, 40, 10),
    };
    Shares { cost, first_token, per_token, load: 10, quality }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_bends_balanced_and_nothing_else() {
        let own = Shares { cost: 1, first_token: 1, per_token: 1, load: 1, quality: 1 };
        for route in [
            Strategy::Balanced(own),
            Strategy::Cheapest,
            Strategy::Fastest,
            Strategy::LeastBusy,
            Strategy::Weighted,
        ] {
            assert_eq!(of_caller(route, None), route);
            let bent = of_caller(route, Some(Preference::Speed)) != route;
            assert_eq!(bent, matches!(route, Strategy::Balanced(_)), "{route:?}");
        }
    }

    #[test]
    fn every_preset_gives_a_hundred_shares_and_most_of_them_to_what_it_names() {
        let of = |preference| {
            let Shares { cost, first_token, per_token, load, quality } = shares(preference);
            assert_eq!(cost + first_token + per_token + load + quality, 100, "{preference:?}");
            [cost, first_token + per_token, quality]
        };
        let [economy, quality, speed] =
            [Preference::Economy, Preference::Quality, Preference::Speed].map(of);
        assert!(economy[0] > 50 && speed[1] >= 50 && quality[2] > 50);
        assert!(of(Preference::Balanced).iter().all(|share| (20..=40).contains(share)));
    }
}
