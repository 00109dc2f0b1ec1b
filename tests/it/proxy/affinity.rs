//! Requests that belong together go to the same target, key and pod, at every replica.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::harness::{Answer, Play, Provider, Proxy, Setup, body, local};

/// Three targets in one tier, and what the route says beside them.
async fn three(route: Value) -> (Vec<Provider>, Setup) {
    let mut providers = Vec::new();
    let mut setup = Setup::default().with(route);
    for at in 0..3 {
        let provider = Provider::start(|_| Play::chat("hello")).await;
        setup = setup.openai(provider.address);
        setup.targets[at]["tier"] = json!(0);
        providers.push(provider);
    }
    (providers, setup)
}

fn target(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-trunkline-target").to_owned()
}

/// Where twelve conversations go, each asked four times and always to one target.
async fn homes(ask: impl AsyncFn(String) -> Answer) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for round in 0..4 {
        for at in 0..12 {
            let id = format!("conversation-{at}");
            let served = target(&ask(id.clone()).await);
            let home = homes.entry(id).or_insert_with(|| served.clone());
            assert_eq!(*home, served, "in round {round}");
        }
    }
    let places: BTreeSet<_> = homes.values().collect();
    assert_eq!(places.len(), 3, "every target has some: {homes:?}");
    homes
}

async fn by_header(proxy: &Proxy, id: &str) -> Answer {
    proxy.ask("/v1/chat/completions", &[("x-conversation", id)], &body(json!({}))).await
}

fn counted(proxy: &Proxy, result: &str) -> bool {
    let labels = format!(r#"{{namespace="default",result="{result}",route="route"}}"#);
    proxy.metrics.render().contains(&format!("trunkline_affinity_total{labels}"))
}

#[test]
fn a_conversation_stays_with_its_target_and_replicas_agree_about_it() {
    local(async {
        let affinity = json!({"affinity": {"header": "x-conversation"}});
        let (_providers, setup) = three(affinity.clone()).await;
        let proxy = setup.start();
        let first = homes(async |id| by_header(&proxy, &id).await).await;
        assert!(counted(&proxy, "kept") && !counted(&proxy, "unkeyed"));
        let (_providers, setup) = three(affinity).await;
        let replica = setup.start();
        assert_eq!(homes(async |id| by_header(&replica, &id).await).await, first);
        // The body's own id counts where there is no header.
        let in_body = homes(async |id| replica.chat(json!({"prompt_cache_key": id})).await).await;
        assert_eq!(
            homes(async |id| replica.chat(json!({"prompt_cache_key": id, "user": "u"})).await)
                .await,
            in_body
        );
    });
}

#[test]
fn a_request_that_belongs_nowhere_is_served_by_the_strategy() {
    local(async {
        let (providers, setup) = three(json!({"affinity": {}})).await;
        let proxy = setup.start();
        for _ in 0..30 {
            target(&proxy.chat(json!({})).await);
        }
        assert!(providers.iter().all(|provider| provider.asked() > 0));
        assert!(counted(&proxy, "unkeyed") && !counted(&proxy, "kept"));
    });
}

#[test]
fn both_apis_name_a_conversation_in_their_own_way() {
    local(async {
        let (_providers, setup) = three(json!({"affinity": {}})).await;
        let proxy = setup.start();
        homes(async |id| proxy.chat(json!({"user": id})).await).await;
        homes(async |id| {
            let more = json!({"max_tokens": 9, "metadata": {"user_id": id}});
            proxy.ask("/v1/messages", &[], &body(more)).await
        })
        .await;
    });
}

#[test]
fn a_conversation_that_grows_begins_alike_and_stays() {
    local(async {
        let (_providers, setup) = three(json!({"affinity": {"by": "Prefix"}})).await;
        let proxy = setup.start();
        let turn = |role: &str, text: &str| json!({"role": role, "content": text});
        let mut places = BTreeSet::new();
        for at in 0..12 {
            let mut messages =
                vec![turn("system", "Be brief."), turn("user", &format!("Question {at}"))];
            let home = target(&proxy.chat(json!({"messages": messages})).await);
            for _ in 0..3 {
                messages.extend([turn("assistant", "Yes."), turn("user", "And then?")]);
                let served = target(&proxy.chat(json!({"messages": messages})).await);
                assert_eq!(served, home);
            }
            places.insert(home);
        }
        assert_eq!(places.len(), 3);
    });
}

#[test]
fn a_conversation_moves_to_one_other_target_while_its_own_fails_and_comes_back() {
    local(async {
        let (mut providers, mut setup) = three(json!({
            "affinity": {"header": "x-conversation"},
            "circuitBreaker": {"consecutiveFailures": 1, "cooldown": "1s", "rampUp": "0s"},
        }))
        .await;
        // The home of this conversation, which fails a request and its retry and then is well.
        let home = {
            let proxy = three(json!({"affinity": {"header": "x-conversation"}})).await.1.start();
            target(&by_header(&proxy, "c").await)
        };
        let at = ["a", "b", "c"].iter().position(|name| **name == home).unwrap();
        let ill =
            Provider::start(|n| if n < 2 { Play::error(500) } else { Play::chat("hello") }).await;
        setup.objects[at]["spec"]["endpoint"]["baseURL"] =
            json!(format!("http://{}/v1", ill.address));
        providers[at] = ill;
        let proxy = setup.start();
        let refuge = target(&by_header(&proxy, "c").await);
        assert_ne!(refuge, home);
        for _ in 0..5 {
            assert_eq!(target(&by_header(&proxy, "c").await), refuge);
        }
        assert!(counted(&proxy, "unavailable"));
        assert_eq!(providers[at].asked(), 2);
        tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
        for _ in 0..3 {
            by_header(&proxy, "c").await;
        }
        assert_eq!(target(&by_header(&proxy, "c").await), home);
    });
}

#[test]
fn a_conversation_stays_with_its_key_and_its_pod() {
    local(async {
        let mut pods = Vec::new();
        for _ in 0..3 {
            pods.push(Provider::start(|_| Play::chat("hello")).await);
        }
        let addresses: Vec<_> = pods.iter().map(|pod| pod.address).collect();
        let affinity = json!({"affinity": {"header": "x-conversation"}});
        let proxy = Setup::default().service(&addresses).with(affinity.clone()).start();
        let asked = || pods.iter().map(Provider::asked).collect::<Vec<_>>();
        let mut used = BTreeSet::new();
        // So many that a pod without one, (2/3)^40 for each of the three, is no chance.
        for at in 0..40 {
            let before = asked();
            for _ in 0..4 {
                assert_eq!(by_header(&proxy, &format!("conversation-{at}")).await.status, 200);
            }
            let grown = |(now, before): (usize, &usize)| now - before;
            let grown: Vec<_> = asked().into_iter().zip(&before).map(grown).collect();
            assert!(grown.contains(&4), "{grown:?}");
            used.insert(grown);
        }
        assert_eq!(used.len(), 3, "every pod has some");

        let provider = Provider::start(|_| Play::chat("hello")).await;
        let mut setup = Setup::default();
        setup = setup.target("OpenAICompatible", provider.address, "m", 2).with(affinity);
        setup.objects[0]["spec"]["auth"]["apiKey"]["keys"][1]["weight"] = json!(1000);
        let proxy = setup.start();
        let mut keys = BTreeSet::new();
        for at in 0..12 {
            let mut own = BTreeSet::new();
            for _ in 0..4 {
                by_header(&proxy, &format!("conversation-{at}")).await;
                let heard = provider.heard().pop().unwrap().head;
                own.insert(
                    heard.lines().find(|line| line.contains("sk-canary")).unwrap().to_owned(),
                );
            }
            assert_eq!(own.len(), 1, "{own:?}");
            keys.extend(own);
        }
        assert_eq!(keys.len(), 2, "each key has some");
    });
}
