//! Spend tiers: three accounts for one model, of which two are dearer beyond a volume of the month,
//! against one who knows the month's demand before it begins.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use trunkline::{
    provider::{LIST, NanoDollars, Price, Pricing, Schedule, Tier},
    select::{Accounts, Targets, Tried, choose},
    spend::Spending,
    table::{Choosing, Credential, Prices, Strategy, Target},
};

use super::{
    policies::ASK,
    report::Report,
    routes::{Fresh, fresh},
};

const DOLLAR: u64 = 1_000_000_000;

/// List prices in dollars for a million input tokens, and the tiers: beyond so many dollars of the month
/// at list prices, so many thousandths.
const ACCOUNTS: [(f64, &[(u64, u32)]); 3] =
    [(1.0, &[(1000, 1500), (1600, 2000)]), (1.25, &[(900, 1400)]), (1.6, &[])];

/// What the month's requests would cost at the cheapest list price, in dollars; they come as they will.
const DEMAND: f64 = 3_000.0;
const DAYS: u64 = 30;
const TICK: Duration = Duration::from_mins(1);
const A_TICK: f64 = 20.0;

fn pricing(at: usize) -> Pricing {
    // A request has as many tokens as make a month's demand of all the ticks' requests.
    let requests = A_TICK * 24.0 * 60.0 * DAYS as f64;
    let million = DEMAND / requests * 1e6 / f64::from(ASK.input_tokens) * ACCOUNTS[at].0;
    Pricing::plain(Price::of_millionths((million * 1e6) as u64), Price::of_millionths(0))
}

fn schedule(at: usize) -> Schedule {
    let tier = |(dollars, permille): &(u64, u32)| Tier {
        above: NanoDollars(dollars * DOLLAR),
        permille: *permille,
    };
    Schedule::new(ACCOUNTS[at].1.iter().map(tier).collect()).unwrap()
}

pub fn run(report: &mut Report) {
    report.section(
        "spend tiers: three accounts, two dearer beyond a volume, one month of 3000 dollars",
    );
    println!("\n  {:<46} {:>9}", "", "cost");
    let line = |name: &str, cost: f64| println!("  {name:<46} {cost:>9.4}");
    let optimum = optimum();
    line("knows the month's demand", 1.0);
    line("Cheapest by list prices", blind() / optimum);
    for (name, tolerance, shape) in [
        ("Cheapest with spendTiers, a steady day", 0, 0.0),
        ("Cheapest with spendTiers, day and night", 0, 0.9),
        ("the same, tolerancePercent 10", 10, 0.9),
    ] {
        line(name, served(tolerance, shape) / optimum);
    }
    let cost = served(0, 0.9) / optimum;
    report.at_most("Cheapest with spendTiers: cost / optimum", cost, 1.02);
}

/// What a month costs of which each account has spent so much at list prices.
fn billed(spent: &[NanoDollars]) -> f64 {
    let bill = |(at, spent): (usize, &NanoDollars)| schedule(at).billed(*spent).0 as f64;
    spent.iter().enumerate().map(bill).sum::<f64>() / DOLLAR as f64
}

/// By list prices all goes to the first account.
fn blind() -> f64 {
    billed(&[NanoDollars((DEMAND * DOLLAR as f64) as u64)])
}

/// The cheapest parts first, until the demand is met.
fn optimum() -> f64 {
    let mut parts: Vec<(f64, f64)> = Vec::new();
    for (list, tiers) in ACCOUNTS {
        let mut from = (0, LIST);
        for (above, permille) in tiers.iter().copied().chain([(u64::MAX, LIST)]) {
            let price = list * f64::from(from.1) / f64::from(LIST);
            parts.push((price, (above - from.0) as f64 / list));
            from = (above, permille);
        }
    }
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut left, mut cost) = (DEMAND, 0.0);
    for (price, room) in parts {
        let taken = room.min(left);
        left -= taken;
        cost += taken * price;
    }
    cost
}

/// What the code that serves pays; `shape` is how much of a day's demand comes and goes with the sun.
fn served(tolerance: u8, shape: f64) -> f64 {
    let origin = Instant::now();
    let choosing = Choosing {
        strategy: Strategy::Cheapest,
        tolerance_percent: tolerance.into(),
        ..Choosing::default()
    };
    let Fresh { mut route, keys, health } =
        fresh(ACCOUNTS.len(), choosing, |at| Some(pricing(at)), origin);
    for (at, target) in route.targets.iter_mut().enumerate() {
        let credential = Credential { tiers: schedule(at), ..(*target.credential).clone() };
        *target = Arc::new(Target { credential: Arc::new(credential), ..(**target).clone() });
    }
    let all = Accounts::new(origin);
    let accounts: Vec<_> = route.targets.iter().map(|it| all.of(&it.credential)).collect();
    let targets = Targets { accounts: &accounts, ..Targets::new(&route, &keys, &health) };
    let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let mut books: Vec<_> = ACCOUNTS.iter().map(|_| Spending::new(begin)).collect();
    let mut spent = vec![NanoDollars(0); ACCOUNTS.len()];
    let mut draws = fastrand::Rng::with_seed(7);
    let mut owed = 0.0;
    for tick in 1..=DAYS * 24 * 60 {
        let passed = TICK * u32::try_from(tick).unwrap();
        let day = passed.as_secs_f64() / 86_400.0 * std::f64::consts::TAU;
        owed += A_TICK * (1.0 - shape * day.cos());
        while owed >= 1.0 {
            owed -= 1.0;
            let pick = choose(targets, &ASK, &Tried::default(), origin, &mut || draws.f64());
            let at = pick.unwrap().target;
            let cost = pricing(at).estimate(u64::from(ASK.input_tokens), 0);
            spent[at] = spent[at].plus(cost);
        }
        let now = begin + passed;
        let mut prices = Prices::new();
        for (at, book) in books.iter_mut().enumerate() {
            book.take([("p", spent[at])], |_| true, now);
            let credential = &route.targets[at].credential;
            prices.insert(credential.id.clone(), book.price(&credential.tiers, now));
        }
        all.set_prices(&prices);
    }
    billed(&spent)
}
