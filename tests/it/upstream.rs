//! Connections to providers, against servers of our own on loopback: what is reused, what is refused,
//! what goes over the wire, and what never does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};
use trunkline::{
    proxy::{
        upstream::{Pool, PoolConfig, RequestBody, SendError},
        worker::LocalExecutor,
    },
    table::Endpoint,
};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test as a worker runs: one thread, local tasks.
fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(20 * SECOND, test).await.unwrap() });
}

fn pool() -> Pool {
    Pool::new(true, Arc::new(RootCertStore::empty()))
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        tls: false,
        host: address.ip().to_string().into(),
        port: address.port(),
        base_path: "".into(),
        ca: None,
        server_name: None,
        service: false,
    }
}

fn post(body: &'static str) -> Request<RequestBody> {
    let body = RequestBody::from(Bytes::from_static(body.as_bytes()));
    Request::post("/v1/chat").body(body).unwrap()
}

/// Sends and reads the answer to its end.
async fn ask(pool: &Pool, endpoint: &Endpoint) -> Result<(u16, Bytes), SendError> {
    let answer = pool.send(endpoint, None, post("{}"), SECOND).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|_broken| SendError::Reset)?;
    Ok((status, body.to_bytes()))
}

/// Until something that another task does has happened.
async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Everything that a server heard, one text a connection.
type Heard = Rc<RefCell<Vec<String>>>;

/// What a plain server does with one connection after each request it read.
#[derive(Clone, Copy, Debug)]
enum Play {
    /// Answers with these bytes.
    Answer(&'static [u8]),
    /// Answers and closes a moment later, as servers do with connections that are idle too long.
    AnswerThenClose(&'static [u8]),
    /// Closes without a word.
    Close,
    /// Says nothing.
    Silence,
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that plays by the number of the request on its connection.
async fn plain(play: impl Fn(usize, usize) -> Play + Clone + 'static) -> (Endpoint, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    let heard = Heard::default();
    let log = Rc::clone(&heard);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let at = log.borrow().len();
            log.borrow_mut().push(String::new());
            spawn_local(play_on(stream, at, play.clone(), Rc::clone(&log)));
        }
    });
    (endpoint, heard)
}

async fn play_on(
    mut stream: TcpStream,
    at: usize,
    play: impl Fn(usize, usize) -> Play,
    log: Heard,
) {
    let mut requests = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            log.borrow_mut()[at].push_str("<eof>");
            return;
        }
        log.borrow_mut()[at].push_str(&String::from_utf8_lossy(&buffer[..n]));
        match play(at, requests) {
            Play::Answer(bytes) => stream.write_all(bytes).await.unwrap(),
            Play::AnswerThenClose(bytes) => {
                stream.write_all(bytes).await.unwrap();
                sleep(Duration::from_millis(20)).await;
                return;
            }
            Play::Close => return,
            Play::Silence => {}
        }
        requests += 1;
    }
}

#[test]
fn a_connection_is_used_again_once_its_answer_has_been_read() {
    local(async {
        let (endpoint, heard) = plain(|_, _| Play::Answer(FINE)).await;
        let pool = pool();
        for _ in 0..3 {
            assert_eq!(ask(&pool, &endpoint).await, Ok((200, Bytes::from_static(b"ok"))));
        }
        assert_eq!(heard.borrow().len(), 1);
        assert_eq!(heard.borrow()[0].matches("POST /v1/chat HTTP/1.1\r\n").count(), 3);
        assert_eq!(pool.idle(), 1);
    });
}

#[test]
fn an_answer_without_a_body_gives_its_connection_back_too() {
    local(async {
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        let (endpoint, heard) = plain(|_, _| Play::Answer(empty)).await;
        let pool = pool();
        for _ in 0..3 {
            assert_eq!(ask(&pool, &endpoint).await, Ok((204, Bytes::new())));
        }
        assert_eq!(heard.borrow().len(), 1);
    });
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own_and_all_come_home() {
    local(async {
        let (endpoint, heard) = plain(|_, _| Play::Answer(FINE)).await;
        let pool = pool();
        let asked: Vec<_> = (0..5)
            .map(|_| {
                let (pool, endpoint) = (pool.clone(), endpoint.clone());
                spawn_local(async move { ask(&pool, &endpoint).await })
            })
            .collect();
        for one in asked {
            assert!(one.await.unwrap().is_ok());
        }
        assert_eq!((heard.borrow().len(), pool.idle()), (5, 5));
    });
}

#[test]
fn the_wire_shows_one_host_the_true_length_and_no_redirect_followed() {
    local(async {
        let moved: &[u8] =
            b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        let (endpoint, heard) = plain(move |_, _| Play::Answer(moved)).await;
        let mut request = post("{\"a\":1}");
        *request.uri_mut() = "http://evil.example/v1/chat?x=1".parse().unwrap();
        for (name, value) in
            [("host", "evil.example"), ("content-length", "3"), ("transfer-encoding", "chunked")]
        {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let answer = pool().send(&endpoint, None, request, SECOND).await.unwrap();
        assert_eq!(answer.status(), 307);
        let host = format!("host: {}:{}\r\n", endpoint.host, endpoint.port);
        let heard = heard.borrow().concat();
        assert!(heard.starts_with("POST /v1/chat?x=1 HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains(&host) && heard.matches("host:").count() == 1, "{heard}");
        assert!(heard.contains("content-length: 7\r\n") && !heard.contains("chunked"), "{heard}");
        assert!(heard.contains("{\"a\":1}") && !heard.contains("elsewhere"), "{heard}");
    });
}

/// Providers close idle connections. Without the second try one request in some thousands fails.
#[test]
fn a_connection_that_was_closed_while_idle_costs_no_request() {
    local(async {
        let (endpoint, heard) = plain(|at, _| match at {
            0 => Play::AnswerThenClose(FINE),
            _ => Play::Answer(FINE),
        })
        .await;
        let pool = pool();
        ask(&pool, &endpoint).await.unwrap();
        until(|| pool.idle() == 1).await;
        sleep(Duration::from_millis(40)).await;
        assert_eq!(ask(&pool, &endpoint).await.unwrap().0, 200);
        assert_eq!(heard.borrow().len(), 2);
    });
}

/// The same when the close is found out only together with the request: it comes back unsent.
#[test]
fn a_request_that_meets_a_close_is_sent_once_more() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    let (close, closes) = std::sync::mpsc::channel();
    let (closed, is_closed) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let n = stream.read(&mut [0; 4096]).unwrap();
            assert!(n > 0, "a request came");
            stream.write_all(FINE).unwrap();
            // Closes when it is told to, or nobody is left who could.
            let _told = closes.recv();
            drop(stream);
            let _heard = closed.send(());
        }
    });
    local(async move {
        let pool = pool();
        ask(&pool, &endpoint).await.unwrap();
        until(|| pool.idle() == 1).await;
        let mut soon = std::pin::pin!(sleep(Duration::from_millis(10)));
        assert!(timeout(Duration::ZERO, &mut soon).await.is_err());
        close.send(()).unwrap();
        // This thread sleeps past the close and past the timer: both are seen in one step, and the
        // timer's task, this one, goes first.
        is_closed.recv().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        soon.await;
        assert_eq!(pool.idle(), 1);
        ask(&pool, &endpoint).await.unwrap();
        drop(close);
    });
    server.join().unwrap();
}

/// A request that the provider may have worked on is not repeated here: it could be billed twice.
#[test]
fn a_request_that_may_have_been_seen_is_not_sent_again() {
    local(async {
        let (endpoint, heard) = plain(|_, requests| match requests {
            0 => Play::Answer(FINE),
            _ => Play::Close,
        })
        .await;
        let pool = pool();
        ask(&pool, &endpoint).await.unwrap();
        assert_eq!(ask(&pool, &endpoint).await, Err(SendError::Reset));
        assert_eq!(heard.borrow().len(), 1);
        assert_eq!(heard.borrow()[0].matches("POST").count(), 2);
    });
}

#[test]
fn a_connection_that_breaks_before_the_head_is_a_reset() {
    local(async {
        let (endpoint, _) = plain(|_, _| Play::Close).await;
        assert_eq!(ask(&pool(), &endpoint).await, Err(SendError::Reset));
    });
}

#[test]
fn heads_that_are_garbage_or_too_large_are_a_protocol_error() {
    local(async {
        let (endpoint, _) = plain(|_, _| Play::Answer(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")).await;
        assert_eq!(ask(&pool(), &endpoint).await, Err(SendError::Protocol));

        let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70 << 10));
        let large: &'static [u8] = Box::leak(large.into_bytes().into_boxed_slice());
        let (endpoint, _) = plain(move |_, _| Play::Answer(large)).await;
        assert_eq!(ask(&pool(), &endpoint).await, Err(SendError::Protocol));

        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
        let many: &'static [u8] = Box::leak(many.into_bytes().into_boxed_slice());
        let (endpoint, _) = plain(move |_, _| Play::Answer(many)).await;
        assert_eq!(ask(&pool(), &endpoint).await, Err(SendError::Protocol));

        let fair =
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "x".repeat(40 << 10));
        let fair: &'static [u8] = Box::leak(fair.into_bytes().into_boxed_slice());
        let (endpoint, _) = plain(move |_, _| Play::Answer(fair)).await;
        assert_eq!(ask(&pool(), &endpoint).await.unwrap().0, 200);
    });
}

#[test]
fn an_answer_dropped_before_its_end_closes_the_connection() {
    local(async {
        let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
        let (endpoint, heard) = plain(|_, _| Play::Answer(begun)).await;
        let pool = pool();
        let mut answer = pool.send(&endpoint, None, post("{}"), SECOND).await.unwrap();
        assert!(answer.body_mut().frame().await.is_some());
        drop(answer);
        until(|| heard.borrow()[0].ends_with("<eof>")).await;
        assert_eq!(pool.idle(), 0);
    });
}

#[test]
fn a_caller_that_leaves_before_the_head_closes_the_connection() {
    local(async {
        let (endpoint, heard) = plain(|_, _| Play::Silence).await;
        let pool = pool();
        let wait = Duration::from_millis(50);
        assert!(timeout(wait, pool.send(&endpoint, None, post("{}"), SECOND)).await.is_err());
        until(|| heard.borrow()[0].ends_with("<eof>")).await;
    });
}

#[test]
fn connections_are_closed_when_nobody_needs_them_and_when_the_pool_goes() {
    local(async {
        let (endpoint, heard) = plain(|_, _| Play::Answer(FINE)).await;
        let config = PoolConfig {
            idle_timeout: Duration::from_millis(100),
            ..PoolConfig::new(true, Arc::new(RootCertStore::empty()))
        };
        let pool = Pool::with(config);
        for connection in 0..2 {
            ask(&pool, &endpoint).await.unwrap();
            assert_eq!(pool.idle(), 1);
            until(|| heard.borrow()[connection].ends_with("<eof>")).await;
            assert_eq!(pool.idle(), 0);
        }
        ask(&pool, &endpoint).await.unwrap();
        drop(pool);
        until(|| heard.borrow()[2].ends_with("<eof>")).await;
    });
}

#[test]
fn only_so_many_idle_connections_are_kept() {
    local(async {
        let (endpoint, _) = plain(|_, _| Play::Answer(FINE)).await;
        let config =
            PoolConfig { most_idle: 2, ..PoolConfig::new(true, Arc::new(RootCertStore::empty())) };
        let pool = Pool::with(config);
        let asked: Vec<_> = (0..4).map(|_| ask_path(&pool, &endpoint, "/")).collect();
        for one in asked {
            one.await.unwrap().unwrap();
        }
        assert_eq!(pool.idle(), 2);
    });
}

#[test]
fn private_addresses_are_refused_also_behind_names() {
    local(async {
        let (there, heard) = plain(|_, _| Play::Answer(FINE)).await;
        let pool = Pool::new(false, Arc::new(RootCertStore::empty()));
        for host in ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "0.0.0.0", "2130706433"] {
            let endpoint = Endpoint { host: host.into(), ..there.clone() };
            let error = ask(&pool, &endpoint).await.unwrap_err();
            assert_eq!(error, SendError::Private, "{host}");
        }
        assert!(heard.borrow().is_empty());
    });
}

#[test]
fn what_is_not_there_is_told_apart() {
    local(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(&pool(), &endpoint(nobody)).await, Err(SendError::Connect));
        let unknown = Endpoint { host: "no-such-host.invalid".into(), ..endpoint(nobody) };
        assert_eq!(ask(&pool(), &unknown).await, Err(SendError::Resolve));
        let malformed = Endpoint { host: "a b".into(), ..endpoint(nobody) };
        assert_eq!(ask(&pool(), &malformed).await, Err(SendError::Resolve));
    });
}

// ===== TLS =====

/// A certificate authority.
struct Authority {
    params: rcgen::CertificateParams,
    key: rcgen::KeyPair,
    pem: Arc<[u8]>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes().into();
        Self { params, key, pem }
    }

    /// A server's configuration for a name.
    fn sign(&self, name: &str, expired: bool) -> ServerConfig {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// What a TLS server has seen.
#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    requests: Cell<usize>,
    /// Requests wait here for their answer's end.
    release: Notify,
}

/// A server that speaks what `protocol` says: every answer's body ends at the release.
async fn secure(
    mut config: ServerConfig,
    protocol: &'static [u8],
    most_streams: u32,
) -> (Endpoint, Rc<Seen>) {
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        tls: true,
        host: "localhost".into(),
        ..endpoint(listener.local_addr().unwrap())
    };
    let seen = Rc::new(Seen::default());
    let told = Rc::clone(&seen);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, seen) = (acceptor.clone(), Rc::clone(&told));
            spawn_local(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                seen.connections.set(seen.connections.get() + 1);
                let io = TokioIo::new(stream);
                let answer = service_fn(move |request| answer(Rc::clone(&seen), request));
                if protocol == b"h2" {
                    let mut builder = conn::http2::Builder::new(LocalExecutor);
                    builder.max_concurrent_streams(most_streams);
                    let _ended = builder.serve_connection(io, answer).await;
                } else {
                    let _ended = conn::http1::Builder::new().serve_connection(io, answer).await;
                }
            });
        }
    });
    (endpoint, seen)
}

async fn answer(
    seen: Rc<Seen>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    seen.requests.set(seen.requests.get() + 1);
    let path = request.uri().path().to_owned();
    let said = format!("{:?} {} {path}", request.version(), request.uri().authority().is_some());
    if path == "/wait" {
        seen.release.notified().await;
    }
    Ok(Response::new(Full::from(said)))
}

fn trusting(endpoint: &Endpoint, authority: &Authority) -> Endpoint {
    Endpoint { ca: Some(Arc::clone(&authority.pem)), ..endpoint.clone() }
}

#[test]
fn a_chain_to_the_endpoints_own_authority_is_trusted() {
    local(async {
        let authority = Authority::new();
        let (endpoint, seen) = secure(authority.sign("localhost", false), b"http/1.1", 100).await;
        let (pool, endpoint) = (pool(), trusting(&endpoint, &authority));
        for _ in 0..2 {
            let (_, body) = ask(&pool, &endpoint).await.unwrap();
            assert_eq!(body, "HTTP/1.1 false /v1/chat");
        }
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn wrong_expired_and_unknown_certificates_are_refused_before_anything_is_sent() {
    local(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let pool = pool();
        let wrong = secure(authority.sign("other.example", false), b"h2", 100).await;
        let expired = secure(authority.sign("localhost", true), b"h2", 100).await;
        let foreign = secure(stranger.sign("localhost", false), b"h2", 100).await;
        for (what, (endpoint, seen)) in
            [("wrong", wrong), ("expired", expired), ("foreign", foreign)]
        {
            let endpoint = trusting(&endpoint, &authority);
            assert_eq!(ask(&pool, &endpoint).await, Err(SendError::Tls), "{what}");
            assert_eq!(seen.requests.get(), 0, "{what}");
        }
        // Without a bundle only the usual roots count, and they know neither.
        let (endpoint, _) = secure(authority.sign("localhost", false), b"h2", 100).await;
        assert_eq!(ask(&pool, &endpoint).await, Err(SendError::Tls));
        let broken = Endpoint { ca: Some((*b"no certificate").into()), ..endpoint };
        assert_eq!(ask(&pool, &broken).await, Err(SendError::Tls));
    });
}

#[test]
fn the_endpoints_server_name_is_verified_instead_of_its_host() {
    local(async {
        let authority = Authority::new();
        let (endpoint, _) = secure(authority.sign("api.example", false), b"h2", 100).await;
        let endpoint = trusting(&endpoint, &authority);
        let named = Endpoint { server_name: Some("api.example".into()), ..endpoint.clone() };
        assert_eq!(ask(&pool(), &named).await.unwrap().0, 200);
        assert_eq!(ask(&pool(), &endpoint).await, Err(SendError::Tls));
    });
}

#[test]
fn a_server_that_never_shakes_hands_is_out_of_time() {
    local(async {
        let (endpoint, _) = plain(|_, _| Play::Silence).await;
        let endpoint = Endpoint { tls: true, host: "localhost".into(), ..endpoint };
        let sent = pool().send(&endpoint, None, post("{}"), Duration::from_millis(50)).await;
        assert_eq!(sent.unwrap_err(), SendError::ConnectTimeout);
    });
}

/// Sends to a path and reads the answer to its end, on a task of its own.
fn ask_path(
    pool: &Pool,
    endpoint: &Endpoint,
    path: &'static str,
) -> tokio::task::JoinHandle<Result<Bytes, SendError>> {
    let (pool, endpoint) = (pool.clone(), endpoint.clone());
    spawn_local(async move {
        let mut request = post("{}");
        *request.uri_mut() = path.parse().unwrap();
        let answer = pool.send(&endpoint, None, request, 5 * SECOND).await?;
        Ok(answer.into_body().collect().await.map_err(|_broken| SendError::Reset)?.to_bytes())
    })
}

#[test]
fn http2_carries_a_burst_at_a_cold_start_on_one_connection() {
    local(async {
        let authority = Authority::new();
        let (endpoint, seen) = secure(authority.sign("localhost", false), b"h2", 100).await;
        let (pool, endpoint) = (pool(), trusting(&endpoint, &authority));
        let asked: Vec<_> = (0..20).map(|_| ask_path(&pool, &endpoint, "/wait")).collect();
        until(|| seen.requests.get() == 20).await;
        seen.release.notify_waiters();
        for one in asked {
            assert_eq!(one.await.unwrap().unwrap(), "HTTP/2.0 true /wait");
        }
        assert_eq!((seen.connections.get(), pool.shared()), (1, 1));
    });
}

/// Behind a full connection a request would wait for a stranger's stream to end.
#[test]
fn a_full_http2_connection_gets_a_neighbour() {
    local(async {
        let authority = Authority::new();
        let (endpoint, seen) = secure(authority.sign("localhost", false), b"h2", 2).await;
        let (pool, endpoint) = (pool(), trusting(&endpoint, &authority));
        // The first answer tells the server's limit.
        ask_path(&pool, &endpoint, "/").await.unwrap().unwrap();
        let asked: Vec<_> = (0..6).map(|_| ask_path(&pool, &endpoint, "/wait")).collect();
        until(|| seen.requests.get() == 7).await;
        assert!(seen.connections.get() >= 3, "{}", seen.connections.get());
        seen.release.notify_waiters();
        for one in asked {
            one.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_caller_that_leaves_frees_its_place_on_an_http2_connection() {
    local(async {
        let authority = Authority::new();
        let (endpoint, seen) = secure(authority.sign("localhost", false), b"h2", 1).await;
        let (pool, endpoint) = (pool(), trusting(&endpoint, &authority));
        ask_path(&pool, &endpoint, "/").await.unwrap().unwrap();
        for asked in 0..3 {
            let one = ask_path(&pool, &endpoint, "/wait");
            until(|| seen.requests.get() == 2 + asked).await;
            one.abort();
            assert!(one.await.unwrap_err().is_cancelled());
        }
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn a_failed_opening_fails_for_all_who_waited_for_it() {
    local(async {
        let (endpoint, heard) = plain(|_, _| Play::Close).await;
        let endpoint = Endpoint { tls: true, host: "localhost".into(), ..endpoint };
        let pool = pool();
        let asked: Vec<_> = (0..5).map(|_| ask_path(&pool, &endpoint, "/")).collect();
        for one in asked {
            assert_eq!(one.await.unwrap(), Err(SendError::Tls));
        }
        assert_eq!(heard.borrow().len(), 1);
    });
}

#[test]
fn when_the_one_who_opens_leaves_another_takes_over() {
    local(async {
        let authority = Authority::new();
        let (endpoint, seen) = secure(authority.sign("localhost", false), b"h2", 100).await;
        let (pool, endpoint) = (pool(), trusting(&endpoint, &authority));
        let first = ask_path(&pool, &endpoint, "/");
        let second = ask_path(&pool, &endpoint, "/");
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(second.await.unwrap().unwrap(), "HTTP/2.0 true /");
        assert_eq!(seen.requests.get(), 1);
    });
}
