//! Asks each proxy which version of the table it runs, and which keys providers refuse it.
//!
//! One task a proxy, with one connection that stays open. A proxy that is behind is asked again and
//! again, with growing pauses; one that is up to date is asked six times a minute, and at once when
//! something was published. What comes back is a claim of the proxy about itself and nothing more: it
//! can make a status wrong, and no table.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::Deserialize;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    keys::{Refusal, Refused},
    line::Line,
    spend::Spent,
};
use crate::{
    backoff::Backoff,
    provider::NanoDollars,
    table::{ObjectId, Stamp, Token},
};

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How often a proxy that is up to date is asked: so late may it be known that a key is refused.
const CALM: Duration = Duration::from_secs(10);

/// The state of a key that a provider refuses.
const REFUSED: &str = "refused";

/// Its reason when it is because of the bill.
const UNPAID: &str = "unpaid";

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
    /// What it said; none while it does not answer.
    pub told: Option<Told>,
}

/// What a proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The version that it runs.
    pub stamp: Stamp,
    /// The keys that providers refuse it.
    pub refused: Refused,
    /// What it has spent since it began.
    pub spent: Spent,
}

/// What is needed to ask the proxies something.
#[derive(Clone, Debug)]
pub struct Lines {
    /// What opens their pages; none before anything is published.
    pub wanted: watch::Receiver<Option<Wanted>>,
    /// Where they are, by instance.
    pub proxies: watch::Receiver<BTreeMap<String, SocketAddr>>,
}

/// The proxies that are asked.
#[derive(Debug)]
pub struct Acks {
    wanted: watch::Sender<Option<Wanted>>,
    /// The proxies, for who asks them something else.
    proxies: watch::Sender<BTreeMap<String, SocketAddr>>,
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
        let (wanted, proxies) = (watch::Sender::new(None), watch::Sender::new(BTreeMap::new()));
        (Self { wanted, proxies, told, asked: BTreeMap::new() }, acks)
    }

    /// What opens the proxies' pages, and where they are.
    pub fn lines(&self) -> Lines {
        Lines { wanted: self.wanted.subscribe(), proxies: self.proxies.subscribe() }
    }

    /// Something was published.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(Some(wanted));
    }

    /// These are the proxies now, by instance.
    pub fn follow(&mut self, proxies: &BTreeMap<String, SocketAddr>) {
        self.proxies.send_if_modified(|known| {
            let new = known != proxies;
            known.clone_from(proxies);
            new
        });
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
    let mut line = Line::new(address);
    let mut backoff = Backoff::new(Duration::from_millis(4), Duration::from_secs(1));
    let mut last = None;
    loop {
        let Some(now) = wanted.borrow_and_update().clone() else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let said = match timeout(ANSWER, state(&mut line, &now.token)).await {
            Ok(Ok(said)) => Some(said),
            Ok(Err(error)) => {
                tracing::debug!(%address, error, "a proxy does not say what it runs");
                None
            }
            Err(_late) => None,
        };
        let current = said.as_ref().is_some_and(|said| said.stamp >= now.stamp);
        if last.as_ref() != Some(&said) {
            last = Some(said.clone());
            if told.send(Ack { instance: instance.clone(), told: said }).await.is_err() {
                return;
            }
        }
        let pause = if current {
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

/// The part of the answer that counts here.
#[derive(Deserialize)]
struct State {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(default)]
    spend: Vec<Spend>,
}

#[derive(Deserialize)]
struct Spend {
    namespace: String,
    credential: String,
    nano_usd: NanoDollars,
}

#[derive(Deserialize)]
struct Key {
    namespace: String,
    credential: String,
    #[serde(rename = "key")]
    name: String,
    state: String,
    reason: Option<String>,
}

async fn state(line: &mut Line, token: &Token) -> Result<Told, String> {
    let body = line.get("/internal/state", token).await?;
    let State { stamp, keys, spend } =
        serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let mut refused = Refused::new();
    for Key { namespace, credential, name, reason, .. } in
        keys.into_iter().filter(|key| key.state == REFUSED)
    {
        let why = match reason.as_deref() {
            Some(UNPAID) => Refusal::Unpaid,
            // A newer proxy may know more causes.
            _ => Refusal::Rejected,
        };
        refused.entry(ObjectId::new(namespace, credential)).or_default().insert(name, why);
    }
    let spent = spend
        .into_iter()
        .map(|Spend { namespace, credential, nano_usd }| {
            (ObjectId::new(namespace, credential), nano_usd)
        })
        .collect();
    Ok(Told { stamp, refused, spent })
}
