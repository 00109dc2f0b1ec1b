//! How long to wait after a failure: twice as long each time, with a share of chance so that many
//! do not come back at once.

use std::time::Duration;

/// Waits that grow until something succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// From `first`, doubled up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// It worked: the next failure waits for the shortest time again.
    pub(crate) const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// It failed: how long to wait. `chance` lies between 0 and 1 and takes up to half of it away.
    pub(crate) fn fail(&mut self, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let waits: Vec<_> = (0..5).map(|_| backoff.fail(0.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.fail(1.0).as_millis(), 500);
        backoff.succeed();
        assert_eq!(backoff.fail(0.5).as_millis(), 150);
    }
}
