//! What goes from one side to the other, and what never does.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::harness::{
    KEYS, MILLIS, Play, Provider, Setup, Step, body, chunk, finish, local, until,
};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_clients_credentials_and_hop_headers_stay_here() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hi")).await;
        let proxy = Setup::default().openai(provider.address).start();
        let secret = "client-canary";
        let headers: Vec<_> = [
            ("authorization", "Bearer client-canary"),
            ("x-api-key", secret),
            ("x-goog-api-key", secret),
            ("api-key", secret),
            ("cookie", "session=client-canary"),
            ("proxy-authorization", secret),
            ("connection", "x-named"),
            ("x-named", secret),
            ("te", "trailers"),
            ("x-forwarded-for", "client-canary"),
            ("openai-organization", secret),
            ("referer", "https://client-canary"),
            ("x-api-base", "https://client-canary"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]
        .into();
        assert_eq!(proxy.ask(CHAT, &headers, &body(json!({}))).await.status, 200);
        let head = &provider.heard()[0].head;
        assert!(!head.contains("client-canary"), "{head}");
        assert!(head.contains(&format!("authorization: Bearer {}\r\n", KEYS[0])), "{head}");
        assert!(head.contains("traceparent: 00-0af7"), "{head}");
        assert_eq!(head.matches("host: ").count(), 1);
        assert!(!head.contains("x-named") && !head.contains("te: "), "{head}");
    });
}

#[test]
fn the_host_and_the_target_cannot_be_chosen_by_a_client() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hi")).await;
        let elsewhere = Provider::start(|_| Play::chat("no")).await;
        let proxy = Setup::default().openai(provider.address).start();
        let there = format!("http://{}/v1", elsewhere.address);
        let headers = [("x-forwarded-host", there.as_str()), ("x-original-url", there.as_str())];
        let more = json!({"api_base": there, "base_url": there, "endpoint": there});
        let answer = proxy.ask(CHAT, &headers, &body(more)).await;
        assert_eq!((answer.status, provider.asked(), elsewhere.asked()), (200, 1, 0));
    });
}

#[test]
fn a_redirect_is_an_error_and_nobody_follows_it() {
    local(async {
        let elsewhere = Provider::start(|_| Play::chat("stolen")).await;
        let to = format!("location: http://{}/v1/chat/completions\r\n", elsewhere.address);
        let provider = Provider::start(move |_| Play::Whole(307, to.clone(), String::new())).await;
        let proxy = Setup::default().openai(provider.address).start();
        let answer = proxy.chat(json!({})).await;
        assert_eq!((answer.status, elsewhere.asked()), (502, 0));
        assert_eq!(answer.header("location"), "");
    });
}

#[test]
fn a_providers_headers_stay_there_but_for_its_limits_and_its_id() {
    local(async {
        let sent = "set-cookie: a=b\r\nserver: x\r\nalt-svc: h3\r\nx-request-id: theirs\r\n\
                    x-ratelimit-remaining-tokens: 7\r\nx-internal: y\r\nopenai-processing-ms: 5\r\n";
        let play = |_| {
            let Play::Whole(status, _, body) = Play::chat("hi") else { panic!() };
            Play::Whole(status, sent.to_owned(), body)
        };
        let provider = Provider::start(play).await;
        let proxy = Setup::default().openai(provider.address).start();
        let answer = proxy.chat(json!({})).await;
        for absent in ["set-cookie", "server", "alt-svc", "x-internal"] {
            assert_eq!(answer.header(absent), "", "{absent}");
        }
        assert_eq!(answer.header("x-ratelimit-remaining-tokens"), "7");
        assert_eq!(answer.header("x-upstream-request-id"), "theirs");
        assert!(answer.header("x-request-id").starts_with("req_"));
        assert_eq!(answer.header("x-trunkline-target"), "a");
        assert_eq!(answer.header("x-trunkline-attempts"), "a:ok");
        assert_eq!(answer.header("x-trunkline-revision"), "7");
    });
}

#[test]
fn a_key_that_a_provider_repeats_reaches_neither_client_nor_log() {
    local(async {
        let words = format!("the key {} is wrong", KEYS[0]);
        let told = json!({"error": {"message": words, "code": KEYS[0], "param": KEYS[0]}});
        for status in [400, 401, 429, 500] {
            let told = told.clone();
            let provider = Provider::start(move |_| {
                let echo = format!("x-echo: {}\r\nx-ratelimit-limit-key: 1\r\n", KEYS[0]);
                Play::Whole(status, echo, told.to_string())
            })
            .await;
            let setup = Setup::default().openai(provider.address);
            let proxy = setup.with(json!({"failover": {"maxAttempts": 1}})).start();
            let answer = proxy.chat(json!({})).await;
            assert!(!answer.all().contains(KEYS[0]), "{status}: {}", answer.all());
            let lines = proxy.lines(1).await;
            assert!(!lines.contains(KEYS[0]) && !lines.contains("canary-prompt"), "{lines}");
            assert!(!proxy.metrics.render().contains(KEYS[0]));
        }
    });
}

#[test]
fn nor_does_a_key_that_is_repeated_inside_a_stream() {
    local(async {
        let told = json!({"error": {"message": format!("the key {} is spent", KEYS[0])}});
        let steps = vec![
            Step::Say(chunk("hi")),
            Step::Wait(50 * MILLIS),
            Step::Say(format!("data: {told}\n\n")),
        ];
        let provider = Provider::start(move |_| Play::Stream(steps.clone())).await;
        let proxy = Setup::default().openai(provider.address).start();
        let answer = proxy.chat(json!({"stream": true})).await;
        assert!(answer.body.contains("hi") && answer.body.contains("is spent"), "{}", answer.body);
        assert!(!answer.all().contains(KEYS[0]), "{}", answer.body);
        assert!(!proxy.lines(1).await.contains(KEYS[0]));
    });
}

#[test]
fn one_line_a_request_says_who_answered_and_no_word_of_what() {
    local(async {
        let provider = Provider::start(|_| Play::chat("canary-answer")).await;
        let proxy = Setup::default().openai(provider.address).start();
        proxy.chat(json!({})).await;
        proxy.ask(CHAT, &[], "{}").await;
        let lines = proxy.lines(2).await;
        let line = |at: usize| -> serde_json::Value {
            serde_json::from_str(lines.lines().nth(at).unwrap()).unwrap()
        };
        let answered = line(0);
        for (field, expected) in [
            ("provider", json!("OpenAICompatible")),
            ("target", json!("a")),
            ("route", json!("route")),
            ("model", json!("m")),
            ("status", json!(200)),
            ("outcome", json!("ok")),
            ("input_tokens", json!(3)),
            ("output_tokens", json!(2)),
        ] {
            assert_eq!(answered[field], expected, "{field} {answered}");
        }
        assert_eq!(line(1)["provider"], "");
        assert!(!lines.contains("canary"), "{lines}");
    });
}

/// Not a byte is changed but the model's name, however the client has written its JSON.
#[test]
fn between_equal_dialects_bytes_pass_as_they_are() {
    local(async {
        let reply = r#"{ "id":"x", "unknown": [1.0, 1e400, "\u00e9"],"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}] }"#;
        let provider =
            Provider::start(move |_| Play::Whole(200, String::new(), reply.to_owned())).await;
        let proxy = Setup::default().openai(provider.address).start();
        let sent = r#"{ "messages":[{"role":"user","content":"\u00e9\/"}], "temperature":1.0, "big":123456789012345678901234567890, "invented":{"b":1,"a":2},
            "model" : "m"}"#;
        let answer = proxy.ask(CHAT, &[], sent).await;
        let heard = &provider.heard()[0].body;
        assert_eq!(*heard, sent.replace(r#""m""#, r#""upstream-model""#));
        assert_eq!(answer.body, reply);
        assert_eq!(answer.header("x-trunkline-dropped"), "");
    });
}

/// Order has no meaning in JSON, but models read it: the fields of a schema are written in it, and a
/// replayed call that differs from the one that was made misses the provider's cache.
#[test]
fn keys_keep_their_order_through_a_translation() {
    local(async {
        let provider = Provider::start(|_| Play::error(500)).await;
        let schema = r#"{"type":"object","properties":{"zeta":{"type":"string"},"alpha":{"type":"string"},"mid":{"type":"object","properties":{"y":{"type":"string"},"b":{"type":"string"}}}}}"#;
        let request = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"go"}},{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{{\"zeta\":1,\"alpha\":2}}"}}}}]}},{{"role":"tool","tool_call_id":"c","content":"{{\"q\":1,\"d\":2}}"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]}}"#
        );
        for (name, model) in
            [("AnthropicCompatible", "claude-sonnet-5"), ("GeminiCompatible", "gemini-3-pro")]
        {
            let proxy = Setup::default().target(name, provider.address, model, 1).start();
            proxy.ask(CHAT, &[], &request).await;
            let heard = provider.heard().last().unwrap().body.clone();
            assert!(heard.contains(schema), "{heard}");
            assert!(heard.contains(r#"{"zeta":1,"alpha":2}"#), "{heard}");
            let result = if model.starts_with("claude") {
                r#"{\"q\":1,\"d\":2}"#
            } else {
                r#"{"q":1,"d":2}"#
            };
            assert!(heard.contains(result), "{heard}");
        }
    });
}

#[test]
fn what_a_target_did_not_get_is_named_in_the_clients_words() {
    local(async {
        let claude = json!({"id": "m", "type": "message", "role": "assistant", "model": "x",
            "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1}});
        let provider = Provider::start(move |_| Play::json(200, &claude)).await;
        let proxy = Setup::default()
            .target("AnthropicCompatible", provider.address, "claude-sonnet-4-5", 1)
            .start();
        let more = json!({"seed": 1, "temperature": 2, "logit_bias": {"1": 1}});
        let answer = proxy.chat(more).await;
        assert_eq!(answer.header("x-trunkline-dropped"), "temperature;clamped, seed, logit_bias");
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "hi");
    });
}

#[test]
fn a_client_that_leaves_before_an_answer_cancels_the_request_at_once() {
    local(async {
        let provider = Provider::start(|_| Play::Silence).await;
        let proxy = Setup::default().openai(provider.address).start();
        for stream in [true, false] {
            let before = provider.left.get();
            let sent = body(json!({"stream": stream}));
            let asked = tokio::time::timeout(100 * MILLIS, proxy.send(CHAT, &[], &sent)).await;
            assert!(asked.is_err());
            let gone = Instant::now();
            until(|| provider.left.get() > before).await;
            assert!(gone.elapsed() < 5000 * MILLIS, "{:?}", gone.elapsed());
        }
        assert_eq!(provider.asked(), 2, "nobody is asked again for a client that is gone");
        let lines = proxy.lines(2).await;
        assert_eq!(lines.matches("client_closed").count(), 2, "{lines}");
    });
}

#[test]
fn a_client_that_leaves_inside_a_stream_cancels_it_at_once() {
    local(async {
        let long = || vec![Step::Say(chunk("a")), Step::Wait(Duration::from_secs(20))];
        let provider = Provider::start(move |_| Play::Stream(long())).await;
        let proxy = Setup::default().openai(provider.address).start();
        let mut answer = proxy.send(CHAT, &[], &body(json!({"stream": true}))).await;
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        drop(answer);
        let gone = Instant::now();
        until(|| provider.left.get() == 1).await;
        assert!(gone.elapsed() < 5000 * MILLIS, "{:?}", gone.elapsed());
        assert!(proxy.lines(1).await.contains("client_closed"));
    });
}

/// A client that does not read must not make us read for it: what a provider has written stays
/// within what sockets and one piece hold.
#[test]
fn a_slow_reader_holds_the_provider_back() {
    const SENT: usize = 32 << 20;
    local(async {
        let piece = chunk(&"x".repeat(64 << 10));
        let many = SENT / piece.len();
        let provider = Provider::start(move |_| {
            let mut steps = vec![Step::Say(piece.clone()); many];
            steps.push(Step::Say(finish()));
            Play::Stream(steps)
        })
        .await;
        let proxy = Setup::default().openai(provider.address).start();
        let mut answer = proxy.send(CHAT, &[], &body(json!({"stream": true}))).await;
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        let mut before = 0;
        while provider.written.get() > before {
            before = provider.written.get();
            sleep(200 * MILLIS).await;
        }
        assert!(before < SENT * 3 / 4, "{before} bytes were taken for a client that reads none");
        let whole = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(whole.len() > SENT / 2 && whole.ends_with(b"[DONE]\n\n"));
    });
}
