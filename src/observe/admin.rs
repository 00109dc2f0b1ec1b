//! The admin port: `/metrics`, `/healthz`, `/readyz`, `/internal/explain`, and for whoever knows the
//! token `/internal/state` and `/internal/demand`.
//!
//! It has a thread and a runtime of its own, so that neither a slow scrape can delay a request nor a
//! busy worker a probe.

use std::{convert::Infallible, fmt, io, net::TcpListener, sync::Arc, thread};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{Metrics, Readiness};

/// Makes the JSON of an internal page for a caller who shows the right token, given what stood behind
/// `Bearer `; `None` for anybody else.
pub type State = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// Makes the JSON of `/internal/explain` of a query and a request's body, or says why there is none.
pub type Explain = Arc<dyn Fn(&str, Bytes) -> Result<String, String> + Send + Sync>;

/// The longest request that is explained.
const MOST_EXPLAINED: usize = 1 << 20;

/// What the pages are made of besides metrics and readiness; what is not there is not found.
#[derive(Clone, Default)]
pub struct More {
    /// `GET /internal/state`.
    pub state: Option<State>,
    /// `GET /internal/demand`, for the same callers.
    pub demand: Option<State>,
    /// `POST /internal/explain`.
    pub explain: Option<Explain>,
}

impl fmt::Debug for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, demand, explain } = self;
        f.debug_struct("More")
            .field("state", &state.is_some())
            .field("demand", &demand.is_some())
            .field("explain", &explain.is_some())
            .finish()
    }
}

/// What the pages are made of.
#[derive(Clone)]
struct Pages {
    metrics: Metrics,
    readiness: Readiness,
    more: More,
}

/// Serves the admin port on a thread of its own for as long as the process lives.
///
/// # Errors
/// When the socket or the thread cannot be set up.
pub fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    more: More,
) -> io::Result<()> {
    let pages = Pages { metrics, readiness, more };
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(accept(listener, pages));
    })?;
    Ok(())
}

async fn accept(listener: TcpListener, pages: Pages) {
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
        let pages = pages.clone();
        tokio::spawn(async move {
            let answer = |request: Request<Incoming>| {
                let pages = pages.clone();
                async move { Ok::<_, Infallible>(pages.answer(request).await) }
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

/// The types of what is answered.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

impl Pages {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        if let (&Method::POST, "/internal/explain", Some(explain)) =
            (&head.method, head.uri.path(), &self.more.explain)
        {
            let told = match Limited::new(body, MOST_EXPLAINED).collect().await {
                Ok(body) => explain(head.uri.query().unwrap_or_default(), body.to_bytes()),
                Err(error) => Err(format!("the request cannot be read: {error}")),
            };
            return match told {
                Ok(json) => response(StatusCode::OK, JSON, json),
                Err(why) => response(StatusCode::BAD_REQUEST, PROMETHEUS, why + "\n"),
            };
        }
        let shown = head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        self.respond(&head.method, head.uri.path(), shown)
    }

    fn respond(
        &self,
        method: &Method,
        path: &str,
        authorization: Option<&[u8]>,
    ) -> Response<Full<Bytes>> {
        let plain = |status, text: &str| (status, PROMETHEUS, text.to_owned());
        let internal = match path {
            "/internal/state" => self.more.state.as_ref(),
            "/internal/demand" => self.more.demand.as_ref(),
            _ => None,
        };
        let (status, kind, text) = match (path, internal) {
            _ if *method != Method::GET && *method != Method::HEAD => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
            }
            ("/healthz", _) => plain(StatusCode::OK, "ok\n"),
            ("/metrics", _) => (StatusCode::OK, PROMETHEUS, self.metrics.render()),
            ("/readyz", _) => {
                let missing = self.readiness.missing();
                if missing.is_empty() {
                    plain(StatusCode::OK, "ready\n")
                } else {
                    let text = format!("not ready: {}\n", missing.join(", "));
                    plain(StatusCode::SERVICE_UNAVAILABLE, &text)
                }
            }
            (_, Some(state)) => {
                let shown = authorization.and_then(|shown| shown.strip_prefix(b"Bearer "));
                match shown.and_then(|shown| state(shown)) {
                    Some(json) => (StatusCode::OK, JSON, json),
                    None => plain(StatusCode::UNAUTHORIZED, "the operator's token is missing\n"),
                }
            }
            _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n"),
        };
        response(status, kind, text)
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_three_pages_is_served() {
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        let pages = Pages { metrics, readiness: readiness.clone(), more: More::default() };
        let status = |method: Method, path| pages.respond(&method, path, None).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::HEAD, "/healthz"), 200);
        assert_eq!(status(Method::POST, "/metrics"), 405);
        for path in ["/", "/debug", "/metrics/", "/config", "/internal/state"] {
            assert_eq!(status(Method::GET, path), 404, "{path}");
        }
        assert_eq!(status(Method::GET, "/readyz"), 200);
        let waiting = readiness.wait_for("table");
        assert_eq!(status(Method::GET, "/readyz"), 503);
        drop(waiting);
    }

    #[test]
    fn the_state_is_for_whoever_shows_the_token() {
        let state: State = Arc::new(|shown| (shown == b"t0ken").then(|| "{}".to_owned()));
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        let pages =
            Pages { metrics, readiness, more: More { state: Some(state), ..More::default() } };
        let status = |shown: Option<&[u8]>| {
            pages.respond(&Method::GET, "/internal/state", shown).status().as_u16()
        };
        assert_eq!(status(Some(b"Bearer t0ken")), 200);
        for wrong in [None, Some(&b"Bearer "[..]), Some(b"Bearer t0ke"), Some(b"t0ken")] {
            assert_eq!(status(wrong), 401);
        }
    }
}
