//! What a client may send, and what it is told when it sends something else. None of it costs a
//! provider anything.

use serde_json::json;
use trunkline::proxy::admit::Limits;

use super::harness::{Play, Provider, Setup, body, local};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

#[test]
fn a_body_that_is_too_large_is_413_in_the_callers_shape_and_reaches_nobody() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hi")).await;
        let limits = Limits { body: 1000, ..Limits::default() };
        let proxy = Setup { limits, ..Setup::default() }.openai(provider.address).start();
        let large = body(json!({"x": "x".repeat(1000)}));
        let answer = proxy.ask(CHAT, &[], &large).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (413, &json!("request_too_large"))
        );
        let answer = proxy.ask(MESSAGES, &[], &large).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["type"]),
            (413, &json!("request_too_large"))
        );
        let small = proxy.ask(CHAT, &[], &body(json!({}))).await;
        assert_eq!((small.status, provider.asked()), (200, 1));
    });
}

/// What looking into a body lets through, parsing it must take too: the two count levels alike.
#[test]
fn nesting_beyond_the_limit_is_refused_and_up_to_it_every_dialect_takes_it() {
    local(async {
        let provider = Provider::start(|_| Play::error(500)).await;
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],"x":{open}{close}}}"#
            )
        };
        for (provider_name, path) in [
            ("OpenAICompatible", MESSAGES),
            ("AnthropicCompatible", CHAT),
            ("GeminiCompatible", CHAT),
        ] {
            let setup =
                Setup::default().target(provider_name, provider.address, "claude-sonnet-5", 1);
            let proxy = setup.start();
            let before = provider.asked();
            let answer = proxy.ask(path, &[], &nested(127)).await;
            assert!(
                answer.body.contains("nested deeper than 127 levels"),
                "{provider_name} {}",
                answer.body
            );
            assert_eq!((answer.status, provider.asked()), (400, before));
            let answer = proxy.ask(path, &[], &nested(126)).await;
            assert_eq!(answer.status, 502, "{provider_name} {}", answer.body);
            assert!(provider.asked() > before);
        }
    });
}

#[test]
fn what_is_no_request_is_told_in_the_shape_of_the_api_that_was_called() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hi")).await;
        let proxy = Setup::default().openai(provider.address).start();
        let version = ("anthropic-version", "2023-06-01");
        let coded = ("content-encoding", "gzip");
        for (path, header, sent, status, code) in [
            (CHAT, None, "[]", 400, "invalid_json"),
            (CHAT, None, r#"{"model":"m","messages":["#, 400, "invalid_json"),
            (CHAT, None, r#"{"messages":[]}"#, 400, "missing_model"),
            (CHAT, None, r#"{"model":"m","stream":"yes"}"#, 400, "invalid_type"),
            (CHAT, None, r#"{"model":"other"}"#, 404, "model_not_found"),
            (CHAT, Some(coded), "{}", 400, "unsupported_encoding"),
            (MESSAGES, None, r#"{"model":"other"}"#, 404, "model_not_found"),
            ("/v1/embeddings", None, "{}", 404, "unknown_url"),
            ("/v1/embeddings", Some(version), "{}", 404, "unknown_url"),
            ("/v1/models", None, "{}", 405, "method_not_allowed"),
            ("/", None, "{}", 404, "unknown_url"),
        ] {
            let headers: Vec<_> = header.into_iter().collect();
            let answer = proxy.ask(path, &headers, sent).await;
            let told = answer.json();
            let anthropic = path == MESSAGES || header == Some(version);
            let at = if anthropic { "/error/details/error_code" } else { "/error/code" };
            assert_eq!(told.pointer(at), Some(&json!(code)), "{path} {sent} {told}");
            assert_eq!(told.get("type").is_some(), anthropic, "{told}");
            assert_eq!(answer.status, status, "{path} {sent}");
            assert!(answer.header("x-request-id").starts_with("req_"));
        }
        assert_eq!(provider.asked(), 0);
    });
}

#[test]
fn a_head_that_is_too_large_is_refused_at_the_door() {
    local(async {
        let provider = Provider::start(|_| Play::chat("hi")).await;
        let proxy = Setup::default().openai(provider.address).start();
        let many: Vec<_> = (0..120).map(|n| format!("x-{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(proxy.ask(CHAT, &many, &body(json!({}))).await.status, 431);
        let large = "v".repeat(40_000);
        assert_eq!(proxy.ask(CHAT, &[("x-large", &large)], &body(json!({}))).await.status, 431);
        let disguised = proxy.ask(CHAT, &[("x_api_key", "v")], &body(json!({}))).await;
        assert_eq!((disguised.status, provider.asked()), (400, 0));
    });
}

/// A target that cannot do what is asked is not asked; another that can is.
#[test]
fn what_no_target_can_do_is_refused_before_any_is_asked() {
    local(async {
        let claude = Provider::start(|_| Play::error(500)).await;
        let openai = Provider::start(|_| Play::chat("hi")).await;
        let alone = Setup::default()
            .target("AnthropicCompatible", claude.address, "claude-sonnet-5", 1)
            .start();
        let answer = alone.chat(json!({"n": 2})).await;
        let told = answer.json();
        assert_eq!(
            (answer.status, &told["error"]["code"]),
            (400, &json!("unsupported_by_provider"))
        );
        assert_eq!(told["error"]["param"], "n");
        let both = Setup::default()
            .target("AnthropicCompatible", claude.address, "claude-sonnet-5", 1)
            .openai(openai.address)
            .start();
        let answer = both.chat(json!({"n": 2})).await;
        assert_eq!((answer.status, answer.header("x-trunkline-target")), (200, "b"));
        assert_eq!((claude.asked(), openai.asked()), (0, 1));
    });
}
