//! What all workers counted of one route, added up, and its series.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    cells::{RouteCells, RouteLabel, Summed, TokenKind},
    families::{About, Families, Labels},
    outcome::{AttemptOutcome, Outcome},
};

const REQUESTS: About = About("trunkline_requests_total", "Requests by outcome.");
const ATTEMPTS: About = About("trunkline_attempts_total", "Upstream attempts by outcome.");
const TOKENS: About = About(
    "trunkline_tokens_total",
    "Tokens as the providers reported them; cached and cache_write are parts of input, reasoning is \
     a part of output.",
);
const IN_FLIGHT: About =
    About("trunkline_in_flight_requests", "Requests that have arrived and not ended.");
const DURATION: About = About(
    "trunkline_request_duration_seconds",
    "From the arrival of a request to the last byte of its answer.",
);
const FIRST_TOKEN: About = About(
    "trunkline_first_token_seconds",
    "From the arrival of a streamed request to its first meaningful token.",
);
const OUTPUT_TOKEN: About =
    About("trunkline_output_token_seconds", "Time per output token after the first, streams only.");
const ADDED: About = About(
    "trunkline_added_seconds",
    "Time that the proxy itself added before the first byte of an answer.",
);

/// The sums of one route over all workers.
#[derive(Debug)]
pub(super) struct RouteSums {
    /// When the first worker met the route, as a place in a row.
    pub(super) born: u64,
    requests: BTreeMap<(&'static str, &'static str), u64>,
    attempts: BTreeMap<(Arc<str>, &'static str, &'static str), u64>,
    tokens: BTreeMap<(Arc<str>, &'static str), u64>,
    duration: Summed,
    first_token: Summed,
    output_token: Summed,
    added: Summed,
    in_flight: u64,
}

impl Default for RouteSums {
    fn default() -> Self {
        Self {
            born: u64::MAX,
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            duration: Summed::default(),
            first_token: Summed::default(),
            output_token: Summed::default(),
            added: Summed::default(),
            in_flight: 0,
        }
    }
}

impl RouteSums {
    /// Adds what one worker counted. What never happened is left out, so that the number of series
    /// follows what really happens.
    pub(super) fn add(&mut self, cells: &RouteCells) {
        self.born = self.born.min(cells.born);
        cells.each_api(&mut |api, counters| {
            let counted = Outcome::ALL.iter().zip(counters).map(|(o, cell)| (o, cell.get()));
            for (outcome, value) in counted.filter(|(_, value)| *value > 0) {
                *self.requests.entry((api, outcome.as_str())).or_default() += value;
            }
        });
        cells.each_target(&mut |target, cells| {
            let counted = AttemptOutcome::ALL.iter().zip(&cells.attempts);
            for (outcome, value) in counted.map(|(o, c)| (o, c.get())).filter(|(_, v)| *v > 0) {
                let key = (Arc::clone(target), cells.provider, outcome.as_str());
                *self.attempts.entry(key).or_default() += value;
            }
            let counted = TokenKind::ALL.iter().zip(&cells.tokens);
            for (kind, value) in counted.map(|(k, c)| (k, c.get())).filter(|(_, v)| *v > 0) {
                *self.tokens.entry((Arc::clone(target), kind.as_str())).or_default() += value;
            }
        });
        cells.duration.add_to(&mut self.duration);
        cells.first_token.add_to(&mut self.first_token);
        cells.output_token.add_to(&mut self.output_token);
        cells.added.add_to(&mut self.added);
        // Workers count up and down apart; only the sum is a number of requests.
        self.in_flight = self.in_flight.wrapping_add(cells.in_flight.get());
    }

    /// Its counters and gauges: all, or none where there is no room.
    pub(super) fn counts(&self, (namespace, route): &RouteLabel, families: &mut Families) {
        let series = self.requests.len() + self.attempts.len() + self.tokens.len() + 1;
        if !families.take_room(series) {
            return;
        }
        let of: &Labels<'_> = &[("namespace", namespace), ("route", route)];
        for ((api, outcome), value) in &self.requests {
            let labels = [of, &[("api", api), ("outcome", outcome)]].concat();
            families.counter(REQUESTS, &labels, *value);
        }
        for ((target, provider, outcome), value) in &self.attempts {
            let labels =
                [of, &[("target", target), ("provider", provider), ("outcome", outcome)]].concat();
            families.counter(ATTEMPTS, &labels, *value);
        }
        for ((target, kind), value) in &self.tokens {
            let labels = [of, &[("target", target), ("kind", kind)]].concat();
            families.counter(TOKENS, &labels, *value);
        }
        if !route.is_empty() {
            families.gauge(IN_FLIGHT, of, self.in_flight);
        }
    }

    /// Its histograms, each if there is room.
    pub(super) fn times(&self, (namespace, route): &RouteLabel, families: &mut Families) {
        let of: &Labels<'_> = &[("namespace", namespace), ("route", route)];
        families.histogram(DURATION, of, &self.duration);
        families.histogram(FIRST_TOKEN, of, &self.first_token);
        families.histogram(OUTPUT_TOKEN, of, &self.output_token);
        families.histogram(ADDED, of, &self.added);
    }
}
