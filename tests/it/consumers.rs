//! Who may call, through the front door: a process with the manifests of `examples/consumers`, asked
//! over sockets, and everything that it says searched for the keys that it was shown.

#![cfg(test)]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

const SUPPORT_OLD: &str = "tk-example-support-0123456789";
const SUPPORT_NEW: &str = "tk-example-support-9876543210";
const RESEARCH: &str = "tk-example-research-0123456789";
/// Of nobody.
const UNKNOWN: &str = "tk-canary-unknown-0123456789";

/// A running process, everything that it has written, and where it listens.
struct Process {
    child: Child,
    readers: Vec<JoinHandle<String>>,
    client: String,
    admin: String,
}

impl Process {
    /// Starts `trunkline` and waits until it has said what `expected` asks for, in this order.
    fn start(args: &[&str], expected: [&'static str; 2]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args(args)
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, saying) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        let out = thread::spawn(move || {
            let mut all = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                writeln!(all, "{line}").unwrap();
                let _nobody_waits_any_more = said.send(line);
            }
            all
        });
        let mut stderr = child.stderr.take().unwrap();
        let err = thread::spawn(move || {
            let mut all = String::new();
            stderr.read_to_string(&mut all).unwrap();
            all
        });
        let [client, admin] = expected.map(|word| {
            loop {
                let line = saying.recv_timeout(Duration::from_secs(20)).expect(word);
                let words = line.trim_start().strip_prefix(word);
                if let Some(at) = words.and_then(|rest| rest.split("http://").nth(1)) {
                    break at.split_whitespace().next().unwrap().to_owned();
                }
            }
        });
        Self { child, readers: vec![out, err], client, admin }
    }

    fn run(folder: &Path, more: &[&str]) -> Self {
        let folder = folder.to_str().unwrap();
        let mut args = vec!["run", "-f", folder, "--allow-private-endpoints", "--workers", "1"];
        args.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        args.extend(more);
        Self::start(&args, ["client API", "admin"])
    }

    fn get(&self, path: &str, header: (&str, &str)) -> Answer {
        ask(&self.client, "GET", path, &[header], "")
    }

    /// Asks by one of the two APIs.
    fn chat(&self, path: &str, model: &str, headers: &[(&str, &str)]) -> Answer {
        let limit = if path == MESSAGES { r#""max_tokens":9,"# } else { "" };
        let body = format!(
            r#"{{{limit}"model":"{model}","messages":[{{"role":"user","content":"Hi"}}]}}"#
        );
        ask(&self.client, "POST", path, headers, &body)
    }

    /// Ends the process and gives all that it has written, its metrics included.
    fn end(mut self) -> String {
        let metrics = ask(&self.admin, "GET", "/metrics", &[], "");
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let written = self.readers.drain(..).map(|reader| reader.join().unwrap());
        written.collect::<String>() + &metrics.text
    }
}

/// A test that fails must not leave a process behind.
impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
    text: String,
}

impl Answer {
    fn models(&self) -> Vec<&str> {
        let data = self.body["data"].as_array().unwrap();
        data.iter().map(|model| model["id"].as_str().unwrap()).collect()
    }

    /// The code of OpenAI's error shape, the type of Anthropic's.
    fn error(&self) -> (u16, &str) {
        let error = &self.body["error"];
        (self.status, error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or_default())
    }
}

fn ask(at: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    socket.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    Answer { status, head: head.to_lowercase(), body, text: text.clone() }
}

/// The example, in front of a simulator that listens on free ports.
fn example() -> (tempfile::TempDir, Process, Process) {
    let anywhere = "127.0.0.1:0";
    let args = ["sim", "--openai", anywhere, "--anthropic", anywhere, "--gemini", anywhere];
    let sim = Process::start(&args, ["openai", "anthropic"]);
    let folder = tempfile::tempdir().unwrap();
    for file in ["consumers.yaml", "routes.yaml"] {
        let text = fs::read_to_string(format!("examples/consumers/{file}")).unwrap();
        fs::write(folder.path().join(file), text.replace("127.0.0.1:9101", &sim.client)).unwrap();
    }
    let run = Process::run(folder.path(), &[]);
    (folder, sim, run)
}

fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

#[test]
fn a_consumer_is_served_what_it_may_use_and_no_key_is_ever_shown() {
    let (folder, _sim, run) = example();
    let keyed = |key: &str, path: &str, model: &str| {
        let (name, value) = bearer(key);
        run.chat(path, model, &[(name, &value)])
    };
    let mut said = String::new();

    // Every key of a consumer, in both headers, by both APIs.
    for key in [SUPPORT_OLD, SUPPORT_NEW, RESEARCH] {
        for path in [CHAT, MESSAGES] {
            let answer = keyed(key, path, "chat");
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(run.chat(path, "chat", &[("x-api-key", key)]).status, 200);
        }
    }
    // One name, two routes: who asks decides.
    let target = |key| keyed(key, CHAT, "chat").head;
    assert!(target(SUPPORT_OLD).contains("x-trunkline-target: flash"));
    assert!(target(RESEARCH).contains("x-trunkline-target: strong"));

    // A listing is the caller's own, and so is a single model.
    let listed = |key: &str, path: &str| run.get(path, ("x-api-key", key));
    assert_eq!(listed(SUPPORT_OLD, "/v1/models").models(), ["chat"]);
    assert_eq!(listed(RESEARCH, "/v1/models").models(), ["chat", "strong"]);
    assert_eq!(listed(RESEARCH, "/v1/models/strong").status, 200);
    assert_eq!(listed(SUPPORT_OLD, "/v1/models/strong").error(), (403, "model_not_allowed"));

    // Refusals in the caller's own shape, each for its own reason.
    for (path, key, model, expected) in [
        (CHAT, SUPPORT_NEW, "strong", (403, "model_not_allowed")),
        (MESSAGES, SUPPORT_NEW, "strong", (403, "permission_error")),
        (CHAT, SUPPORT_NEW, "absent", (404, "model_not_found")),
        (MESSAGES, SUPPORT_NEW, "absent", (404, "not_found_error")),
        (CHAT, UNKNOWN, "chat", (401, "invalid_api_key")),
        (MESSAGES, UNKNOWN, "chat", (401, "authentication_error")),
    ] {
        let answer = keyed(key, path, model);
        assert_eq!(answer.error(), expected, "{path} {model}");
        let challenged = answer.head.contains("www-authenticate: bearer");
        assert_eq!(challenged, expected.0 == 401);
        said.push_str(&answer.text);
    }
    assert_eq!(run.chat(CHAT, "chat", &[]).error(), (401, "missing_api_key"));
    assert_eq!(run.get("/v1/models", ("accept", "*/*")).status, 401);
    // A path that does not exist asks for no key.
    assert_eq!(run.get("/v1/embeddings", ("accept", "*/*")).status, 404);

    said.push_str(&run.end());
    drop(folder);
    for line in [
        r#""consumer_namespace":"default","consumer":"support","consumer_key":"2026-07""#,
        r#""consumer":"research","consumer_key":"only""#,
        r#""outcome":"forbidden""#,
    ] {
        assert!(said.contains(line), "{line} is in no line of the access log");
    }
    for key in [SUPPORT_OLD, SUPPORT_NEW, RESEARCH, UNKNOWN] {
        assert!(!said.contains(key), "a key was shown");
        assert!(!said.contains(key.rsplit('-').next().unwrap()), "a part of a key was shown");
    }
}

/// Adding the new key and taking the old one out are two edits, and each is in use at once.
#[test]
fn a_key_is_rotated_without_a_gap_and_taken_back_at_once() {
    let (folder, _sim, run) = example();
    let status = |key: &str| run.get("/v1/models", ("x-api-key", key)).status;
    let file = folder.path().join("consumers.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let becomes = |key: &str, wanted: u16| {
        let soon = (0..500).any(|_| {
            let there = status(key) == wanted;
            if !there {
                thread::sleep(Duration::from_millis(20));
            }
            there
        });
        assert!(soon, "never {wanted}");
    };
    assert_eq!((status(SUPPORT_OLD), status(SUPPORT_NEW)), (200, 200));
    let third = "tk-example-support-a-third-one";
    fs::write(&file, text.replace(SUPPORT_OLD, third)).unwrap();
    becomes(third, 200);
    assert_eq!((status(SUPPORT_OLD), status(SUPPORT_NEW)), (401, 200));
    // A consumer whose every key is gone closes the door, and does not open it to everybody.
    fs::write(&file, text.replace("kind: Secret", "kind: Anything")).unwrap();
    becomes(third, 401);
    assert_eq!(run.chat(CHAT, "chat", &[]).status, 401);
    drop(run.end());
}

#[test]
fn on_loopback_callers_without_a_key_are_served_until_there_is_a_consumer() {
    let folder = tempfile::tempdir().unwrap();
    let routes = fs::read_to_string("examples/consumers/routes.yaml").unwrap();
    fs::write(folder.path().join("routes.yaml"), routes).unwrap();
    let run = Process::run(folder.path(), &[]);
    // SDKs cannot send no key.
    let open = run.get("/v1/models", ("x-api-key", "x"));
    assert_eq!(open.models(), ["chat"], "a route for some callers is not for unknown ones");
    drop(run.end());
    for (more, status) in [(["--anonymous", "deny"], 401), (["--anonymous", "allow"], 200)] {
        let run = Process::run(folder.path(), &more);
        assert_eq!(run.get("/v1/models", ("x-api-key", "x")).status, status);
        drop(run.end());
    }
}
