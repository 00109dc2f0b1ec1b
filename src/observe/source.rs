//! What a proxy counts about the place that its table comes from.
//!
//! Nothing here is on the path of a request. Labels are closed enums and the three Secrets.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::{Metrics, operator::WatchRestart};
use crate::words::words;

words! {
    /// Why a table was not taken into use.
    TableRejection {
        /// The base is not the one that the head names.
        Base => "base",
        /// It is written in a format that this version does not know.
        Format => "format",
        /// It contradicts itself, or would send a key to a host that is not its provider's.
        Invalid => "invalid",
        /// It is not higher than the one in use.
        Stale => "stale",
        /// It cannot be unpacked or parsed.
        Unreadable => "unreadable",
    }
}

/// The metrics of a table's source.
#[derive(Clone, Debug)]
pub struct Source {
    reloads: IntCounterVec,
    epoch: IntGauge,
    rejected: IntCounterVec,
    restarts: IntCounterVec,
    failing: IntGaugeVec,
    contact: IntGaugeVec,
}

impl Source {
    /// Registers everything beside what `metrics` has.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let gauges = |name, help| IntGaugeVec::new(Opts::new(name, help), &["secret"]);
        let source = Self {
            reloads: metrics.reloads.clone(),
            epoch: IntGauge::new(
                "trunkline_table_epoch",
                "Epoch of the routing table in use: the lease under which it was published.",
            )?,
            rejected: IntCounterVec::new(
                Opts::new(
                    "trunkline_table_rejected_total",
                    "Routing tables that were not taken into use, by reason.",
                ),
                &["reason"],
            )?,
            restarts: IntCounterVec::new(
                Opts::new(
                    "trunkline_source_restarts_total",
                    "Watches of the table's Secrets that began anew, by Secret and reason.",
                ),
                &["secret", "reason"],
            )?,
            failing: gauges(
                "trunkline_source_failing",
                "1 while a Secret of the table cannot be watched; the last table serves.",
            )?,
            contact: gauges(
                "trunkline_source_last_contact_timestamp_seconds",
                "When the API server was last heard about a Secret, in seconds since 1970.",
            )?,
        };
        for reason in TableRejection::ALL {
            source.rejected.with_label_values(&[reason.as_str()]);
        }
        metrics.register(Box::new(source.epoch.clone()))?;
        metrics.register(Box::new(source.rejected.clone()))?;
        metrics.register(Box::new(source.restarts.clone()))?;
        metrics.register(Box::new(source.failing.clone()))?;
        metrics.register(Box::new(source.contact.clone()))?;
        Ok(source)
    }

    /// A table of this epoch is in use.
    pub fn taken(&self, epoch: u64) {
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.reloads.with_label_values(&["applied"]).inc();
    }

    /// A table was not taken.
    pub fn rejected(&self, reason: TableRejection) {
        self.rejected.with_label_values(&[reason.as_str()]).inc();
        self.reloads.with_label_values(&["rejected"]).inc();
    }

    /// The meter of one Secret's watch.
    pub fn watch(&self, secret: &'static str) -> Watch {
        Watch { source: self.clone(), secret }
    }
}

/// Counts for the watch of one Secret.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    secret: &'static str,
}

impl Watch {
    /// The server was heard, at a time in seconds since 1970.
    pub fn heard(&mut self, now: i64) {
        self.source.contact.with_label_values(&[self.secret]).set(now);
        self.source.failing.with_label_values(&[self.secret]).set(0);
    }

    /// The watch failed and will begin anew.
    pub fn failing(&mut self, why: WatchRestart) {
        self.restarted(why);
        self.source.failing.with_label_values(&[self.secret]).set(1);
    }

    /// The watch begins anew, and nothing is wrong with that.
    pub fn restarted(&self, why: WatchRestart) {
        self.source.restarts.with_label_values(&[self.secret, why.as_str()]).inc();
    }
}
