//! That a quota is divided among the proxies that serve, and nothing is written where there is none.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::tests::*;

#[tokio::test(start_paused = true)]
async fn the_proxies_that_serve_share_each_quota_and_without_one_nothing_is_written_for_them() {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    pod(&fake, "p", "True");
    let mut process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    let shared = || Some(published(&fake)?.tables?.table.table(0).proxies());
    assert_eq!(shared(), Some(0));
    let tables = || fake.count(|seen| is_write(seen) && seen.path.contains("/trunkline/secrets"));
    let wrote = tables();
    pod(&fake, "q", "True");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(tables(), wrote, "there is no quota");
    let path = "/apis/trunkline.dev/v1alpha1/namespaces/team/providercredentials/openai";
    let mut credential = fake.get(path).unwrap();
    credential["spec"]["quota"] = json!({"requestsPerMinute": 600});
    fake.put(path, credential);
    until("shared by two", || shared() == Some(2)).await;
    pod(&fake, "r", "True");
    until("shared by three", || shared() == Some(3)).await;
    process.stop().await;
    let wrote = tables();
    process = start(&fake, "b", 1);
    sleep(Duration::from_mins(1)).await;
    assert_eq!((shared(), tables()), (Some(3), wrote), "a restart changes nothing");
    for name in ["p", "q", "r"] {
        pod(&fake, name, "False");
    }
    sleep(Duration::from_mins(1)).await;
    assert_eq!(shared(), Some(3), "none may be all of them for a moment");
    process.stop().await;
}
