//! The floor: the least that a proxy on hyper costs. No route, no key, no count, no deadline.
//!
//! One thread, and connections to the upstream that are used again: what Trunkline does too. What it
//! costs beyond this is what its features cost.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

type Idle = Arc<Mutex<Vec<SendRequest<Incoming>>>>;

/// Serves until the process ends.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        let idle = Idle::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let idle = Arc::clone(&idle);
            let service = service_fn(move |request| pass(request, Arc::clone(&idle), upstream));
            let mut builder = http1::Builder::new();
            let serving =
                builder.max_buf_size(64 << 10).serve_connection(TokioIo::new(stream), service);
            // A client that leaves is no failure.
            tokio::spawn(async move { serving.await.ok() });
        }
    })
}

async fn pass(
    request: Request<Incoming>,
    idle: Idle,
    upstream: SocketAddr,
) -> Result<Response<Passing>, Failure> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut sender = if let Some(sender) = kept {
        sender
    } else {
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move { driver.await.ok() });
        sender
    };
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Passing { body, sender: Some(sender), idle }))
}

/// An answer's body; at its end its connection can be used again.
struct Passing {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    idle: Idle,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || frame.is_none() {
            let sender = self.sender.take();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(sender);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
