//! The provider simulator: three native APIs on loopback, for rehearsals and tests.
//!
//! It shares no code with `dialect`: a mistake there must not be mirrored here. What a model does is
//! written in its name, so a manifest alone can rehearse a failure (`behaviour`). Answers are
//! deterministic.

mod anthropic;
mod behaviour;
mod gemini;
mod openai;

use std::{convert::Infallible, io, net::TcpListener, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{sync::mpsc, task::LocalSet, time::sleep};

use self::behaviour::{Behaviour, End, Fault};

/// Whose API is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Anthropic's `POST /v1/messages`.
    Anthropic,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// OpenAI's `POST /v1/chat/completions`.
    OpenAi,
}

impl Provider {
    /// A word for logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }
}

/// A refusal: status and body as the provider writes them.
type Refused = (u16, Value);

/// What a checked request asks for.
#[derive(Debug)]
struct Asked {
    model: String,
    stream: bool,
    include_usage: bool,
    /// Words of the whole prompt, as a count of tokens.
    prompt: u64,
    /// The tools to call: those that the last user text mentions.
    calls: Vec<String>,
    /// The text to answer with.
    text: String,
}

type Out = UnsyncBoxBody<Bytes, io::Error>;

/// Serves one provider's API for as long as the process lives.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(listener: TcpListener, provider: Provider) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let answer = service_fn(move |request| respond(provider, request));
                // A connection that is reset on purpose ends with an error.
                let _ended =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    })
}

/// A connection that is to be reset before the headers.
#[derive(Debug, thiserror::Error)]
#[error("reset on purpose")]
struct Reset;

async fn respond(provider: Provider, request: Request<Incoming>) -> Result<Response<Out>, Reset> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_gone| Reset)?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path();
    let checked = match provider {
        Provider::Anthropic => anthropic::check(path, &head.headers, &value),
        Provider::Gemini => gemini::check(path, &head.headers, &value),
        Provider::OpenAi => openai::check(path, &head.headers, &value),
    };
    let asked = match checked {
        Ok(asked) => asked,
        Err((status, body)) => return Ok(whole(status, &body, None)),
    };
    let behaviour = Behaviour::of(&asked.model);
    match behaviour.fault {
        Some(Fault::Reset) => return Err(Reset),
        Some(Fault::Silent) => sleep(Duration::from_hours(1)).await,
        Some(Fault::Status(status, after)) => {
            let body = match provider {
                Provider::Anthropic => anthropic::error(status),
                Provider::Gemini => gemini::error(status, after),
                Provider::OpenAi => openai::error(status),
            };
            return Ok(whole(status, &body, after));
        }
        None => {}
    }
    sleep(behaviour.first).await;
    let text = behaviour.words(&asked.text);
    let usage = (asked.prompt, text.len() as u64);
    if !asked.stream {
        let body = match provider {
            Provider::Anthropic => anthropic::answer(&asked, &text, usage),
            Provider::Gemini => gemini::answer(&asked, &text, usage),
            Provider::OpenAi => openai::answer(&asked, &text, usage),
        };
        return Ok(whole(200, &body, None));
    }
    let events = match provider {
        Provider::Anthropic => anthropic::stream(&asked, &text, usage),
        Provider::Gemini => gemini::stream(&asked, &text, usage),
        Provider::OpenAi => openai::stream(&asked, &text, usage),
    };
    let error = match provider {
        Provider::Anthropic => format!("event: error\ndata: {}\n\n", anthropic::error(529)),
        Provider::Gemini => format!("data: {}\r\n\r\n", gemini::error(503, None)),
        Provider::OpenAi => format!("data: {}\n\n", openai::error(500)),
    };
    Ok(streamed(events, behaviour, error))
}

fn whole(status: u16, body: &Value, after: Option<u64>) -> Response<Out> {
    let full = Full::new(Bytes::from(body.to_string()));
    let full = full.map_err(|never: Infallible| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(full));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    headers(response.headers_mut(), "application/json");
    if let Some(after) = after {
        response.headers_mut().insert("retry-after", after.into());
    }
    response
}

fn headers(to: &mut HeaderMap, kind: &'static str) {
    to.insert("content-type", http::HeaderValue::from_static(kind));
    to.insert("x-request-id", http::HeaderValue::from_static("sim_1"));
}

/// Sends events one after the other and ends as the model's name says.
fn streamed(events: Vec<String>, behaviour: Behaviour, error: String) -> Response<Out> {
    let (to, mut from) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    tokio::task::spawn_local(async move {
        let last = events.len().saturating_sub(1);
        for (at, event) in events.into_iter().enumerate() {
            let broken = match behaviour.end {
                End::Cut(after) if at > after => Some(Err(io::Error::other("cut on purpose"))),
                End::Error(after) if at > after => Some(Ok(error.clone())),
                End::Malformed(after) if at > after => Some(Ok("data: {oops\n\n".to_owned())),
                End::Stall(after) if at > after => {
                    sleep(Duration::from_hours(1)).await;
                    None
                }
                End::Missing if at == last => return,
                End::Complete
                | End::Cut(_)
                | End::Error(_)
                | End::Malformed(_)
                | End::Missing
                | End::Stall(_) => None,
            };
            let frame = match broken {
                Some(Ok(event)) => Ok(Frame::data(Bytes::from(event))),
                Some(Err(cut)) => Err(cut),
                None => Ok(Frame::data(Bytes::from(event))),
            };
            let over =
                matches!(behaviour.end, End::Cut(n) | End::Error(n) | End::Malformed(n) if at > n);
            if to.send(frame).await.is_err() || over {
                return;
            }
            sleep(behaviour.pace).await;
        }
    });
    let stream = futures_of(move |cx| from.poll_recv(cx));
    let mut response = Response::new(UnsyncBoxBody::new(StreamBody::new(stream)));
    headers(response.headers_mut(), "text/event-stream");
    response
}

/// A stream from a poll function.
fn futures_of<T, F>(poll: F) -> impl futures_core::Stream<Item = T>
where
    F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
{
    struct Polled<F>(F);
    impl<T, F> futures_core::Stream for Polled<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
    {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            (self.0)(cx)
        }
    }
    Polled(poll)
}

/// Words of a value, as a count of tokens.
fn count(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.split_whitespace().count() as u64,
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Refuses fields that the provider does not know.
fn unknown<'a>(value: &'a Value, known: &[&str]) -> Option<&'a str> {
    value.as_object()?.keys().map(String::as_str).find(|key| !known.contains(key))
}
