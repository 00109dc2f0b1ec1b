//! The simulator on the wire: reads requests, keeps the journal, and sends answers as told, late,
//! broken or not at all. With `body`, the only files of this room that wait or look at a clock.

use std::{
    io,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep},
};

use super::{
    Config, Inbound, Journal, Provider, Refused, Signer, answer,
    answer::{Answer, Asked},
    behaviour::{Behaviour, Fault},
    body::{FOREVER, Out, Pace, broken, streamed, whole},
    config::Limits,
    dice, gemini, headers,
    headers::put,
    journal::Entry,
    limits::{Standing, Windows},
    mint,
};

/// The largest body that is read; more than any provider takes.
const MOST_BYTES: usize = 128 << 20;

/// What the three APIs share.
#[derive(Debug, Default)]
pub struct Simulator {
    config: Config,
    journal: Option<Journal>,
    windows: Mutex<Windows>,
}

impl Simulator {
    /// A simulator that does what the configuration says, and keeps a journal if there is one.
    pub fn new(config: Config, journal: Option<Journal>) -> Self {
        Self { config, journal, windows: Mutex::default() }
    }
}

/// Serves one provider's API for as long as the process lives.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(
    listener: TcpListener,
    provider: Provider,
    simulator: Arc<Simulator>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = Rc::new(Connection {
                provider,
                simulator: Arc::clone(&simulator),
                socket: stream.as_fd().try_clone_to_owned()?,
            });
            tokio::task::spawn_local(connection.serve(stream));
        }
    })
}

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("ended on purpose")]
struct Ended;

struct Connection {
    provider: Provider,
    simulator: Arc<Simulator>,
    /// The same socket once more, to reset it: hyper owns the stream.
    socket: OwnedFd,
}

impl Connection {
    async fn serve(self: Rc<Self>, stream: TcpStream) {
        let answer = service_fn(move |request| {
            let connection = Rc::clone(&self);
            async move { connection.respond(request).await }
        });
        // A connection that is broken on purpose ends with an error.
        let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Out>, Ended> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MOST_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_too_large) => return Ok(self.failed(&head, &[], 413, None)),
        };
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        let config = &self.simulator.config;
        let path = head.uri.path();
        if let (true, Some(listing)) = (head.method == "GET", self.provider.listing(path)) {
            return Ok(whole(200, &listing));
        }
        let key = self.provider.key(&head.headers, head.uri.query());
        let inbound = Inbound {
            method: head.method.as_str(),
            path,
            headers: &head.headers,
            key,
            body: value.as_ref(),
            config,
            signer: Signer(config.seed),
        };
        let asked = match self.provider.asked(&inbound) {
            Ok(asked) => asked,
            Err(Refused { status, body: refusal }) => {
                self.note(&head, &body, Some(status));
                return Ok(self.dressed(whole(status, &refusal), &body, None));
            }
        };
        let key = key.unwrap_or_default();
        let met = config.meet(self.provider, &asked.model, key);
        let standing = met.limits.map(|limits| self.take(limits, key, asked.prompt));
        if let Some(standing) = standing.filter(|standing| !standing.allowed) {
            let response = self.failed(&head, &body, 429, Some(standing.reset));
            return Ok(self.dressed(response, &body, Some(standing)));
        }
        let behaviour = met.behaviour;
        match behaviour.fault {
            Some(Fault::Reset) => {
                self.note(&head, &body, None);
                // With no time to linger, closing sends a reset instead of an end.
                let _set = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
                return Err(Ended);
            }
            Some(Fault::Silence) => {
                self.note(&head, &body, None);
                sleep(FOREVER).await;
                return Err(Ended);
            }
            Some(Fault::Status(status, after)) => {
                let response = self.failed(&head, &body, status, after);
                return Ok(self.dressed(response, &body, standing));
            }
            Some(Fault::Break(..)) | None => {}
        }
        self.note(&head, &body, Some(200));
        let answer = answer::answer(&asked, &behaviour, mint::id(config.seed, &body));
        let sse = head.uri.query().unwrap_or_default().split('&').any(|pair| pair == "alt=sse");
        let response = self.answer(&asked, answer, behaviour, sse).await;
        Ok(self.dressed(response, &body, standing))
    }

    fn take(&self, limits: (usize, Limits), key: &str, tokens: u64) -> Standing {
        let mut windows = self.simulator.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.take(limits, key, tokens, Instant::now())
    }

    /// The answer, in the form that was asked for.
    async fn answer(
        &self,
        asked: &Asked,
        answer: Answer,
        behaviour: Behaviour,
        sse: bool,
    ) -> Response<Out> {
        let signer = Signer(self.simulator.config.seed);
        // Hidden reasoning takes its time and shows none.
        let hidden = if asked.shows_reasoning { 0 } else { answer.reasoning.len() };
        let hidden = u32::try_from(hidden).unwrap_or(u32::MAX);
        let first = behaviour.first + behaviour.pace.saturating_mul(hidden);
        let seed = self.simulator.config.seed;
        let id = u64::from_str_radix(&answer.id, 16).unwrap_or_default();
        sleep(behaviour.jittered(first, dice([seed, id, 0, 0]))).await;
        let array = self.provider == Provider::Gemini && !sse;
        if asked.stream && !array {
            let events = self.provider.events(asked, &answer, signer);
            let pace = Pace { behaviour, place: [seed, id], error: self.provider.error_event() };
            return streamed(events, pace);
        }
        let tokens = u32::try_from(answer.usage.output).unwrap_or(u32::MAX);
        sleep(behaviour.pace.saturating_mul(tokens)).await;
        if asked.stream {
            // What Google sends where nobody asked for events.
            let chunks = gemini::chunks(asked, &answer, signer).into_iter();
            return broken(&chunks.map(|(chunk, _)| chunk).collect(), &behaviour);
        }
        broken(&self.provider.whole(asked, &answer, signer), &behaviour)
    }

    /// A failure, entered in the journal.
    fn failed(
        &self,
        head: &Parts,
        body: &[u8],
        status: u16,
        after: Option<Duration>,
    ) -> Response<Out> {
        self.note(head, body, Some(status));
        let mut response = whole(status, &self.provider.failure(status, after));
        // Google says it in the body only.
        if let Some(after) = after.filter(|_| self.provider != Provider::Gemini) {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }

    fn note(&self, head: &Parts, body: &[u8], status: Option<u16>) {
        let Some(journal) = &self.simulator.journal else { return };
        let entry = Entry {
            provider: self.provider,
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            body,
            status,
        };
        if let Err(error) = journal.write(&entry) {
            tracing::error!(%error, "the simulator's journal cannot be written");
        }
    }

    /// Adds the headers by which the provider is known.
    fn dressed(
        &self,
        mut response: Response<Out>,
        body: &[u8],
        standing: Option<Standing>,
    ) -> Response<Out> {
        let id = format!("req_{}", mint::id(self.simulator.config.seed, body));
        let to = response.headers_mut();
        match self.provider {
            Provider::Anthropic => {
                put(to, "request-id", &id);
                put(to, "anthropic-organization-id", "org-simulated");
                if let Some(standing) = standing {
                    headers::anthropic(to, &standing, Timestamp::now());
                }
            }
            Provider::OpenAi => {
                put(to, "x-request-id", &id);
                put(to, "openai-organization", "org-simulated");
                put(to, "openai-processing-ms", "1");
                put(to, "openai-version", "2020-10-01");
                if let Some(standing) = standing {
                    headers::openai(to, &standing);
                }
            }
            Provider::Gemini => {}
        }
        response
    }
}
