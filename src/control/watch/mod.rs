//! One kind in one place, listed and then watched for as long as the process lives.
//!
//! `kube` has a watcher, and its defaults break what may never happen here, so the loop is ours, on
//! `kube`'s list and watch calls (`docs/decisions/0005-own-watch.md`). What it promises:
//!
//! * A watch that the server no longer serves (410, as an answer or as an event) is followed by a
//!   list, and so are five failures in a row.
//! * What was deleted while nobody looked is told as deleted.
//! * A list older than what was seen is not believed; neither is one that lacks objects which can
//!   still be got by name. So an empty list takes nothing away that is there.
//! * A connection without a byte for 25 seconds is given up.
//! * An object that cannot be decoded comes through as such and holds nothing up.
//! * Every watch waits for itself alone; a kind that fails slows no other.

mod seen;

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, time::timeout};

pub use self::seen::Change;
use self::seen::{Listed, Seen, Verdict};
use super::{
    kind::Scope,
    object::{self, version},
};
use crate::{
    backoff::Backoff,
    observe::operator::{WatchMeter, WatchRestart},
    table::ObjectId,
};

/// How long the server is asked to keep a watch open.
const SERVED: u32 = 20;

/// How long a watch may be silent: a little more than the server would ever let it be.
const SILENCE: Duration = Duration::from_secs(25);

/// The longest wait for one page of a list, or for the head of a watch.
const ANSWER: Duration = Duration::from_secs(10);

/// Objects a page.
const PAGE: u32 = 500;

/// Failures in a row after which the place in the server's history is not trusted any more.
const MOST_FAILURES: u32 = 5;

/// How many missing objects are asked for by name before a list is believed.
const PROBES: usize = 8;

/// What a watch has to tell.
#[derive(Debug)]
pub struct News {
    /// Whose.
    pub scope: Scope,
    /// What.
    pub told: Told,
}

/// What a watch has to tell.
#[derive(Debug)]
pub enum Told {
    /// These changed together. After the first of these everything in the scope is known, so it may
    /// be empty.
    Changed(Vec<Change>),
    /// The server refuses to list (403), or does not know the kind (404). What was known stays.
    Refused,
}

/// Why a watch has to begin with a list again.
enum Relist {
    Gone,
    Failed,
    /// Nobody listens any more.
    Closed,
}

/// Why a watch request did not come to its usual end.
enum Ended {
    Failed(Failure),
    /// Nobody listens any more.
    Closed,
}

/// Watches until nobody listens to `news` any more. `known` are objects of the scope that a first
/// list must not lack without proof.
pub async fn watch(
    client: Client,
    scope: Scope,
    known: Vec<ObjectId>,
    news: mpsc::Sender<News>,
    meter: WatchMeter,
) {
    let seen = Seen::new(known);
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let api = scope.api(client.clone());
    Watch { client, api, scope, seen, backoff, news, meter, complete: false }.run().await;
}

struct Watch {
    client: Client,
    api: Api<DynamicObject>,
    scope: Scope,
    seen: Seen,
    backoff: Backoff,
    news: mpsc::Sender<News>,
    meter: WatchMeter,
    /// Whether a list has been taken.
    complete: bool,
}

impl Watch {
    async fn run(mut self) {
        while !self.news.is_closed() {
            let list = match self.list().await {
                Ok(list) => list,
                Err(error) => {
                    let refused = matches!(error.code(), Some(403 | 404));
                    if refused && !self.tell(Told::Refused).await {
                        return;
                    }
                    self.pause(WatchRestart::ListFailed, &error.to_string()).await;
                    continue;
                }
            };
            match self.seen.judge(&list) {
                Verdict::Take => {}
                Verdict::Stale => {
                    self.pause(WatchRestart::Stale, "the list is older than what was seen").await;
                    continue;
                }
                Verdict::Lacks(lacks) => {
                    if let Err(doubt) = self.confirm(&lacks, list.version).await {
                        self.pause(WatchRestart::Doubted, &doubt).await;
                        continue;
                    }
                }
            }
            let changes = self.seen.take(list);
            self.well();
            if (!self.complete || !changes.is_empty()) && !self.tell(Told::Changed(changes)).await {
                return;
            }
            self.complete = true;
            match self.follow().await {
                Relist::Gone => self.meter.restarted(WatchRestart::Gone),
                Relist::Failed => self.meter.restarted(WatchRestart::Failed),
                Relist::Closed => return,
            }
        }
    }

    /// Reads a complete list, page by page. Each page is decoded at once: the raw form is large.
    async fn list(&self) -> Result<Listed, Failure> {
        let mut params = ListParams {
            limit: Some(PAGE),
            field_selector: self.scope.fields(),
            label_selector: self.scope.labels.as_deref().map(str::to_owned),
            ..ListParams::default()
        };
        let mut objects = Vec::new();
        loop {
            let page = within(ANSWER, self.api.list(&params)).await?;
            let read = page.items.into_iter();
            objects.extend(read.filter_map(|object| object::read(self.scope.kind, object)));
            let metadata = page.metadata;
            params.continue_token = metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = version(metadata.resource_version.as_deref());
                return Ok(Listed { version: version.ok_or(Failure::NoVersion)?, objects });
            }
        }
    }

    /// Asks for missing objects by name. Not one of them may be there; what was made after the list
    /// is no contradiction.
    async fn confirm(&self, lacks: &[ObjectId], listed: u64) -> Result<(), String> {
        for id in lacks.iter().take(PROBES) {
            let api = self.scope.api_of(self.client.clone(), id);
            let found = within(ANSWER, api.get_opt(&id.name)).await;
            let found = found.map_err(|error| format!("whether {id} is gone: {error}"))?;
            let there =
                found.and_then(|object| version(object.metadata.resource_version.as_deref()));
            if there.is_some_and(|version| version <= listed) {
                return Err(format!("the list lacks {id}, which is there"));
            }
        }
        Ok(())
    }

    /// Watches from where the history was read to, again and again.
    async fn follow(&mut self) -> Relist {
        loop {
            match self.serve().await {
                Ok(()) => {}
                Err(Ended::Closed) => return Relist::Closed,
                Err(Ended::Failed(failure)) if failure.code() == Some(410) => {
                    self.pause(WatchRestart::Gone, &failure.to_string()).await;
                    return Relist::Gone;
                }
                Err(Ended::Failed(failure)) => {
                    self.pause(WatchRestart::Failed, &failure.to_string()).await;
                    if self.backoff.failures() >= MOST_FAILURES {
                        return Relist::Failed;
                    }
                }
            }
        }
    }

    /// One watch request, to its end. The usual end is that the server closes after the time that it
    /// was asked for.
    async fn serve(&mut self) -> Result<(), Ended> {
        let params = WatchParams {
            timeout: Some(SERVED),
            bookmarks: true,
            field_selector: self.scope.fields(),
            label_selector: self.scope.labels.as_deref().map(str::to_owned),
            ..WatchParams::default()
        };
        let from = self.seen.version().to_string();
        let events = tokio::select! {
            events = within(ANSWER, self.api.watch(&params, &from)) => events.map_err(Ended::Failed)?,
            () = self.news.closed() => return Err(Ended::Closed),
        };
        let mut events = pin!(events);
        loop {
            let event = tokio::select! {
                event = timeout(SILENCE, events.next()) => event,
                () = self.news.closed() => return Err(Ended::Closed),
            };
            let failed = |error| Err(Ended::Failed(Failure::Api(error)));
            let change = match event {
                Ok(Some(Ok(WatchEvent::Error(status)))) => return failed(kube::Error::Api(status)),
                Ok(Some(Ok(event))) => self.take(event),
                Ok(Some(Err(error))) => return failed(error),
                Ok(None) => return Ok(()),
                Err(_silent) => {
                    self.meter.restarted(WatchRestart::Silent);
                    return Ok(());
                }
            };
            self.well();
            if let Some(change) = change
                && !self.tell(Told::Changed(vec![change])).await
            {
                return Err(Ended::Closed);
            }
        }
    }

    fn take(&mut self, event: WatchEvent<DynamicObject>) -> Option<Change> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.seen.applied(object::read(self.scope.kind, object)?)
            }
            WatchEvent::Deleted(object) => {
                let version = version(object.metadata.resource_version.as_deref())?;
                self.seen.deleted(object::id_of(&object)?, version)
            }
            WatchEvent::Bookmark(mark) => {
                self.seen.passed(version(Some(&mark.metadata.resource_version))?);
                None
            }
            WatchEvent::Error(_) => None,
        }
    }

    async fn tell(&self, told: Told) -> bool {
        self.news.send(News { scope: self.scope.clone(), told }).await.is_ok()
    }

    /// Contact was made, and nothing is wrong.
    fn well(&mut self) {
        self.backoff.succeed();
        self.meter.well(jiff::Timestamp::now().as_second());
    }

    async fn pause(&mut self, why: WatchRestart, error: &str) {
        let wait = self.backoff.fail(fastrand::f64());
        self.meter.failing(why);
        let scope = &self.scope;
        tracing::warn!(%scope, error, why = why.as_str(), "a watch failed; what is known stays");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.news.closed() => {}
        }
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
    /// The status with which the API server refused.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            Self::Api(_) | Self::Late | Self::NoVersion => None,
        }
    }

    /// Whether somebody else has written in between.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// A call with a limit of its own: `kube` has none.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    timeout(limit, call).await.map_err(|_late| Failure::Late)?.map_err(Failure::Api)
}

#[cfg(test)]
mod tests;
