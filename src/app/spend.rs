//! The books of accounts with spend tiers in a process that stands alone: what an operator does for a
//! fleet, without anybody to ask and without a place to keep them. They begin anew with the process.

use std::{collections::BTreeMap, thread, time::Duration};

use jiff::Timestamp;

use super::{Failure, plane::Tables};
use crate::{
    provider::NanoDollars,
    spend::Spending,
    table::{ObjectId, Prices, Table},
};

/// How often the books are brought up to date.
const PACE: Duration = Duration::from_secs(5);

/// As which proxy this one stands in its own books.
const THIS: &str = "this";

/// Keeps the books for as long as the process lives.
#[expect(clippy::infinite_loop, reason = "nothing ends it but the end of the process")]
pub(super) fn keep(tables: Tables) -> Result<(), Failure> {
    let mut books = BTreeMap::new();
    thread::Builder::new().name("spend".to_owned()).spawn(move || {
        loop {
            let spent = tables.spent().into_iter().map(|(id, (money, _))| (id, money)).collect();
            tables.set_prices(&look(&mut books, &tables.current(), spent, Timestamp::now()));
            thread::sleep(PACE);
        }
    })?;
    Ok(())
}

/// Brings the books up to date; what the next dollar of each account costs.
fn look(
    books: &mut BTreeMap<ObjectId, Spending>,
    table: &Table,
    spent: BTreeMap<ObjectId, NanoDollars>,
    now: Timestamp,
) -> Prices {
    let targets = table.routes().iter().flat_map(|route| &route.targets);
    let schedules: BTreeMap<_, _> =
        targets.map(|target| (&target.credential.id, &target.credential.tiers)).collect();
    books.retain(|id, _| spent.contains_key(id));
    let price = |(id, money): (ObjectId, NanoDollars)| {
        let schedule = schedules.get(&id)?;
        let spending = books.entry(id.clone()).or_insert_with(|| Spending::new(now));
        spending.take([(THIS, money)], |_| true, now);
        Some((id, spending.price(schedule, now)))
    };
    spent.into_iter().filter_map(price).collect()
}
