//! What an operator counts, beside what every process counts.
//!
//! The `prometheus` crate's own counters suffice: nothing here is on the path of a request. Labels
//! are closed enums and kinds, never names of objects.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::Metrics;
use crate::words::words;

words! {
    /// Why a watch began anew.
    WatchRestart {
        /// A list lacked objects that are there.
        Doubted => "doubted",
        /// The watch failed.
        Failed => "failed",
        /// The server no longer knows the place in its history.
        Gone => "gone",
        /// The list failed.
        ListFailed => "list_failed",
        /// No byte came for too long.
        Silent => "silent",
        /// A list was older than what had been seen.
        Stale => "stale",
    }
}

words! {
    /// How a write ended.
    WriteResult {
        /// Somebody else had written in between.
        Conflict => "conflict",
        /// It failed in another way.
        Failed => "failed",
        /// It was done.
        Ok => "ok",
    }
}

/// Upper bounds in seconds: a publication takes milliseconds, and a broken one seconds.
const QUICK: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The metrics of an operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// From a change seen to every proxy running it.
    pub propagation: Histogram,
    /// How long one round of compiling takes.
    pub compile: Histogram,
    /// How long publishing takes.
    pub publish: Histogram,
    bytes: IntGaugeVec,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// Routes in the table.
    pub routes: IntGauge,
    proxies: IntGaugeVec,
    conditions: IntGaugeVec,
    /// Why the last table was not published: 1 while it is too large.
    pub too_large: IntGauge,
    writes: IntCounterVec,
    duration: HistogramVec,
    restarts: IntCounterVec,
    failing: IntGaugeVec,
    replicas: [IntGaugeVec; 2],
    contact: IntGaugeVec,
    /// Status writes that waited for a quieter moment and were then not needed.
    pub skipped: IntCounter,
}

impl Operator {
    /// Registers everything beside what `metrics` has.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let quick = |name, help| {
            let options = HistogramOpts::new(name, help).buckets(QUICK.to_vec());
            Histogram::with_opts(options)
        };
        let gauges = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let counters =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let operator = Self {
            propagation: quick(
                "trunkline_operator_propagation_seconds",
                "From a change of an object seen to every proxy running it.",
            )?,
            compile: quick(
                "trunkline_operator_compile_seconds",
                "How long it takes to bring the table up to the objects.",
            )?,
            publish: quick(
                "trunkline_operator_publish_seconds",
                "How long it takes to publish a table.",
            )?,
            bytes: gauges(
                "trunkline_operator_published_bytes",
                "Size of the part of the table that was last written.",
                &["part"],
            )?,
            leader: IntGauge::new("trunkline_operator_leader", "1 while this process leads.")?,
            routes: IntGauge::new("trunkline_operator_routes", "Routes in the table.")?,
            proxies: gauges(
                "trunkline_operator_proxies",
                "Ready proxies by whether they run the published table.",
                &["state"],
            )?,
            conditions: gauges(
                "trunkline_operator_conditions",
                "Objects by kind, condition, its status and its reason.",
                &["kind", "type", "status", "reason"],
            )?,
            too_large: IntGauge::new(
                "trunkline_operator_table_too_large",
                "1 while the table is too large to be published.",
            )?,
            writes: counters(
                "trunkline_operator_writes_total",
                "Writes to the API server by kind and result.",
                &["kind", "result"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "trunkline_operator_write_duration_seconds",
                    "How long writes to the API server take, by kind.",
                )
                .buckets(QUICK.to_vec()),
                &["kind"],
            )?,
            restarts: counters(
                "trunkline_operator_watch_restarts_total",
                "Watches that began anew, by kind and reason.",
                &["kind", "reason"],
            )?,
            failing: gauges(
                "trunkline_operator_watches_failing",
                "Watches that fail now, by kind; what they knew stays.",
                &["kind"],
            )?,
            replicas: replicas()?,
            contact: gauges(
                "trunkline_operator_watch_last_contact_timestamp_seconds",
                "When a watch of the kind last heard from the API server, in seconds since 1970.",
                &["kind"],
            )?,
            skipped: IntCounter::new(
                "trunkline_operator_status_skipped_total",
                "Statuses that were already as they should be.",
            )?,
        };
        let all: Vec<Box<dyn prometheus::core::Collector>> = vec![
            Box::new(operator.propagation.clone()),
            Box::new(operator.compile.clone()),
            Box::new(operator.publish.clone()),
            Box::new(operator.bytes.clone()),
            Box::new(operator.leader.clone()),
            Box::new(operator.routes.clone()),
            Box::new(operator.proxies.clone()),
            Box::new(operator.conditions.clone()),
            Box::new(operator.too_large.clone()),
            Box::new(operator.writes.clone()),
            Box::new(operator.duration.clone()),
            Box::new(operator.restarts.clone()),
            Box::new(operator.failing.clone()),
            Box::new(operator.replicas[0].clone()),
            Box::new(operator.replicas[1].clone()),
            Box::new(operator.contact.clone()),
            Box::new(operator.skipped.clone()),
        ];
        for collector in all {
            metrics.register(collector)?;
        }
        Ok(operator)
    }

    /// Counts a write of a kind.
    pub fn wrote(&self, kind: &str, result: WriteResult, took: std::time::Duration) {
        self.writes.with_label_values(&[kind, result.as_str()]).inc();
        self.duration.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// Tells what an autoscaler has found, and decided.
    pub fn autoscaler(&self, namespace: &str, name: &str, current: u32, desired: u32) {
        for (gauge, replicas) in self.replicas.iter().zip([current, desired]) {
            gauge.with_label_values(&[namespace, name]).set(i64::from(replicas));
        }
    }

    /// Ends the series of an autoscaler that is gone.
    pub fn forget_autoscaler(&self, namespace: &str, name: &str) {
        for gauge in &self.replicas {
            // It may never have decided.
            let _unknown = gauge.remove_label_values(&[namespace, name]);
        }
    }

    /// Tells the size of a part of the table that was written.
    pub fn wrote_bytes(&self, part: &str, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.with_label_values(&[part]).set(bytes);
    }

    /// Tells how many ready proxies run the published table, and how many do not yet.
    pub fn count_proxies(&self, current: usize, behind: usize) {
        for (state, count) in [("current", current), ("behind", behind)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.proxies.with_label_values(&[state]).set(count);
        }
    }

    /// One object more or less has a condition: kind, type, status, reason.
    pub fn count_condition(&self, labels: &[&str], by: i64) {
        let gauge = self.conditions.with_label_values(labels);
        gauge.add(by);
        if gauge.get() == 0 {
            // A failure to remove what is not there is nothing to tell.
            let _gone = self.conditions.remove_label_values(labels);
        }
    }

    /// The meter of one watch.
    pub fn watch(&self, kind: &'static str) -> WatchMeter {
        WatchMeter { operator: self.clone(), kind, failing: false }
    }
}

/// Counts for one watch. A watch that ends while it fails does not fail any more.
#[derive(Debug)]
pub struct WatchMeter {
    operator: Operator,
    kind: &'static str,
    failing: bool,
}

impl WatchMeter {
    /// The server was heard, at a time in seconds since 1970.
    pub fn well(&mut self, now: i64) {
        self.operator.contact.with_label_values(&[self.kind]).set(now);
        self.set(false);
    }

    /// The watch failed and will begin anew.
    pub fn failing(&mut self, why: WatchRestart) {
        self.restarted(why);
        self.set(true);
    }

    /// The watch begins anew, and nothing is wrong with that.
    pub fn restarted(&self, why: WatchRestart) {
        self.operator.restarts.with_label_values(&[self.kind, why.as_str()]).inc();
    }

    fn set(&mut self, failing: bool) {
        if failing != self.failing {
            self.failing = failing;
            let gauge = self.operator.failing.with_label_values(&[self.kind]);
            gauge.add(if failing { 1 } else { -1 });
        }
    }
}

impl Drop for WatchMeter {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Replicas that are asked for, and that there should be, by autoscaler.
fn replicas() -> Result<[IntGaugeVec; 2], prometheus::Error> {
    let gauges = |name, help| IntGaugeVec::new(Opts::new(name, help), &["namespace", "autoscaler"]);
    Ok([
        gauges("trunkline_current_replicas", "Replicas that an autoscaler's target asks for.")?,
        gauges(
            "trunkline_desired_replicas",
            "Replicas that there should be by an autoscaler; an HPA or KEDA may follow it.",
        )?,
    ])
}
