//! Phase 5: one upstream try, from the request written to the first meaningful token.
//!
//! An attempt ends in one of two ways: with an [`Answer`] that is worth showing, or with a
//! [`Failure`] that says whom to blame, so that [`super::retry`] can decide. Until then nothing has
//! reached the client. A streamed answer counts as begun at its first meaningful token, a whole one
//! when all of it is here (or so much that holding it back would cost more than a retry is worth).

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    error::{self, Said},
    facts::Chat,
    feed::Feed,
    headers,
    outbound::Outbound,
    relay::{Codec, Way},
    retry::Failure,
    upstream::{Pool, RequestBody, ResponseBody, SendError},
};
use crate::{
    dialect::{ProviderError, StreamError, Usage, View},
    table::{Key, Target},
};

/// The most of a whole answer that is held back until it is complete. Beyond it the answer goes out
/// as it comes, and a break can no longer be mended elsewhere.
const HOLD_WHOLE: usize = 512 << 10;

/// The most of a stream's beginning that is held back while nothing meaningful has come.
const HOLD_STREAM: usize = 256 << 10;

/// The largest whole answer that is translated.
const MOST_TRANSLATED: usize = 64 << 20;

/// The most that is read of an error answer.
const MOST_ERROR: usize = 64 << 10;

/// What an attempt may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// When the client's answer must have begun, whatever the target.
    pub begin: Instant,
    /// When it must be through.
    pub end: Instant,
}

/// An answer worth showing.
#[derive(Debug)]
pub struct Answer {
    /// The upstream's headers.
    pub headers: HeaderMap,
    /// The answer, or its beginning.
    pub content: Content,
}

/// How much of an answer is here.
#[derive(Debug)]
pub enum Content {
    /// All of it, as the client will read it.
    Whole(Bytes, Option<Usage>),
    /// Its beginning; the rest comes from the upstream.
    Begun {
        /// What is ready for the client.
        ready: VecDeque<Bytes>,
        /// The rest; `None` when the stream has already ended well.
        rest: Option<ResponseBody>,
        /// How the rest is to be read.
        way: Way,
    },
}

/// A failed attempt.
#[derive(Debug)]
pub struct Failed {
    /// What happened.
    pub failure: Failure,
    /// What the provider said of it.
    pub said: Said,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, said: Said::default() }
    }
}

/// Tries one target, or one pod of it, with one key.
///
/// # Errors
/// When there is no answer worth showing; nothing has reached the client then.
pub async fn attempt(
    pool: &Pool,
    chat: &Chat,
    (target, pod): (&Target, Option<SocketAddr>),
    key: Option<&Key>,
    outbound: Outbound,
    view: &View,
    deadlines: Deadlines,
) -> Result<Answer, Failed> {
    let sent = Instant::now();
    let translated = outbound.translated;
    let hide_usage = outbound.usage_added;
    let response = send(pool, chat, (target, pod), key, outbound, deadlines, sent).await?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(refusal(target, head.status, &head.headers, body, deadlines).await);
    }
    let codec = target.dialect().upstream();
    let client = chat.api.client();
    let content = if chat.stream {
        let feed = if translated {
            Feed::translate(codec, client, view)
        } else {
            Feed::pass(codec, client, hide_usage)
        };
        let by = (sent + target.timeouts.first_token).min(deadlines.begin);
        begin_stream(feed, body, by).await.map_err(|failed| redact(failed, target))?
    } else if translated {
        let whole = collect(body, MOST_TRANSLATED, deadlines.begin).await?;
        let response =
            codec.decode_response(&whole).map_err(|e| redact(of_stream_error(e), target))?;
        let usage = response.usage;
        Content::Whole(client.encode_response(&response, view).into(), usage)
    } else {
        begin_whole(Codec(codec), body, deadlines.begin).await?
    };
    Ok(Answer { headers: head.headers, content })
}

/// Sends the request and waits for the head of the response.
async fn send(
    pool: &Pool,
    chat: &Chat,
    (target, pod): (&Target, Option<SocketAddr>),
    key: Option<&Key>,
    outbound: Outbound,
    deadlines: Deadlines,
    sent: Instant,
) -> Result<Response<ResponseBody>, Failed> {
    let unsendable = || Failed::from(Failure::Connect);
    let Outbound { path, body, traceparent, .. } = outbound;
    let headers = headers::outgoing(&chat.headers, chat.api, target, key, chat.stream, traceparent)
        .ok_or_else(unsendable)?;
    let mut request = Request::new(RequestBody::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(path).map_err(|_invalid| unsendable())?;
    *request.headers_mut() = headers;
    let left = deadlines.begin.saturating_duration_since(sent);
    let connect = target.timeouts.connect.min(left);
    // Connecting counts: a server that accepts and is silent must not be given the time of both.
    let wait = if chat.stream {
        target.timeouts.headers.min(target.timeouts.first_token)
    } else {
        target.timeouts.headers
    };
    let by = (sent + wait).min(deadlines.begin);
    let sending = pool.send(&target.credential.endpoint, pod, request, connect);
    match timeout_at(by, sending).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(of_send_error(error).into()),
        Err(_) => Err(Failure::HeadersTimeout.into()),
    }
}

const fn of_send_error(error: SendError) -> Failure {
    match error {
        SendError::Resolve
        | SendError::Private
        | SendError::Connect
        | SendError::ConnectTimeout => Failure::Connect,
        SendError::Tls => Failure::Tls,
        SendError::Reset => Failure::Reset,
        SendError::Protocol => Failure::Malformed,
    }
}

/// Reads a stream until it has begun.
async fn begin_stream(
    mut feed: Feed,
    mut body: ResponseBody,
    by: Instant,
) -> Result<Content, Failed> {
    let mut ready = VecDeque::new();
    let mut held = 0;
    loop {
        let frame = match timeout_at(by, body.frame()).await {
            Err(_) => return Err(Failure::FirstTokenTimeout.into()),
            Ok(Some(Err(_))) => return Err(Failure::Truncated.into()),
            Ok(None) => {
                feed.end(&mut ready).map_err(of_stream_error)?;
                return Ok(Content::Begun { ready, rest: None, way: Way::Stream(Box::new(feed)) });
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else { continue };
        held += piece.len();
        if let Err(error) = feed.push(&piece, &mut ready) {
            // What came before the failure may have begun the answer in the same piece; nothing of
            // it has gone out, so the failure can still be mended.
            return Err(of_stream_error(error));
        }
        if feed.has_begun() || held > HOLD_STREAM {
            return Ok(Content::Begun {
                ready,
                rest: Some(body),
                way: Way::Stream(Box::new(feed)),
            });
        }
    }
}

/// Reads a whole answer until it is complete or too large to be held back.
async fn begin_whole(codec: Codec, mut body: ResponseBody, by: Instant) -> Result<Content, Failed> {
    let mut first = Bytes::new();
    let mut more = VecDeque::new();
    let mut held = 0;
    while let Some(frame) = next(&mut body, by).await? {
        held += frame.len();
        if first.is_empty() {
            first = frame;
        } else {
            more.push_back(frame);
        }
        if held > HOLD_WHOLE {
            more.push_front(first);
            let way = Way::Whole { codec, tail: BytesMut::new() };
            return Ok(Content::Begun { ready: more, rest: Some(body), way });
        }
    }
    let whole = if more.is_empty() {
        first
    } else {
        more.push_front(first);
        Bytes::from(more.make_contiguous().concat())
    };
    let usage = codec.0.usage(&whole);
    Ok(Content::Whole(whole, usage))
}

/// Reads a whole body within a limit.
async fn collect(mut body: ResponseBody, most: usize, by: Instant) -> Result<Bytes, Failed> {
    let mut whole = BytesMut::new();
    while let Some(piece) = next(&mut body, by).await? {
        if whole.is_empty() && hyper::body::Body::is_end_stream(&body) {
            return Ok(piece);
        }
        if whole.len() + piece.len() > most {
            return Err(Failure::Malformed.into());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The next piece of a body that must be whole.
async fn next(body: &mut ResponseBody, by: Instant) -> Result<Option<Bytes>, Failed> {
    loop {
        match timeout_at(by, body.frame()).await {
            Err(_) => return Err(Failure::HeadersTimeout.into()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Failure::Truncated.into()),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// Reads an error answer: what it means, in the provider's own words, with our key taken out.
async fn refusal(
    target: &Target,
    status: StatusCode,
    headers: &HeaderMap,
    body: ResponseBody,
    deadlines: Deadlines,
) -> Failed {
    // An error body that is late or cut still has its status.
    let by = deadlines.begin.min(Instant::now() + Duration::from_secs(5));
    let body = collect(body, MOST_ERROR, by).await.unwrap_or_default();
    let error = target.dialect().upstream().decode_error(status.as_u16(), &body);
    let wait = headers::retry_after(headers, wall_clock());
    redact(of_provider_error(error, wait), target)
}

#[expect(
    clippy::disallowed_types,
    reason = "an HTTP date is compared with the wall clock, here alone"
)]
fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

fn of_provider_error(error: ProviderError, wait: Option<Duration>) -> Failed {
    let ProviderError { class, status, message, retry_after, code, param } = error;
    let retry_after = wait.or(retry_after);
    let message = (!message.is_empty()).then_some(message);
    Failed {
        failure: Failure::Provider { class, status, retry_after },
        said: Said { message, code, param },
    }
}

fn of_stream_error(error: StreamError) -> Failed {
    match error {
        StreamError::Malformed(_) => Failure::Malformed.into(),
        StreamError::Truncated => Failure::Truncated.into(),
        StreamError::Provider(error) => of_provider_error(error, None),
    }
}

fn redact(failed: Failed, target: &Target) -> Failed {
    let Failed { failure, said } = failed;
    let clean = |words: Option<String>| words.map(|words| error::redacted(&words, target));
    let Said { message, code, param } = said;
    let said = Said { message: clean(message), code: clean(code), param: clean(param) };
    Failed { failure, said }
}
