//! What all proxies together have to do, from what each of them says.
//!
//! A proxy tells what it has now and how much there ever was; how much came and went since the last
//! time is known of the proxies that answered both times. One that did not answer adds nothing, and is
//! counted as one that did not.

use std::{collections::BTreeMap, time::Duration};

use super::Reading;

/// What one proxy says of one backend, or of all that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait for a place.
    pub queued: u64,
    /// Requests that another target served because there was no place; only grows.
    pub passed_over: u64,
    /// Requests ever sent; only grows.
    pub started: u64,
    /// The milliseconds in which 95 of 100 first tokens come, and of how many that is known.
    pub first_token: Option<(f64, u32)>,
}

impl Told {
    /// Takes in what the same proxy says of another backend.
    pub fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.queued += other.queued;
        self.passed_over += other.passed_over;
        self.started += other.started;
        self.first_token = slower(self.first_token, other.first_token);
    }
}

/// The slower of two.
fn slower(one: Option<(f64, u32)>, other: Option<(f64, u32)>) -> Option<(f64, u32)> {
    match (one, other) {
        (Some(one), Some(other)) if one.0 >= other.0 => Some(one),
        (one, other) => other.or(one),
    }
}

/// Adds up what the proxies say, by their names; none of one that did not answer. `before` is what they
/// said `since` then.
#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
pub fn reading(
    now: &BTreeMap<String, Option<Told>>,
    before: Option<(&BTreeMap<String, Option<Told>>, Duration)>,
) -> Reading {
    let proxies = u32::try_from(now.len()).unwrap_or(u32::MAX);
    let mut reading = Reading { proxies, ..Reading::default() };
    let mut first_token = None;
    for (instance, told) in now {
        let Some(told) = told else { continue };
        reading.answered += 1;
        reading.in_flight += told.in_flight;
        reading.queued += told.queued;
        first_token = slower(first_token, told.first_token);
        let Some((before, since)) = before else { continue };
        let Some(Some(was)) = before.get(instance) else { continue };
        let seconds = since.as_secs_f64().max(0.001);
        let arrived = told.started.saturating_sub(was.started) as f64;
        let ended = (arrived + was.in_flight as f64 - told.in_flight as f64).max(0.0);
        reading.arrived += arrived / seconds;
        reading.ended += ended / seconds;
        reading.passed_over += told.passed_over.saturating_sub(was.passed_over) as f64 / seconds;
    }
    reading.first_token =
        first_token.map(|(millis, seen)| (Duration::from_secs_f64(millis / 1e3), seen));
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_proxies_say_is_added_up_and_what_came_between_is_counted() {
        let told = |in_flight, started, passed_over| Told {
            in_flight,
            started,
            passed_over,
            first_token: Some((300.0, 60)),
            ..Told::default()
        };
        let round =
            |one, other| BTreeMap::from([("a".to_owned(), Some(one)), ("b".to_owned(), other)]);
        let first = round(told(4, 100, 0), Some(told(1, 10, 0)));
        let second = round(told(5, 120, 6), None);
        let now = reading(&second, Some((&first, Duration::from_secs(2))));
        assert_eq!((now.in_flight, now.answered, now.proxies), (5, 1, 2));
        assert!((now.arrived - 10.0).abs() < 1e-9 && (now.ended - 9.5).abs() < 1e-9, "{now:?}");
        assert!((now.passed_over - 3.0).abs() < 1e-9, "{now:?}");
        assert_eq!(now.first_token, Some((Duration::from_millis(300), 60)));
        // Who was not there the first time has not done in two seconds what it ever did.
        let back = reading(&first, Some((&second, Duration::from_secs(2))));
        assert_eq!((back.in_flight, back.answered, back.arrived), (5, 2, 0.0));
        let alone = reading(&first, None);
        assert_eq!((alone.arrived, alone.ended, alone.passed_over), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_slowest_first_tokens_of_a_proxy_are_its_own() {
        let mut all = Told { first_token: Some((300.0, 60)), in_flight: 1, ..Told::default() };
        all.add(&Told { first_token: Some((900.0, 5)), in_flight: 2, ..Told::default() });
        all.add(&Told::default());
        assert_eq!((all.first_token, all.in_flight), (Some((900.0, 5)), 3));
    }
}
