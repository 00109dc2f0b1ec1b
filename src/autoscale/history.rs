//! What was read and wanted lately.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::reading::Reading;

/// What is smoothed over, and what a sudden rise is seen in.
pub(super) const STABLE: Duration = Duration::from_mins(1);
const SUDDEN: Duration = Duration::from_secs(6);

/// The longest time that is looked back.
const LONGEST: Duration = Duration::from_hours(1);

/// How much a new time of a request counts against the one that is known, at two decisions a second.
const LEARNING: f64 = 0.025;

/// A mean of the last seconds is a jump, and no chance, beyond so many standard deviations of what was
/// known. Requests come at random: their number varies by its root, and so does that of those in flight.
const BEYOND_CHANCE: f64 = 4.0;

/// Seconds that a request is taken to need before one has been measured.
const UNMEASURED: f64 = 1.0;

/// Readings and wishes with their times, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    began: Option<Instant>,
    read: VecDeque<(Instant, Reading)>,
    /// Only those that no later one exceeds: the first is the most that was wanted.
    wanted: VecDeque<(Instant, u32)>,
    /// How many replicas were asked for, as far back as a start takes.
    asked: VecDeque<(Instant, u32)>,
    /// Whether requests seem to stand in a line, and since when; none for all that was seen.
    crowd: Option<(bool, Option<Instant>)>,
    /// Seconds that a request takes while replicas are not full.
    service: Option<f64>,
    /// When the demand last jumped, and when the rate at which requests come did.
    held_jumped: Option<Instant>,
    come_jumped: Option<Instant>,
}

impl History {
    /// Notes a reading.
    pub(super) fn read(&mut self, reading: &Reading, now: Instant) {
        self.began.get_or_insert(now);
        let old = |(at, _): &(Instant, Reading)| now.saturating_duration_since(*at) > STABLE;
        while self.read.front().is_some_and(old) {
            self.read.pop_front();
        }
        self.read.push_back((now, *reading));
        let held = self.jumped(self.held_jumped, 1.0, now, |reading| self.held(reading));
        let come = self.jumped(self.come_jumped, SUDDEN.as_secs_f64(), now, come);
        (self.held_jumped, self.come_jumped) = (held, come);
    }

    /// When it last jumped; `weight` makes a count of the mean.
    fn jumped(
        &self,
        last: Option<Instant>,
        weight: f64,
        now: Instant,
        of: impl Fn(&Reading) -> f64,
    ) -> Option<Instant> {
        let known = self.mean(since(last, now), now, &of).unwrap_or_default() * weight;
        let new = self.mean(SUDDEN, now, of).unwrap_or_default() * weight;
        let jump = new - known > BEYOND_CHANCE * known.max(1.0).sqrt();
        if jump { Some(now) } else { last }
    }

    /// Notes how many replicas were wanted.
    pub(super) fn wanted(&mut self, wanted: u32, now: Instant) {
        while self.wanted.back().is_some_and(|(_, earlier)| *earlier <= wanted) {
            self.wanted.pop_back();
        }
        let old = |(at, _): &(Instant, u32)| now.saturating_duration_since(*at) > LONGEST;
        while self.wanted.front().is_some_and(old) {
            self.wanted.pop_front();
        }
        self.wanted.push_back((now, wanted));
    }

    /// Replicas that were asked for long enough ago to have started. Notes how many are asked for now.
    pub(super) fn started(&mut self, asked: u32, cold_start: Duration, now: Instant) -> u32 {
        self.asked.push_back((now, asked));
        // The newest of those that are old enough says what there was when the time began.
        let old = |(at, _): &(Instant, u32)| now.saturating_duration_since(*at) >= cold_start;
        while self.asked.get(1).is_some_and(old) {
            self.asked.pop_front();
        }
        self.asked.iter().map(|(_, asked)| *asked).min().unwrap_or(asked)
    }

    /// Notes whether requests seem to stand in a line, and learns how long a request takes: those in
    /// flight divided by those that end (Little's law). While there is a line that would be the time in
    /// it, so nothing is learned then, nor as long as the line is in the readings; unless it lasts
    /// longer than `patience`, because then it is no line: requests have become longer.
    pub(super) fn crowded(&mut self, crowded: bool, patience: Duration, now: Instant) {
        let (was, since) = self.crowd.unwrap_or((crowded, None));
        let since = if was == crowded { since } else { Some(now) };
        self.crowd = Some((crowded, since));
        let pause = if crowded { patience } else { STABLE };
        if since.is_none_or(|since| now.saturating_duration_since(since) >= pause) {
            self.learn();
        }
    }

    fn learn(&mut self) {
        let sum = |of: fn(&Reading) -> f64| self.read.iter().map(|(_, one)| of(one)).sum::<f64>();
        let (in_flight, ended) = (sum(|one| as_f64(one.in_flight)), sum(|one| one.ended));
        if ended > 0.0 && in_flight > 0.0 {
            let new = in_flight / ended;
            self.service = Some(self.service.map_or(new, |known| known + (new - known) * LEARNING));
        }
    }

    /// The demand; none when nothing was read.
    pub(super) fn demand(&self, now: Instant) -> Option<f64> {
        self.mean(since(self.held_jumped, now), now, |reading| self.held(reading))
    }

    /// Requests in flight and waiting, and those that would be if no other target had served them.
    pub(super) fn held(&self, reading: &Reading) -> f64 {
        let elsewhere = reading.passed_over * self.service.unwrap_or(UNMEASURED);
        as_f64(reading.in_flight) + as_f64(reading.queued) + elsewhere
    }

    /// Requests that would be in flight if none had to wait or go elsewhere: those that come, by the
    /// time that each takes; none while that time is not known, or nothing was read.
    pub(super) fn offered(&self, now: Instant) -> Option<f64> {
        Some(self.mean(since(self.come_jumped, now), now, come)? * self.service?)
    }

    fn mean(&self, span: Duration, now: Instant, of: impl Fn(&Reading) -> f64) -> Option<f64> {
        let within = |(at, _): &&(Instant, Reading)| now.saturating_duration_since(*at) <= span;
        let (mut sum, mut count) = (0.0, 0_u64);
        for (_, reading) in self.read.iter().rev().take_while(within) {
            sum += of(reading);
            count += 1;
        }
        (count > 0).then(|| sum / as_f64(count))
    }

    /// Whether it reaches back so far.
    pub(super) fn covers(&self, span: Duration, now: Instant) -> bool {
        self.began.is_some_and(|began| now.saturating_duration_since(began) >= span)
    }

    /// The most that was wanted in the last `span`.
    pub(super) fn most_wanted(&self, span: Duration, now: Instant) -> u32 {
        let within = |(at, _): &&(Instant, u32)| now.saturating_duration_since(*at) <= span;
        self.wanted.iter().find(within).map_or(0, |(_, wanted)| *wanted)
    }
}

/// Requests that come in a second.
fn come(reading: &Reading) -> f64 {
    reading.arrived + reading.passed_over
}

/// How far back a mean goes: a minute, but not to before the last jump. At the jump itself it is the
/// few seconds in which it was seen.
fn since(jumped: Option<Instant>, now: Instant) -> Duration {
    jumped.map_or(STABLE, |at| (now.saturating_duration_since(at) + SUDDEN).min(STABLE))
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
