//! What all workers counted of one route, added up, and its series.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    cells::{
        AffinityResult, Cell, CostKind, FailoverPhase, HedgeResult, RouteCells, RouteLabel, Summed,
        TokenKind, Unpriced, Waste,
    },
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
const COST: About = About(
    "trunkline_cost_usd_total",
    "What providers bill for answers, in US dollars, as far as the prices are known.",
);
const WASTED: About = About(
    "trunkline_wasted_cost_usd_total",
    "The part of the cost whose answer nobody got whole, in US dollars.",
);
const UNPRICED: About = About(
    "trunkline_unpriced_attempts_total",
    "Answers whose cost is unknown, by what is missing.",
);
const IN_FLIGHT: About =
    About("trunkline_in_flight_requests", "Requests that have arrived and not ended.");
const BASELINE: About = About(
    "trunkline_baseline_cost_usd_total",
    "What the same answers would have cost at the dearest target of their route, in US dollars.",
);
const HEDGES: About =
    About("trunkline_hedges_total", "Requests that were asked twice, by who answered.");
const AFFINITY: About = About(
    "trunkline_affinity_total",
    "Requests on routes with affinity, by whether they were served where they belong.",
);
const FAILOVERS: About = About(
    "trunkline_failovers_total",
    "Attempts that another target or key took over from, by how far they had come.",
);
const QUEUE: About = About(
    "trunkline_queue_seconds",
    "How long requests waited for the first pod of a Service, whatever came of it.",
);
const SLO_RELAXED: About = About(
    "trunkline_slo_relaxed_total",
    "Answers of targets that miss the route's SLO, because every target does.",
);
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

/// By target and word.
type ByTarget = BTreeMap<(Arc<str>, &'static str), u64>;

/// The sums of one route over all workers.
#[derive(Debug)]
pub(super) struct RouteSums {
    /// When the first worker met the route, as a place in a row.
    pub(super) born: u64,
    requests: BTreeMap<(&'static str, &'static str), u64>,
    attempts: BTreeMap<(Arc<str>, &'static str, &'static str), u64>,
    tokens: ByTarget,
    cost: ByTarget,
    wasted: ByTarget,
    unpriced: ByTarget,
    duration: Summed,
    first_token: Summed,
    output_token: Summed,
    added: Summed,
    in_flight: u64,
    slo_relaxed: u64,
    baseline: u64,
    hedges: BTreeMap<&'static str, u64>,
    affinity: BTreeMap<&'static str, u64>,
    failovers: BTreeMap<&'static str, u64>,
    queue: Summed,
}

impl Default for RouteSums {
    fn default() -> Self {
        Self {
            born: u64::MAX,
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            cost: BTreeMap::new(),
            wasted: BTreeMap::new(),
            unpriced: BTreeMap::new(),
            duration: Summed::default(),
            first_token: Summed::default(),
            output_token: Summed::default(),
            added: Summed::default(),
            in_flight: 0,
            slo_relaxed: 0,
            baseline: 0,
            hedges: BTreeMap::new(),
            affinity: BTreeMap::new(),
            failovers: BTreeMap::new(),
            queue: Summed::default(),
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
            let words = TokenKind::ALL.iter().map(|kind| kind.as_str());
            add(&mut self.tokens, target, words, &cells.tokens);
            let words = CostKind::ALL.iter().map(|kind| kind.as_str());
            add(&mut self.cost, target, words, &cells.cost);
            let words = Waste::ALL.iter().map(|why| why.as_str());
            add(&mut self.wasted, target, words, &cells.wasted);
            let words = Unpriced::ALL.iter().map(|why| why.as_str());
            add(&mut self.unpriced, target, words, &cells.unpriced);
        });
        cells.duration.add_to(&mut self.duration);
        cells.first_token.add_to(&mut self.first_token);
        cells.output_token.add_to(&mut self.output_token);
        cells.added.add_to(&mut self.added);
        self.baseline += cells.baseline.get();
        let hedges = HedgeResult::ALL.iter().zip(cells.hedges.iter().map(Cell::get));
        for (result, value) in hedges.filter(|(_, value)| *value > 0) {
            *self.hedges.entry(result.as_str()).or_default() += value;
        }
        let affinity = AffinityResult::ALL.iter().zip(cells.affinity.iter().map(Cell::get));
        for (result, value) in affinity.filter(|(_, value)| *value > 0) {
            *self.affinity.entry(result.as_str()).or_default() += value;
        }
        let failovers = FailoverPhase::ALL.iter().zip(cells.failovers.iter().map(Cell::get));
        for (phase, value) in failovers.filter(|(_, value)| *value > 0) {
            *self.failovers.entry(phase.as_str()).or_default() += value;
        }
        cells.queue.add_to(&mut self.queue);
        // Workers count up and down apart; only the sum is a number of requests.
        self.slo_relaxed += cells.slo_relaxed.get();
        self.in_flight = self.in_flight.wrapping_add(cells.in_flight.get());
    }

    /// Its counters and gauges: all, or none where there is no room.
    pub(super) fn counts(&self, (namespace, route): &RouteLabel, families: &mut Families) {
        let by_target = [&self.tokens, &self.cost, &self.wasted, &self.unpriced];
        let by_target: usize = by_target.into_iter().map(BTreeMap::len).sum();
        let single = usize::from(self.slo_relaxed > 0) + usize::from(self.baseline > 0);
        let series = single
            + self.affinity.len()
            + self.hedges.len()
            + self.failovers.len()
            + self.requests.len()
            + self.attempts.len()
            + by_target
            + 1;
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
        for ((target, kind), value) in &self.cost {
            let labels = [of, &[("target", target), ("kind", kind)]].concat();
            families.billionths(COST, &labels, *value);
        }
        for ((target, reason), value) in &self.wasted {
            let labels = [of, &[("target", target), ("reason", reason)]].concat();
            families.billionths(WASTED, &labels, *value);
        }
        for ((target, reason), value) in &self.unpriced {
            let labels = [of, &[("target", target), ("reason", reason)]].concat();
            families.counter(UNPRICED, &labels, *value);
        }
        if !route.is_empty() {
            families.gauge(IN_FLIGHT, of, self.in_flight);
        }
        for (result, value) in &self.hedges {
            families.counter(HEDGES, &[of, &[("result", *result)]].concat(), *value);
        }
        for (phase, value) in &self.failovers {
            families.counter(FAILOVERS, &[of, &[("phase", *phase)]].concat(), *value);
        }
        for (result, value) in &self.affinity {
            families.counter(AFFINITY, &[of, &[("result", *result)]].concat(), *value);
        }
        if self.baseline > 0 {
            families.billionths(BASELINE, of, self.baseline);
        }
        if self.slo_relaxed > 0 {
            families.counter(SLO_RELAXED, of, self.slo_relaxed);
        }
    }

    /// Its histograms, each if there is room.
    pub(super) fn times(&self, (namespace, route): &RouteLabel, families: &mut Families) {
        let of: &Labels<'_> = &[("namespace", namespace), ("route", route)];
        families.histogram(DURATION, of, &self.duration);
        families.histogram(FIRST_TOKEN, of, &self.first_token);
        families.histogram(OUTPUT_TOKEN, of, &self.output_token);
        families.histogram(ADDED, of, &self.added);
        families.histogram(QUEUE, of, &self.queue);
    }
}

/// Adds what was counted of a target, word for word.
fn add(
    sums: &mut ByTarget,
    target: &Arc<str>,
    words: impl Iterator<Item = &'static str>,
    cells: &[Cell],
) {
    for (word, value) in words.zip(cells.iter().map(Cell::get)).filter(|(_, value)| *value > 0) {
        *sums.entry((Arc::clone(target), word)).or_default() += value;
    }
}
