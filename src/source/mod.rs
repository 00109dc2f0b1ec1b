//! The routing table from the API server: three Secrets, watched by name, and their mounted copies.
//!
//! It runs on a thread of its own and hands over whole tables; the path of a request knows nothing of
//! it. What may be taken over is decided in `live`, which is pure: this file and its two readers
//! only bring bytes. A table that is in use stays in use whatever happens here: an API server that is
//! away, a deleted Secret and bytes that are no table are told, in the log once and in the metrics, and
//! change nothing.
//!
//! Secrets come by three ways, because each fails at another time: a watch, within milliseconds; a look
//! at the head every half minute, in case a watch has gone quiet without an end; and the mounted copy
//! while there is no table yet, in case the API server is away when a proxy starts.

mod live;
mod mount;
mod watch;

use std::{io, path::PathBuf, thread, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::{
    runtime::Builder,
    sync::mpsc,
    time::{Instant, sleep_until},
};

pub use self::live::Version;
use self::live::{Live, News, Seen, Which};
use crate::observe::source::{Source as Meter, TableRejection};

/// How often the head is read without being asked for, before chance.
const REREAD: Duration = Duration::from_secs(30);

/// How often the mounted copies are looked at while there is no table.
const REMOUNT: Duration = Duration::from_secs(1);

/// News that wait to be looked at. More make the watches wait.
const QUEUE: usize = 16;

/// Where the table is.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The namespace of the Secrets; `None` for the one that the client's configuration names.
    pub namespace: Option<String>,
    /// The folder in which `head`, `base-a` and `base-b` are mounted.
    pub mounted: Option<PathBuf>,
}

/// Why no table can be waited for.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither a kubeconfig nor a service account.
    #[error("no API server is configured; run in a pod, or set KUBECONFIG")]
    Unconfigured(#[source] kube::config::InferConfigError),
    /// What is configured is no way to an API server.
    #[error("the API server's configuration cannot be used")]
    Client(#[source] kube::Error),
    /// No thread or no runtime.
    #[error("no thread for the table's source")]
    Thread(#[from] io::Error),
}

/// Brings tables to `take`, each higher than the one before, for as long as the process lives.
///
/// # Errors
/// When no API server is configured. One that is away is no error.
pub fn start(
    config: Config,
    meter: Meter,
    take: impl FnMut(Version) + Send + 'static,
) -> Result<(), StartError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(client())?;
    thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || runtime.block_on(run(client, config, meter, take)))?;
    Ok(())
}

async fn client() -> Result<Client, StartError> {
    let mut config = kube::Config::infer().await.map_err(StartError::Unconfigured)?;
    // Its own retries would hold a call for minutes; ours are seen in the metrics.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(StartError::Client)
}

async fn run(client: Client, config: Config, meter: Meter, take: impl FnMut(Version)) {
    let namespace = config.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    let (tell, mut news) = mpsc::channel(QUEUE);
    for which in Which::ALL {
        tokio::spawn(watch::follow(api.clone(), which, tell.clone(), meter.watch(which.as_str())));
    }
    let mut source = Source { live: Live::default(), api, tell, meter, take, told: None };
    let (mut reread, mut remount) = (next(REREAD), Instant::now());
    loop {
        let mounted = config.mounted.as_ref().filter(|_| source.live.is_empty());
        tokio::select! {
            Some(news) = news.recv() => source.hear(news),
            () = sleep_until(reread) => {
                source.look(Which::Head);
                reread = next(REREAD);
            }
            () = sleep_until(remount), if mounted.is_some() => {
                let found = mounted.map(|folder| mount::read(folder)).unwrap_or_default();
                for news in found {
                    source.hear(news);
                }
                remount = Instant::now() + REMOUNT;
            }
        }
    }
}

/// Within a third of `every`, so that many proxies do not come at once.
fn next(every: Duration) -> Instant {
    Instant::now() + every.mul_f64(fastrand::f64() / 3.0 + 5.0 / 6.0)
}

struct Source<F> {
    live: Live,
    api: Api<Secret>,
    tell: mpsc::Sender<News>,
    meter: Meter,
    take: F,
    /// Why the last head was not taken, as far as it was told.
    told: Option<TableRejection>,
}

impl<F: FnMut(Version)> Source<F> {
    fn hear(&mut self, news: News) {
        let (which, bytes) = match news {
            News::Found(which, bytes) => (which, bytes),
            News::Gone(which) => {
                let secret = which.secret();
                tracing::warn!(
                    secret,
                    "a Secret of the routing table is gone; the last table serves"
                );
                return;
            }
        };
        match self.live.see(which, bytes) {
            Seen::Nothing => {}
            Seen::Taken(version) => {
                self.told = None;
                self.meter.taken(version.stamp.epoch);
                (self.take)(version);
            }
            Seen::Needs(slot) => self.look(Which::Base(slot)),
            Seen::Rejected(reason, error) => {
                self.meter.rejected(reason);
                if self.told.replace(reason) != Some(reason) {
                    let reason = reason.as_str();
                    tracing::error!(
                        reason,
                        error,
                        "a routing table is not taken; the last one serves"
                    );
                }
            }
        }
    }

    /// Reads one Secret; what is found comes as news.
    fn look(&self, which: Which) {
        let (api, tell) = (self.api.clone(), self.tell.clone());
        let mut meter = self.meter.watch(which.as_str());
        tokio::spawn(async move {
            // A failure is told by the watch, which meets it too.
            if let Ok(Some(secret)) = watch::read(&api, which).await {
                meter.heard(jiff::Timestamp::now().as_second());
                if let Some(bytes) = watch::data(secret) {
                    // Nobody listens only when the process ends.
                    let _ended = tell.send(News::Found(which, bytes)).await;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
