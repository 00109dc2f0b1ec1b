//! `trunkline proxy` as a process, beside an API server that knows only the table's Secrets: from no
//! table to a served one, and to the end.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use trunkline::{
    compile::{LastGood, Options, compile},
    files::Reader,
    table::{
        Contents, Stamp, Token,
        head::{DATA_KEY, HEAD_SECRET},
        publish::{Plan, plan},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Secrets by name, each with the bytes of its one key.
type Secrets = Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>;

/// Serves lists and watches of single Secrets over plain HTTP.
fn api_server(secrets: Secrets) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let secrets = Arc::clone(&secrets);
            // It ends when the proxy does, or with the test.
            thread::spawn(move || answer(stream, &secrets));
        }
    });
    address
}

fn answer(mut stream: TcpStream, secrets: &Secrets) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let name =
        request.split("metadata.name%3D").nth(1).and_then(|rest| rest.split(['&', ' ']).next());
    let name = name.unwrap_or_default().to_owned();
    let found = || {
        let secrets = secrets.lock().expect("nobody panicked with it");
        secrets.get(name.as_str()).map(|bytes| {
            let metadata = json!({"name": name, "resourceVersion": bytes.len().to_string()});
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {DATA_KEY: STANDARD.encode(bytes)}})
        })
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    if !request.contains("watch=true") {
        let items: Vec<Value> = found().into_iter().collect();
        let list = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
        return stream.write_all(list.to_string().as_bytes());
    }
    let mut told = None;
    loop {
        let now = found();
        if now != told
            && let Some(secret) = &now
        {
            writeln!(stream, "{}", json!({"type": "MODIFIED", "object": secret}))?;
        }
        told = now;
        thread::sleep(SECOND / 50);
    }
}

/// A proxy that runs; it ends with the test.
struct Proxy {
    process: Child,
    client: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    fn start(api_server: SocketAddr, folder: &std::path::Path) -> Self {
        let config = folder.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{api_server}")}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(&config, text.to_string()).expect("a kubeconfig");
        let mut process = Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args(["proxy", "--namespace", "trunkline", "--workers", "1", "--pre-stop", "3"])
            .args(["--anonymous", "allow"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--access-log", "off", "--log-format", "json"])
            .env("KUBECONFIG", &config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let first = log.next().expect("it says something").expect("in UTF-8");
        let first: Value = serde_json::from_str(&first).expect("a line of JSON");
        thread::spawn(move || log.for_each(drop));
        let address = |field: &str| {
            let text = first.pointer(&format!("/fields/{field}")).and_then(Value::as_str);
            text.and_then(|text| text.parse().ok()).expect("an address")
        };
        Self { process, client: address("client"), admin: address("admin") }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// The status and the whole answer; 0 when nobody answers.
fn get(at: SocketAddr, path: &str, authorization: &str) -> (u16, String) {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(at) {
        let head = "host: a\r\nconnection: close\r\nauthorization";
        let asked = write!(stream, "GET {path} HTTP/1.1\r\n{head}: {authorization}\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut text)).expect("an answer");
    }
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), text)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let comes = (0..600).any(|_| {
        let there = holds();
        if !there {
            thread::sleep(SECOND / 20);
        }
        there
    });
    assert!(comes, "{what} does not come to be");
}

/// Publishes the quickstart's table, and says under which stamp and hash.
fn publish(secrets: &Secrets, token: &Token) -> (Stamp, String) {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart");
    let snapshot = Reader::new(examples).read(&|_| None).expect("the examples");
    let options = Options { allow_private_endpoints: true };
    let compiled = compile(&snapshot, options, 1, &mut LastGood::default());
    let table = Arc::new(Contents::of(&compiled.table).expect("one version of each"));
    let mut published = None;
    loop {
        let last = Stamp { epoch: 3, revision: 0 };
        let put = |name, bytes| secrets.lock().expect("no panic").insert(name, bytes);
        let next = match plan(published.as_ref(), &table, last, token).expect("it fits") {
            Plan::Unchanged => break,
            Plan::Head(next) => next,
            Plan::Flip { base, slot, next } => {
                put(slot.secret(), base.bytes);
                next
            }
        };
        put(HEAD_SECRET, next.head.encode().expect("it fits").bytes);
        published = Some(next);
    }
    let head = published.expect("something was published").head;
    (head.stamp, head.encode().expect("it fits").hash.as_str().to_owned())
}

#[test]
fn a_proxy_waits_for_a_table_serves_it_says_which_and_drains() {
    let secrets = Secrets::default();
    let folder = tempfile::tempdir().expect("a folder");
    let mut proxy = Proxy::start(api_server(Arc::clone(&secrets)), folder.path());
    until("the admin port", || get(proxy.admin, "/healthz", "").0 == 200);
    let (status, text) = get(proxy.admin, "/readyz", "");
    assert_eq!(status, 503);
    assert!(text.contains("routing table"), "{text}");

    let token = Token::new([9; 32]);
    let bearer = format!("Bearer {}", token.expose());
    assert_eq!(get(proxy.admin, "/internal/state", &bearer).0, 401);
    let (stamp, hash) = publish(&secrets, &token);
    until("readiness", || get(proxy.admin, "/readyz", "").0 == 200);
    let (status, models) = get(proxy.client, "/v1/models", "");
    assert_eq!(status, 200, "{models}");
    assert!(models.contains("\"chat\""), "{models}");

    assert_eq!(get(proxy.admin, "/internal/state", "Bearer wrong").0, 401);
    let (status, state) = get(proxy.admin, "/internal/state", &bearer);
    assert_eq!(status, 200);
    let state = state.split("\r\n\r\n").nth(1).expect("a body");
    let state: Value = serde_json::from_str(state).expect("JSON");
    assert_eq!(state["epoch"], stamp.epoch);
    assert_eq!(state["revision"], stamp.revision);
    assert_eq!(state["hash"], hash.as_str());
    assert!(!state.to_string().contains("sk-"), "{state}");

    let pid = proxy.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    until("the drain", || get(proxy.admin, "/readyz", "").1.contains("draining"));
    let (status, late) = get(proxy.client, "/v1/models", "");
    assert_eq!(status, 200, "who has not heard is served: {late}");
    let mut ended = None;
    until("the end", || {
        ended = proxy.process.try_wait().expect("it is ours");
        ended.is_some()
    });
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
