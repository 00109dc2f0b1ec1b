//! One plain HTTP request at a time, for looking at a pod.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, http::request::Builder};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The target that gave it, when a proxy did.
    pub target: Option<String>,
}

/// Asks for a path.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(address, Request::get(path), String::new())
}

/// Sends JSON with a consumer's key.
pub fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> io::Result<Answer> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"));
    exchange(address, request, body.to_owned())
}

/// Waits ten seconds at the most.
fn exchange(address: SocketAddr, request: Builder, body: String) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = request.header("host", address.to_string());
    let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
    runtime.block_on(async {
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(io::Error::other)?;
            tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status().as_u16();
            let target = response.headers().get("x-trunkline-target");
            let target = target.and_then(|target| target.to_str().ok()).map(str::to_owned);
            let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), target })
        };
        timeout(Duration::from_secs(10), exchange).await?
    })
}
