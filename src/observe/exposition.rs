//! All workers' cells summed and written as Prometheus reads them.
//!
//! The `prometheus` crate owns the format, the process metrics and the few metrics that no worker
//! writes; this file gathers the workers' cells and decides who is shown when there are too many.
//! The rule: counters before histograms, because every route's errors matter more than some route's
//! quantiles; and within each of the two, routes in the order in which they were first used, so that
//! a new route does not push out an older one of its kind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{
    cells::{Cells, FIRST_TOKEN, RouteLabel, Summed},
    families::{About, Families},
    samples::{
        BackendSample, CircuitSample, KeySample, PriceSample, QuotaSample, Source, SpillSample,
    },
    sums::RouteSums,
};

/// The most series of routes, targets and keys that are shown, unless somebody says otherwise; those of
/// the process come on top.
///
/// A route with traffic has about 70: four histograms of 14 to 21, and a few counters.
pub const MOST_SERIES: usize = 10_000;

/// How much is shown, and how finely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// The most series of routes, targets and keys; those of the process come on top.
    pub most_series: usize,
    /// Upper bounds in seconds, rising, for first tokens.
    pub first_token: &'static [f64],
}

impl Default for Shown {
    fn default() -> Self {
        Self { most_series: MOST_SERIES, first_token: FIRST_TOKEN }
    }
}

const OPEN_STREAMS: About = About("trunkline_open_streams", "Streams whose answer is on its way.");
const CONNECTIONS: About = About("trunkline_connections", "Connections from clients.");
const KEY_RESTING: About = About(
    "trunkline_key_resting",
    "1 while an API key rests because its provider limited or refused it, else 0.",
);
const KEY_REFUSED: About = About(
    "trunkline_key_refused",
    "1 from when a provider refused an API key until it accepts it again, else 0.",
);
const CIRCUIT_OPEN: About = About(
    "trunkline_circuit_open",
    "1 while a model of a credential is left alone because it failed or fell silent, else 0.",
);
const DECISION: About =
    About("trunkline_decision_seconds", "How long it took to choose a target for a request.");
const BACKEND_PODS: About =
    About("trunkline_backend_pods", "Pods of a Service that may take requests.");
const BACKEND_IN_FLIGHT: About =
    About("trunkline_backend_in_flight_requests", "Requests at the pods of a Service.");
const BACKEND_QUEUED: About = About(
    "trunkline_backend_queued_requests",
    "Requests that wait for the first pod of a Service.",
);
const QUOTA_HEADROOM: About = About(
    "trunkline_quota_headroom_ratio",
    "What is left of this process's share of a credential's quota, from 0 to 1.",
);
const SPEND_TIER_PRICE: About = About(
    "trunkline_spend_tier_price",
    "What the next dollar of a credential with spend tiers costs, as a multiple of the list price.",
);
const TARGET_FULL: About = About(
    "trunkline_target_full",
    "1 while requests spill over to the next tier because a target is full, else 0.",
);
const SPILLED: About = About(
    "trunkline_spilled_requests_total",
    "Requests that another tier served because a target was full.",
);
const DROPPED_SERIES: About =
    About("trunkline_dropped_series", "Series that are not shown because there are too many.");

/// The metrics of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    workers: Workers,
    /// The revision of the routing table in use.
    pub table_revision: IntGauge,
    /// Seconds since the Unix epoch at which a table was last taken into use.
    pub table_timestamp: IntGauge,
    /// Reloads by result: applied, unchanged, rejected.
    pub reloads: IntCounterVec,
    /// Lines that the access log could not take.
    pub log_dropped: IntCounter,
    /// Traces of requests that did not reach the collector.
    pub traces_dropped: IntCounter,
}

/// The cells of every worker, and what else is asked at a scrape.
#[derive(Clone, Debug)]
struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cells: Mutex<Vec<Arc<Cells>>>,
    /// How many routes were met so far, over all workers.
    births: Arc<AtomicU64>,
    keys: Source<KeySample>,
    circuits: Source<CircuitSample>,
    backends: Source<BackendSample>,
    quotas: Source<QuotaSample>,
    prices: Source<PriceSample>,
    spills: Source<SpillSample>,
    shown: Shown,
}

impl Metrics {
    /// Registers everything, and shows it as is usual.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        Self::with(Shown::default())
    }

    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn with(shown: Shown) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            workers: Workers(Arc::new(Inner {
                cells: Mutex::default(),
                births: Arc::default(),
                keys: Source::new(),
                circuits: Source::new(),
                backends: Source::new(),
                quotas: Source::new(),
                prices: Source::new(),
                spills: Source::new(),
                shown,
            })),
            table_revision: IntGauge::new(
                "trunkline_table_revision",
                "Revision of the routing table in use.",
            )?,
            table_timestamp: IntGauge::new(
                "trunkline_table_last_success_timestamp_seconds",
                "When a routing table was last taken into use, in seconds since the Unix epoch.",
            )?,
            reloads: IntCounterVec::new(
                Opts::new(
                    "trunkline_table_reloads_total",
                    "Reloads of the routing table by result.",
                ),
                &["result"],
            )?,
            log_dropped: IntCounter::new(
                "trunkline_access_log_dropped_total",
                "Access log lines that were dropped because the log could not keep up.",
            )?,
            traces_dropped: IntCounter::new(
                "trunkline_traces_dropped_total",
                "Traces of requests that did not reach the collector.",
            )?,
        };
        for result in ["applied", "rejected", "unchanged"] {
            metrics.reloads.with_label_values(&[result]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.table_revision.clone()))?;
        registry.register(Box::new(metrics.table_timestamp.clone()))?;
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.log_dropped.clone()))?;
        registry.register(Box::new(metrics.traces_dropped.clone()))?;
        registry.register(Box::new(metrics.workers.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Adds what only some processes count.
    pub(super) fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// The cells of a new worker.
    pub fn worker(&self) -> Arc<Cells> {
        let cells = Arc::new(Cells::new(
            Arc::clone(&self.workers.0.births),
            self.workers.0.shown.first_token,
        ));
        self.workers.lock().push(Arc::clone(&cells));
        cells
    }

    /// Asks `keys` at every scrape which keys there are and which of them rest. The first call
    /// decides.
    pub fn watch_keys(&self, keys: impl Fn() -> Vec<KeySample> + Send + Sync + 'static) {
        self.workers.0.keys.set(keys);
    }

    /// Asks `circuits` at every scrape which models are left alone. The first call decides.
    pub fn watch_circuits(
        &self,
        circuits: impl Fn() -> Vec<CircuitSample> + Send + Sync + 'static,
    ) {
        self.workers.0.circuits.set(circuits);
    }

    /// Asks `backends` at every scrape how the Services behind credentials are. The first call decides.
    pub fn watch_backends(
        &self,
        backends: impl Fn() -> Vec<BackendSample> + Send + Sync + 'static,
    ) {
        self.workers.0.backends.set(backends);
    }

    /// Asks `quotas` at every scrape what is left of credentials' quotas. The first call decides.
    pub fn watch_quotas(&self, quotas: impl Fn() -> Vec<QuotaSample> + Send + Sync + 'static) {
        self.workers.0.quotas.set(quotas);
    }

    /// Asks `prices` at every scrape what the next dollar of credentials with spend tiers costs. The first
    /// call decides.
    pub fn watch_prices(&self, prices: impl Fn() -> Vec<PriceSample> + Send + Sync + 'static) {
        self.workers.0.prices.set(prices);
    }

    /// Asks `spills` at every scrape which targets are full. The first call decides.
    pub fn watch_spills(&self, spills: impl Fn() -> Vec<SpillSample> + Send + Sync + 'static) {
        self.workers.0.spills.set(spills);
    }

    /// Ends the series of routes and targets that a new table no longer has, also those of workers
    /// that no request has reached since. `keep` is asked about each route with `None`, and about
    /// each target of those that stay.
    pub fn retain(&self, keep: &dyn Fn(&str, &str, Option<&str>) -> bool) {
        for cells in self.workers.lock().iter() {
            cells.retain(&|namespace, route| keep(namespace, route, None));
            cells.each(&mut |(namespace, route), cells| {
                cells.retain(&|target| keep(namespace, route, Some(target)));
            });
        }
    }

    /// Connections from clients, over all workers.
    pub fn connections(&self) -> u64 {
        self.workers.lock().iter().map(|cells| cells.connections.get()).sum()
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Workers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Cells>>> {
        self.0.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Workers {
    fn desc(&self) -> Vec<&Desc> {
        // The registry compares descriptions to find doubles; there are none to find.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::new(self.0.shown.most_series);
        let mut routes: BTreeMap<RouteLabel, RouteSums> = BTreeMap::new();
        let (mut open_streams, mut connections) = (0_u64, 0_u64);
        let mut decision = Summed::default();
        for cells in self.lock().iter() {
            open_streams = open_streams.wrapping_add(cells.open_streams.get());
            connections = connections.wrapping_add(cells.connections.get());
            cells.decision.add_to(&mut decision);
            cells.each(&mut |label, cells| {
                routes.entry(label.clone()).or_default().add(cells);
            });
        }
        families.gauge(OPEN_STREAMS, &[], open_streams);
        families.gauge(CONNECTIONS, &[], connections);
        families.histogram(DECISION, &[], &decision);
        for sample in self.0.keys.samples() {
            let KeySample { namespace, credential, key, resting, refused } = sample;
            if families.take_room(2) {
                let labels =
                    [("namespace", &*namespace), ("credential", &*credential), ("key", &*key)];
                families.gauge(KEY_RESTING, &labels, u64::from(resting));
                families.gauge(KEY_REFUSED, &labels, u64::from(refused));
            }
        }
        for sample in self.0.circuits.samples() {
            let CircuitSample { namespace, credential, model, open } = sample;
            if families.take_room(1) {
                let labels =
                    [("namespace", &*namespace), ("credential", &*credential), ("model", &*model)];
                families.gauge(CIRCUIT_OPEN, &labels, u64::from(open));
            }
        }
        for sample in self.0.backends.samples() {
            let BackendSample { namespace, credential, pods, in_flight, queued } = sample;
            if families.take_room(3) {
                let labels = [("namespace", &*namespace), ("credential", &*credential)];
                families.gauge(BACKEND_PODS, &labels, pods);
                families.gauge(BACKEND_IN_FLIGHT, &labels, in_flight);
                families.gauge(BACKEND_QUEUED, &labels, queued);
            }
        }
        for sample in self.0.quotas.samples() {
            let QuotaSample { namespace, credential, limit, headroom } = sample;
            if families.take_room(1) {
                let labels =
                    [("namespace", &*namespace), ("credential", &*credential), ("limit", limit)];
                families.ratio(QUOTA_HEADROOM, &labels, headroom);
            }
        }
        for sample in self.0.prices.samples() {
            let PriceSample { namespace, credential, ratio } = sample;
            if families.take_room(1) {
                let labels = [("namespace", &*namespace), ("credential", &*credential)];
                families.ratio(SPEND_TIER_PRICE, &labels, ratio);
            }
        }
        for sample in self.0.spills.samples() {
            let SpillSample { namespace, route, target, full, spilled } = sample;
            if families.take_room(2) {
                let labels = [("namespace", &*namespace), ("route", &*route), ("target", &*target)];
                families.gauge(TARGET_FULL, &labels, u64::from(full));
                families.counter(SPILLED, &labels, spilled);
            }
        }
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by_key(|(_, sums)| sums.born);
        for (label, sums) in &routes {
            sums.counts(label, &mut families);
        }
        for (label, sums) in &routes {
            sums.times(label, &mut families);
        }
        let left_out = families.left_out();
        families.gauge(DROPPED_SERIES, &[], left_out);
        families.into_families()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::{AttemptOutcome, Outcome, TokenKind};

    #[test]
    fn workers_are_summed_and_what_never_happened_has_no_series() {
        let metrics = Metrics::new().unwrap();
        let workers = [metrics.worker(), metrics.worker()];
        for cells in &workers {
            let route = cells.route(&"team".into(), &"chat".into());
            route.requests("Messages")[Outcome::Ok as usize].add(2);
            route.duration.observe(Duration::from_millis(30));
            route.target(&"sonnet".into(), "Anthropic").tokens(TokenKind::Output, 5);
        }
        workers[0].route(&"team".into(), &"chat".into()).in_flight.add(1);
        workers[1].route(&"team".into(), &"chat".into()).in_flight.sub(1);
        let text = metrics.render();
        for line in [
            r#"trunkline_requests_total{api="Messages",namespace="team",outcome="ok",route="chat"} 4"#,
            r#"trunkline_tokens_total{kind="output",namespace="team",route="chat",target="sonnet"} 10"#,
            r#"trunkline_request_duration_seconds_bucket{namespace="team",route="chat",le="0.05"} 2"#,
            r#"trunkline_request_duration_seconds_sum{namespace="team",route="chat"} 0.06"#,
            r#"trunkline_in_flight_requests{namespace="team",route="chat"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains(r#"outcome="timeout""#));
    }

    fn lines_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter(|line| line.starts_with(name)).collect()
    }

    /// Prometheus dies of too many series before we do.
    #[test]
    fn there_are_never_more_series_than_allowed_and_old_ones_stay() {
        const MOST: usize = 60;
        let metrics = Metrics::with(Shown { most_series: MOST, ..Shown::default() }).unwrap();
        let cells = metrics.worker();
        let serve = |name: String| {
            let route = cells.route(&"team".into(), &name.into());
            route.requests("Messages")[Outcome::Ok as usize].add(1);
            route.duration.observe(Duration::from_millis(30));
        };
        // Named so that the order of names is not the order of birth.
        serve("z".to_owned());
        let first = metrics.render();
        assert!(first.contains("trunkline_dropped_series 0"), "{first}");
        (0..40).for_each(|at| serve(format!("r{at:02}")));
        let text = metrics.render();
        let routed = text.lines().filter(|line| line.contains("route=")).count();
        assert!(routed <= MOST, "{routed}");
        assert!(text.contains(
            r#"trunkline_requests_total{api="Messages",namespace="team",outcome="ok",route="z"} 1"#
        ));
        // 41 routes of 2 counters each and 19 series of a histogram were to be shown; 60 are.
        assert_eq!(lines_of(&text, "trunkline_requests_total").len(), 30);
        assert!(text.contains("trunkline_dropped_series 801"), "{text}");
        metrics.retain(&|_, route, _| route == "z");
        assert!(metrics.render().contains("trunkline_dropped_series 0"));
        assert_eq!(
            lines_of(&metrics.render(), "trunkline_request_duration_seconds_count").len(),
            1
        );
    }

    #[test]
    fn an_objective_may_have_a_bound_of_its_own() {
        let metrics =
            Metrics::with(Shown { first_token: &[0.5, 1.2], ..Shown::default() }).unwrap();
        let route = metrics.worker().route(&"team".into(), &"chat".into());
        route.first_token.observe(Duration::from_millis(1200));
        route.first_token.observe(Duration::from_millis(1300));
        let text = metrics.render();
        let buckets = lines_of(&text, "trunkline_first_token_seconds_bucket");
        let counts: Vec<_> = buckets.iter().filter_map(|line| line.split_once("le=")).collect();
        let ends: Vec<_> = counts.into_iter().map(|(_, end)| end).collect();
        assert_eq!(ends, ["\"0.5\"} 0", "\"1.2\"} 1", "\"+Inf\"} 2"]);
    }

    #[test]
    fn a_swap_ends_series_of_workers_that_sleep() {
        let metrics = Metrics::new().unwrap();
        for cells in [metrics.worker(), metrics.worker()] {
            for route in ["kept", "gone"] {
                let route = cells.route(&"team".into(), &route.into());
                for target in ["kept", "gone"] {
                    let target = route.target(&target.into(), "OpenAI");
                    target.attempt(AttemptOutcome::Ok);
                }
            }
        }
        metrics.retain(&|_, route, target| route == "kept" && target.is_none_or(|t| t == "kept"));
        let text = metrics.render();
        assert!(!text.contains("gone"), "{text}");
        let kept = r#"trunkline_attempts_total{namespace="team",outcome="ok",provider="OpenAI",route="kept",target="kept"} 2"#;
        assert!(text.contains(kept), "{text}");
    }

    #[test]
    fn a_scrape_asks_for_the_keys_of_this_moment() {
        let metrics = Metrics::new().unwrap();
        let resting = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let now = Arc::clone(&resting);
        metrics.watch_keys(move || {
            let resting = now.load(std::sync::atomic::Ordering::Relaxed);
            let [namespace, credential, key] = ["team", "openai", "k1"].map(Arc::from);
            vec![KeySample { namespace, credential, key, resting, refused: false }]
        });
        let series = r#"trunkline_key_resting{credential="openai",key="k1",namespace="team"}"#;
        assert!(metrics.render().contains(&format!("{series} 0\n")));
        resting.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(metrics.render().contains(&format!("{series} 1\n")));
    }
}
