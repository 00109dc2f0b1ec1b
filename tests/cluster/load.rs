//! A constant load of short requests and streams, and an exact account of what became of each.
//!
//! It is a client like the SDKs: connections are kept and used again, and a request is sent once
//! more only when the connection was closed before it went out. Everything else that is not a
//! whole, right answer is written down: a status, a broken connection, a stream without its end.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::SendRequest,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep, timeout},
};

/// Longer than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked, of whom.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub key: String,
    pub model: String,
    /// Clients that send short requests, and as many that read streams.
    pub clients: usize,
    /// What each of them waits after an answer.
    pub pause: Duration,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub answers: u64,
    pub streams: u64,
    pub failed: Vec<String>,
    pub truncated: Vec<String>,
}

/// A load that goes on until it is told to finish.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    account: Arc<Mutex<Account>>,
    thread: thread::JoinHandle<()>,
}

impl Account {
    fn note(&mut self, stream: bool, outcome: Result<(), Wrong>, took: Duration) {
        match outcome {
            Ok(()) if stream => self.streams += 1,
            Ok(()) => self.answers += 1,
            Err(Wrong::Failed(text)) => self.failed.push(format!("{text} (after {took:?})")),
            Err(Wrong::Truncated(text)) => self.truncated.push(format!("{text} (after {took:?})")),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, streams, failed, truncated } = self;
        write!(f, "{answers} answers and {streams} streams; ")?;
        write!(f, "{} failed {failed:.1000?}, ", failed.len())?;
        write!(f, "{} truncated {truncated:.1000?}", truncated.len())
    }
}

impl Load {
    /// Starts the load on a thread of its own.
    pub fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let account = Arc::new(Mutex::new(Account::default()));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&account));
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let clients = LocalSet::new();
            for stream in [false, true].repeat(self.clients) {
                let (load, stopped, told) = (self.clone(), Arc::clone(&stopped), Arc::clone(&told));
                clients.spawn_local(async move { load.client(stream, &stopped, &told).await });
            }
            runtime.block_on(clients);
        });
        Running { stop, account, thread }
    }

    async fn client(&self, stream: bool, stop: &AtomicBool, account: &Mutex<Account>) {
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let outcome = timeout(PATIENCE, self.ask(&mut connection, stream)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(Wrong::Failed("no answer".to_owned())));
            account.lock().unwrap().note(stream, outcome, began.elapsed());
            sleep(self.pause).await;
        }
    }

    async fn ask(&self, kept: &mut Option<Connection>, stream: bool) -> Result<(), Wrong> {
        let body = json!({
            "model": self.model, "stream": stream,
            "messages": [{ "role": "user", "content": "Count to twenty, please." }],
        });
        let request = Request::post("/v1/chat/completions")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.key))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = self.send(kept, request).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(error) => {
                    *kept = None;
                    return Err(Wrong::Truncated(format!("{status}: {error:?}")));
                }
            }
        }
        let text = String::from_utf8_lossy(&text);
        if status != 200 {
            return Err(Wrong::Failed(format!("{status}: {text:.300}")));
        }
        let whole = if stream { whole_stream(&text) } else { whole_answer(&text) };
        whole.ok_or_else(|| Wrong::Truncated(format!("{text:.300}")))
    }

    /// Sends on the kept connection, or on a new one if that was closed before the request went out.
    async fn send(
        &self,
        kept: &mut Option<Connection>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Wrong> {
        loop {
            let fresh = kept.is_none();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            if connection.ready().await.is_err() && !fresh {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => {
                    *kept = Some(connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(Wrong::Failed(format!("{:?}", error.error()))),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Wrong> {
        let connecting = |error| Wrong::Failed(format!("connecting: {error}"));
        let stream = TcpStream::connect(self.address).await.map_err(connecting)?;
        drop(stream.set_nodelay(true));
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|error| Wrong::Failed(format!("connecting: {error:?}")))?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

impl Running {
    /// What has come of it so far.
    pub fn account(&self) -> Account {
        self.account.lock().unwrap().clone()
    }

    /// Lets the requests under way end, and gives the account.
    pub fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.account.lock().unwrap().clone()
    }

    /// Finishes, and fails unless every one of at least so many requests was answered whole.
    pub fn lost_nothing(self, least: u64) {
        let account = self.finish();
        let whole = account.failed.is_empty() && account.truncated.is_empty();
        assert!(whole && account.answers + account.streams >= least, "{account}");
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// What a request can come to besides a whole answer.
enum Wrong {
    Failed(String),
    Truncated(String),
}

fn whole_answer(text: &str) -> Option<()> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let choice = answer["choices"].get(0)?;
    let said = choice["message"]["content"].as_str()?;
    (!said.is_empty() && has_ended(choice)).then_some(())
}

/// Whether a model has said all that it had to say, or was allowed to.
fn has_ended(choice: &Value) -> bool {
    choice["finish_reason"] == "stop" || choice["finish_reason"] == "length"
}

/// A stream is whole when it says why it ended and then that it has.
fn whole_stream(text: &str) -> Option<()> {
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let (mut reason, mut done) = (false, false);
    for event in events {
        if event == "[DONE]" {
            done = true;
            continue;
        }
        let event: Value = serde_json::from_str(event).ok()?;
        if !event["error"].is_null() {
            return None;
        }
        reason |= event["choices"].get(0).is_some_and(has_ended);
    }
    (reason && done).then_some(())
}
