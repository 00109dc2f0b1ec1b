//! What an account has spent in the billing month, and what it will have when the month ends.
//!
//! Pure: counters and the time go in. A proxy counts, at list prices, what it has spent since it began;
//! what is new since the last look is added to the month that runs, in UTC. So nothing is counted twice
//! and nothing is lost when whoever keeps the books begins anew, as long as [`Spending::record`] was kept.
//!
//! The forecast is what is spent and, for the time that is left, the mean of the last day: a shorter one
//! would take every afternoon for the rest of the month.

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

use crate::provider::{NanoDollars, Schedule};

/// Over how many seconds the mean goes: of little history at least an hour, of more a day.
const SHORTEST: f64 = 3_600.0;
const LONGEST: f64 = 86_400.0;

/// One account's books.
#[derive(Clone, Debug, PartialEq)]
pub struct Spending {
    /// The first day of the month that runs.
    month: Date,
    /// Spent in it, at list prices.
    spent: NanoDollars,
    /// Of each proxy, what of its counter is in the books.
    counted: BTreeMap<String, NanoDollars>,
    /// Nano-dollars a second, over the last day.
    pace: f64,
    /// When the books were begun, and when they were last brought up to date.
    since: Timestamp,
    at: Timestamp,
}

/// What must be kept so that the books can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The month, as in `2026-11`.
    pub month: String,
    /// Spent in it, at list prices.
    pub spent: NanoDollars,
    /// Spent a day lately.
    pub per_day: NanoDollars,
    /// When the books were begun.
    pub since: Timestamp,
    /// When they were last brought up to date.
    pub at: Timestamp,
    /// Of each proxy, what of its counter is in the books.
    pub counted: BTreeMap<String, NanoDollars>,
}

impl Spending {
    /// Empty books.
    pub fn new(now: Timestamp) -> Self {
        Self {
            month: month(now),
            spent: NanoDollars(0),
            counted: BTreeMap::new(),
            pace: 0.0,
            since: now,
            at: now,
        }
    }

    /// Books that somebody kept. What was spent in another month than the one that runs is over.
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    pub fn of(record: Record, now: Timestamp) -> Self {
        let Record { month: kept, spent, per_day, since, at, counted } = record;
        let runs = month(now);
        let spent = if name(runs) == kept { spent } else { NanoDollars(0) };
        let (since, at) = (since.min(now), at.min(now));
        Self { month: runs, spent, counted, pace: per_day.0 as f64 / LONGEST, since, at }
    }

    /// What is to be kept.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a forecast")]
    pub fn record(&self) -> Record {
        Record {
            month: name(self.month),
            spent: self.spent,
            per_day: NanoDollars((self.pace * LONGEST) as u64),
            since: self.since,
            at: self.at,
            counted: self.counted.clone(),
        }
    }

    /// Takes in what each proxy has counted since it began; those that are not `alive` never come back.
    /// Gives what is new.
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    pub fn take<'a>(
        &mut self,
        counters: impl IntoIterator<Item = (&'a str, NanoDollars)>,
        alive: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> NanoDollars {
        let mut new = NanoDollars(0);
        for (proxy, count) in counters {
            let known = self.counted.entry(proxy.to_owned()).or_default();
            new = new.plus(NanoDollars(count.0.saturating_sub(known.0)));
            *known = count.max(*known);
        }
        self.counted.retain(|proxy, _| alive(proxy));
        if month(now) != self.month {
            self.month = month(now);
            self.spent = NanoDollars(0);
        }
        self.spent = self.spent.plus(new);
        let passed = seconds(self.at, now);
        if passed > 0.0 {
            let mean = seconds(self.since, now).clamp(SHORTEST, LONGEST);
            self.pace += (new.0 as f64 / passed - self.pace) * (1.0 - (-passed / mean).exp());
            self.at = now;
        }
        new
    }

    /// Spent in the month that runs, at list prices.
    pub const fn spent(&self) -> NanoDollars {
        self.spent
    }

    /// What will have been spent when the month ends.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a forecast")]
    pub fn forecast(&self, now: Timestamp) -> NanoDollars {
        let left = seconds(now, end(self.month));
        self.spent.plus(NanoDollars((self.pace * left) as u64))
    }

    /// What the next dollar costs, in thousandths of the list price.
    pub fn price(&self, schedule: &Schedule, now: Timestamp) -> u32 {
        schedule.marginal(self.forecast(now))
    }
}

fn utc(time: Timestamp) -> Zoned {
    time.to_zoned(TimeZone::UTC)
}

fn month(time: Timestamp) -> Date {
    utc(time).date().first_of_month()
}

fn name(month: Date) -> String {
    month.strftime("%Y-%m").to_string()
}

/// When a month is over; its beginning at the end of all times.
fn end(month: Date) -> Timestamp {
    let next = month.last_of_month().tomorrow().unwrap_or(month);
    next.to_zoned(TimeZone::UTC).map(|next| next.timestamp()).unwrap_or_default()
}

/// The seconds between two times, 0 when there are none.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::provider::Tier;

    const DOLLAR: u64 = 1_000_000_000;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn dollars(count: u64) -> NanoDollars {
        NanoDollars(count * DOLLAR)
    }

    #[test]
    fn what_each_proxy_counts_is_taken_once_also_over_a_restart_of_the_books() {
        let mut now = at("2026-11-10T00:00:00Z");
        let mut books = Spending::new(now);
        assert_eq!(books.take([("p", dollars(3)), ("q", dollars(1))], |_| true, now), dollars(4));
        now += 1.minute();
        assert_eq!(books.take([("p", dollars(3)), ("q", dollars(2))], |_| true, now), dollars(1));
        let mut books = Spending::of(books.record(), now);
        assert_eq!(books.spent(), dollars(5));
        now += 1.minute();
        assert_eq!(
            books.take([("p", dollars(4)), ("q", dollars(2))], |one| one == "p", now),
            dollars(1)
        );
        assert_eq!(books.record().counted.keys().collect::<Vec<_>>(), ["p"]);
        assert_eq!(books.spent(), dollars(6));
    }

    #[test]
    fn a_month_begins_with_nothing_and_keeps_its_pace() {
        let mut now = at("2026-11-20T00:00:00Z");
        let mut books = Spending::new(now);
        let mut count = 0;
        while now < at("2026-11-30T23:00:00Z") {
            now += 1.hour();
            count += 2;
            books.take([("p", dollars(count))], |_| true, now);
        }
        let forecast = books.forecast(now).0 / DOLLAR;
        assert!((526..=528).contains(&forecast), "a last hour at $2: {forecast}");
        now += 2.hours();
        books.take([("p", dollars(count))], |_| true, now);
        assert_eq!((books.spent(), books.record().month.as_str()), (dollars(0), "2026-12"));
        let forecast = books.forecast(now).0 / DOLLAR;
        assert!((1300..=1490).contains(&forecast), "31 days at nearly $48: {forecast}");
        let kept = books.record();
        assert_eq!(Spending::of(kept.clone(), at("2027-01-01T00:00:00Z")).spent(), dollars(0));
        assert_eq!(Spending::of(kept.clone(), now).record(), kept);
    }

    #[test]
    fn a_burst_at_the_beginning_is_not_taken_for_the_month() {
        let now = at("2026-11-01T00:00:10Z");
        let mut books = Spending::new(at("2026-11-01T00:00:00Z"));
        books.take([("p", dollars(1))], |_| true, now);
        let forecast = books.forecast(now).0 / DOLLAR;
        assert!((700..=730).contains(&forecast), "as if it were an hour's: {forecast}");
    }

    #[test]
    fn the_price_follows_the_forecast() {
        let tiers = vec![Tier { above: dollars(1000), permille: 1500 }];
        let schedule = Schedule::new(tiers).unwrap();
        let mut now = at("2026-11-01T00:00:00Z");
        let mut books = Spending::new(now);
        for hour in 1..=48 {
            now += 1.hour();
            books.take([("p", dollars(hour))], |_| true, now);
        }
        assert_eq!(books.price(&schedule, now), 1000, "720 by the end");
        for hour in 1..=48 {
            now += 1.hour();
            books.take([("p", dollars(48 + 2 * hour))], |_| true, now);
        }
        assert_eq!(books.price(&schedule, now), 1500, "1300 by the end, of which 144 are spent");
    }
}
