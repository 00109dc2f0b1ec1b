//! Series as the `prometheus` crate wants them, and how many there may be.
//!
//! It knows the format and the limit, and no metric of ours. The limit protects who scrapes: labels
//! come only from resources, but resources may be many. What does not fit is left out whole, never
//! in half (a histogram without some of its buckets would lie), and is counted.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::cells::Summed;

/// Label names and their values.
pub(super) type Labels<'a> = [(&'static str, &'a str)];

/// A metric's name and what it says, as scrapers show it.
#[derive(Clone, Copy, Debug)]
pub(super) struct About(pub(super) &'static str, pub(super) &'static str);

/// Families by name, as they grow.
#[derive(Debug)]
pub(super) struct Families {
    by_name: BTreeMap<&'static str, MetricFamily>,
    room: usize,
    left_out: usize,
}

impl Families {
    /// None yet, and never more than `most` series of those that ask for room.
    pub(super) const fn new(most: usize) -> Self {
        Self { by_name: BTreeMap::new(), room: most, left_out: 0 }
    }

    /// Asks for room for so many series; without it they must be left out.
    #[must_use]
    pub(super) const fn take_room(&mut self, series: usize) -> bool {
        if series <= self.room {
            self.room -= series;
            return true;
        }
        self.left_out += series;
        false
    }

    /// How many series found no room.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out as u64
    }

    /// The result.
    pub(super) fn into_families(self) -> Vec<MetricFamily> {
        self.by_name.into_values().collect()
    }

    /// Adds a counter, for which room has been taken.
    pub(super) fn counter(&mut self, about: About, labels: &Labels<'_>, value: u64) {
        self.scaled(about, labels, to_f64(value));
    }

    /// Adds a counter that is kept in billionths, for which room has been taken.
    pub(super) fn billionths(&mut self, about: About, labels: &Labels<'_>, value: u64) {
        self.scaled(about, labels, to_f64(value) / 1e9);
    }

    fn scaled(&mut self, about: About, labels: &Labels<'_>, value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.push(about, MetricType::COUNTER, metric);
    }

    /// Adds a gauge, for which room has been taken.
    pub(super) fn gauge(&mut self, about: About, labels: &Labels<'_>, value: u64) {
        self.ratio(about, labels, to_f64(value));
    }

    /// Adds a gauge that is no whole number, for which room has been taken.
    pub(super) fn ratio(&mut self, about: About, labels: &Labels<'_>, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.push(about, MetricType::GAUGE, metric);
    }

    /// Adds a histogram, if anything was observed and there is room.
    pub(super) fn histogram(&mut self, about: About, labels: &Labels<'_>, sum: &Summed) {
        let count: u64 = sum.buckets.iter().sum();
        // A series a bound, and `+Inf`, `_sum`, `_count`.
        if count == 0 || !self.take_room(sum.bounds.len() + 3) {
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
        self.push(about, MetricType::HISTOGRAM, metric);
    }

    fn push(&mut self, About(name, help): About, kind: MetricType, metric: Metric) {
        let family = self.by_name.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }
}

/// Labels in the order of their names, as the registry wants them.
fn pairs(labels: &Labels<'_>) -> Vec<LabelPair> {
    let mut labels = labels.to_vec();
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
        .into_iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}
