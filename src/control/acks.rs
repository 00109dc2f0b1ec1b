//! Asks each proxy which version of the table it runs.
//!
//! One task a proxy, with one connection that stays open. A proxy that is behind is asked again and
//! again, with growing pauses; one that is up to date is asked twice a minute, and at once when
//! something was published. What comes back is a claim of the proxy about itself and nothing more: it
//! can make a status wrong, and no table.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    backoff::Backoff,
    table::{Stamp, Token},
};

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How often a proxy that is up to date is asked.
const CALM: Duration = Duration::from_secs(30);

/// The longest answer.
const MOST_BYTES: usize = 1 << 20;

/// What every proxy should run, and what opens its state.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The version.
    pub stamp: Stamp,
    /// From the head.
    pub token: Token,
}

/// What a proxy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which start of which pod.
    pub instance: String,
    /// The version; none while it does not answer.
    pub stamp: Option<Stamp>,
}

/// The proxies that are asked.
#[derive(Debug)]
pub struct Acks {
    wanted: watch::Sender<Option<Wanted>>,
    told: mpsc::Sender<Ack>,
    asked: BTreeMap<String, Asked>,
}

#[derive(Debug)]
struct Asked {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acks {
    /// Asks nobody yet; and where the answers come.
    pub fn new() -> (Self, mpsc::Receiver<Ack>) {
        let (told, acks) = mpsc::channel(64);
        (Self { wanted: watch::Sender::new(None), told, asked: BTreeMap::new() }, acks)
    }

    /// Something was published.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Some(wanted));
    }

    /// These are the proxies now, by instance.
    pub fn follow(&mut self, proxies: &BTreeMap<String, SocketAddr>) {
        self.asked.retain(|instance, asked| proxies.get(instance) == Some(&asked.address));
        for (instance, address) in proxies {
            if !self.asked.contains_key(instance) {
                let (wanted, told) = (self.wanted.subscribe(), self.told.clone());
                let task = tokio::spawn(ask(instance.clone(), *address, wanted, told));
                let asked = Asked { address: *address, task: task.abort_handle() };
                self.asked.insert(instance.clone(), asked);
            }
        }
    }
}

async fn ask(
    instance: String,
    address: SocketAddr,
    mut wanted: watch::Receiver<Option<Wanted>>,
    told: mpsc::Sender<Ack>,
) {
    let mut line = Line { address, open: None };
    let mut backoff = Backoff::new(Duration::from_millis(4), Duration::from_secs(1));
    let mut last = None;
    loop {
        let Some(now) = wanted.borrow_and_update().clone() else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let stamp = match timeout(ANSWER, line.state(&now.token)).await {
            Ok(Ok(stamp)) => Some(stamp),
            Ok(Err(error)) => {
                tracing::debug!(%address, error, "a proxy does not say what it runs");
                None
            }
            Err(_late) => None,
        };
        if stamp.is_none() {
            line.open = None;
        }
        if last != Some(stamp) {
            last = Some(stamp);
            if told.send(Ack { instance: instance.clone(), stamp }).await.is_err() {
                return;
            }
        }
        let pause = if stamp.is_some_and(|stamp| stamp >= now.stamp) {
            backoff.succeed();
            CALM
        } else {
            backoff.fail(0.0)
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = wanted.changed() => {
                backoff.succeed();
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// The connection to one proxy.
struct Line {
    address: SocketAddr,
    open: Option<SendRequest<Empty<Bytes>>>,
}

/// The part of the answer that counts here.
#[derive(Deserialize)]
struct State {
    #[serde(flatten)]
    stamp: Stamp,
}

impl Line {
    async fn state(&mut self, token: &Token) -> Result<Stamp, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let open = self.open.take().filter(|open| !open.is_closed());
        let mut sender = if let Some(open) = open {
            open
        } else {
            let stream = TcpStream::connect(self.address).await.map_err(|error| told(&error))?;
            stream.set_nodelay(true).map_err(|error| told(&error))?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = handshake.map_err(|error| told(&error))?;
            tokio::spawn(connection);
            sender
        };
        sender.ready().await.map_err(|error| told(&error))?;
        let mut bearer = http::HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|error| told(&error))?;
        bearer.set_sensitive(true);
        let request = Request::get("/internal/state")
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, bearer)
            .body(Empty::new())
            .map_err(|error| told(&error))?;
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| told(&error))?.to_bytes();
        self.open = Some(sender);
        if status != http::StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        let state: State = serde_json::from_slice(&body).map_err(|error| told(&error))?;
        Ok(state.stamp)
    }
}
