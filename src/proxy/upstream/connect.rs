//! A new connection: name, address, TCP, TLS, HTTP handshake.
//!
//! The name is looked up once, every address that it gives is checked, and the connection goes to
//! exactly a checked address, so a name that changes its answer gains nothing.

use std::{io, net::SocketAddr};

use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, lookup_host};

use super::{RequestBody, SendError, tls::Configs};
use crate::table::{Endpoint, address::is_public};

/// hyper's read buffer while a connection waits. Small: idle streams are many, and large answers
/// come in large reads anyway once the buffer has grown.
const READ_BUFFER: usize = 16 << 10;

/// The most headers that a response may have.
const MOST_HEADERS: usize = 100;

/// An open connection.
#[derive(Debug)]
pub(super) enum Connection {
    /// One request at a time.
    Http1(conn::http1::SendRequest<RequestBody>),
    /// Many requests.
    Http2(conn::http2::SendRequest<RequestBody>),
}

/// Opens a connection.
pub(super) async fn connect(
    endpoint: &Endpoint,
    allow_private: bool,
    configs: &Configs,
) -> Result<Connection, SendError> {
    let stream = tcp(endpoint, allow_private).await?;
    if !endpoint.tls {
        return http1(TokioIo::new(stream)).await;
    }
    let (config, name) = configs.of(endpoint).ok_or(SendError::Tls)?;
    let connector = tokio_rustls::TlsConnector::from(config);
    let stream = connector.connect(name, stream).await.map_err(|_refused| SendError::Tls)?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2(TokioIo::new(stream)).await;
    }
    http1(TokioIo::new(stream)).await
}

async fn tcp(endpoint: &Endpoint, allow_private: bool) -> Result<TcpStream, SendError> {
    let addresses: Vec<SocketAddr> = lookup_host((&*endpoint.host, endpoint.port))
        .await
        .map_err(|_unknown| SendError::Resolve)?
        .collect();
    if addresses.is_empty() {
        return Err(SendError::Resolve);
    }
    if !allow_private && addresses.iter().any(|address| !is_public(address.ip())) {
        return Err(SendError::Private);
    }
    for address in addresses {
        if let Ok(stream) = dial(address).await {
            return Ok(stream);
        }
    }
    Err(SendError::Connect)
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn http1<T>(io: T) -> Result<Connection, SendError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let (sender, connection) = conn::http1::Builder::new()
        .max_headers(MOST_HEADERS)
        .read_buf_exact_size(Some(READ_BUFFER))
        .handshake(io)
        .await
        .map_err(|_broken| SendError::Reset)?;
    tokio::task::spawn_local(async move {
        // How it ends is told to the request that was on it.
        let _ended = connection.await;
    });
    Ok(Connection::Http1(sender))
}

async fn http2<T>(io: T) -> Result<Connection, SendError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .keep_alive_interval(std::time::Duration::from_secs(20))
        .handshake(io)
        .await
        .map_err(|_broken| SendError::Reset)?;
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
    });
    Ok(Connection::Http2(sender))
}
