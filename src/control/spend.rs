//! What accounts with spend tiers have spent, over all proxies, and what their next dollar costs.
//!
//! Pure but for what it remembers: what proxies say goes in, prices for the table and a part of the
//! status come out. The status is where the books are kept: whoever leads next goes on with it. It is
//! written only when something was spent, so that silence stays silent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    api::{CountedSpend, SpendStatus},
    provider::{NanoDollars, Schedule},
    spend::{Record, Spending},
    table::{ObjectId, Prices},
};

/// What a proxy has spent of each account since it began.
pub type Spent = BTreeMap<ObjectId, NanoDollars>;

/// The books of all accounts.
#[derive(Debug, Default)]
pub struct Spend {
    told: BTreeMap<String, Spent>,
    books: BTreeMap<ObjectId, Book>,
}

#[derive(Debug)]
struct Book {
    spending: Spending,
    status: SpendStatus,
}

impl Spend {
    /// A proxy has said what it has spent.
    pub fn told(&mut self, instance: &str, spent: Spent) {
        self.told.insert(instance.to_owned(), spent);
    }

    /// Somebody else may have kept the books since.
    pub fn forget(&mut self) {
        self.books.clear();
    }

    /// What is said of an account; `None` before the first look.
    pub fn status(&self, id: &ObjectId) -> Option<&SpendStatus> {
        self.books.get(id).map(|book| &book.status)
    }

    /// Brings the books up to date: what the next dollar of each account costs, and the accounts of which
    /// something else is to be said. `accounts` are all that have tiers, with what was kept of them;
    /// `alive` are the proxies that there are.
    pub fn look<'a>(
        &mut self,
        accounts: impl IntoIterator<Item = (&'a ObjectId, &'a Schedule, Option<&'a SpendStatus>)>,
        alive: &BTreeSet<&str>,
        now: Timestamp,
    ) -> (Prices, Vec<ObjectId>) {
        self.told.retain(|instance, _| alive.contains(instance.as_str()));
        let (mut prices, mut changed) = (Prices::new(), Vec::new());
        let mut kept = std::mem::take(&mut self.books);
        for (id, schedule, was) in accounts {
            let begin = || Book {
                spending: was
                    .and_then(read)
                    .map_or_else(|| Spending::new(now), |record| Spending::of(record, now)),
                status: was.cloned().unwrap_or_default(),
            };
            let mut book = kept.remove(id).unwrap_or_else(begin);
            let counters = self
                .told
                .iter()
                .filter_map(|(instance, spent)| Some((instance.as_str(), *spent.get(id)?)));
            let counters: Vec<_> = counters.collect();
            let new = book.spending.take(counters, |proxy| alive.contains(proxy), now);
            let price = book.spending.price(schedule, now);
            prices.insert(id.clone(), price);
            let record = book.spending.record();
            let other =
                book.status.month != record.month || book.status.multiplier != multiplier(price);
            if new.0 > 0 || other {
                book.status = written(&record, price);
                changed.push(id.clone());
            }
            self.books.insert(id.clone(), book);
        }
        (prices, changed)
    }
}

fn multiplier(permille: u32) -> String {
    format!("{}.{:03}", permille / 1000, permille % 1000)
}

fn written(record: &Record, price: u32) -> SpendStatus {
    let Record { month, spent, per_day, since, at, counted } = record;
    let counted = counted.iter().map(|(instance, count)| CountedSpend {
        instance: instance.clone(),
        usd: count.to_string(),
    });
    SpendStatus {
        month: month.clone(),
        usd: spent.to_string(),
        per_day_usd: per_day.to_string(),
        multiplier: multiplier(price),
        since: since.to_string(),
        at: at.to_string(),
        proxies: counted.collect(),
    }
}

/// What a status says; `None` when somebody has spoilt it.
fn read(status: &SpendStatus) -> Option<Record> {
    let amount = |text: &str| NanoDollars::parse(text, 9);
    let counted = status.proxies.iter().map(|one| Some((one.instance.clone(), amount(&one.usd)?)));
    Some(Record {
        month: status.month.clone(),
        spent: amount(&status.usd)?,
        per_day: amount(&status.per_day_usd)?,
        since: status.since.parse().ok()?,
        at: status.at.parse().ok()?,
        counted: counted.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::provider::Tier;

    const DOLLAR: u64 = 1_000_000_000;

    fn id() -> ObjectId {
        ObjectId::new("team", "openai")
    }

    fn schedule() -> Schedule {
        let tier = Tier { above: NanoDollars(100 * DOLLAR), permille: 1500 };
        Schedule::new(vec![tier]).unwrap()
    }

    fn spent(dollars: u64) -> Spent {
        [(id(), NanoDollars(dollars * DOLLAR))].into()
    }

    #[test]
    fn the_books_go_on_where_the_status_left_them_and_silence_changes_nothing() {
        let (id, schedule) = (id(), schedule());
        let alive = ["p", "q"].into();
        let mut now: Timestamp = "2026-11-30T20:00:00Z".parse().unwrap();
        let mut first = Spend::default();
        first.told("p", spent(30));
        first.told("q", spent(20));
        let (prices, changed) = first.look([(&id, &schedule, None)], &alive, now);
        assert_eq!((prices[&id], changed), (1000, vec![id.clone()]));
        let status = first.status(&id).unwrap().clone();
        assert_eq!((status.usd.as_str(), status.multiplier.as_str()), ("50.000000000", "1.000"));
        now += 1.minute();
        let (_, changed) = first.look([(&id, &schedule, Some(&status))], &alive, now);
        assert!(changed.is_empty(), "nothing was spent");

        let mut second = Spend::default();
        second.told("p", spent(85));
        second.told("q", spent(20));
        second.told("gone", spent(1000));
        let (prices, _) = second.look([(&id, &schedule, Some(&status))], &alive, now);
        assert_eq!(second.status(&id).unwrap().usd, "105.000000000");
        assert_eq!(prices[&id], 1500);
        now += 5.hours();
        let (prices, changed) = second.look([(&id, &schedule, None)], &alive, now);
        let status = second.status(&id).unwrap();
        assert_eq!((status.month.as_str(), status.usd.as_str()), ("2026-12", "0.000000000"));
        assert_eq!((changed, prices.len()), (vec![id.clone()], 1));
        assert!(second.look([], &alive, now).0.is_empty() && second.status(&id).is_none());
    }

    #[test]
    fn a_status_that_somebody_spoilt_is_begun_anew() {
        let (id, schedule, alive) = (id(), schedule(), ["p"].into());
        let now: Timestamp = "2026-11-30T20:00:00Z".parse().unwrap();
        let status = SpendStatus { usd: "much".to_owned(), ..SpendStatus::default() };
        let mut spend = Spend::default();
        spend.told("p", spent(3));
        spend.look([(&id, &schedule, Some(&status))], &alive, now);
        assert_eq!(spend.status(&id).unwrap().usd, "3.000000000");
    }
}
