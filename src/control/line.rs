//! The connection to the admin port of one proxy, kept open between questions.

use std::{fmt::Display, net::SocketAddr};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::table::Token;

/// The longest answer: some fifty thousand keys.
const MOST_BYTES: usize = 1 << 23;

/// The connection to one proxy.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    open: Option<SendRequest<Empty<Bytes>>>,
}

impl Line {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Asks for a page that only who knows the token may read. The caller sets the limit in time; after
    /// an error, and after a question that was not waited for, the next one takes a new connection.
    pub(super) async fn get(&mut self, page: &'static str, token: &Token) -> Result<Bytes, String> {
        let open = self.open.take().filter(|open| !open.is_closed());
        let mut sender = if let Some(open) = open {
            open
        } else {
            let stream = TcpStream::connect(self.address).await.map_err(told)?;
            stream.set_nodelay(true).map_err(told)?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
            tokio::spawn(connection);
            sender
        };
        sender.ready().await.map_err(told)?;
        let mut bearer =
            http::HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(told)?;
        bearer.set_sensitive(true);
        let request = Request::get(page)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, bearer)
            .body(Empty::new())
            .map_err(told)?;
        let response = sender.send_request(request).await.map_err(told)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(told)?.to_bytes();
        self.open = Some(sender);
        if status == http::StatusCode::OK { Ok(body) } else { Err(format!("it answers {status}")) }
    }
}

fn told(error: impl Display) -> String {
    error.to_string()
}
