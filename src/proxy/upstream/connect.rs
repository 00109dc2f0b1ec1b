//! A new connection: name, address, TCP, TLS, HTTP handshake.
//!
//! The name is looked up once, every address that it gives is checked, and the connection goes to
//! exactly a checked address, so a name that changes its answer gains nothing.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    error::SendError,
    http1::{self, Idle},
    http2,
    site::Site,
};
use crate::{
    proxy::socket,
    table::address::{is_pod, is_public},
};

/// A new connection.
#[derive(Debug)]
pub(super) enum Opened {
    Http1(http1::Connection),
    Http2(http2::Shared),
}

/// Opens a connection before the deadline. One that takes one request at a time will wait in `idle`
/// for its next one.
pub(super) async fn connect(
    site: &Site,
    idle: &Rc<Idle>,
    now: u64,
    deadline: Instant,
) -> Result<Opened, SendError> {
    timeout_at(deadline, open(site, idle, now, deadline))
        .await
        .map_err(|_elapsed| SendError::ConnectTimeout)?
}

async fn open(
    site: &Site,
    idle: &Rc<Idle>,
    now: u64,
    deadline: Instant,
) -> Result<Opened, SendError> {
    let addresses = resolve(site).await?;
    let stream = dial(&addresses, deadline).await?;
    match &site.tls {
        None => http1::handshake(TokioIo::new(stream), idle).await.map(Opened::Http1),
        // Boxed: the state of a TLS handshake is several kilobytes, and plain text has none.
        Some((config, name)) => Box::pin(secure(stream, config, name, idle, now)).await,
    }
}

/// Makes a TCP stream a TLS one, and that an HTTP connection.
async fn secure(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    idle: &Rc<Idle>,
    now: u64,
) -> Result<Opened, SendError> {
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name.clone(), stream)
        .await
        .map_err(|_refused| SendError::Tls)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if http2 {
        http2::handshake(io, now).await.map(Opened::Http2)
    } else {
        http1::handshake(io, idle).await.map(Opened::Http1)
    }
}

/// The addresses of the endpoint. One that is private spoils all: a name with both kinds is no
/// provider's. A Service is not looked up: the pod was chosen, and its address is judged again.
async fn resolve(site: &Site) -> Result<Vec<SocketAddr>, SendError> {
    if site.endpoint.service {
        let pod = site.pod.ok_or(SendError::Resolve)?;
        let allowed = is_pod(pod.ip()) || (site.allow_private && pod.ip().is_loopback());
        return if allowed { Ok(vec![pod]) } else { Err(SendError::Private) };
    }
    let addresses: Vec<_> = lookup_host((&*site.endpoint.host, site.endpoint.port))
        .await
        .map_err(|_unknown| SendError::Resolve)?
        .collect();
    if !site.allow_private && !addresses.iter().all(|address| is_public(address.ip())) {
        return Err(SendError::Private);
    }
    Ok(addresses)
}

/// A stream to the first address that takes one. Each gets an equal share of the time that is left,
/// so that an address which swallows packets does not cost the others their chance.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, SendError> {
    if addresses.is_empty() {
        return Err(SendError::Resolve);
    }
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut silent = false;
    for address in addresses {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        match timeout_at(now + share, stream(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(_refused)) => {}
            Err(_elapsed) => silent = true,
        }
    }
    Err(if silent { SendError::ConnectTimeout } else { SendError::Connect })
}

async fn stream(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    socket::tune(&stream)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn opened_sockets_send_small_writes_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let opened = stream(listener.local_addr().unwrap()).await.unwrap();
        assert!(socket2::SockRef::from(&opened).tcp_nodelay().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_spoil_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = dial(&[gone, open], deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert_eq!(dial(&[gone], deadline).await.unwrap_err(), SendError::Connect);
        assert_eq!(dial(&[], deadline).await.unwrap_err(), SendError::Resolve);
    }
}
