//! The admin port: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It has a thread and a runtime of its own, so that neither a slow scrape can delay a request nor a
//! busy worker a probe.

use std::{convert::Infallible, io, net::TcpListener, thread};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{Metrics, Readiness};

/// Serves the admin port on a thread of its own for as long as the process lives.
///
/// # Errors
/// When the socket or the thread cannot be set up.
pub fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(accept(listener, metrics, readiness));
    })?;
    Ok(())
}

async fn accept(listener: TcpListener, metrics: Metrics, readiness: Readiness) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin port cannot be served");
            return;
        }
    };
    #[expect(clippy::infinite_loop, reason = "it is served for as long as the process lives")]
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        tokio::spawn(async move {
            let answer = |request: Request<Incoming>| {
                let response =
                    respond(request.method(), request.uri().path(), &metrics, &readiness);
                async { Ok::<_, Infallible>(response) }
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended badly");
            }
        });
    }
}

fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        _ if *method != Method::GET && *method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned())
        }
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => (StatusCode::OK, metrics.render()),
        "/readyz" => {
            let missing = readiness.missing();
            if missing.is_empty() {
                (StatusCode::OK, "ready\n".to_owned())
            } else {
                let text = format!("not ready: {}\n", missing.join(", "));
                (StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
        _ => (StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_three_pages_is_served() {
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        let status =
            |method: Method, path| respond(&method, path, &metrics, &readiness).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::HEAD, "/healthz"), 200);
        assert_eq!(status(Method::POST, "/metrics"), 405);
        for path in ["/", "/debug", "/metrics/", "/config"] {
            assert_eq!(status(Method::GET, path), 404, "{path}");
        }
        assert_eq!(status(Method::GET, "/readyz"), 200);
        let waiting = readiness.wait_for("table");
        assert_eq!(status(Method::GET, "/readyz"), 503);
        drop(waiting);
    }
}
