//! When to publish: a single change at once, a storm in batches.
//!
//! A change that comes alone goes out without a wait. Where several come at once, or one closely after
//! another, more are on their way: then a pause of a few milliseconds is waited for, and never longer
//! than a bound.

use std::time::Duration;

use tokio::time::Instant;

/// A storm is over after this long without a change.
const PAUSE: Duration = Duration::from_millis(5);

/// A change this soon after another does not come alone. Whoever waits until a change is served
/// before making the next one takes longer.
const CLOSE: Duration = Duration::from_millis(10);

/// The longest that a change waits for others.
const LONGEST: Duration = Duration::from_millis(50);

/// The changes that wait to be published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    waiting: Option<Waiting>,
    /// When the last change came, published or not.
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Instant,
    last: Instant,
    alone: bool,
}

impl Pace {
    /// Some changes came.
    pub fn changed(&mut self, changes: usize, now: Instant) {
        if changes == 0 {
            return;
        }
        let close = self.last.is_some_and(|last| now < last + CLOSE);
        self.last = Some(now);
        let alone = self.waiting.is_none() && changes == 1 && !close;
        let first = self.waiting.map_or(now, |waiting| waiting.first);
        self.waiting = Some(Waiting { first, last: now, alone });
    }

    /// When to publish; none while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let Waiting { first, last, alone } = self.waiting?;
        Some(if alone { first } else { (last + PAUSE).min(first + LONGEST) })
    }

    /// When the first of those that wait came.
    pub fn began(&self) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.first)
    }

    /// It was published.
    pub const fn done(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_change_does_not_wait_and_many_wait_for_a_pause_within_bounds() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.due(), None);
        pace.changed(1, now);
        assert_eq!(pace.due(), Some(now));
        pace.changed(1, at(3));
        assert_eq!(pace.due(), Some(at(8)));
        for millis in (4..100).step_by(3) {
            pace.changed(1, at(millis));
        }
        assert_eq!(pace.due(), Some(at(50)), "a storm without end is published all the same");
        pace.done();
        assert_eq!(pace.due(), None);
        pace.changed(0, at(200));
        assert_eq!(pace.due(), None);
        pace.changed(3, at(200));
        assert_eq!(pace.due(), Some(at(205)));
        pace.done();
        pace.changed(1, at(207));
        assert_eq!(pace.due(), Some(at(212)), "closely after another");
        pace.done();
        pace.changed(1, at(220));
        assert_eq!(pace.due(), Some(at(220)));
    }
}
