//! Clients of every kind, well-mannered and not, against a listener with a small service behind it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::{JoinHandle, LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};
use trunkline::proxy::{
    drain::{self, Trigger},
    head,
    listener::{self, Config, Event},
    tls::ServerTls,
    worker::LocalExecutor,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLIS: Duration = Duration::from_millis(1);

fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(20 * SECOND, test).await.unwrap() });
}

async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        sleep(MILLIS).await;
    }
}

/// What the service was asked and what became of it.
#[derive(Default)]
struct Seen {
    /// Method, path and body of each request that passed the check of its head.
    asked: RefCell<Vec<String>>,
    /// Requests whose answer was dropped, finished or not.
    ended: Cell<usize>,
    release: Notify,
    open: Cell<i64>,
    full: Cell<usize>,
}

/// Counts when it is dropped.
struct Ends(Rc<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.set(self.0.ended.get() + 1);
    }
}

/// Some pieces, and then either the end or silence.
struct Pieces {
    left: VecDeque<Bytes>,
    silent: bool,
    _ends: Ends,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.silent => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

async fn answer(
    seen: Rc<Seen>,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Infallible> {
    let ends = Ends(Rc::clone(&seen));
    let (parts, body) = request.into_parts();
    let pieces = |left: &[&str], silent| Pieces {
        left: left.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect(),
        silent,
        _ends: ends,
    };
    if head::check(&parts).is_err() {
        let mut refused = Response::new(pieces(&[], false));
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        refused.headers_mut().insert("connection", "close".parse().unwrap());
        return Ok(refused);
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked = format!("{} {} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
    seen.asked.borrow_mut().push(asked);
    Ok(match parts.uri.path() {
        "/wait" => {
            seen.release.notified().await;
            Response::new(pieces(&["waited"], false))
        }
        "/stream" => Response::new(pieces(&["begun"], true)),
        _ => Response::new(pieces(&["fine"], false)),
    })
}

/// A listener that runs.
struct Server {
    address: SocketAddr,
    seen: Rc<Seen>,
    trigger: Trigger,
    ended: JoinHandle<()>,
}

impl Server {
    fn start(config: Config, tls: Option<Arc<ServerTls>>) -> Self {
        let socket = listener::bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let seen = Rc::new(Seen::default());
        let (trigger, drain) = drain::channel();
        let service = {
            let seen = Rc::clone(&seen);
            service_fn(move |request| answer(Rc::clone(&seen), request))
        };
        let notice = {
            let seen = Rc::clone(&seen);
            move |event| match event {
                Event::Opened => seen.open.set(seen.open.get() + 1),
                Event::Closed => seen.open.set(seen.open.get() - 1),
                Event::Full => seen.full.set(seen.full.get() + 1),
                Event::Failed => panic!("accept failed"),
            }
        };
        let ended = spawn_local(async move {
            listener::serve(socket, config, tls, service, notice, drain).await.unwrap();
        });
        Self { address, seen, trigger, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes or is silent.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _closed_early = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _silent = timeout(200 * MILLIS, stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn asked(&self) -> Vec<String> {
        self.seen.asked.borrow().clone()
    }
}

/// Waits until the server closes, and says how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
    start.elapsed()
}

/// Short times, so that tests are; a look is 10 ms.
fn hasty() -> Config {
    Config { header_timeout: 100 * MILLIS, idle_timeout: 800 * MILLIS, ..Config::default() }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n";

async fn http2<T>(io: T) -> conn::http2::SendRequest<Empty<Bytes>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(io);
    let (sender, driver) = conn::http2::handshake(LocalExecutor, io).await.unwrap();
    spawn_local(async move {
        let _ended = driver.await;
    });
    sender
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://a{path}")).body(Empty::new()).unwrap()
}

#[test]
fn both_protocols_are_spoken_on_one_port() {
    local(async {
        let server = Server::start(Config::default(), None);
        let answer = server.raw(GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("fine"), "{answer}");
        let mut sender = http2(server.connect().await).await;
        for _ in 0..2 {
            let answer = sender.send_request(get("/")).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "fine");
        }
        assert_eq!(server.asked().len(), 3);
    });
}

#[test]
fn a_first_byte_alone_decides_nothing() {
    local(async {
        let server = Server::start(Config::default(), None);
        for (first, rest) in [
            (&b"P"[..], &b"OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"[..]),
            (b"G", b"ET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            (b"PR", b"OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ] {
            let mut stream = server.connect().await;
            stream.write_all(first).await.unwrap();
            sleep(20 * MILLIS).await;
            stream.write_all(rest).await.unwrap();
            let mut start = [0; 15];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 200 OK");
        }
    });
}

#[test]
fn a_connection_is_kept_longer_than_headers_may_take() {
    local(async {
        // Long enough that a machine with much else to do does not come too late itself.
        let config = Config { idle_timeout: 2 * SECOND, ..hasty() };
        let server = Server::start(config, None);
        let mut stream = server.connect().await;
        for _ in 0..2 {
            stream.write_all(GET).await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            sleep(250 * MILLIS).await;
        }
        let took = closed(&mut stream).await;
        assert!(took > 100 * MILLIS && took < 6 * SECOND, "{took:?}");
    });
}

#[test]
fn silent_and_slow_clients_are_closed_and_others_are_not() {
    local(async {
        let server = Server::start(hasty(), None);
        let mut busy = server.connect().await;
        busy.write_all(WAIT).await.unwrap();

        let mut silent = server.connect().await;
        let mut started = server.connect().await;
        started.write_all(b"P").await.unwrap();
        let mut preface = server.connect().await;
        preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
        let mut slow = server.connect().await;
        let trickle = async {
            for byte in b"GET / HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                if slow.write_all(&[*byte]).await.is_err() {
                    return true;
                }
                sleep(10 * MILLIS).await;
            }
            false
        };
        let (silent, started, preface, slow) =
            tokio::join!(closed(&mut silent), closed(&mut started), closed(&mut preface), trickle);
        for took in [silent, started, preface] {
            assert!(took > 80 * MILLIS && took < 700 * MILLIS, "{took:?}");
        }
        assert!(slow, "the slow client was not closed");
        server.seen.release.notify_one();
        let mut buffer = [0; 4096];
        assert!(busy.read(&mut buffer).await.unwrap() > 0);
    });
}

#[test]
fn a_second_request_that_trickles_is_closed_too() {
    local(async {
        let server = Server::start(hasty(), None);
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"GET / HT").await.unwrap();
        let took = closed(&mut stream).await;
        assert!(took > 80 * MILLIS && took < 700 * MILLIS, "{took:?}");
    });
}

#[test]
fn an_http2_connection_without_requests_is_closed_in_the_end() {
    local(async {
        let server = Server::start(hasty(), None);
        let mut sender = http2(server.connect().await).await;
        sender.send_request(get("/")).await.unwrap();
        sleep(250 * MILLIS).await;
        assert!(!sender.is_closed());
        until(|| sender.is_closed()).await;
        until(|| server.seen.open.get() == 0).await;
    });
}

#[test]
fn a_full_house_lets_nobody_in_until_somebody_leaves() {
    local(async {
        let server = Server::start(Config { connections: 2, ..Config::default() }, None);
        let (first, second) = (server.connect().await, server.connect().await);
        until(|| server.seen.open.get() == 2).await;
        let mut third = server.connect().await;
        third.write_all(GET).await.unwrap();
        sleep(50 * MILLIS).await;
        assert_eq!((server.asked().len(), server.seen.full.get()), (0, 1));
        drop(first);
        let mut buffer = [0; 4096];
        assert!(third.read(&mut buffer).await.unwrap() > 0);
        drop((second, third));
        until(|| server.seen.open.get() == 0).await;
    });
}

#[test]
fn a_client_that_leaves_ends_its_request_at_once() {
    local(async {
        let server = Server::start(Config::default(), None);
        let mut waiting = server.connect().await;
        waiting.write_all(WAIT).await.unwrap();
        let mut streaming = server.connect().await;
        streaming.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut buffer = [0; 4096];
        assert!(streaming.read(&mut buffer).await.unwrap() > 0);
        let mut sender = http2(server.connect().await).await;
        let stream = sender.send_request(get("/stream")).await.unwrap();
        until(|| server.asked().len() == 3).await;
        assert_eq!(server.seen.ended.get(), 0);
        drop(waiting);
        until(|| server.seen.ended.get() == 1).await;
        drop(streaming);
        until(|| server.seen.ended.get() == 2).await;
        drop(stream);
        until(|| server.seen.ended.get() == 3).await;
    });
}

#[test]
fn a_drain_closes_the_idle_and_lets_the_busy_finish() {
    local(async {
        let server = Server::start(Config::default(), None);
        let mut idle = server.connect().await;
        idle.write_all(GET).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(idle.read(&mut buffer).await.unwrap() > 0);
        let mut busy = server.connect().await;
        busy.write_all(WAIT).await.unwrap();
        let mut sender = http2(server.connect().await).await;
        let stream = spawn_local(sender.send_request(get("/wait")));
        until(|| server.asked().len() == 3).await;

        server.trigger.start();
        closed(&mut idle).await;
        until(|| server.seen.open.get() == 2).await;
        assert!(TcpStream::connect(server.address).await.is_err());
        assert!(!server.ended.is_finished());
        server.seen.release.notify_waiters();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close") && answer.ends_with("waited\r\n0\r\n\r\n"));
        let body = stream.await.unwrap().unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "waited");
        server.ended.await.unwrap();
        assert_eq!(server.seen.open.get(), 0);
    });
}

#[test]
fn a_drain_that_lingers_serves_those_who_have_not_heard_of_it() {
    local(async {
        let config = Config { linger: 150 * MILLIS, ..Config::default() };
        let server = Server::start(config, None);
        server.trigger.start();
        sleep(20 * MILLIS).await;
        let mut late = server.connect().await;
        sleep(20 * MILLIS).await;
        late.write_all(GET).await.unwrap();
        let mut buffer = [0; 4096];
        let n = late.read(&mut buffer).await.unwrap();
        let mut answer = String::from_utf8_lossy(&buffer[..n]).into_owned();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
        server.ended.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    });
}

/// A request may be on its way on a kept connection while we decide to end.
#[test]
fn a_kept_connection_has_one_more_answer_while_the_drain_lingers() {
    local(async {
        let config = Config { linger: 150 * MILLIS, ..Config::default() };
        let server = Server::start(config, None);
        let mut kept = server.connect().await;
        kept.write_all(GET).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(kept.read(&mut buffer).await.unwrap() > 0);
        let mut silent = server.connect().await;
        silent.write_all(GET).await.unwrap();
        assert!(silent.read(&mut buffer).await.unwrap() > 0);
        let mut sender = http2(server.connect().await).await;
        let first = sender.send_request(get("/")).await.unwrap();
        first.into_body().collect().await.unwrap();

        server.trigger.start();
        sleep(30 * MILLIS).await;
        kept.write_all(GET).await.unwrap();
        let mut answer = String::new();
        kept.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
        // GOAWAY has come: the client opens no stream here any more.
        assert!(sender.ready().await.is_err());
        // Who never asks again is closed at the end.
        assert!(closed(&mut silent).await > 50 * MILLIS);
        server.ended.await.unwrap();
    });
}

/// Requests that two parsers may read in two ways. Each is refused, or it is one request and the
/// connection ends with it: `/hidden` is never served.
#[test]
fn no_request_hides_behind_another() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let n = hidden.len();
    let heads = [
        ("length and coding", "content-length: {n}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("coding and length", "transfer-encoding: chunked\r\ncontent-length: {n}\r\n\r\n0\r\n\r\n"),
        ("two lengths", "content-length: 0\r\ncontent-length: {n}\r\n\r\n"),
        ("lengths in a list", "content-length: 0, {n}\r\n\r\n"),
        ("length with a sign", "content-length: +0\r\n\r\n"),
        ("hexadecimal length", "content-length: 0x0\r\n\r\n"),
        ("negative length", "content-length: -1\r\n\r\n"),
        ("huge length", "content-length: 99999999999999999999\r\n\r\n"),
        ("unknown coding", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("coding list", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        (
            "two codings",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        ("space before the colon", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("folded line", "x: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("folded coding", "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ("NUL in a value", "x: a\0b\r\n\r\n"),
        ("NUL in a name", "x\0: a\r\n\r\n"),
        ("bare CR in a value", "x: a\rtransfer-encoding: chunked\r\n\r\n"),
        ("underscored length", "content_length: {n}\r\n\r\n"),
        ("bad chunk size", "transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        ("huge chunk size", "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        ("chunk without its end", "transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
        ("two hosts", "host: b\r\n\r\n"),
    ];
    local(async move {
        for (what, head) in heads {
            let server = Server::start(Config::default(), None);
            let head = head.replace("{n}", &n.to_string());
            let request = format!("POST /first HTTP/1.1\r\nhost: a\r\n{head}{hidden}");
            let answer = server.raw(request.as_bytes()).await;
            let asked = server.asked();
            assert!(asked.len() <= 1, "{what}: {asked:?}");
            assert!(asked.iter().all(|one| !one.starts_with("GET /hidden")), "{what}: {asked:?}");
            let served = answer.matches("HTTP/1.1 200").count();
            assert_eq!(served, asked.iter().filter(|one| one.ends_with(' ')).count(), "{what}");
        }
    });
}

/// Not refused, but read in the one way that RFC 9112 allows.
#[test]
fn a_length_beside_a_coding_ends_the_connection() {
    local(async {
        for lines in [
            "content-length: 3\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 3",
        ] {
            let server = Server::start(Config::default(), None);
            let request =
                format!("POST /first HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
            let answer = server.raw(format!("{request}{request}").as_bytes()).await;
            assert!(answer.contains("connection: close"), "{answer}");
            assert_eq!(server.asked(), ["POST /first ok"]);
        }
    });
}

#[test]
fn heads_that_are_too_large_are_refused() {
    local(async {
        let server = Server::start(Config::default(), None);
        let fair = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(30 << 10));
        assert!(server.raw(fair.as_bytes()).await.starts_with("HTTP/1.1 200"));
        let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(33 << 10));
        assert!(server.raw(large.as_bytes()).await.starts_with("HTTP/1.1 431"));
        let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
        assert!(server.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
        assert_eq!(server.asked().len(), 1);
    });
}

// ===== TLS =====

/// Shakes hands, whatever the certificate: these tests are about the server's side.
#[derive(Debug)]
struct Anything(rustls::crypto::CryptoProvider);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn shake(server: &Server, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = rustls::crypto::ring::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), server.connect().await)
        .await
        .unwrap()
}

/// Writes a new certificate and its key, and returns the certificate.
fn renew(folder: &tempfile::TempDir) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.der().to_vec()
}

fn certificate(stream: &tokio_rustls::client::TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn both_protocols_are_offered_over_tls_and_plain_text_is_not() {
    local(async {
        let folder = tempfile::tempdir().unwrap();
        renew(&folder);
        let tls = ServerTls::load(folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let server = Server::start(hasty(), Some(tls.unwrap()));
        let mut sender = http2(shake(&server, &[b"h2", b"http/1.1"]).await).await;
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
        let mut stream = shake(&server, &[b"http/1.1"]).await;
        stream.write_all(GET).await.unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        assert!(!server.raw(GET).await.contains("HTTP/1.1"));
        let mut silent = server.connect().await;
        assert!(closed(&mut silent).await < 700 * MILLIS);
    });
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    local(async {
        let folder = tempfile::tempdir().unwrap();
        let first = renew(&folder);
        let tls = ServerTls::load(folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let tls = tls.unwrap();
        tls.watch().unwrap();
        let server = Server::start(Config::default(), Some(tls));
        let old = shake(&server, &[b"http/1.1"]).await;
        assert_eq!(certificate(&old), first);
        let second = renew(&folder);
        while certificate(&shake(&server, &[b"http/1.1"]).await) != second {
            sleep(50 * MILLIS).await;
        }
        let mut old = old;
        old.write_all(GET).await.unwrap();
        let mut start = [0; 15];
        old.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
    });
}
