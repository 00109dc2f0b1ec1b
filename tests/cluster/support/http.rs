//! One plain HTTP request, for looking at a pod.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks for a path and waits five seconds at the most.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = Request::get(path).header("host", address.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    runtime.block_on(async {
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(io::Error::other)?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        timeout(Duration::from_secs(5), exchange).await?
    })
}
