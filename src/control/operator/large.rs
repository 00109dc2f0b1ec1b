//! That a table which is too large is refused and named, and takes nothing away.

use serde_json::json;
use tokio::time::sleep;

use super::{tests::*, *};
use crate::control::fake::Fake;

/// A route whose part of the table is hard to compress.
fn large(fake: &Fake, at: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(at);
    let mut noise = || (0..16_000).map(|_| rng.alphanumeric()).collect::<String>();
    let set: BTreeMap<_, _> = (0..14).map(|field| (format!("f{field}"), noise())).collect();
    let target = json!({"name": "t", "credentialRef": {"name": "openai"}, "model": "m",
        "overrides": {"set": set}});
    let name = format!("large-{at}");
    let spec = json!({"models": [name], "targets": [target]});
    fake.put(&route_path(&name), json!({"metadata": {}, "spec": spec}));
    name
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_too_large_is_named_and_what_was_published_stays() {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    let mut fitting = vec!["chat".to_owned()];
    let refused = loop {
        let name = large(&fake, fitting.len() as u64);
        assert!(fitting.len() < 12, "it is never too large");
        let said = || condition(&fake, &route_path(&name), "Programmed");
        until("said", || !said().is_empty()).await;
        if said() == "False TableTooLarge" {
            break name;
        }
        fitting.push(name);
    };
    assert!(fitting.len() > 1, "some fit");
    assert_eq!(condition(&fake, &route_path(&refused), "Ready"), "False NotProgrammed");
    assert!(process.metrics.render().contains("trunkline_operator_table_too_large 1"));
    sleep(Duration::from_mins(2)).await;
    assert_eq!(served(&fake), fitting);
    assert_eq!(condition(&fake, &route_path("chat"), "Programmed"), "False NoProxies");

    fake.delete(&route_path(&refused));
    route(&fake, "small", &["small"]);
    fitting.push("small".to_owned());
    until("published again", || served(&fake) == fitting).await;
    let small = || condition(&fake, &route_path("small"), "Programmed");
    until("said", || small() == "False NoProxies").await;
    process.stop().await;
}
