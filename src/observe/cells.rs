//! The counters of one worker: written by it alone, read by the scraper.
//!
//! A counter that several cores write is a cache line that several cores fight for. So each worker
//! has its own cells, and [`super::Metrics`] sums them when somebody asks. A cell has one writer,
//! hence no read-modify-write instruction: a relaxed load and a relaxed store suffice.
//!
//! Cells are found by name once for each table, when a worker first meets a route or target; the
//! request path holds them and finds nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::outcome::{AttemptOutcome, Outcome};
use crate::words::words;

words! {
    /// What a token was.
    TokenKind {
        /// Read from a cache; a part of `input`.
        Cached => "cached",
        /// Written to a cache; a part of `input`.
        CacheWrite => "cache_write",
        /// Read.
        Input => "input",
        /// Written.
        Output => "output",
        /// Written while thinking; a part of `output`.
        Reasoning => "reasoning",
    }
}

words! {
    /// What money was paid for.
    CostKind {
        /// Input read from a cache.
        CacheRead => "cache_read",
        /// Input written to a cache.
        CacheWrite => "cache_write",
        /// Fresh input.
        Input => "input",
        /// Output, reasoning included.
        Output => "output",
    }
}

words! {
    /// What became of a request on a route with affinity.
    AffinityResult {
        /// The target where it belongs had too much to do.
        Busy => "busy",
        /// The target where it belongs served it.
        Kept => "kept",
        /// The target where it belongs was too slow or too dear.
        Slow => "slow",
        /// The target where it belongs could not serve.
        Unavailable => "unavailable",
        /// Nothing in it says where it belongs.
        Unkeyed => "unkeyed",
    }
}

words! {
    /// How far an attempt had come when another target or key took over.
    FailoverPhase {
        /// There was no connection.
        Connect => "connect",
        /// The provider answered with an error.
        Error => "error",
        /// The answer had begun and broke, or brought no token in time.
        FirstToken => "first_token",
        /// The request was sent, and no answer began.
        Head => "head",
    }
}

words! {
    /// Who answered a request that was asked twice, because its first target was late.
    HedgeResult {
        /// The first target after all.
        First => "first",
        /// Neither.
        Neither => "neither",
        /// The second one.
        Second => "second",
    }
}

words! {
    /// Why money was paid for nothing.
    Waste {
        /// The client left before the end.
        Cancelled => "cancelled",
        /// The answer broke.
        Failed => "failed",
    }
}

words! {
    /// Why nobody knows what an answer cost.
    Unpriced {
        /// Nobody gave the price of the model, or of the service tier that was billed.
        Price => "price",
        /// The provider told no usage, as when a stream is cut before its end.
        Usage => "usage",
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to the counter. Only the worker that owns it may call this.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes from a counter that is a gauge.
    pub fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds in seconds, for whole requests: quick errors to long answers.
pub const DURATION: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
];

/// Upper bounds in seconds, for first tokens: dense where objectives are set.
pub const FIRST_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0,
];

/// Upper bounds in seconds, for the time per output token.
pub const OUTPUT_TOKEN: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0];

/// Upper bounds in seconds, for the time that the proxy itself adds.
pub const ADDED: &[f64] =
    &[0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05];

/// Upper bounds in seconds, for the choice of a target.
pub const DECISION: &[f64] =
    &[0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_5, 0.002];

/// Upper bounds in seconds, for the wait for a first pod: none that is ready soon to cold starts.
pub const QUEUE: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];

/// A histogram with one writer.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one for what is above the last.
    buckets: Box<[Cell]>,
    nanos: Cell,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Cell::default()).collect();
        Self { bounds, buckets, nanos: Cell::default() }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.add(1);
        }
        self.nanos.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what was counted to a sum over workers.
    pub(super) fn add_to(&self, sum: &mut Summed) {
        sum.bounds = self.bounds;
        sum.buckets.resize(self.buckets.len(), 0);
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        sum.nanos = sum.nanos.saturating_add(self.nanos.get());
    }
}

/// Histograms of several workers, added up.
#[derive(Debug, Default)]
pub(super) struct Summed {
    pub(super) bounds: &'static [f64],
    pub(super) buckets: Vec<u64>,
    pub(super) nanos: u64,
}

/// A namespace and a route; both empty for requests that reached no route.
pub type RouteLabel = (Arc<str>, Arc<str>);

/// The cells of one worker.
#[derive(Debug)]
pub struct Cells {
    /// How many routes were met so far, over all workers: the order of their births.
    births: Arc<AtomicU64>,
    /// Upper bounds of first tokens.
    first_token: &'static [f64],
    routes: Mutex<FxHashMap<RouteLabel, Arc<RouteCells>>>,
    /// Streams whose answer is on its way.
    pub open_streams: Cell,
    /// Connections from clients.
    pub connections: Cell,
    /// How long it took to choose a target.
    pub decision: Histogram,
}

impl Default for Cells {
    fn default() -> Self {
        Self::new(Arc::default(), FIRST_TOKEN)
    }
}

impl Cells {
    pub(super) fn new(births: Arc<AtomicU64>, first_token: &'static [f64]) -> Self {
        Self {
            births,
            first_token,
            routes: Mutex::default(),
            open_streams: Cell::default(),
            connections: Cell::default(),
            decision: Histogram::new(DECISION),
        }
    }

    /// The cells of a route. Takes a lock: not for the request path.
    pub fn route(&self, namespace: &Arc<str>, route: &Arc<str>) -> Arc<RouteCells> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let label = (Arc::clone(namespace), Arc::clone(route));
        Arc::clone(routes.entry(label).or_insert_with(|| {
            let born = self.births.fetch_add(1, Ordering::Relaxed);
            Arc::new(RouteCells::new(born, self.first_token))
        }))
    }

    /// Forgets routes that are gone, so that their series end.
    pub fn retain(&self, keep: &dyn Fn(&str, &str) -> bool) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|(namespace, route), _| route.is_empty() || keep(namespace, route));
    }

    /// Shows every route's cells.
    pub(super) fn each(&self, see: &mut dyn FnMut(&RouteLabel, &RouteCells)) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (label, cells) in routes.iter() {
            see(label, cells);
        }
    }
}

/// What is counted of a route.
#[derive(Debug)]
pub struct RouteCells {
    pub(super) born: u64,
    /// By API label, then by outcome.
    requests: Mutex<FxHashMap<&'static str, Arc<[Cell]>>>,
    targets: Mutex<FxHashMap<Arc<str>, Arc<TargetCells>>>,
    /// From arrival to the last byte.
    pub duration: Histogram,
    /// From arrival to the first meaningful token, streams only.
    pub first_token: Histogram,
    /// Between the first and the last token, divided by the tokens, streams only.
    pub output_token: Histogram,
    /// What the proxy itself added before the first byte.
    pub added: Histogram,
    /// In the line for a first pod.
    pub queue: Histogram,
    /// Requests that have arrived and not ended.
    pub in_flight: Cell,
    /// Answers of targets that miss the route's SLO, because all do.
    pub slo_relaxed: Cell,
    /// What its priced answers would have cost at its dearest target, in billionths of a US dollar.
    pub baseline: Cell,
    pub(super) hedges: [Cell; HedgeResult::ALL.len()],
    pub(super) affinity: [Cell; AffinityResult::ALL.len()],
    pub(super) failovers: [Cell; FailoverPhase::ALL.len()],
}

impl RouteCells {
    fn new(born: u64, first_token: &'static [f64]) -> Self {
        Self {
            born,
            requests: Mutex::default(),
            targets: Mutex::default(),
            duration: Histogram::new(DURATION),
            first_token: Histogram::new(first_token),
            output_token: Histogram::new(OUTPUT_TOKEN),
            added: Histogram::new(ADDED),
            queue: Histogram::new(QUEUE),
            in_flight: Cell::default(),
            slo_relaxed: Cell::default(),
            baseline: Cell::default(),
            hedges: Default::default(),
            affinity: Default::default(),
            failovers: Default::default(),
        }
    }

    /// Counts an attempt that another one took over from.
    pub fn failover(&self, phase: FailoverPhase) {
        if let Some(cell) = self.failovers.get(phase as usize) {
            cell.add(1);
        }
    }

    /// Counts a request that was asked twice.
    pub fn hedge(&self, result: HedgeResult) {
        if let Some(cell) = self.hedges.get(result as usize) {
            cell.add(1);
        }
    }

    /// Counts a request on a route with affinity.
    pub fn affinity(&self, result: AffinityResult) {
        if let Some(cell) = self.affinity.get(result as usize) {
            cell.add(1);
        }
    }

    /// The counters of one client API, by [`Outcome`]. Takes a lock: not for the request path.
    pub fn requests(&self, api: &'static str) -> Arc<[Cell]> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = requests
            .entry(api)
            .or_insert_with(|| Outcome::ALL.iter().map(|_| Cell::default()).collect());
        Arc::clone(cells)
    }

    /// The cells of a target. Takes a lock: not for the request path.
    pub fn target(&self, target: &Arc<str>, provider: &'static str) -> Arc<TargetCells> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = targets
            .entry(Arc::clone(target))
            .or_insert_with(|| Arc::new(TargetCells::new(provider)));
        if cells.provider != provider {
            *cells = Arc::new(TargetCells::new(provider));
        }
        Arc::clone(cells)
    }

    /// Forgets targets that are gone, so that their series end.
    pub fn retain(&self, keep: &dyn Fn(&str) -> bool) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.retain(|target, _| keep(target));
    }

    pub(super) fn each_api(&self, see: &mut dyn FnMut(&'static str, &[Cell])) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (api, cells) in requests.iter() {
            see(api, cells);
        }
    }

    pub(super) fn each_target(&self, see: &mut dyn FnMut(&Arc<str>, &TargetCells)) {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        for (target, cells) in targets.iter() {
            see(target, cells);
        }
    }
}

/// What is counted of a target.
#[derive(Debug)]
pub struct TargetCells {
    pub(super) provider: &'static str,
    pub(super) attempts: [Cell; AttemptOutcome::ALL.len()],
    pub(super) tokens: [Cell; TokenKind::ALL.len()],
    /// In billionths of a US dollar.
    pub(super) cost: [Cell; CostKind::ALL.len()],
    /// In billionths of a US dollar; a part of `cost`.
    pub(super) wasted: [Cell; Waste::ALL.len()],
    pub(super) unpriced: [Cell; Unpriced::ALL.len()],
}

impl TargetCells {
    fn new(provider: &'static str) -> Self {
        Self {
            provider,
            attempts: Default::default(),
            tokens: Default::default(),
            cost: Default::default(),
            wasted: Default::default(),
            unpriced: Default::default(),
        }
    }

    /// Counts an attempt.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        if let Some(cell) = self.attempts.get(outcome as usize) {
            cell.add(1);
        }
    }

    /// Counts tokens.
    pub fn tokens(&self, kind: TokenKind, tokens: u64) {
        if let Some(cell) = self.tokens.get(kind as usize) {
            cell.add(tokens);
        }
    }

    /// Counts money, in billionths of a US dollar.
    pub fn cost(&self, kind: CostKind, nano_dollars: u64) {
        if let Some(cell) = self.cost.get(kind as usize) {
            cell.add(nano_dollars);
        }
    }

    /// Counts money that was paid for nothing, in billionths of a US dollar.
    pub fn waste(&self, why: Waste, nano_dollars: u64) {
        if let Some(cell) = self.wasted.get(why as usize) {
            cell.add(nano_dollars);
        }
    }

    /// Counts an answer whose cost nobody knows.
    pub fn unpriced(&self, why: Unpriced) {
        if let Some(cell) = self.unpriced.get(why as usize) {
            cell.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        let histogram = Histogram::new(ADDED);
        for micros in [50, 51, 99_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut sum = Summed::default();
        histogram.add_to(&mut sum);
        histogram.add_to(&mut sum);
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.buckets[ADDED.len()]), (2, 2, 2));
        assert_eq!(sum.nanos, 2 * (50 + 51 + 99_000) * 1000);
    }

    #[test]
    fn a_route_that_is_gone_loses_its_cells_and_the_unrouted_never_do() {
        let cells = Cells::default();
        cells.route(&"ns".into(), &"gone".into());
        cells.route(&"".into(), &"".into());
        cells.retain(&|_, route| route != "gone");
        let mut left = Vec::new();
        cells.each(&mut |(_, route), _| left.push(route.to_string()));
        assert_eq!(left, [""]);
    }
}
