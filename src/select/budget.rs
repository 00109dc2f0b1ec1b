//! How many retries may be made: a share of the requests, and a few a second besides.
//!
//! When every request fails, retrying every one of them doubles the load on what is already broken.
//! The budget is a bucket that each request fills a little and each retry empties by one (Finagle's
//! and linkerd's rule). It is kept for each worker: workers see the same traffic, and nothing is
//! shared on the request path.

use tokio::time::Instant;

/// What a request adds: one retry for five requests.
const SHARE: f64 = 0.2;

/// What a second adds, so that a quiet proxy can retry at all.
const PER_SECOND: f64 = 10.0;

/// The most that can be saved up.
const MOST: f64 = 100.0;

/// A bucket of retries.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    left: f64,
    at: Instant,
}

impl RetryBudget {
    /// A budget of one second.
    pub fn new(now: Instant) -> Self {
        Self { left: PER_SECOND, at: now }
    }

    /// Counts a request.
    pub fn earn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * PER_SECOND + SHARE).min(MOST);
        self.at = now;
    }

    /// Whether a retry may be made.
    pub fn has_one(&self) -> bool {
        self.left >= 1.0
    }

    /// Counts a retry.
    pub fn spend(&mut self) {
        self.left -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_outage_is_not_amplified_beyond_the_share() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        let mut retries = 0;
        for request in 0..10_000 {
            budget.earn(start + Duration::from_millis(request));
            if budget.has_one() {
                budget.spend();
                retries += 1;
            }
        }
        // 10 s: 2,000 for the requests, 100 for the seconds, 10 to begin with.
        assert!((2_100..=2_111).contains(&retries), "{retries}");
    }
}
