//! What happens when a provider does not answer as it should: who is asked next, how often, how long,
//! and what the client is told when nobody is left.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use trunkline::select::{Refusal, Standing};

use super::harness::{
    Answer, KEYS, MILLIS, Play, Provider, Proxy, Setup, Step, chunk, finish, local, nobody, until,
};

/// A first target that plays, and a second that answers.
async fn two(play: impl Fn(usize) -> Play + 'static, route: Value, ask: Value) -> (Answer, usize) {
    let first = Provider::start(play).await;
    let second = Provider::start(|_| Play::chat("from b")).await;
    let setup = Setup::default().openai(first.address).openai(second.address);
    let answer = setup.with(route).start().chat(ask).await;
    (answer, first.asked())
}

#[test]
fn each_failure_goes_to_the_next_target_and_is_named() {
    local(async {
        let limited = || {
            let Play::Whole(status, _, body) = Play::error(429) else { panic!() };
            Play::Whole(status, "retry-after: 60\r\n".to_owned(), body)
        };
        let garbled = || Play::Whole(200, String::new(), "not json".to_owned());
        let cut = || Play::Stream(vec![Step::Say(chunk("")), Step::Cut]);
        for (play, stream, asked, attempts) in [
            (Play::error(500), false, 2, "a:500,a:500,b:ok"),
            (Play::error(502), false, 2, "a:502,a:502,b:ok"),
            (Play::error(503), false, 2, "a:503,a:503,b:ok"),
            (Play::error(529), false, 1, "a:529,b:ok"),
            (Play::error(408), false, 1, "a:408,b:ok"),
            (limited(), false, 1, "a:429,b:ok"),
            (Play::error(401), false, 1, "a:401,b:ok"),
            (Play::error(402), false, 1, "a:402,b:ok"),
            (Play::error(403), false, 1, "a:403,b:ok"),
            (Play::error(404), false, 1, "a:404,b:ok"),
            (Play::Close, false, 2, "a:reset,a:reset,b:ok"),
            (cut(), true, 1, "a:truncated,b:ok"),
            (garbled(), true, 1, "a:truncated,b:ok"),
        ] {
            let second = if stream { Play::chunks(&["from b"]) } else { Play::chat("from b") };
            let (first, told) = (play.clone(), attempts.to_owned());
            let first = Provider::start(move |_| first.clone()).await;
            let second = Provider::start(move |_| second.clone()).await;
            let setup = Setup::default().openai(first.address).openai(second.address);
            let answer = setup.start().chat(json!({"stream": stream})).await;
            assert_eq!(answer.header("x-trunkline-attempts"), told, "{play:?} {}", answer.body);
            assert!(answer.status == 200 && answer.body.contains("from b"), "{play:?}");
            assert_eq!((first.asked(), second.asked()), (asked, 1), "{play:?}");
        }
    });
}

#[test]
fn a_server_that_cannot_be_reached_is_left_at_once() {
    local(async {
        let second = Provider::start(|_| Play::chat("from b")).await;
        let setup = Setup::default().openai(nobody().await).openai(second.address);
        let answer = setup.start().chat(json!({})).await;
        assert_eq!(answer.header("x-trunkline-attempts"), "a:connect,b:ok");
    });
}

#[test]
fn a_refused_key_is_followed_by_the_next_one_and_rests() {
    local(async {
        let provider = Provider::start(|number| match number {
            0 => Play::error(401),
            _ => Play::chat("hi"),
        })
        .await;
        let setup = Setup::default().target("OpenAICompatible", provider.address, "x", 2);
        let proxy = setup.start();
        let answer = proxy.chat(json!({})).await;
        assert_eq!(answer.header("x-trunkline-attempts"), "a:401,a:ok");
        proxy.chat(json!({})).await;
        let used: Vec<_> = provider
            .heard()
            .iter()
            .map(|heard| KEYS.iter().position(|key| heard.head.contains(key)))
            .collect();
        assert_eq!(used, [Some(0), Some(1), Some(1)]);
    });
}

#[test]
fn a_refused_key_is_told_from_a_limited_one_until_it_is_accepted_again() {
    local(async {
        let provider = Provider::start(|number| match number {
            0 => Play::error(401),
            1 => Play::error(429),
            _ => Play::chat("hi"),
        })
        .await;
        let setup = Setup::default().target("OpenAICompatible", provider.address, "x", 2);
        let proxy = setup.start();
        proxy.chat(json!({})).await;
        let found = proxy.keys();
        let [Standing::Refused { why: Refusal::Rejected, .. }, Standing::Resting] = found[..]
        else {
            panic!("{found:?}")
        };
        // Both rest, so the one that is free the soonest serves: the limited one.
        proxy.chat(json!({})).await;
        let found = proxy.keys();
        let [Standing::Refused { .. }, Standing::Ready] = found[..] else { panic!("{found:?}") };
    });
}

/// What a provider says is left counts before it says no.
#[test]
fn a_key_that_is_used_up_rests_before_it_is_refused() {
    local(async {
        let Play::Whole(status, _, body) = Play::chat("the last one") else { panic!() };
        let used_up = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1s\r\n";
        let play = Play::Whole(status, used_up.to_owned(), body);
        let first = Provider::start(move |_| play.clone()).await;
        let second = Provider::start(|_| Play::chat("from b")).await;
        let proxy = Setup::default().openai(first.address).openai(second.address).start();
        for attempts in ["a:ok", "b:ok"] {
            assert_eq!(proxy.chat(json!({})).await.header("x-trunkline-attempts"), attempts);
        }
        sleep(1100 * MILLIS).await;
        assert_eq!(proxy.chat(json!({})).await.header("x-trunkline-attempts"), "a:ok");
    });
}

#[test]
fn a_short_wait_is_waited_where_nobody_else_is_left() {
    local(async {
        let provider = Provider::start(|number| {
            let Play::Whole(status, _, body) = Play::error(429) else { panic!() };
            let wait = "retry-after-ms: 300\r\n".to_owned();
            if number == 0 { Play::Whole(status, wait, body) } else { Play::chat("hi") }
        })
        .await;
        let proxy = Setup::default().openai(provider.address).start();
        let sent = Instant::now();
        let answer = proxy.chat(json!({})).await;
        assert_eq!(answer.header("x-trunkline-attempts"), "a:429,a:ok");
        assert!(sent.elapsed() >= 300 * MILLIS);
    });
}

#[test]
fn a_long_wait_is_told_to_the_client() {
    local(async {
        for (headers, body, told) in [
            ("retry-after: 40\r\n", json!({"error": {"message": "slow"}}), "40"),
            ("", json!({"error": {"message": "slow"}}), ""),
        ] {
            let provider =
                Provider::start(move |_| Play::Whole(429, headers.to_owned(), body.to_string()))
                    .await;
            let answer = Setup::default().openai(provider.address).start().chat(json!({})).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, told));
            assert_eq!(
                (provider.asked(), &answer.json()["error"]["type"]),
                (1, &json!("rate_limit_error"))
            );
        }
        // Gemini says it in the body alone.
        let limited = json!({"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]}});
        let provider = Provider::start(move |_| Play::json(429, &limited)).await;
        let setup =
            Setup::default().target("GeminiCompatible", provider.address, "gemini-3-pro", 1);
        let answer = setup.start().chat(json!({})).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "35"));
    });
}

#[test]
fn a_request_that_is_at_fault_is_asked_once() {
    local(async {
        for status in [400, 413, 422] {
            let (answer, asked) = two(move |_| Play::error(status), json!({}), json!({})).await;
            assert_eq!(asked, 1);
            assert_eq!(answer.header("x-trunkline-attempts"), format!("a:{status}"));
            assert_eq!(answer.status, if status == 413 { 413 } else { 400 });
        }
    });
}

#[test]
fn a_silent_target_is_left_after_its_deadline_and_asked_once() {
    local(async {
        let talk = || Play::Stream(vec![Step::Say(chunk("")), Step::Wait(Duration::from_secs(9))]);
        for (play, word) in [(Play::Silence, "headers-timeout"), (talk(), "first-token-timeout")] {
            let silent = Provider::start(move |_| play.clone()).await;
            let second = Provider::start(|_| Play::chunks(&["from b"])).await;
            let setup = Setup::default().openai(silent.address).openai(second.address);
            let proxy = setup.with(json!({"timeouts": {"firstToken": "300ms"}})).start();
            let sent = Instant::now();
            let answer = proxy.chat(json!({"stream": true})).await;
            assert_eq!(answer.header("x-trunkline-attempts"), format!("a:{word},b:ok"));
            assert!(
                (300 * MILLIS..5000 * MILLIS).contains(&sent.elapsed()),
                "{:?}",
                sent.elapsed()
            );
            assert_eq!(
                (silent.asked(), silent.left.get()),
                (1, 1),
                "and what it was asked is cancelled"
            );
        }
    });
}

/// A first target whose stream begins with what it plays, after 2 s of nothing; a second that plays at
/// once; and a route that asks it after 100 ms, for every second request.
async fn late(then: Step, second: Play) -> (Proxy, Provider, Provider) {
    let steps = vec![Step::Say(chunk("")), Step::Wait(2000 * MILLIS), then, Step::Say(finish())];
    let first = Provider::start(move |_| Play::Stream(steps.clone())).await;
    let second = Provider::start(move |_| second.clone()).await;
    let setup = Setup::default().openai(first.address).openai(second.address);
    let hedge = json!({"hedge": {"after": "100ms", "budgetPercent": 50}});
    (setup.with(hedge).start(), first, second)
}

#[test]
fn a_late_target_is_overtaken_and_cancelled_within_the_budget() {
    local(async {
        let (proxy, first, second) = late(Step::Say(chunk("late")), Play::chunks(&["soon"])).await;
        // Half of the requests may be asked twice, so the first may not.
        let answers =
            [proxy.chat(json!({"stream": true})).await, proxy.chat(json!({"stream": true})).await];
        let told =
            answers.each_ref().map(|answer| answer.header("x-trunkline-attempts").to_owned());
        assert_eq!(told, ["a:ok", "a:overtaken,b:ok"]);
        assert!(answers[0].body.contains("late") && !answers[0].body.contains("soon"));
        assert!(answers[1].body.contains("soon") && !answers[1].body.contains("late"));
        until(|| first.left.get() == 1).await;
        assert_eq!((first.asked(), second.asked()), (2, 1));
        // An answer that is not streamed is never asked twice.
        let whole = proxy.chat(json!({})).await;
        assert!(whole.header("x-trunkline-attempts").starts_with("a:"), "{}", whole.body);
        let lines = proxy.lines(3).await;
        assert_eq!(lines.matches(r#""outcome":"ok""#).count(), 3, "{lines}");
    });
}

#[test]
fn a_second_target_that_fails_leaves_the_first_one_to_answer() {
    local(async {
        let (proxy, first, second) = late(Step::Say(chunk("late")), Play::error(500)).await;
        proxy.chat(json!({"stream": true})).await;
        let answer = proxy.chat(json!({"stream": true})).await;
        assert_eq!(answer.header("x-trunkline-attempts"), "b:500,a:ok");
        assert!(answer.body.contains("late") && answer.body.contains("[DONE]"));
        assert_eq!((first.asked(), second.asked()), (2, 1));
    });
}

#[test]
fn a_client_that_leaves_two_attempts_cancels_both_and_counts_once() {
    local(async {
        let (proxy, first, second) = late(Step::Say(chunk("late")), Play::Silence).await;
        proxy.chat(json!({"stream": true})).await;
        let gone = timeout(500 * MILLIS, proxy.chat(json!({"stream": true}))).await;
        assert!(gone.is_err());
        until(|| first.left.get() == 1 && second.left.get() == 1).await;
        let lines = proxy.lines(2).await;
        assert_eq!(lines.matches("client_closed").count(), 1, "{lines}");
    });
}

#[test]
fn after_a_byte_nothing_is_retried() {
    local(async {
        let cut =
            || Play::Stream(vec![Step::Say(chunk("once")), Step::Wait(50 * MILLIS), Step::Cut]);
        let first = Provider::start(move |_| cut()).await;
        let second = Provider::start(|_| Play::chunks(&["twice"])).await;
        let setup = Setup::default().openai(first.address).openai(second.address);
        let answer = setup.start().chat(json!({"stream": true})).await;
        assert!(answer.body.contains("once") && !answer.body.contains("twice"));
        assert!(answer.body.contains(r#""error":{"#) && !answer.body.contains("[DONE]"));
        assert_eq!((first.asked(), second.asked()), (1, 0));
    });
}

#[test]
fn an_outage_is_not_amplified() {
    local(async {
        let provider = Provider::start(|_| Play::Close).await;
        let proxy = Setup::default().openai(provider.address).start();
        let begun = Instant::now();
        for _ in 0..60 {
            assert_eq!(proxy.chat(json!({})).await.status, 502);
        }
        // A fifth of the requests, ten a second, and what was saved up in the first second.
        let most = 60.0 * 0.2 + begun.elapsed().as_secs_f64() * 10.0 + 11.0;
        let retries = provider.asked() - 60;
        assert!(
            retries > 0 && f64::from(u32::try_from(retries).unwrap()) <= most,
            "{retries} > {most}"
        );
    });
}

#[test]
fn attempts_and_their_time_are_bounded() {
    local(async {
        let first = Provider::start(|_| Play::error(500)).await;
        let setup =
            Setup::default().openai(first.address).openai(first.address).openai(first.address);
        let proxy = setup.with(json!({"failover": {"maxAttempts": 2}})).start();
        let answer = proxy.chat(json!({})).await;
        assert_eq!((first.asked(), answer.header("x-trunkline-attempts")), (2, "a:500,a:500"));

        let silent = Provider::start(|_| Play::Silence).await;
        let setup = Setup::default().openai(silent.address).openai(silent.address);
        let route =
            json!({"failover": {"totalBudget": "400ms"}, "timeouts": {"firstToken": "300ms"}});
        let sent = Instant::now();
        let answer = setup.with(route).start().chat(json!({"stream": true})).await;
        assert_eq!((answer.status, silent.asked()), (504, 2));
        assert!((400 * MILLIS..5000 * MILLIS).contains(&sent.elapsed()), "{:?}", sent.elapsed());
    });
}

#[test]
fn the_whole_request_has_a_deadline_even_while_tokens_come() {
    local(async {
        let drip = || {
            let piece = [Step::Say(chunk("x")), Step::Wait(50 * MILLIS)];
            Play::Stream((0..100).flat_map(|_| piece.clone()).collect())
        };
        let provider = Provider::start(move |_| drip()).await;
        let setup = Setup::default().openai(provider.address);
        let proxy = setup.with(json!({"timeouts": {"total": "600ms"}})).start();
        let sent = Instant::now();
        let answer = proxy.chat(json!({"stream": true})).await;
        assert!((600 * MILLIS..4000 * MILLIS).contains(&sent.elapsed()), "{:?}", sent.elapsed());
        assert!(answer.body.contains("stream_timeout") && !answer.body.contains("[DONE]"));
        assert_eq!(provider.left.get(), 1);
    });
}

#[test]
fn an_answer_that_is_not_streamed_may_take_longer_than_failover_may() {
    local(async {
        let slow = || {
            let Play::Whole(_, _, body) = Play::chat("late") else { panic!() };
            Play::Stream(vec![Step::Wait(500 * MILLIS), Step::Say(body)])
        };
        let provider = Provider::start(move |_| slow()).await;
        let setup = Setup::default().openai(provider.address);
        let proxy = setup.with(json!({"failover": {"totalBudget": "200ms"}})).start();
        let answer = proxy.chat(json!({})).await;
        assert!(answer.status == 200 && answer.body.contains("late"), "{}", answer.body);
    });
}

/// The answer is complete with its finish reason; a server that then forgets to close, or to say so,
/// costs the client a moment and nothing else.
#[test]
fn a_server_that_forgets_its_end_is_forgiven() {
    local(async {
        let end = finish().replace("data: [DONE]\n\n", "");
        let steps =
            vec![Step::Say(chunk("hi")), Step::Say(end), Step::Wait(Duration::from_secs(9))];
        let provider = Provider::start(move |_| Play::Stream(steps.clone())).await;
        let proxy = Setup::default().openai(provider.address).start();
        let sent = Instant::now();
        let answer = proxy.chat(json!({"stream": true})).await;
        assert!(answer.whole && answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
        assert!(sent.elapsed() < Duration::from_secs(8));
    });
}
