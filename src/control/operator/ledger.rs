//! That what proxies have spent is booked, kept in the status, and gives the price in the table.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::tests::*;

const CREDENTIAL: &str = "/apis/trunkline.dev/v1alpha1/namespaces/team/providercredentials/openai";

fn spent(dollars: u64) -> Value {
    let mut state = state(1000, &[]);
    let nanos = dollars * 1_000_000_000;
    state["spend"] = json!([{"namespace": "team", "credential": "openai", "nano_usd": nanos}]);
    state
}

/// Over a real socket, so on the real clock.
#[tokio::test]
async fn what_proxies_spend_is_kept_in_the_status_and_prices_the_next_dollar() {
    let fake = cluster();
    let mut credential = fake.get(CREDENTIAL).unwrap();
    credential["spec"]["spendTiers"] = json!([{"aboveUSD": "100", "multiplier": "1.5"}]);
    fake.put(CREDENTIAL, credential);
    route(&fake, "chat", &["chat"]);
    pod(&fake, "p", "True");
    let (_says, told) = watch::channel(spent(120));
    let address = proxy(told).await;
    let mut process = start(&fake, "a", address.port());
    let status = || fake.get(CREDENTIAL).unwrap()["status"]["spend"].clone();
    let prices = || Some(published(&fake)?.tables?.table.table(0).prices().clone());
    until("booked", || status()["usd"] == "120.000000000").await;
    assert_eq!(status()["multiplier"], "1.500");
    let price = || prices()?.into_iter().next().map(|(id, price)| (id.to_string(), price));
    until("published", || price() == Some(("team/openai".to_owned(), 1500))).await;
    process.stop().await;

    // Another process goes on with what the first one has kept: nothing is counted twice.
    let wrote = || fake.count(|seen| is_write(seen) && seen.path.contains("/trunkline/secrets"));
    let before = wrote();
    let (_says, told) = watch::channel(spent(125));
    let address = proxy(told).await;
    process = start(&fake, "b", address.port());
    until("gone on with", || status()["usd"] == "125.000000000").await;
    assert_eq!((wrote(), price().map(|(_, price)| price)), (before, Some(1500)), "the same table");
    process.stop().await;
}
