//! The operator's loop: news in, a table and statuses out.
//!
//! One task owns everything that is known, so there is no lock and no order of locks. What takes time
//! (watches, acks, statuses, the lease) runs beside it and talks through channels; only publishing is
//! waited for, because the next table builds on it, and news that comes meanwhile is the next batch.
//!
//! A process that does not lead does the same but the writing: it can take over at once.

mod known;
mod round;
mod scopes;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kube::{Api, Client};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

pub use self::settings::Settings;
use self::{
    known::{Known, known},
    scopes::{of_kind, scopes},
};
use super::{
    acks::{Ack, Acks},
    autoscale,
    index::Index,
    keys::Keys,
    kind::{Kind, Scope},
    lease::{Candidate, Term},
    named::Needs,
    pace::Pace,
    progress::{Fleet, Key, Progress},
    publish::Publisher,
    spend::Spend,
    status::{Statuses, World, Written},
    watch::{Change, News, Told, watch},
};
use crate::{
    backoff::Backoff,
    compile::{Compiler, LastGood},
    observe::{Waiting, operator::Operator as Meter},
    table::{Contents, ObjectId, Prices, Stamp},
};

/// News that are taken in one go at most.
const AT_ONCE: usize = 1024;

/// How often what accounts have spent is looked at, and how soon after a proxy has first told of it.
const SPEND_PACE: Duration = Duration::from_mins(1);
const SPEND_SOON: Duration = Duration::from_secs(1);

/// How long a change of the fleet waits for the next one: a rollout changes it many times.
const FLEET_PAUSE: Duration = Duration::from_secs(2);

/// Runs until `stop`. `waiting` is let go when everything is known and, if this process leads,
/// published.
pub async fn run(
    client: Client,
    settings: Settings,
    meter: Meter,
    waiting: Waiting,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let secrets = Api::namespaced(client.clone(), &settings.namespace);
    let mut publisher = Publisher::new(secrets, meter.clone(), settings.random);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let published = loop {
        match publisher.read().await {
            Ok(published) => break published.map(known),
            Err(error) => tracing::warn!(%error, "waiting to know what is published"),
        }
        tokio::select! {
            () = sleep_until(Instant::now() + backoff.fail(fastrand::f64())) => {}
            () = &mut stop => return,
        }
    };
    let floor = Arc::new(AtomicU64::new(0));
    let (candidate, terms) = {
        let leases = Api::namespaced(client.clone(), &settings.namespace);
        Candidate::new(leases, settings.identity.clone())
    };
    let (release, released) = oneshot::channel();
    let epoch = Arc::clone(&floor);
    let lease = tokio::spawn(candidate.run(move || epoch.load(Ordering::Relaxed), async {
        // An error is an end too.
        let _ended = released.await;
    }));
    let mut operator =
        Operator::new(client, settings, meter, waiting, publisher, &published.unwrap_or_default());
    operator.floor = floor;
    operator.note_floor();
    operator.work(terms, stop).await;
    // First the last write, then the lease.
    drop(operator);
    if release.send(()).is_ok()
        && let Err(error) = lease.await
    {
        tracing::warn!(%error, "the lease ended badly");
    }
}

struct Operator {
    client: Client,
    settings: Settings,
    meter: Meter,
    waiting: Option<Waiting>,
    news: mpsc::Sender<News>,
    told: Option<mpsc::Receiver<News>>,
    watches: BTreeMap<Scope, Task>,
    world: World,
    pace: Pace,
    /// Whether everything was known once.
    begun: bool,
    /// What was compiled last.
    table: Arc<Contents>,
    /// How many proxies share each quota; of no use while there is none.
    sharers: u32,
    /// What the next dollar of accounts costs.
    prices: Prices,
    /// When that is looked at again.
    spend_due: Option<Instant>,
    publisher: Publisher,
    floor: Arc<AtomicU64>,
    term: Option<Term>,
    /// Whether this process leads, for who works beside it.
    leading: watch::Sender<bool>,
    /// The autoscalers at work.
    _autoscale: Option<Task>,
    /// The version that holds `table`; none while that is to be published.
    stamp: Option<Stamp>,
    backoff: Backoff,
    retry: Option<Instant>,
    fold: Option<Instant>,
    /// Since when something is to be folded.
    fold_since: Option<Instant>,
    fleet_due: Option<Instant>,
    /// When the fleet was last another one.
    fleet_since: Instant,
    acks: Acks,
    acked: Option<mpsc::Receiver<Ack>>,
    statuses: Statuses,
    written: Option<mpsc::Receiver<Written>>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Operator {
    fn new(
        client: Client,
        settings: Settings,
        meter: Meter,
        waiting: Waiting,
        publisher: Publisher,
        published: &Known,
    ) -> Self {
        let (news, told) = mpsc::channel(AT_ONCE);
        let (acks, acked) = Acks::new();
        let (statuses, written) = Statuses::new(client.clone(), &settings.identity, meter.clone());
        let scopes = scopes(&settings);
        let leading = watch::Sender::new(false);
        let autoscale = settings.autoscale.then(|| {
            let config = autoscale::Config {
                client: client.clone(),
                scopes: of_kind(&settings, Kind::ModelAutoscaler),
                lines: acks.lines(),
                leads: leading.subscribe(),
                identity: settings.identity.clone(),
                meter: meter.clone(),
                prometheus: settings.prometheus.clone(),
            };
            Task(tokio::spawn(autoscale::run(config)).abort_handle())
        });
        let mut compiler = Compiler::new(settings.options, LastGood::default());
        compiler.inherit(&published.table, &published.keys, published.backends.clone());
        let mut operator = Self {
            world: World {
                index: Index::new(&scopes, published.guarded.clone()),
                compiler,
                progress: Progress::default(),
                fleet: Fleet::default(),
                keys: Keys::default(),
                spend: Spend::default(),
                too_large: false,
            },
            client,
            settings,
            meter,
            waiting: Some(waiting),
            news,
            told: Some(told),
            watches: BTreeMap::new(),
            pace: Pace::default(),
            begun: false,
            table: Arc::default(),
            sharers: published.proxies,
            prices: published.prices.clone(),
            spend_due: None,
            publisher,
            floor: Arc::default(),
            term: None,
            leading,
            _autoscale: autoscale,
            stamp: None,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            retry: None,
            fold: None,
            fold_since: None,
            fleet_due: None,
            fleet_since: Instant::now(),
            acks,
            acked: Some(acked),
            statuses,
            written: Some(written),
        };
        for scope in scopes {
            let known = match scope.kind {
                Kind::ModelRoute => &published.routes,
                Kind::ProviderCredential => &published.credentials,
                Kind::ModelConsumer => &published.consumers,
                Kind::Namespace => &published.namespaces,
                Kind::ConfigMap
                | Kind::EndpointSlice
                | Kind::ModelAutoscaler
                | Kind::Pod
                | Kind::Secret => &BTreeSet::new(),
            };
            let known = known.iter().filter(|id| scope.holds(id)).cloned().collect();
            operator.watch(scope, known);
        }
        operator
    }

    async fn work(
        &mut self,
        mut terms: watch::Receiver<Option<Term>>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        let (Some(mut told), Some(mut acked), Some(mut written)) =
            (self.told.take(), self.acked.take(), self.written.take())
        else {
            return;
        };
        loop {
            let next = self.next();
            tokio::select! {
                biased;
                () = &mut stop => return,
                changed = terms.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let term = *terms.borrow_and_update();
                    self.take_term(term);
                }
                Some(news) = told.recv() => {
                    let now = Instant::now();
                    self.take_news(news, now);
                    for _ in 1..AT_ONCE {
                        let Ok(news) = told.try_recv() else { break };
                        self.take_news(news, now);
                    }
                }
                Some(ack) = acked.recv() => {
                    self.take_ack(ack);
                }
                Some(written) = written.recv() => {
                    let now = Instant::now();
                    let key = self.statuses.ended(written, &mut self.world.index, now);
                    self.look([key], false);
                }
                () = at(next) => self.tick(Instant::now()).await,
            }
        }
    }

    /// When there is something to do that nobody tells.
    fn next(&self) -> Option<Instant> {
        let compile = self.pace.due().filter(|_| self.world.index.is_complete());
        let led = [self.retry, self.fold, self.fleet_due, self.spend_due, self.statuses.next()];
        let led = led.into_iter().flatten().filter(|_| self.term.is_some());
        compile.into_iter().chain(led).min()
    }

    async fn tick(&mut self, now: Instant) {
        let over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if over(self.pace.due()) && self.world.index.is_complete() {
            self.compile(now);
            self.publish().await;
        } else if over(self.retry) {
            self.publish().await;
        } else if over(self.fold) {
            self.fold().await;
        }
        if over(self.spend_due) {
            self.look_at_spending(now);
        }
        if over(self.fleet_due) {
            self.fleet_due = None;
            self.share(now);
            self.look_at_all(true);
        }
        if self.leads() {
            self.statuses.write(&self.world, now);
        }
    }

    fn leads(&self) -> bool {
        self.term.is_some_and(|term| term.lasts(Instant::now()))
    }

    fn take_term(&mut self, term: Option<Term>) {
        let epoch = |term: Option<Term>| term.map(|term| term.epoch);
        let new = epoch(self.term) != epoch(term);
        self.term = term;
        self.leading.send_replace(term.is_some());
        if !new {
            return;
        }
        self.meter.leader.set(i64::from(term.is_some()));
        self.stamp = None;
        self.retry = None;
        if term.is_some() {
            // What the predecessor wrote last is read before anything is written.
            self.publisher.forget();
            self.world.progress.begin_term();
            self.world.spend.forget();
            self.retry = self.world.index.is_complete().then(Instant::now);
        } else {
            self.statuses.stop();
        }
    }

    fn take_news(&mut self, news: News, now: Instant) {
        let changes = match &news.told {
            Told::Changed(changes) => changes.len(),
            Told::Refused => 0,
        };
        let (kind, was) = (news.scope.kind, self.world.index.is_touched());
        let fleet = kind == Kind::Pod;
        let keys = keys_of(&news);
        let needs = self.world.index.apply(news, now);
        self.need(needs);
        if !self.begun && self.world.index.is_complete() {
            // There may be no object at all, and then that is what must be published.
            self.begun = true;
            self.pace.changed(1, now);
        }
        if self.world.index.is_touched() {
            // What was touched and is held back counts when it is let through.
            self.pace.changed(changes.max(usize::from(!was)), now);
        } else {
            // A status that somebody changed.
            self.look(keys, false);
        }
        if fleet {
            self.follow_fleet(now);
        }
    }

    fn need(&mut self, needs: Needs) {
        for scope in needs.end {
            self.watches.remove(&scope);
        }
        for scope in needs.begin {
            self.watch(scope, Vec::new());
        }
    }

    fn watch(&mut self, scope: Scope, known: Vec<ObjectId>) {
        let meter = self.meter.watch(scope.kind.as_str());
        let task = watch(self.client.clone(), scope.clone(), known, self.news.clone(), meter);
        self.watches.insert(scope, Task(tokio::spawn(task).abort_handle()));
    }
}

/// The objects with a status that news speak of.
fn keys_of(news: &News) -> Vec<Key> {
    let Told::Changed(changes) = &news.told else { return Vec::new() };
    let kind = news.scope.kind;
    let with_status =
        matches!(kind, Kind::ModelConsumer | Kind::ModelRoute | Kind::ProviderCredential);
    let key = |change: &Change| match change {
        Change::Applied(id, _) | Change::Deleted(id) => (kind, id.clone()),
    };
    changes.iter().filter(|_| with_status).map(key).collect()
}

/// A time that may never come.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod large;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod share;
#[cfg(test)]
mod tests;
