//! Brings traces to a collector: one thread, batches, OTLP over HTTP.
//!
//! What cannot be delivered is counted and given up soon: traces are for looking at requests, and a
//! collector that is away must cost neither memory nor the end of the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use rustls::RootCertStore;
use tokio::{
    runtime::Builder,
    task::LocalSet,
    time::{sleep, timeout},
};

use super::{Failure, environment};
use crate::{
    observe::trace::{
        Queue, Trace, Tracer,
        otlp::{self, PATH},
    },
    proxy::upstream::{Pool, RequestBody},
    table::Endpoint,
};

/// How long traces may wait, and how many go at once.
const PAUSE: Duration = Duration::from_millis(500);
const BATCH: usize = 256;

/// How long a collector may take, how often it is asked, and how long is waited in between.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what is left.
const LAST: Duration = Duration::from_secs(5);

/// Headers for the collector, `name=value` by commas: a standard name, and from a Secret's key, as what
/// stands there may be one.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The sending thread. Dropping it sends what is left.
pub(super) struct Exporter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Traces that go to `endpoint`, if there is one; `share` of those whose callers do not say.
///
/// # Errors
/// When the endpoint or the headers cannot be read, or no thread can be started.
pub(super) fn start(
    endpoint: Option<&str>,
    share: f64,
    roots: Arc<RootCertStore>,
    dropped: IntCounter,
) -> Result<(Tracer, Option<Exporter>), Failure> {
    let Some(endpoint) = endpoint else { return Ok((Tracer::off(dropped), None)) };
    let to = Collector {
        endpoint: read(endpoint)?,
        headers: headers(&environment(HEADERS).unwrap_or_default())?,
        instance: environment("POD_NAME").unwrap_or_else(|| format!("{:016x}", fastrand::u64(..))),
        dropped: dropped.clone(),
    };
    let (tracer, queue) = Tracer::new(share, dropped);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new().name("traces".to_owned()).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "traces cannot be sent"),
        };
        LocalSet::new().block_on(&runtime, async {
            let pool = Pool::new(true, roots);
            let mut well = true;
            while !stopped.load(Ordering::Acquire) {
                let batch = take(&queue);
                if batch.is_empty() {
                    sleep(PAUSE).await;
                } else {
                    to.deliver(&pool, &batch, TRIES, &mut well).await;
                }
            }
            let rest = async {
                while !queue.is_empty() {
                    to.deliver(&pool, &take(&queue), 1, &mut well).await;
                }
            };
            let _late = timeout(LAST, rest).await;
        });
    })?;
    Ok((tracer, Some(Exporter { stop, thread: Some(thread) })))
}

fn take(queue: &Queue) -> Vec<Trace> {
    std::iter::from_fn(|| queue.pop()).take(BATCH).map(|trace| *trace).collect()
}

/// Who takes traces.
struct Collector {
    endpoint: Endpoint,
    headers: HeaderMap,
    instance: String,
    dropped: IntCounter,
}

impl Collector {
    /// Sends a batch. `well` is whether the last one arrived: only a change is said in the log.
    async fn deliver(&self, pool: &Pool, batch: &[Trace], tries: u32, well: &mut bool) {
        let body = bytes::Bytes::from(otlp::encode(batch, &self.instance));
        let mut tried = 1;
        let result = loop {
            match self.send(pool, body.clone()).await {
                Err(Refused { again: true, .. }) if tried < tries => sleep(BETWEEN).await,
                result => break result,
            }
            tried += 1;
        };
        match result {
            Ok(()) if !*well => tracing::info!("traces arrive again"),
            Ok(()) => {}
            Err(Refused { why, .. }) => {
                self.dropped.inc_by(batch.len() as u64);
                if *well {
                    tracing::warn!(host = &*self.endpoint.host, why, "traces do not arrive");
                }
                *well = false;
                return;
            }
        }
        *well = true;
    }

    async fn send(&self, pool: &Pool, body: bytes::Bytes) -> Result<(), Refused> {
        let again = |why: String| Refused { why, again: true };
        let path = [&*self.endpoint.base_path, PATH].concat();
        let mut request = Request::new(RequestBody::new([body].into_iter().collect()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(path).map_err(|error| again(error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        let sent = timeout(PATIENCE, pool.send(&self.endpoint, None, request, PATIENCE)).await;
        let response = sent
            .map_err(|_late| again(format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| again(format!("{error:?}")))?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        let _broken = timeout(PATIENCE, response.into_body().collect()).await;
        if status.is_success() {
            return Ok(());
        }
        // By OTLP these may be well later, and no other is.
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        Err(Refused { why: status.to_string(), again: later.contains(&status) })
    }
}

/// Why a batch has not arrived, and whether it may yet.
struct Refused {
    why: String,
    again: bool,
}

/// Reads the base URL of a collector.
fn read(text: &str) -> Result<Endpoint, Failure> {
    let wanted = || format!("--otlp-endpoint {text}: must be a URL such as http://collector:4318");
    let uri: Uri = text.parse().map_err(|_invalid| wanted())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wanted().into()),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wanted)?;
    if uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(wanted().into());
    }
    Ok(Endpoint {
        tls,
        host: host.into(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        base_path: uri.path().trim_end_matches('/').into(),
        ca: None,
        server_name: None,
        service: false,
    })
}

/// Reads `name=value,name=value`. What is wrong with it is not repeated: it may be a secret.
fn headers(text: &str) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    headers.insert(header::CONTENT_TYPE, protobuf);
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let read = || {
            let (name, value) = pair.split_once('=')?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.trim()).ok()?, value))
        };
        let (name, value) = read()
            .ok_or_else(|| format!("{HEADERS}: must be name=value pairs with commas between"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_base_url() {
        let endpoint = read("http://collector:4318").unwrap();
        assert_eq!((&*endpoint.host, endpoint.port, endpoint.tls), ("collector", 4318, false));
        let endpoint = read("https://otlp.example.com/otlp/").unwrap();
        assert_eq!((endpoint.port, endpoint.tls, &*endpoint.base_path), (443, true, "/otlp"));
        for wrong in
            ["", "collector:4318", "grpc://collector", "http://", "http://a@b", "http://a?b"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_come_by_commas_and_are_not_repeated_when_wrong() {
        let read = headers("authorization=Bearer x=, x-team=a").unwrap();
        assert_eq!([&read["authorization"], &read["x-team"]], ["Bearer x=", "a"]);
        let told = headers("secret").unwrap_err().to_string();
        assert!(!told.contains("secret"), "{told}");
    }
}
