//! All workers' cells summed and written as Prometheus reads them.
//!
//! The `prometheus` crate owns the format, the process metrics and the few metrics that no worker
//! writes; this file turns cells into its families. Series that were never counted are left out, so
//! the number of series follows what really happens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{
    cells::{Cells, RouteCells, RouteLabel, Summed, TokenKind},
    outcome::{AttemptOutcome, Outcome},
};

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
    /// Keys that rest.
    pub resting_keys: IntGauge,
    /// Lines that the access log could not take.
    pub log_dropped: IntCounter,
}

/// The cells of every worker.
#[derive(Clone, Debug, Default)]
struct Workers(Arc<Mutex<Vec<Arc<Cells>>>>);

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            workers: Workers::default(),
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
            resting_keys: IntGauge::new(
                "trunkline_resting_keys",
                "API keys that rest because a provider limited or refused them.",
            )?,
            log_dropped: IntCounter::new(
                "trunkline_access_log_dropped_total",
                "Access log lines that were dropped because the log could not keep up.",
            )?,
        };
        for result in ["applied", "rejected", "unchanged"] {
            metrics.reloads.with_label_values(&[result]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.table_revision.clone()))?;
        registry.register(Box::new(metrics.table_timestamp.clone()))?;
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.resting_keys.clone()))?;
        registry.register(Box::new(metrics.log_dropped.clone()))?;
        registry.register(Box::new(metrics.workers.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The cells of a new worker.
    pub fn worker(&self) -> Arc<Cells> {
        let cells = Arc::new(Cells::default());
        self.workers.lock().push(Arc::clone(&cells));
        cells
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sums of one route over all workers.
#[derive(Default)]
struct Route {
    requests: BTreeMap<(&'static str, &'static str), u64>,
    attempts: BTreeMap<(Arc<str>, &'static str, &'static str), u64>,
    tokens: BTreeMap<(Arc<str>, &'static str), u64>,
    duration: Summed,
    first_token: Summed,
    output_token: Summed,
    added: Summed,
    in_flight: u64,
}

impl Route {
    fn add(&mut self, cells: &RouteCells) {
        cells.each_api(&mut |api, counters| {
            for (outcome, cell) in Outcome::ALL.iter().zip(counters) {
                *self.requests.entry((api, outcome.as_str())).or_default() += cell.get();
            }
        });
        cells.each_target(&mut |target, cells| {
            for (outcome, cell) in AttemptOutcome::ALL.iter().zip(&cells.attempts) {
                let key = (Arc::clone(target), cells.provider, outcome.as_str());
                *self.attempts.entry(key).or_default() += cell.get();
            }
            for (kind, cell) in TokenKind::ALL.iter().zip(&cells.tokens) {
                let key = (Arc::clone(target), kind.as_str());
                *self.tokens.entry(key).or_default() += cell.get();
            }
        });
        cells.duration.add_to(&mut self.duration);
        cells.first_token.add_to(&mut self.first_token);
        cells.output_token.add_to(&mut self.output_token);
        cells.added.add_to(&mut self.added);
        // Workers count up and down apart; only the sum is a number of requests.
        self.in_flight = self.in_flight.wrapping_add(cells.in_flight.get());
    }
}

impl Collector for Workers {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut routes: BTreeMap<RouteLabel, Route> = BTreeMap::new();
        let (mut open_streams, mut connections) = (0_u64, 0_u64);
        for cells in self.lock().iter() {
            open_streams = open_streams.wrapping_add(cells.open_streams.get());
            connections = connections.wrapping_add(cells.connections.get());
            cells.each(&mut |label, cells| {
                routes.entry(label.clone()).or_default().add(cells);
            });
        }
        let mut families = Families::default();
        families.gauge(
            "trunkline_open_streams",
            "Streams whose answer is on its way.",
            &[],
            open_streams,
        );
        families.gauge("trunkline_connections", "Connections from clients.", &[], connections);
        for ((namespace, name), route) in &routes {
            route.expose(&[("namespace", namespace), ("route", name)], &mut families);
        }
        families.0.into_values().collect()
    }
}

impl Route {
    fn expose(&self, of: &[(&'static str, &str)], families: &mut Families) {
        let with = |more: &[(&'static str, &str)]| {
            [of, more].concat().into_iter().map(|(n, v)| (n, v.to_owned())).collect::<Vec<_>>()
        };
        for ((api, outcome), value) in &self.requests {
            let labels = with(&[("api", api), ("outcome", outcome)]);
            families.counter("trunkline_requests_total", "Requests by outcome.", labels, *value);
        }
        for ((target, provider, outcome), value) in &self.attempts {
            let labels = with(&[("target", target), ("provider", provider), ("outcome", outcome)]);
            families.counter(
                "trunkline_attempts_total",
                "Upstream attempts by outcome.",
                labels,
                *value,
            );
        }
        for ((target, kind), value) in &self.tokens {
            let labels = with(&[("target", target), ("kind", kind)]);
            families.counter("trunkline_tokens_total", "Tokens as the providers reported them; cached and cache_write are parts of input, reasoning is a part of output.", labels, *value);
        }
        families.histogram(
            "trunkline_request_duration_seconds",
            "From the arrival of a request to the last byte of its answer.",
            with(&[]),
            &self.duration,
        );
        families.histogram(
            "trunkline_first_token_seconds",
            "From the arrival of a streamed request to its first meaningful token.",
            with(&[]),
            &self.first_token,
        );
        families.histogram(
            "trunkline_output_token_seconds",
            "Time per output token after the first, streams only.",
            with(&[]),
            &self.output_token,
        );
        families.histogram(
            "trunkline_added_seconds",
            "Time that the proxy itself added before the first byte of an answer.",
            with(&[]),
            &self.added,
        );
        if !of.iter().any(|(name, value)| *name == "route" && value.is_empty()) {
            families.gauge(
                "trunkline_in_flight_requests",
                "Requests that have arrived and not ended.",
                of,
                self.in_flight,
            );
        }
    }
}

/// Families by name, as they grow.
#[derive(Default)]
struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn family(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
    ) -> &mut MetricFamily {
        self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        })
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        value: u64,
    ) {
        if value == 0 {
            return;
        }
        let mut counter = Counter::default();
        counter.set_value(to_f64(value));
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.family(name, help, MetricType::COUNTER).mut_metric().push(metric);
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        let mut gauge = Gauge::default();
        gauge.set_value(to_f64(value));
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.family(name, help, MetricType::GAUGE).mut_metric().push(metric);
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        sum: &Summed,
    ) {
        let count: u64 = sum.buckets.iter().sum();
        if count == 0 {
            return;
        }
        let mut below = 0;
        let buckets = sum.bounds.iter().zip(&sum.buckets).map(|(bound, more)| {
            below += more;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(to_f64(sum.nanos) / 1e9);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.family(name, help, MetricType::HISTOGRAM).mut_metric().push(metric);
    }
}

/// Labels in the order of their names, as the registry wants them.
fn pairs(mut labels: Vec<(&'static str, String)>) -> Vec<LabelPair> {
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
        .into_iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
}
