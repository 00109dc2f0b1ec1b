//! Accepting clients: one socket a worker on the same port, HTTP/1.1 and HTTP/2, with TLS when a
//! certificate is given.
//!
//! Limits that protect the process stand here, before any request is read: how long a client may
//! take for its headers, how large they may be, how many connections there may be. What is answered
//! is the service's affair.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_local,
    time::{sleep, timeout},
};

pub use super::socket::bind;
use super::{
    activity::{Activity, Answer, Heard, Order, Registry},
    drain::Drain,
    socket,
    tls::ServerTls,
    worker::LocalExecutor,
};

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// From the first byte of a request to the end of its headers; for the first request from the
    /// connection on, TLS included.
    pub header_timeout: Duration,
    /// Between two requests. Longer than load balancers keep theirs (a minute), so that they close
    /// first and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// Connections of one worker.
    pub connections: u32,
    /// How long new connections are taken after the drain has begun: until everybody who routes to
    /// us has heard of it.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connections: 16_384,
            linger: Duration::ZERO,
        }
    }
}

/// What happens to connections, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// One was accepted.
    Opened,
    /// One has ended.
    Closed,
    /// There are as many as there may be; the next one waits until another ends.
    Full,
    /// One could not be accepted.
    Failed,
}

/// The largest head of a request.
const MOST_HEAD_BYTES: usize = 32 << 10;

/// hyper's bound for the buffers of an HTTP/1.1 connection: it reads 8 KB at first and doubles up to
/// this while reads come full, so large prompts take few system calls.
const MOST_BUFFER: usize = 64 << 10;

/// Streams that one HTTP/2 connection may have open.
const MOST_STREAMS: u32 = 256;

/// Bytes of requests that an HTTP/2 client may have sent and nobody has read: a stream, a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes of an answer that wait for a slow HTTP/2 client, each stream.
const MOST_SEND_BUFFER: usize = 64 << 10;

/// An HTTP/2 connection in silence this long is asked whether it is alive, and how long it may take
/// to answer.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// How long nothing is accepted when the process is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// What answers requests: any hyper service that cannot fail, on its worker's own thread.
pub trait Answers:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future = Self::Answer,
    > + 'static
{
    /// The answer's body. Dropped when the client leaves.
    type Body: Body<Data = Bytes, Error = Self::BodyError> + Unpin + 'static;
    /// How a body breaks: the answer is cut off, and can be told from a whole one.
    type BodyError: Into<Box<dyn std::error::Error + Send + Sync>>;
    /// The answer to come. Dropped when the client leaves.
    type Answer: Future<Output = Result<Response<Self::Body>, Infallible>> + 'static;
}

impl<S, B> Answers for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Body = B;
    type BodyError = B::Error;
    type Answer = S::Future;
}

/// Serves clients until the drain is over: then no connection is left. How long that may take is
/// the caller's to decide.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve<S: Answers + Clone>(
    listener: std::net::TcpListener,
    config: Config,
    tls: Option<Arc<ServerTls>>,
    service: S,
    notice: impl Fn(Event) + Clone + 'static,
    mut drain: Drain,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let connections = config.connections.max(1);
    let places = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(usize::MAX)));
    let registry = Registry::new(config.header_timeout, config.idle_timeout);
    {
        let mut accept = pin!(async {
            loop {
                let (stream, place) = next(&listener, &places, &notice).await;
                let (tls, service) = (tls.clone(), service.clone());
                let entered = Entered::new(notice.clone(), place);
                let activity = registry.enter();
                spawn_local(async move {
                    let _entered = entered;
                    connection(stream, tls, service, &activity).await;
                });
            }
        });
        tokio::select! {
            () = &mut accept => {}
            () = drain.started() => {}
        }
        if !config.linger.is_zero() {
            // Those who come now are served too, also on a kept connection: they have not heard yet.
            registry.retire();
            let _passed = timeout(config.linger, accept).await;
        }
    }
    drop(listener);
    registry.finish_all();
    // All places free: nobody is left. The semaphore is never closed.
    let _all = places.acquire_many(connections).await;
    Ok(())
}

/// The next client and its place.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    notice: &impl Fn(Event),
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        if places.available_permits() == 0 {
            // A full house stops accepting: the kernel's queue holds those who come.
            notice(Event::Full);
        }
        let Ok(place) = Arc::clone(places).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = socket::tune(&stream) {
                    tracing::debug!(%error, "a client left at once");
                }
                return (stream, place);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                // Out of descriptors: trying again at once would only burn the core.
                notice(Event::Failed);
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Whether a client left before it was accepted. See `accept(2)`: such errors are passed on to us.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A connection that is counted and has its place, until it is dropped.
struct Entered<N: Fn(Event)> {
    notice: N,
    _place: OwnedSemaphorePermit,
}

impl<N: Fn(Event)> Entered<N> {
    fn new(notice: N, place: OwnedSemaphorePermit) -> Self {
        notice(Event::Opened);
        Self { notice, _place: place }
    }
}

impl<N: Fn(Event)> Drop for Entered<N> {
    fn drop(&mut self) {
        (self.notice)(Event::Closed);
    }
}

/// Serves one client. Everything but HTTP/1.1 without TLS is boxed, so that it costs the many idle
/// streams of that kind no memory.
async fn connection<S: Answers>(
    stream: TcpStream,
    tls: Option<Arc<ServerTls>>,
    service: S,
    activity: &Rc<Activity>,
) {
    let service = tracked(service, Rc::clone(activity));
    if let Some(tls) = tls {
        let shaken = async move { tls.acceptor().accept(stream).await };
        let Some(Ok(stream)) = unless_ordered(activity, Box::pin(shaken)).await else { return };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(serve_http2(stream, service, activity)).await;
        } else {
            Box::pin(serve_http1(stream, service, activity)).await;
        }
        return;
    }
    match unless_ordered(activity, speaks_http2(&stream)).await {
        Some(Ok(true)) => Box::pin(serve_http2(stream, service, activity)).await,
        Some(Ok(false)) => serve_http1(stream, service, activity).await,
        Some(Err(_)) | None => {}
    }
}

/// Waits for a step that comes before the first request; `None` when the connection is to end. The
/// headers' timeout runs from the connection on, so a handshake has no other.
async fn unless_ordered<T>(activity: &Activity, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = step => Some(done),
        _ = activity.ordered() => None,
    }
}

/// Whether a client begins with HTTP/2's preface (RFC 9113, 3.4). No method of HTTP/1.1 begins like
/// it, so three bytes decide; they stay in the socket. A look at the socket once a connection is
/// cheaper than a layer between it and hyper for each read.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut start = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut start).await?;
        let heard = start.get(..n).unwrap_or_default();
        if heard.is_empty() || !PREFACE.starts_with(heard) {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        // Bytes that were seen do not wake us again; so few of them are rare.
        sleep(Duration::from_millis(5)).await;
    }
}

/// The service, with each of its requests told to the connection's activity.
fn tracked<S: Answers>(service: S, activity: Rc<Activity>) -> impl Answers {
    service_fn(move |request| {
        let under_way = activity.begin();
        let activity = Rc::clone(&activity);
        let http1 = request.version() < Version::HTTP_2;
        let answer = service.call(request);
        async move {
            let mut answer = answer.await?.map(|body| Answer::new(body, under_way));
            if http1 && activity.retires() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    })
}

async fn serve_http1<T, S>(stream: T, service: S, activity: &Rc<Activity>)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Answers,
{
    // `max_headers` stays at hyper's 100 (setting it moves the header table to the heap), and its
    // timer for headers unset: see `activity`.
    let connection = http1::Builder::new()
        .max_header_size(MOST_HEAD_BYTES)
        .max_buf_size(MOST_BUFFER)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Heard::new(stream, Rc::clone(activity))), service);
    drive(connection, http1::Connection::graceful_shutdown, activity).await;
}

async fn serve_http2<T, S>(stream: T, service: S, activity: &Activity)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Answers,
{
    activity.speaks_http2();
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(MOST_HEAD_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MOST_SEND_BUFFER)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER)
        .serve_connection(TokioIo::new(stream), service);
    drive(connection, http2::Connection::graceful_shutdown, activity).await;
}

/// Runs a connection until it ends or has to.
async fn drive<C>(connection: C, finish: impl Fn(Pin<&mut C>), activity: &Activity)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended badly");
                }
                return;
            }
            order = activity.ordered() => match order {
                Order::Finish => finish(connection.as_mut()),
                Order::Close => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_small_writes_at_once() {
        let socket = bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let listener = TcpListener::from_std(socket).unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = next(&listener, &Arc::new(Semaphore::new(1)), &|_| ()).await;
        assert!(socket2::SockRef::from(&accepted).tcp_nodelay().unwrap());
    }
}
