//! One Secret, read and then watched, for as long as the process lives.
//!
//! The loop is ours, on `kube`'s list and watch calls, for the reasons of
//! `docs/decisions/0005-own-watch.md`. It is simpler than the operator's: what it brings is only taken
//! when it is higher than what is in use, so a stale answer does no harm and a missed one is found by
//! the next look.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, time::timeout};

use super::live::{News, Which};
use crate::{
    backoff::Backoff,
    observe::{operator::WatchRestart, source::Watch as Meter},
    table::head::DATA_KEY,
};

/// How long the server is asked to keep a watch open.
const SERVED: u32 = 20;

/// How long a watch may be silent: a little more than the server would ever let it be.
const SILENCE: Duration = Duration::from_secs(25);

/// The longest wait for an answer, or for the head of a watch.
const ANSWER: Duration = Duration::from_secs(10);

/// Failures in a row after which the place in the server's history is not trusted any more.
const MOST_FAILURES: u32 = 5;

/// What a Secret of the table holds.
pub(super) fn data(secret: Secret) -> Option<Vec<u8>> {
    Some(secret.data?.remove(DATA_KEY)?.0)
}

/// Reads one Secret now.
pub(super) async fn read(api: &Api<Secret>, which: Which) -> Result<Option<Secret>, Failure> {
    within(api.get_opt(which.secret())).await
}

/// Tells what the Secret holds, at first and whenever it changes, until nobody listens.
pub(super) async fn follow(api: Api<Secret>, which: Which, tell: mpsc::Sender<News>, meter: Meter) {
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut watch = Follow { api, which, tell, meter, backoff, failing: false };
    let mut version: Option<String> = None;
    while !watch.tell.is_closed() {
        let step = match &version {
            None => watch.list().await,
            Some(from) => watch.watch(from).await,
        };
        version = match step {
            Ok(next) => Some(next),
            Err(failure) => {
                let reason = match (&version, failure.code()) {
                    (_, Some(410)) => WatchRestart::Gone,
                    (None, _) => WatchRestart::ListFailed,
                    (Some(_), _) => WatchRestart::Failed,
                };
                watch.pause(reason, &failure).await;
                let lost =
                    reason == WatchRestart::Gone || watch.backoff.failures() >= MOST_FAILURES;
                version.filter(|_| !lost)
            }
        };
    }
}

struct Follow {
    api: Api<Secret>,
    which: Which,
    tell: mpsc::Sender<News>,
    meter: Meter,
    backoff: Backoff,
    failing: bool,
}

impl Follow {
    /// Reads the Secret, and from where it can be watched. A list of one: an object's own version may
    /// be older than the history that the server keeps.
    async fn list(&mut self) -> Result<String, Failure> {
        let only = format!("metadata.name={}", self.which.secret());
        let list = within(self.api.list(&ListParams::default().fields(&only))).await?;
        self.well();
        for secret in list.items {
            self.found(secret).await;
        }
        list.metadata.resource_version.ok_or(Failure::NoVersion)
    }

    /// One watch request, to its end; says from where to go on.
    async fn watch(&mut self, from: &str) -> Result<String, Failure> {
        let params = WatchParams {
            timeout: Some(SERVED),
            bookmarks: true,
            field_selector: Some(format!("metadata.name={}", self.which.secret())),
            ..WatchParams::default()
        };
        let mut version = from.to_owned();
        let mut events = pin!(within(self.api.watch(&params, from)).await?);
        loop {
            let event = match timeout(SILENCE, events.next()).await {
                Ok(Some(event)) => event.map_err(Failure::Api)?,
                Ok(None) => return Ok(version),
                Err(_silent) => {
                    self.meter.restarted(WatchRestart::Silent);
                    return Ok(version);
                }
            };
            let seen = match event {
                WatchEvent::Error(status) => return Err(Failure::Api(kube::Error::Api(status))),
                WatchEvent::Bookmark(mark) => Some(mark.metadata.resource_version),
                WatchEvent::Added(secret) | WatchEvent::Modified(secret) => {
                    let seen = secret.metadata.resource_version.clone();
                    self.found(secret).await;
                    seen
                }
                WatchEvent::Deleted(secret) => {
                    self.told(News::Gone(self.which)).await;
                    secret.metadata.resource_version
                }
            };
            self.well();
            version = seen.unwrap_or(version);
        }
    }

    async fn found(&self, secret: Secret) {
        // A Secret without our key is nobody's table; the next version may be.
        if let Some(bytes) = data(secret) {
            self.told(News::Found(self.which, bytes)).await;
        }
    }

    async fn told(&self, news: News) {
        // Nobody listens only when the process ends.
        let _ended = self.tell.send(news).await;
    }

    /// Contact was made, and nothing is wrong.
    fn well(&mut self) {
        self.backoff.succeed();
        self.meter.heard(jiff::Timestamp::now().as_second());
        if std::mem::take(&mut self.failing) {
            tracing::info!(secret = self.which.secret(), "the API server is back");
        }
    }

    async fn pause(&mut self, why: WatchRestart, failure: &Failure) {
        self.meter.failing(why);
        if !std::mem::replace(&mut self.failing, true) {
            let (secret, why, error) = (self.which.secret(), why.as_str(), failure.to_string());
            tracing::warn!(secret, why, error, "a Secret cannot be watched; the last table serves");
        }
        tokio::time::sleep(self.backoff.fail(fastrand::f64())).await;
    }
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The API server or the way to it.
    #[error(transparent)]
    Api(kube::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Late,
    /// The answer has no place in the server's history.
    #[error("the list has no resourceVersion")]
    NoVersion,
}

impl Failure {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            Self::Api(_) | Self::Late | Self::NoVersion => None,
        }
    }
}

/// A call with a limit of its own: `kube` has none.
async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    timeout(ANSWER, call).await.map_err(|_late| Failure::Late)?.map_err(Failure::Api)
}
