//! Connections to providers: one pool a worker, nothing shared between cores.
//!
//! A request gets an idle connection of its endpoint if there is one, else a new one. HTTP/1.1
//! connections carry one request at a time and are put back when the answer's body has been read;
//! an HTTP/2 connection (offered by TLS only) carries many. A connection that the provider closed
//! while it was idle is noticed when the request comes back unsent, and the request goes out once
//! more on a fresh one: nobody has seen it yet.

mod body;
mod connect;
mod tls;

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, Uri, header, uri};
use http_body::Frame;
use hyper::{body::Incoming, client::conn};
use rustc_hash::FxHashMap;
use tokio::time::{Instant, timeout};

pub use self::{
    body::RequestBody,
    tls::{load_roots, tls_config},
};
use self::{connect::Connection, tls::Configs};
use crate::table::Endpoint;

/// How long an idle connection is kept. Providers close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(50);

/// The most idle connections of one endpoint that a worker keeps.
const MOST_IDLE: usize = 1024;

/// Why a request got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The address took no connection.
    #[error("the connection was refused")]
    Connect,
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The name leads to an address that is not of the public internet.
    #[error("the address is private")]
    Private,
    /// The head of the response cannot be read.
    #[error("the response cannot be read")]
    Protocol,
    /// The connection broke before the head of the response.
    #[error("the connection broke")]
    Reset,
    /// The name leads nowhere.
    #[error("the name is unknown")]
    Resolve,
    /// No TLS: the certificate is wrong, or there is none.
    #[error("the TLS handshake failed")]
    Tls,
}

/// A worker's connections.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    allow_private: bool,
    configs: Configs,
    idle: RefCell<FxHashMap<Endpoint, Idle>>,
}

/// The connections of one endpoint.
#[derive(Debug, Default)]
struct Idle {
    /// Used last, taken first: the rest grows old and is closed.
    http1: Vec<(conn::http1::SendRequest<RequestBody>, Instant)>,
    http2: Option<conn::http2::SendRequest<RequestBody>>,
}

impl Pool {
    /// A pool without connections. `allow_private` lets private addresses be connected to.
    pub fn new(allow_private: bool, roots: Arc<rustls::RootCertStore>) -> Self {
        let configs = Configs::new(roots);
        Self(Rc::new(Inner { allow_private, configs, idle: RefCell::default() }))
    }

    /// Sends a request, whose URI is a path, and waits for the head of the response.
    /// `connect` bounds name look-up, TCP and TLS together.
    ///
    /// # Errors
    /// When there is no response. Whether anybody saw the request: see [`SendError`].
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        mut request: Request<RequestBody>,
        connect: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        while let Some(idle) = self.take(endpoint) {
            request = match idle.send(self, endpoint, request).await {
                Ok(response) => return Ok(response),
                Err(Unsent { request: Some(request), .. }) => *request,
                Err(Unsent { request: None, error }) => return Err(error),
            };
        }
        let fresh = connect::connect(endpoint, self.0.allow_private, &self.0.configs);
        let fresh =
            timeout(connect, fresh).await.map_err(|_elapsed| SendError::ConnectTimeout)??;
        if let Connection::Http2(sender) = &fresh {
            let mut idle = self.0.idle.borrow_mut();
            idle.entry(endpoint.clone()).or_default().http2 = Some(sender.clone());
        }
        fresh.send(self, endpoint, request).await.map_err(|unsent| unsent.error)
    }

    /// A connection that was open when it was last looked at.
    fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut all = self.0.idle.borrow_mut();
        let idle = all.get_mut(endpoint)?;
        if let Some(sender) = &idle.http2 {
            if !sender.is_closed() {
                return Some(Connection::Http2(sender.clone()));
            }
            idle.http2 = None;
        }
        while let Some((sender, since)) = idle.http1.pop() {
            if since.elapsed() > IDLE {
                // The ones below are older still.
                idle.http1.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(Connection::Http1(sender));
            }
        }
        None
    }

    /// Takes a connection back whose answer has been read.
    fn put_back(&self, endpoint: &Endpoint, sender: conn::http1::SendRequest<RequestBody>) {
        let mut all = self.0.idle.borrow_mut();
        if !all.contains_key(endpoint) {
            all.insert(endpoint.clone(), Idle::default());
        }
        if let Some(idle) = all.get_mut(endpoint)
            && idle.http1.len() < MOST_IDLE
        {
            idle.http1.push((sender, Instant::now()));
        }
    }

    /// Closes connections that have been idle too long, and forgets endpoints without any.
    pub fn sweep(&self) {
        let mut all = self.0.idle.borrow_mut();
        for idle in all.values_mut() {
            idle.http1.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
            if idle.http2.as_ref().is_some_and(conn::http2::SendRequest::is_closed) {
                idle.http2 = None;
            }
        }
        all.retain(|_, idle| !idle.http1.is_empty() || idle.http2.is_some());
    }

    /// Idle HTTP/1.1 connections, for tests and metrics.
    pub fn idle(&self) -> usize {
        self.0.idle.borrow().values().map(|idle| idle.http1.len()).sum()
    }
}

/// An answer's body. Read to its end, it gives an HTTP/1.1 connection back; dropped before, it closes
/// the connection, which cancels the request at the provider.
#[derive(Debug)]
pub struct ResponseBody {
    body: Incoming,
    lease: Option<Lease>,
}

/// The pool, the endpoint and the connection to give back.
type Lease = Box<(Pool, Endpoint, conn::http1::SendRequest<RequestBody>)>;

impl http_body::Body for ResponseBody {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        if ended && let Some(lease) = self.lease.take() {
            let (pool, endpoint, sender) = *lease;
            pool.put_back(&endpoint, sender);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A request that got no response; it comes back when nobody can have seen it.
struct Unsent {
    request: Option<Box<Request<RequestBody>>>,
    error: SendError,
}

impl Connection {
    async fn send(
        mut self,
        pool: &Pool,
        endpoint: &Endpoint,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Unsent> {
        address(endpoint, &mut request, matches!(self, Self::Http2(_)));
        let sent = match &mut self {
            Self::Http1(sender) => {
                if sender.ready().await.is_err() {
                    let request = Some(Box::new(request));
                    return Err(Unsent { request, error: SendError::Reset });
                }
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        match sent {
            Ok(response) => {
                let lease = match self {
                    Self::Http1(sender) => Some(Box::new((pool.clone(), endpoint.clone(), sender))),
                    Self::Http2(_) => None,
                };
                Ok(response.map(|body| ResponseBody { body, lease }))
            }
            Err(mut unsent) => {
                let request = unsent.take_message().map(Box::new);
                let error = unsent.error();
                let unreadable = error.is_parse() || error.is_parse_too_large();
                let error = if unreadable { SendError::Protocol } else { SendError::Reset };
                Err(Unsent { request, error })
            }
        }
    }
}

/// Puts the endpoint's name where the protocol has it, once, whatever a client sent.
fn address<B>(endpoint: &Endpoint, request: &mut Request<B>, http2: bool) {
    let default = if endpoint.tls { 443 } else { 80 };
    let host = if endpoint.host.contains(':') {
        format!("[{}]", endpoint.host)
    } else {
        endpoint.host.to_string()
    };
    let authority =
        if endpoint.port == default { host } else { format!("{host}:{}", endpoint.port) };
    if http2 {
        let path = request.uri().path_and_query().cloned();
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTPS);
        parts.authority = authority.parse().ok();
        parts.path_and_query = path;
        if let Ok(whole) = Uri::from_parts(parts) {
            *request.uri_mut() = whole;
        }
        request.headers_mut().remove(header::HOST);
    } else if let Ok(value) = HeaderValue::try_from(authority) {
        request.headers_mut().insert(header::HOST, value);
        if request.uri().scheme().is_some()
            && let Some(path) = request.uri().path_and_query().cloned()
        {
            *request.uri_mut() = Uri::from(path);
        }
    }
}
