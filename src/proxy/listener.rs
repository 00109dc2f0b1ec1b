//! Accepting clients: one socket a worker on the same port, HTTP/1.1 and HTTP/2.
//!
//! Limits that protect the process stand here, before any request is read: how long a client may
//! take for its headers, how large they may be, how many connections there may be. TLS is spoken
//! when a certificate is given.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, rc::Rc, sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, sync::Semaphore, task::spawn_local};

use super::{drain::Drain, relay::Body, service, state::Worker};

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// For the headers of a request.
    pub header_timeout: Duration,
    /// Connections of one worker.
    pub connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { header_timeout: Duration::from_secs(10), connections: 16_384 }
    }
}

/// The most headers of a request.
const MOST_HEADERS: usize = 100;

/// The most bytes of headers: hyper's read buffer for HTTP/1.1 is as large.
const MOST_HEADER_BYTES: usize = 32 << 10;

/// Streams that one HTTP/2 connection may have open.
const MOST_STREAMS: u32 = 256;

/// Binds `n` sockets to one address; the kernel shares connections out between them. Port 0 takes a
/// free port, the same for all.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr, n: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(n);
    for _ in 0..n.max(1) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = std::net::TcpListener::from(socket);
        address = listener.local_addr()?;
        sockets.push(listener);
    }
    Ok(sockets)
}

/// Serves clients until the drain is over: then no connection is left.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    config: Config,
    tls: Option<Arc<rustls::ServerConfig>>,
    worker: Rc<Worker>,
    mut drain: Drain,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tls = tls.map(tokio_rustls::TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(config.connections));
    let mut open = tokio::task::JoinSet::new();
    loop {
        // A full house stops accepting: the kernel's queue holds those who come.
        let accepted = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            () = drain.started() => break,
        };
        while open.try_join_next().is_some() {}
        let Some((stream, place)) = accepted else { continue };
        let (worker, tls, drain) = (Rc::clone(&worker), tls.clone(), drain.clone());
        open.spawn_local(async move {
            let _place = place;
            worker.cells.connections.add(1);
            match tls {
                None => connection(TokioIo::new(stream), config, Rc::clone(&worker), drain).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(config.header_timeout, tls.accept(stream));
                    if let Ok(Ok(stream)) = shaken.await {
                        connection(TokioIo::new(stream), config, Rc::clone(&worker), drain).await;
                    }
                }
            }
            worker.cells.connections.sub(1);
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

/// The next client and its place.
async fn next(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a client left at once");
            }
            Some((stream, place))
        }
        Err(error) => {
            // Out of descriptors: trying again at once would only burn the core.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection<T>(io: T, config: Config, worker: Rc<Worker>, mut drain: Drain)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(MOST_HEADERS)
        .max_buf_size(MOST_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(MOST_HEADER_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30));
    let answer = service_fn(move |request: Request<Incoming>| respond(Rc::clone(&worker), request));
    let mut connection = pin!(builder.serve_connection(io, answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

fn respond(
    worker: Rc<Worker>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    service::respond(worker, request)
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
