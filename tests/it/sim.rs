//! The simulator on the wire: what it refuses, how it answers, how it breaks. Plain HTTP over a socket,
//! so that nothing of the proxy judges it.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline::sim::{Config, Journal, Provider, Simulator, serve};

/// Starts one provider; its thread ends with the process.
fn start(provider: Provider, config: &str, journal: Option<Journal>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let simulator = Arc::new(Simulator::new(Config::parse(config).unwrap(), journal));
    thread::spawn(move || serve(listener, provider, simulator));
    address
}

fn plain(provider: Provider) -> SocketAddr {
    start(provider, "{}", None)
}

struct Reply {
    status: u16,
    head: String,
    body: String,
    /// Whether the connection ended as it should.
    whole: bool,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// The text under a pointer.
    fn text(&self, pointer: &str) -> String {
        let value = self.json();
        let found = value.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {value}"));
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    }

    /// The data of each event.
    fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }
}

/// Sends raw bytes and reads to the end, or until nothing has come for a while.
fn exchange(to: SocketAddr, request: &str) -> Result<Reply, ErrorKind> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) => break Some(error.kind()),
        }
    };
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err(end.unwrap_or(ErrorKind::UnexpectedEof));
    };
    let head = head.to_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    let whole = end.is_none() && (!chunked || body.ends_with("0\r\n\r\n"));
    // Each event is a chunk of its own: without their sizes, the lines are the events' own.
    let body = if chunked { dechunked(body) } else { body.to_owned() };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply { status, head, body, whole })
}

fn dechunked(mut rest: &str) -> String {
    let mut text = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        text.push_str(&after[..size]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    text
}

fn send(to: SocketAddr, path: &str, headers: &str, body: &str) -> Result<Reply, ErrorKind> {
    let length = body.len();
    exchange(
        to,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ),
    )
}

fn openai(to: SocketAddr, body: &Value) -> Reply {
    let headers = "authorization: Bearer k\r\n";
    send(to, "/v1/chat/completions", headers, &body.to_string()).unwrap()
}

fn anthropic(to: SocketAddr, body: &Value) -> Reply {
    let headers = "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n";
    send(to, "/v1/messages", headers, &body.to_string()).unwrap()
}

fn gemini(to: SocketAddr, model: &str, stream: bool, body: &Value) -> Reply {
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let path = format!("/v1beta/models/{model}:{method}");
    send(to, &path, "x-goog-api-key: k\r\n", &body.to_string()).unwrap()
}

/// `base` with the keys of `change`.
fn with(base: &Value, change: Value) -> Value {
    let mut whole = base.clone();
    let Value::Object(change) = change else { panic!("a test changes keys of an object") };
    whole.as_object_mut().unwrap().extend(change);
    whole
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]})
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]})
}

fn function(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

#[test]
fn openai_refuses_what_openai_refuses() {
    let to = plain(Provider::OpenAi);
    let base = chat("sim-ok");
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let asks = json!({"role": "user", "content": "Hello"});
    let calls = json!({"role": "assistant", "tool_calls": [call]});
    for (change, status, code, param) in [
        (json!({"top_k": 1}), 400, "unknown_parameter", "top_k"),
        (
            json!({"messages": [{"role": "user"}]}),
            400,
            "missing_required_parameter",
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            400,
            "invalid_type",
            "messages[0].content",
        ),
        (json!({"temperature": 3}), 400, "decimal_above_max_value", "temperature"),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), 400, "array_above_max_length", "stop"),
        (json!({"tool_choice": "auto"}), 400, "invalid_value", "tool_choice"),
        (
            json!({"stream_options": {"include_usage": true}}),
            400,
            "invalid_value",
            "stream_options",
        ),
        (json!({"model": "gpt-5", "max_tokens": 9}), 400, "unsupported_parameter", "max_tokens"),
        (json!({"model": "gpt-5", "temperature": 0}), 400, "unsupported_value", "temperature"),
        (
            json!({"model": "gpt-4o", "reasoning_effort": "low"}),
            400,
            "unsupported_parameter",
            "reasoning_effort",
        ),
        (json!({"model": "no-such-model"}), 404, "model_not_found", "null"),
        (json!({"messages": [asks, calls]}), 400, "invalid_value", "messages.[2].role"),
        (
            json!({"messages": [asks, {"role": "tool", "tool_call_id": "c1", "content": "1"}]}),
            400,
            "invalid_value",
            "messages.[1].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,R0lGODlh"}},
            ]}]}),
            400,
            "invalid_image_format",
            "messages.[0].content",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {
                "name": "n", "strict": true,
                "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
            }}}),
            400,
            "invalid_function_parameters",
            "response_format.json_schema",
        ),
    ] {
        let reply = openai(to, &with(&base, change.clone()));
        let found = (reply.status, reply.text("/error/code"), reply.text("/error/param"));
        assert_eq!(found, (status, code.to_owned(), param.to_owned()), "{change}");
    }
    let no_key = send(to, "/v1/chat/completions", "", &base.to_string()).unwrap();
    assert_eq!((no_key.status, no_key.text("/error/code").as_str()), (401, "invalid_api_key"));
    let other = send(to, "/v1/other", "authorization: Bearer k\r\n", "{}").unwrap();
    assert_eq!((other.status, other.text("/error/code").as_str()), (404, "unknown_url"));
}

#[test]
fn anthropic_refuses_what_anthropic_refuses() {
    let to = plain(Provider::Anthropic);
    let base = message("sim-ok");
    let user = json!({"role": "user", "content": "Hello"});
    let says =
        |block: Value| json!({"messages": [user, {"role": "assistant", "content": [block]}, user]});
    for (change, part) in [
        (json!({"n": 1}), "n: Extra inputs are not permitted"),
        (json!({"max_tokens": "9"}), "max_tokens: Input should be a valid integer"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}),
            "text content blocks must be non-empty",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "Hello"}]}),
            "first message must use the \"user\" role",
        ),
        (json!({"stop_sequences": [" "]}), "non-whitespace"),
        (json!({"tool_choice": {"type": "auto"}}), "may only be specified while providing tools"),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            "`max_tokens` must be greater",
        ),
        (json!({"model": "claude-sonnet-5-5", "temperature": 0}), "`temperature` is deprecated"),
        (
            json!({"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}}),
            "thinking.type.disabled",
        ),
        (
            json!({"model": "claude-sonnet-4-5", "thinking": {"type": "adaptive"}}),
            "thinking.type.adaptive",
        ),
        (
            json!({"model": "claude-opus-4-8", "messages": [user, {"role": "assistant", "content": "{"}]}),
            "prefill",
        ),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            "additionalProperties",
        ),
        (
            says(json!({"type": "thinking", "thinking": "hm", "signature": "forged"})),
            "messages.1.content.0: Invalid `signature`",
        ),
        (says(json!({"type": "thinking", "thinking": "hm"})), "signature: Field required"),
        (says(json!({"type": "redacted_thinking", "data": "forged"})), "Invalid `data`"),
        (
            says(json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}})),
            "without `tool_result` blocks immediately after: t1",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}]}),
            "unexpected `tool_use_id`",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": "R0lGODlh",
            }}]}]}),
            "appears to be another type",
        ),
    ] {
        let reply = anthropic(to, &with(&base, change.clone()));
        assert_eq!(
            (reply.status, reply.text("/error/type").as_str()),
            (400, "invalid_request_error"),
            "{change}"
        );
        assert!(reply.text("/error/message").contains(part), "{change}: {}", reply.body);
    }
    let unknown = anthropic(to, &message("no-such-model"));
    assert_eq!((unknown.status, unknown.text("/error/type").as_str()), (404, "not_found_error"));
    let body = base.to_string();
    let no_version = send(to, "/v1/messages", "x-api-key: k\r\n", &body).unwrap();
    assert!(no_version.text("/error/message").contains("anthropic-version"));
    let no_key = send(to, "/v1/messages", "anthropic-version: 2023-06-01\r\n", &body).unwrap();
    assert_eq!((no_key.status, no_key.text("/type").as_str()), (401, "error"));
    let bearer = "authorization: Bearer k\r\nanthropic-version: 2026-10-21\r\n";
    assert_eq!(send(to, "/v1/messages", bearer, &body).unwrap().status, 200);
}

#[test]
fn gemini_refuses_what_gemini_refuses() {
    let to = plain(Provider::Gemini);
    let base = contents();
    let user = json!({"role": "user", "parts": [{"text": "Hello"}]});
    let model = |part: Value| json!({"role": "model", "parts": [part]});
    let call = json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"});
    let response =
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]});
    for (model_name, change, part) in [
        ("sim-ok", json!({"messages": []}), "Unknown name \"messages\": Cannot find field."),
        (
            "sim-ok",
            json!({"generationConfig": {"maxTokens": 1}}),
            "Unknown name \"maxTokens\" at 'generationConfig'",
        ),
        ("sim-ok", json!({"contents": [{"role": "assistant", "parts": []}]}), "contents[0].role"),
        (
            "sim-ok",
            json!({"contents": [model(json!({"thought": true}))]}),
            "required oneof field 'data'",
        ),
        (
            "sim-ok",
            json!({"contents": [user, response]}),
            "function response turn comes immediately after",
        ),
        (
            "sim-ok",
            json!({"contents": [user, model(call.clone()), user]}),
            "number of function response parts",
        ),
        (
            "sim-ok",
            json!({"contents": [model(call)]}),
            "function call turn comes immediately after",
        ),
        (
            "sim-ok",
            json!({"contents": [user, model(json!({"functionCall": {"name": "f"}})), response]}),
            "missing a thought_signature",
        ),
        (
            "sim-ok",
            json!({"contents": [user, model(json!({"text": "a", "thoughtSignature": "Zm9yZ2Vk"})), user]}),
            "signature is not valid",
        ),
        (
            "sim-ok",
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}}),
            "only one of",
        ),
        ("sim-ok", json!({"generationConfig": {"responseJsonSchema": {}}}), "responseMimeType"),
        (
            "sim-ok",
            json!({"tools": [{"functionDeclarations": [{"name": "1f"}]}]}),
            "Invalid function name",
        ),
        (
            "sim-ok",
            json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {
                "type": "OBJECT", "properties": {"a": {"additionalProperties": false}},
            }}]}]}),
            "Unknown name \"additionalProperties\"",
        ),
        (
            "gemini-3.7-flash",
            json!({"generationConfig": {"temperature": 1}}),
            "temperature is not supported",
        ),
        (
            "gemini-2.5-pro",
            json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}),
            "Thinking level is not supported",
        ),
    ] {
        let reply = gemini(to, model_name, false, &with(&base, change.clone()));
        assert_eq!(
            (reply.status, reply.text("/error/status").as_str()),
            (400, "INVALID_ARGUMENT"),
            "{change}"
        );
        assert!(reply.text("/error/message").contains(part), "{change}: {}", reply.body);
    }
    let unknown = gemini(to, "no-such-model", false, &base);
    assert_eq!((unknown.status, unknown.text("/error/status").as_str()), (404, "NOT_FOUND"));
    let path = "/v1beta/models/sim-ok:generateContent";
    let no_key = send(to, path, "", &base.to_string()).unwrap();
    assert_eq!((no_key.status, no_key.text("/error/status").as_str()), (403, "PERMISSION_DENIED"));
    let wrong = send(to, path, "x-goog-api-key: wrong\r\n", &base.to_string()).unwrap();
    assert_eq!(wrong.text("/error/details/0/reason"), "API_KEY_INVALID");
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let to = plain(Provider::OpenAi);
    let body = with(&chat("sim-reasoning-3"), json!({"logprobs": true, "top_logprobs": 2}));
    let whole = openai(to, &body);
    assert_eq!(whole.text("/choices/0/message/reasoning_content"), "Let me think ");
    assert_eq!(whole.json()["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 6);
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let stream = openai(to, &with(&body, options));
    assert!(stream.whole && stream.body.ends_with("data: [DONE]\n\n"));
    let events = stream.events();
    let join = |key: &str| -> String {
        events.iter().filter_map(|e| e["choices"][0]["delta"][key].as_str()).collect()
    };
    assert_eq!(join("content"), whole.text("/choices/0/message/content"));
    assert_eq!(join("reasoning_content"), "Let me think ");
    assert_eq!(events.last().unwrap()["usage"], whole.json()["usage"]);

    let to = plain(Provider::Anthropic);
    let body = message("sim-reasoning-3");
    let whole = anthropic(to, &body);
    let stream = anthropic(to, &with(&body, json!({"stream": true})));
    let events = stream.events();
    let join =
        |key: &str| -> String { events.iter().filter_map(|e| e["delta"][key].as_str()).collect() };
    assert_eq!(join("thinking"), whole.text("/content/0/thinking"));
    assert_eq!(join("signature"), whole.text("/content/0/signature"));
    assert_eq!(join("text"), whole.text("/content/1/text"));
    assert_eq!(events.last().unwrap()["type"], "message_stop");

    let to = plain(Provider::Gemini);
    let body = with(
        &contents(),
        json!({"generationConfig": {"thinkingConfig": {"includeThoughts": true}}}),
    );
    let whole = gemini(to, "sim-ok", false, &body);
    let events = gemini(to, "sim-ok", true, &body).events();
    let join = |thought: bool| -> String {
        let parts = events.iter().map(|event| &event["candidates"][0]["content"]["parts"][0]);
        parts
            .filter(|p| p.get("thought").is_some() == thought)
            .filter_map(|p| p["text"].as_str())
            .collect()
    };
    assert_eq!(join(true), whole.text("/candidates/0/content/parts/0/text"));
    assert_eq!(join(false), whole.text("/candidates/0/content/parts/1/text"));
    let end = events.last().unwrap();
    assert_eq!(end["usageMetadata"], whole.json()["usageMetadata"]);
    assert_eq!(end["candidates"][0]["finishReason"], "STOP");
    let path = "/v1beta/models/sim-ok:streamGenerateContent";
    let array = send(to, path, "x-goog-api-key: k\r\n", &body.to_string()).unwrap();
    assert_eq!(array.json().as_array().unwrap().len(), events.len());
}

#[test]
fn signed_reasoning_and_calls_are_taken_back() {
    let to = plain(Provider::Anthropic);
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let user = json!({"role": "user", "content": "use f"});
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let base = json!({"model": "sim-ok", "max_tokens": 2000, "tools": tools, "thinking": thinking});
    let first = anthropic(to, &with(&base, json!({"messages": [user]}))).json();
    assert_eq!(first["content"][0]["type"], "thinking");
    let result =
        json!({"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "42"});
    let turns = |content: &Value| {
        let messages = json!([user, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]);
        anthropic(to, &with(&base, json!({"messages": messages})))
    };
    assert_eq!(turns(&first["content"]).text("/content/1/text"), "The tool said 42");
    let without = json!([first["content"][1]]);
    assert!(turns(&without).text("/error/message").contains("must start with a thinking block"));

    let to = plain(Provider::Gemini);
    let tools = json!([{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]);
    let user = json!({"role": "user", "parts": [{"text": "use f and g"}]});
    let first = gemini(to, "sim-ok", false, &json!({"contents": [user], "tools": tools})).json();
    let calls = first["candidates"][0]["content"].clone();
    assert!(calls["parts"][0].get("thoughtSignature").is_some());
    assert!(calls["parts"][1].get("thoughtSignature").is_none());
    let response =
        |name: &str| json!({"functionResponse": {"name": name, "response": {"output": name}}});
    let results = json!({"role": "user", "parts": [response("f"), response("g")]});
    let body = json!({"contents": [user, calls, results], "tools": tools});
    let last = gemini(to, "sim-ok", false, &body);
    assert_eq!(last.text("/candidates/0/content/parts/0/text"), "The tool said f, g");
}

#[test]
fn structured_output_and_arguments_satisfy_their_schemas() {
    let to = plain(Provider::OpenAi);
    let schema = json!({"type": "object", "properties": {"city": {"enum": ["Oslo"]}, "n": {"type": "integer", "minimum": 3}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let reply = openai(to, &with(&chat("sim-ok"), json!({"response_format": format})));
    let content: Value = serde_json::from_str(&reply.text("/choices/0/message/content")).unwrap();
    assert_eq!(content, json!({"city": "Oslo", "n": 3}));
    let tools = json!({"tools": [function("alpha"), function("beta")], "tool_choice": "required"});
    let reply = openai(to, &with(&chat("sim-ok"), tools));
    assert_eq!(reply.text("/choices/0/message/tool_calls/0/function/arguments"), r#"{"x":1}"#);
    assert_eq!(reply.text("/choices/0/finish_reason"), "tool_calls");
}

#[test]
fn an_answer_breaks_as_its_models_name_says() {
    let to = plain(Provider::OpenAi);
    let ask = |model: &str, stream: bool| {
        let body = with(&chat(model), json!({"stream": stream}));
        send(to, "/v1/chat/completions", "authorization: Bearer k\r\n", &body.to_string())
    };
    let tokens = |reply: &Reply| {
        let texts = reply.events();
        texts
            .iter()
            .filter(|e| e["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()))
            .count()
    };
    let cut = ask("sim-cut-2", true).unwrap();
    assert_eq!((cut.status, tokens(&cut), cut.whole), (200, 2, false));
    let error = ask("sim-error-2", true).unwrap();
    assert_eq!((tokens(&error), error.events().last().unwrap().get("error").is_some()), (2, true));
    let malformed = ask("sim-malformed-2", true).unwrap();
    assert!(malformed.body.ends_with("data: {oops\n\n"));
    let no_end = ask("sim-noend", true).unwrap();
    assert!(no_end.whole && tokens(&no_end) == 6 && !no_end.body.contains("[DONE]"));
    let stall = ask("sim-stall-2", true).unwrap();
    assert_eq!((tokens(&stall), stall.whole), (2, false));
    assert!(!ask("sim-cut-1", false).unwrap().whole);
    assert!(serde_json::from_str::<Value>(&ask("sim-malformed-1", false).unwrap().body).is_err());
    assert_eq!(ask("sim-reset", true).err(), Some(ErrorKind::ConnectionReset));
    assert_eq!(ask("sim-silent", true).err(), Some(ErrorKind::WouldBlock));
    let limited = ask("sim-429-after-2", false).unwrap();
    assert!(limited.status == 429 && limited.head.contains("retry-after: 2"), "{}", limited.head);
    let overloaded = anthropic(plain(Provider::Anthropic), &message("sim-529"));
    assert_eq!(
        (overloaded.status, overloaded.text("/error/type").as_str()),
        (529, "overloaded_error")
    );
    let limited = gemini(plain(Provider::Gemini), "sim-429-after-2", false, &contents());
    assert_eq!(limited.text("/error/details/0/retryDelay"), "2s");
}

#[test]
fn latency_is_what_the_file_says() {
    let config = "rules: [{ latency: { firstToken: 150ms, perToken: 20ms } }]";
    let to = start(Provider::OpenAi, config, None);
    let begin = Instant::now();
    openai(to, &with(&chat("sim-ok"), json!({"stream": true})));
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?} for a first token and five more");
}

#[test]
fn a_limit_is_told_in_headers_and_then_enforced() {
    let config = "rules: [{ limits: { requestsPerMinute: 1, tokensPerMinute: 100 } }]";
    let to = start(Provider::OpenAi, config, None);
    let first = openai(to, &chat("sim-ok"));
    assert!(first.head.contains("x-ratelimit-remaining-requests: 0"), "{}", first.head);
    let second = openai(to, &chat("sim-ok"));
    assert!(second.status == 429 && second.head.contains("retry-after: "), "{}", second.head);
    let to = start(Provider::Anthropic, config, None);
    let first = anthropic(to, &message("sim-ok"));
    assert!(first.head.contains("anthropic-ratelimit-tokens-limit: 100"), "{}", first.head);
}

#[test]
fn the_journal_holds_every_request_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let to = start(Provider::OpenAi, "{}", Some(Journal::open(&path).unwrap()));
    let headers = "authorization: Bearer canary\r\nx-mine: yes\r\n";
    for model in ["sim-ok", "sim-500", "sim-reset", "no-such-model"] {
        let body = chat(model).to_string();
        let _reply = send(to, "/v1/chat/completions", headers, &body);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("canary"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|l| (l["body"]["model"].as_str().unwrap(), l["status"].as_u64()))
        .collect();
    let expected = [
        ("sim-ok", Some(200)),
        ("sim-500", Some(500)),
        ("sim-reset", None),
        ("no-such-model", Some(404)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        (&lines[0]["headers"]["x-mine"], &lines[0]["provider"]),
        (&json!("yes"), &json!("openai"))
    );
}

#[test]
fn every_run_gives_the_same_answer() {
    let body = with(&chat("sim-tokens-5-reasoning"), json!({"stream": true}));
    let answers = [(); 2].map(|()| openai(plain(Provider::OpenAi), &body).body);
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn the_example_of_the_documentation_is_a_valid_file() {
    let page = std::fs::read_to_string("docs/simulator.md").unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    Config::parse(example).unwrap();
}
