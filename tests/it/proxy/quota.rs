//! The quota of an account, as its provider and a client see it.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Play, Provider, Setup, Step, body, chunk, local, until};

/// Gives the credential of the first target a quota.
fn limited(mut setup: Setup, quota: Value) -> Setup {
    setup.objects[0]["spec"]["quota"] = quota;
    setup
}

#[test]
fn what_an_account_may_not_take_goes_to_the_next_target_and_never_to_its_provider() {
    local(async {
        let first = Provider::start(|_| Play::chat("first")).await;
        let second = Provider::start(|_| Play::chat("second")).await;
        let setup = Setup::default().openai(first.address).openai(second.address);
        let proxy = limited(setup, json!({"requestsPerMinute": 2})).start();
        let mut served = Vec::new();
        for _ in 0..5 {
            let answer = proxy.chat(json!({})).await;
            served.push(answer.header("x-trunkline-attempts").to_owned());
        }
        assert_eq!(
            served,
            ["a:ok", "a:ok", "b:ok", "b:ok", "b:ok"],
            "and no attempt is lost for it"
        );
        assert_eq!((first.asked(), second.asked()), (2, 3));
        let [(part, left)] = proxy.headrooms()[..] else { panic!("one limit of one account") };
        assert_eq!((part, left), ("requestsPerMinute", 0.0));
    });
}

#[test]
fn a_client_is_told_when_to_come_again_in_its_own_shape() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hello")).await;
        let proxy =
            limited(Setup::default().openai(provider.address), json!({"requestsPerMinute": 1}))
                .start();
        assert_eq!(proxy.chat(json!({})).await.status, 200);
        let refused = proxy.chat(json!({})).await;
        assert_eq!(refused.status, 429, "{}", refused.body);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((55..=65).contains(&wait), "{wait}");
        let told: Value = serde_json::from_str(&refused.body).unwrap();
        assert_eq!(told["error"]["code"], "quota_exceeded");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("a (requestsPerMinute)"), "{message}");
        let asked =
            json!({"max_tokens": 9, "model": "m", "messages": [{"role": "user", "content": "x"}]});
        let refused = proxy.ask("/v1/messages", &[], &asked.to_string()).await;
        assert_eq!(refused.status, 429);
        let told: Value = serde_json::from_str(&refused.body).unwrap();
        assert_eq!(told["error"]["type"], "rate_limit_error");
        assert_eq!(provider.asked(), 1);
    });
}

#[test]
fn a_place_is_held_to_the_last_byte_and_given_back_when_the_client_leaves() {
    local(async {
        let long = |at| match at {
            0 => Play::Stream(vec![Step::Say(chunk("one")), Step::Wait(Duration::from_mins(1))]),
            _ => Play::chat("two"),
        };
        let provider = Provider::start(long).await;
        let proxy =
            limited(Setup::default().openai(provider.address), json!({"maxConcurrent": 1})).start();
        let stream = body(json!({"stream": true}));
        let open = proxy.send("/v1/chat/completions", &[], &stream).await;
        assert_eq!(open.status(), 200);
        let refused = proxy.chat(json!({})).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
        drop(open);
        until(|| provider.left.get() == 1).await;
        assert_eq!(proxy.chat(json!({})).await.status, 200);
    });
}

#[test]
fn tokens_count_as_the_provider_reports_them() {
    local(async {
        // About 270 are expected of each, and 5 are used.
        let provider = Provider::start(|_| Play::chat("hello")).await;
        let setup = Setup::default().openai(provider.address);
        let proxy = limited(setup, json!({"tokensPerMinute": 300})).start();
        for at in 0..4 {
            assert_eq!(proxy.chat(json!({})).await.status, 200, "{at}");
        }
        let long = "x".repeat(5 * 300);
        let refused = proxy.chat(json!({"messages": [{"role": "user", "content": long}]})).await;
        assert_eq!(refused.status, 429, "what is longer than the limit goes alone");
    });
}
