//! Providers by script, a proxy from manifests, and a client that reads what came.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
    fs,
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};
use trunkline::{
    compile::{self, LastGood, Options},
    files::Reader,
    observe::{AccessLog, Metrics, access_log::Writer, trace::Tracer},
    proxy::{
        admit::Limits,
        drain::{self, Trigger},
        listener::{self, Config},
        service,
        state::{Shared, Worker},
        upstream::Pool,
    },
    select::{Accounts, Backends, Healths, KeyStates, SpillStates, Standing},
    table::{Backend, ObjectId, Table},
};

pub const MILLIS: Duration = Duration::from_millis(1);

/// What no log, header or other provider may ever see.
pub const KEYS: [&str; 2] = ["sk-canary-one-0123456789", "sk-canary-two-0123456789"];

/// Runs a test as a worker runs: one thread, local tasks.
pub fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = Duration::from_secs(30);
    LocalSet::new().block_on(&runtime, async { timeout(within, test).await.unwrap() });
}

/// Until something that another task does has happened.
pub async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        sleep(MILLIS).await;
    }
}

// === providers ===

/// A request as a provider hears it.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request line and the headers.
    pub head: String,
    pub body: String,
}

/// What a provider does with a request.
#[derive(Clone, Debug)]
pub enum Play {
    /// Answers whole: status, more headers, body.
    Whole(u16, String, String),
    /// Answers in steps.
    Stream(Vec<Step>),
    /// Says nothing until the proxy leaves.
    Silence,
    /// Closes without a word.
    Close,
}

/// A step of a streamed answer. After the last one it ends well.
#[derive(Clone, Debug)]
pub enum Step {
    Say(String),
    Wait(Duration),
    /// Breaks the connection off.
    Cut,
}

impl Play {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Whole(status, String::new(), body.to_string())
    }

    /// A whole answer of OpenAI's dialect.
    pub fn chat(words: &str) -> Self {
        Self::json(
            200,
            &json!({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": words},
                    "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            }),
        )
    }

    /// A streamed answer of OpenAI's dialect.
    pub fn chunks(words: &[&str]) -> Self {
        let mut steps: Vec<_> = words.iter().map(|words| Step::Say(chunk(words))).collect();
        steps.push(Step::Say(finish()));
        Self::Stream(steps)
    }

    /// An error of OpenAI's dialect.
    pub fn error(status: u16) -> Self {
        Self::json(status, &json!({"error": {"message": "no", "type": "x", "code": null}}))
    }
}

/// A piece of a stream of OpenAI's dialect.
pub fn chunk(words: &str) -> String {
    let delta = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": null}]});
    format!("data: {delta}\n\n")
}

/// The end of one.
pub fn finish() -> String {
    let end = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    format!("data: {end}\n\ndata: [DONE]\n\n")
}

/// A server on loopback.
#[derive(Clone, Debug)]
pub struct Provider {
    pub address: SocketAddr,
    heard: Rc<RefCell<Vec<Heard>>>,
    /// How many answers the proxy has left before their end.
    pub left: Rc<Cell<usize>>,
    /// Bytes of bodies written so far.
    pub written: Rc<Cell<usize>>,
}

impl Provider {
    /// Starts one that plays by the number of the request.
    pub async fn start(play: impl Fn(usize) -> Play + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            heard: Rc::default(),
            left: Rc::default(),
            written: Rc::default(),
        };
        let (own, play) = (provider.clone(), Rc::new(play));
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (own, play) = (own.clone(), Rc::clone(&play));
                spawn_local(async move { own.serve(stream, &*play).await });
            }
        });
        provider
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    pub fn asked(&self) -> usize {
        self.heard.borrow().len()
    }

    async fn serve(&self, mut stream: TcpStream, play: &dyn Fn(usize) -> Play) {
        while let Ok(heard) = read_request(&mut stream).await {
            let number = self.asked();
            self.heard.borrow_mut().push(heard);
            match play(number) {
                Play::Close => return,
                Play::Silence => {
                    left(&mut stream).await;
                    self.left.set(self.left.get() + 1);
                    return;
                }
                Play::Whole(status, headers, body) => {
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
                        body.len()
                    );
                    if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                        return;
                    }
                }
                Play::Stream(steps) => {
                    if !self.stream(&mut stream, steps).await {
                        return;
                    }
                }
            }
        }
    }

    /// Plays the steps; false when the connection is over.
    async fn stream(&self, stream: &mut TcpStream, steps: Vec<Step>) -> bool {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut alive = stream.write_all(head.as_bytes()).await.is_ok();
        for step in steps {
            match step {
                Step::Cut => return false,
                Step::Wait(time) => {
                    alive &= timeout(time, left(stream)).await.is_err();
                }
                Step::Say(words) => {
                    let framed = format!("{:x}\r\n{words}\r\n", words.len());
                    alive &= stream.write_all(framed.as_bytes()).await.is_ok();
                    self.written.set(self.written.get() + words.len());
                }
            }
            if !alive {
                self.left.set(self.left.get() + 1);
                return false;
            }
        }
        stream.write_all(b"0\r\n\r\n").await.is_ok()
    }
}

/// Until the other side closes.
async fn left(stream: &mut TcpStream) {
    let mut byte = [0];
    let _closed = stream.read(&mut byte).await;
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Heard> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let whole = head + length.map_or(0, |length| length.parse().unwrap());
    while bytes.len() < whole {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Heard { head: text, body: String::from_utf8_lossy(&bytes[head..]).into_owned() })
}

/// A provider that nobody answers at.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

// === the proxy ===

/// The manifests of a proxy: credentials `a`, `b` … in the order in which they are added.
#[derive(Debug, Default)]
pub struct Setup {
    pub objects: Vec<Value>,
    pub targets: Vec<Value>,
    pub limits: Limits,
    /// What the route says beside its targets.
    pub route: Value,
}

impl Setup {
    /// A target of a credential of its own, with as many keys as given; each in a tier of its own.
    pub fn target(mut self, provider: &str, at: SocketAddr, model: &str, keys: usize) -> Self {
        let tier = self.targets.len();
        let name = ["a", "b", "c"][tier];
        let path = if provider.starts_with("OpenAI") { "/v1" } else { "" };
        let keys: Vec<_> = (0..keys)
            .map(|n| {
                json!({"name": format!("k{n}"), "weight": if n == 0 { 1000 } else { 1 },
                "secretRef": {"name": "keys", "key": format!("k{n}")}})
            })
            .collect();
        let auth =
            if keys.is_empty() { json!({"none": {}}) } else { json!({"apiKey": {"keys": keys}}) };
        self.objects.push(json!({
            "apiVersion": "trunkline.dev/v1alpha1", "kind": "ProviderCredential",
            "metadata": {"name": name},
            "spec": {"provider": provider, "auth": auth,
                "endpoint": {"baseURL": format!("http://{at}{path}")}},
        }));
        self.targets.push(json!({
            "name": name, "credentialRef": {"name": name}, "model": model, "tier": tier,
        }));
        self
    }

    /// A target that is a Service with these pods.
    pub fn service(mut self, pods: &[SocketAddr]) -> Self {
        let tier = self.targets.len();
        let name = ["a", "b", "c"][tier];
        self.objects.push(json!({
            "apiVersion": "trunkline.dev/v1alpha1", "kind": "ProviderCredential",
            "metadata": {"name": name},
            "spec": {"provider": "OpenAICompatible", "auth": {"none": {}},
                "endpoint": {"service": {"name": name, "port": "http", "path": "/v1"}}},
        }));
        for (at, pod) in pods.iter().enumerate() {
            // A slice each, since each has a port of its own here.
            self.objects.push(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{name}-{at}"),
                    "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [pod.ip().to_string()], "conditions": {"ready": true}}],
                "ports": [{"name": "http", "port": pod.port()}],
            }));
        }
        self.targets.push(json!({
            "name": name, "credentialRef": {"name": name}, "model": "m", "tier": tier,
        }));
        self
    }

    /// The same for a target of OpenAI's dialect with one key.
    pub fn openai(self, at: SocketAddr) -> Self {
        self.target("OpenAICompatible", at, "upstream-model", 1)
    }

    pub fn with(mut self, route: Value) -> Self {
        self.route = route;
        self
    }

    pub fn start(mut self) -> Proxy {
        let mut spec = if self.route.is_null() { json!({}) } else { self.route };
        spec["models"] = json!(["m"]);
        spec["targets"] = Value::Array(self.targets);
        self.objects.push(json!({
            "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelRoute",
            "metadata": {"name": "route"}, "spec": spec,
        }));
        self.objects.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
            "stringData": {"k0": KEYS[0], "k1": KEYS[1]},
        }));
        let folder = tempfile::tempdir().unwrap();
        for (at, object) in self.objects.iter().enumerate() {
            fs::write(folder.path().join(format!("{at}.json")), object.to_string()).unwrap();
        }
        let snapshot = Reader::new(folder.path()).read(&|_| None).unwrap();
        let options = Options { allow_private_endpoints: true };
        let compiled = compile::compile(&snapshot, options, 7, &mut LastGood::default());
        let lines: Vec<_> = compiled.reports.iter().flat_map(compile::Report::lines).collect();
        assert!(lines.is_empty(), "{lines:?}");
        Proxy::start(compiled.table, self.limits)
    }
}

/// A proxy of one worker.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    pub metrics: Metrics,
    shared: Arc<Shared>,
    log: Arc<Mutex<Vec<u8>>>,
    _writer: Writer,
    _trigger: Trigger,
}

/// Where the access log goes.
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().map_err(|_poisoned| io::ErrorKind::Other)?;
        lines.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Proxy {
    fn start(table: Table, limits: Limits) -> Self {
        let metrics = Metrics::new().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, writer) =
            AccessLog::start(Lines(Arc::clone(&log)), metrics.log_dropped.clone()).unwrap();
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(Table::default()),
            keys: KeyStates::new(Instant::now()),
            healths: Healths::new(Instant::now()),
            backends: Backends::new(Instant::now()),
            accounts: Accounts::new(Instant::now()),
            spills: SpillStates::new(Instant::now()),
            limits,
            anonymous: trunkline::proxy::authenticate::Anonymous::Allow,
        });
        shared.put(&Arc::new(table));
        let own = Arc::clone(&shared);
        let pool = Pool::new(true, Arc::new(RootCertStore::empty()));
        let tracer = Tracer::off(metrics.traces_dropped.clone());
        let worker = Rc::new(Worker::new(shared, pool, metrics.worker(), (lines, tracer), 1));
        let socket = listener::bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let (trigger, drain) = drain::channel();
        spawn_local(async move {
            let answer = service_fn(move |request| service::respond(Rc::clone(&worker), request));
            listener::serve(socket, Config::default(), None, answer, |_| {}, drain).await.unwrap();
        });
        Self { address, metrics, shared: own, log, _writer: writer, _trigger: trigger }
    }

    /// Puts a table into use in which credential `a` has these pods, and all else is as it was.
    pub fn pods(&self, pods: &[SocketAddr]) {
        let table = Table::clone(&self.shared.table.load());
        let backend = Backend { pods: pods.iter().copied().collect() };
        let backends = [(ObjectId::new("default", "a"), Arc::new(backend))].into();
        self.shared.put(&Arc::new(table.with_backends(backends)));
    }

    /// How each key is, by credential and name.
    pub fn keys(&self) -> Vec<Standing> {
        let all = self.shared.keys.all(Instant::now()).into_iter();
        all.map(|(_, _, standing)| standing).collect()
    }

    /// What is left of each limit of each account.
    pub fn headrooms(&self) -> Vec<(&'static str, f64)> {
        let all = self.shared.accounts.headrooms(&self.shared.table.load(), Instant::now());
        all.into_iter().map(|(_, part, left)| (part.as_str(), left)).collect()
    }

    /// Sends a request and gives the answer as soon as its head is there.
    pub async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        let mut request = Request::post(path).header("host", "trunkline");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    }

    /// Sends a request and reads the answer to its end.
    pub async fn ask(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::read(self.send(path, headers, body).await).await
    }

    /// A chat of OpenAI's API.
    pub async fn chat(&self, more: Value) -> Answer {
        self.ask("/v1/chat/completions", &[], &body(more)).await
    }

    /// The access log's lines, once there are as many.
    pub async fn lines(&self, many: usize) -> String {
        let read = || String::from_utf8(self.log.lock().unwrap().clone()).unwrap();
        until(|| read().lines().count() >= many).await;
        read()
    }
}

/// A request to model `m`, with more fields.
pub fn body(more: Value) -> String {
    let mut body =
        json!({"model": "m", "messages": [{"role": "user", "content": "canary-prompt"}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body.to_string()
}

/// An answer that has been read, as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    /// Whether it ended well.
    pub whole: bool,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut whole) = (Vec::new(), true);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                whole = false;
                break;
            };
            bytes.extend_from_slice(frame.data_ref().unwrap());
        }
        let body = String::from_utf8(bytes).unwrap();
        Self { status: head.status.as_u16(), headers: head.headers, body, whole }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// Everything that a client can see.
    pub fn all(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.headers {
            writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes())).unwrap();
        }
        text + &self.body
    }
}
