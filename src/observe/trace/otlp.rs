//! Traces as OTLP carries them (<https://opentelemetry.io/docs/specs/otlp/>, protobuf over HTTP), with
//! the names of OpenTelemetry's conventions for generative AI
//! (<https://github.com/open-telemetry/semantic-conventions-genai>) and, where these have none, our own.
//!
//! Of the messages only those fields stand here that are written; their numbers are the protocol's.

use std::time::Duration;

use prost::Message;

use super::{Attempt, Request, Trace};

/// Below the endpoint.
pub const PATH: &str = "/v1/traces";

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
#[expect(clippy::struct_field_names, reason = "the protocol's names")]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Truth(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// The body of a request to a collector. `instance` tells this process from others.
pub fn encode(traces: &[Trace], instance: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: Attributes::default()
            .text("service.name", "trunkline")
            .text("service.version", version)
            .text("service.instance.id", instance)
            .0,
    };
    let scope = Scope { name: "trunkline".to_owned(), version: version.to_owned() };
    let spans = traces.iter().flat_map(spans).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let export =
        Export { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] };
    export.encode_to_vec()
}

/// The request's span, then those of its attempts.
fn spans(trace: &Trace) -> Vec<Span> {
    let began = u64::try_from(trace.began.as_nanosecond()).unwrap_or(0);
    let at = |since: Duration| began + u64::try_from(since.as_nanos()).unwrap_or(0);
    let bare = |span: u64, parent: Option<u64>| Span {
        trace_id: trace.context.trace.to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        ..Span::default()
    };
    let Request { begun, ended, status, outcome: (outcome, ok), .. } = &trace.request;
    let failed = *status >= 500 || !ok && *status == 200;
    let first = begun
        .filter(|_| trace.request.stream)
        .map(|begun| Event { time_unix_nano: at(begun), name: "first token".to_owned() });
    let mut all = vec![Span {
        name: name(&trace.request.model),
        kind: SERVER,
        start_time_unix_nano: began,
        end_time_unix_nano: at(*ended),
        attributes: of_request(trace),
        events: first.into_iter().collect(),
        status: failed.then(|| error(outcome)),
        ..bare(trace.span, trace.context.parent)
    }];
    all.extend(trace.attempts.iter().map(|attempt| {
        let (ended, word) =
            attempt.ended.as_ref().map_or((*ended, *outcome), |(at, word)| (*at, &**word));
        Span {
            name: name(&attempt.model),
            kind: CLIENT,
            start_time_unix_nano: at(attempt.began),
            end_time_unix_nano: at(ended),
            attributes: of_attempt(attempt, word),
            status: (!["ok", "overtaken", "client_closed"].contains(&word)).then(|| error(word)),
            ..bare(attempt.span, Some(trace.span))
        }
    }));
    all
}

fn name(model: &str) -> String {
    if model.is_empty() { "chat".to_owned() } else { format!("chat {model}") }
}

fn error(message: &str) -> Status {
    Status { message: message.to_owned(), code: ERROR }
}

fn of_request(trace: &Trace) -> Vec<KeyValue> {
    let Request { id, api, model, stream, route, consumer, status, outcome, .. } = &trace.request;
    let answered = trace.attempts.last().filter(|_| outcome.1);
    let mut all = Attributes::default()
        .text("gen_ai.operation.name", "chat")
        .text("gen_ai.request.model", model)
        .truth("gen_ai.request.stream", *stream)
        .text("trunkline.api", api)
        .text("trunkline.request.id", id)
        .text("trunkline.outcome", outcome.0);
    if *status > 0 {
        all = all.number("http.response.status_code", u64::from(*status));
    }
    if !outcome.1 {
        all = all.text("error.type", outcome.0);
    }
    if let Some((namespace, name)) = route {
        all = all.text("trunkline.route.namespace", namespace).text("trunkline.route", name);
    }
    if let Some((namespace, name)) = consumer {
        all = all.text("trunkline.consumer.namespace", namespace).text("trunkline.consumer", name);
    }
    if let Some(attempt) = answered {
        all = all
            .text("gen_ai.provider.name", &provider(attempt.provider))
            .text("gen_ai.response.model", &attempt.model)
            .text("trunkline.target", &attempt.target);
    }
    if let Some((input, output)) = trace.request.tokens {
        all = all
            .number("gen_ai.usage.input_tokens", input)
            .number("gen_ai.usage.output_tokens", output);
    }
    if let Some(nano) = trace.request.nano_dollars {
        // A text: a float would not be exact.
        let dollars = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
        all = all.text("trunkline.cost_usd", &dollars);
    }
    all.0
}

fn of_attempt(attempt: &Attempt, word: &str) -> Vec<KeyValue> {
    let all = Attributes::default()
        .text("gen_ai.operation.name", "chat")
        .text("gen_ai.provider.name", &provider(attempt.provider))
        .text("gen_ai.request.model", &attempt.model)
        .text("server.address", &attempt.host)
        .number("server.port", u64::from(attempt.port))
        .text("trunkline.target", &attempt.target)
        .text("trunkline.attempt.outcome", word);
    if word == "ok" { all.0 } else { all.text("error.type", word).0 }
}

/// The convention's name of a provider; of one that it does not know, ours.
fn provider(name: &str) -> String {
    match name {
        "Gemini" | "GeminiCompatible" => "gcp.gemini".to_owned(),
        other => other.strip_suffix("Compatible").unwrap_or(other).to_lowercase(),
    }
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(self, key: &str, text: &str) -> Self {
        self.and(key, Value::Text(text.to_owned()))
    }

    fn number(self, key: &str, number: u64) -> Self {
        self.and(key, Value::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn truth(self, key: &str, truth: bool) -> Self {
        self.and(key, Value::Truth(truth))
    }

    fn and(mut self, key: &str, value: Value) -> Self {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::Context;

    fn trace() -> Trace {
        let attempt = |at, span, target: &str, ended: Option<(u64, &str)>| Attempt {
            at,
            span,
            target: target.into(),
            provider: "AnthropicCompatible",
            model: "claude".into(),
            host: "api.example.com".into(),
            port: 443,
            began: Duration::from_millis(10 * span),
            ended: ended.map(|(at, word)| (Duration::from_millis(at), word.to_owned())),
        };
        Trace {
            context: Context { trace: 7, parent: Some(9), sampled: true },
            span: 8,
            began: "2026-11-27T00:00:00Z".parse().unwrap(),
            request: Request {
                model: "support".to_owned(),
                stream: true,
                status: 200,
                outcome: ("ok", true),
                tokens: Some((12, 34)),
                nano_dollars: Some(1_500_000_000),
                begun: Some(Duration::from_millis(40)),
                ended: Duration::from_millis(100),
                ..Request::default()
            },
            attempts: vec![
                attempt(0, 1, "first", Some((20, "529"))),
                attempt(1, 2, "second", Some((100, "ok"))),
            ],
        }
    }

    fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
        let found = span.attributes.iter().find(|one| one.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::Text(text) => Some(text),
            Value::Truth(_) | Value::Number(_) => None,
        }
    }

    #[test]
    fn a_request_and_its_attempts_are_spans_of_one_trace() {
        let bytes = encode(&[trace()], "pod");
        let export = Export::decode(&*bytes).unwrap();
        let spans = &export.resource_spans[0].scope_spans[0].spans;
        let [request, first, second] = &spans[..] else { panic!("three spans: {spans:?}") };
        assert!(spans.iter().all(|span| span.trace_id == 7_u128.to_be_bytes()));
        assert_eq!(request.parent_span_id, 9_u64.to_be_bytes());
        assert_eq!((&*request.name, request.kind), ("chat support", SERVER));
        assert_eq!(request.end_time_unix_nano - request.start_time_unix_nano, 100_000_000);
        assert_eq!(request.events[0].time_unix_nano - request.start_time_unix_nano, 40_000_000);
        assert_eq!(request.status, None);
        assert_eq!(text(request, "trunkline.cost_usd"), Some("1.500000000"));
        assert_eq!(text(request, "gen_ai.provider.name"), Some("anthropic"));
        assert_eq!(text(request, "trunkline.target"), Some("second"));
        for attempt in [first, second] {
            assert_eq!(attempt.parent_span_id, request.span_id);
            assert_eq!((&*attempt.name, attempt.kind), ("chat claude", CLIENT));
        }
        assert_eq!(text(first, "error.type"), Some("529"));
        assert_eq!(first.status.as_ref().map(|status| status.code), Some(ERROR));
        assert_eq!((text(second, "error.type"), &second.status), (None, &None));
    }

    #[test]
    fn a_stream_that_broke_is_an_error_and_a_refused_request_is_not() {
        let status = |status, outcome| {
            let mut trace = trace();
            (trace.request.status, trace.request.outcome) = (status, outcome);
            spans(&trace).remove(0).status.map(|status| status.message)
        };
        assert_eq!(status(200, ("truncated", false)).as_deref(), Some("truncated"));
        assert_eq!(status(503, ("overloaded", false)).as_deref(), Some("overloaded"));
        assert_eq!(status(400, ("client_error", false)), None);
        assert_eq!(status(0, ("client_closed", false)), None);
    }
}
