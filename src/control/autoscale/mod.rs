//! Autoscalers at work: twice a second the proxies are asked what they have to do (or what Prometheus said
//! last is taken), each autoscaler decides, and the one that leads writes.
//!
//! It stands beside the operator's loop and shares with it only where the proxies are and who leads. An
//! autoscaler can make no table wrong, and a cluster without the definition of `ModelAutoscaler` has
//! everything else. What is decided is `autoscale`'s business.

mod demand;
mod held;
mod prometheus;
mod target;

use std::{collections::BTreeMap, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use self::{
    demand::{Asker, Round, Selection, reading},
    held::Held,
    prometheus::Prometheus,
};
use super::{
    acks::Lines,
    events::Events,
    kind::{Kind, Scope},
    object::Object,
    watch::{Change, News, Told, watch},
};
use crate::{observe::operator::Operator as Meter, table::ObjectId};

/// How often the proxies are asked: who waits for a first replica is seen within a second, the answer
/// and the write included.
const EVERY: Duration = Duration::from_millis(500);

/// What autoscaling needs.
pub(super) struct Config {
    pub(super) client: Client,
    /// Where the autoscalers are.
    pub(super) scopes: Vec<Scope>,
    pub(super) lines: Lines,
    /// Whether this process leads.
    pub(super) leads: watch::Receiver<bool>,
    /// Who writes events.
    pub(super) identity: String,
    pub(super) meter: Meter,
    /// The base URL of a Prometheus server.
    pub(super) prometheus: Option<String>,
}

/// Runs for as long as the process lives.
pub(super) async fn run(config: Config) {
    let Config { client, scopes, lines, leads, identity, meter, prometheus } = config;
    let mut prometheus = Prometheus::new(prometheus.as_deref());
    let (news, mut told) = mpsc::channel(64);
    for scope in scopes {
        let watched = meter.watch(Kind::ModelAutoscaler.as_str());
        tokio::spawn(watch(client.clone(), scope, Vec::new(), news.clone(), watched));
    }
    let events = Events::new(client.clone(), &identity, meter.clone());
    let mut asker = Asker::new(lines);
    let mut all: BTreeMap<ObjectId, Held> = BTreeMap::new();
    let mut before: Option<Round> = None;
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(News { told: Told::Changed(changes), .. }) = told.recv() => {
                for change in changes {
                    apply(&mut all, change, &meter);
                }
            }
            _ = tick.tick() => {
                if all.is_empty() || !*leads.borrow() {
                    before = None;
                    prometheus.follow(std::iter::empty());
                    continue;
                }
                prometheus.follow(all.values().filter_map(|held| held.selection.query()));
                let round = asker.ask().await;
                for (id, held) in &mut all {
                    let read = match &held.selection {
                        Selection::Query(query) => prometheus.reading(query),
                        selection @ (Selection::All | Selection::Of(_)) => {
                            (reading(&round, before.as_ref(), selection), None)
                        }
                    };
                    held.step(&client, id, read, &events, &meter).await;
                }
                before = Some(round);
            }
        }
    }
}

fn apply(all: &mut BTreeMap<ObjectId, Held>, change: Change, meter: &Meter) {
    match change {
        Change::Applied(id, Object::Autoscaler(declared)) => {
            if let Some(held) = all.get_mut(&id) {
                held.update(&id, *declared);
            } else {
                let held = Held::new(&id, *declared);
                all.insert(id, held);
            }
        }
        Change::Applied(id, _) | Change::Deleted(id) => {
            all.remove(&id);
            meter.forget_autoscaler(&id.namespace, &id.name);
        }
    }
}
