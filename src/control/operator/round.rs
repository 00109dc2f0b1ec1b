//! One round: compile what was touched, publish it, and look at the statuses that this reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{FLEET_PAUSE, Operator, SPEND_PACE, SPEND_SOON};
use crate::{
    compile::Reached,
    control::{
        acks::{Ack, Wanted},
        kind::Kind,
        named::{scopes, secrets},
        progress::{Key, Meaning},
        publish::Unpublished,
        status::World,
    },
    table::{Contents, Credential, ObjectId, Prices, Stamp, base::Refused},
};

/// How long there must be nothing to publish before the overlay is folded.
const FOLD_PAUSE: Duration = Duration::from_secs(5);

/// The same before a key that was taken away is taken out of the other base, too: longer than a kubelet
/// takes to bring a mounted copy of the Secrets up to date.
const RINSE_PAUSE: Duration = Duration::from_mins(2);

/// How long folding may be put off by what is published meanwhile.
const FOLD_PATIENCE: Duration = Duration::from_mins(5);

impl Operator {
    /// Brings the table up to what is known.
    pub(super) fn compile(&mut self, now: Instant) {
        let changed = self.pace.began().unwrap_or(now);
        self.pace.done();
        let touched = self.world.index.take_touched();
        let reached = {
            let timer = self.meter.compile.start_timer();
            let reached = self.world.compiler.update(&self.world.index.snapshot, &touched);
            let compiler = &self.world.compiler;
            let contents = Contents::of_routes(compiler.served())
                .and_then(|contents| contents.with_consumers(compiler.consumers()))
                .map(|contents| contents.with_backends(compiler.backends().clone()));
            match contents {
                Ok(contents) => {
                    let sharers = if contents.is_shared() { self.sharers() } else { 0 };
                    let prices = self.prices_of(&contents);
                    self.table = Arc::new(contents.with_proxies(sharers).with_prices(prices));
                }
                // Not for what `compile` makes; if it were, the last table stays.
                Err(error) => tracing::error!(%error, "the table cannot be put together"),
            }
            timer.observe_duration();
            reached
        };
        self.meter.routes.set(i64::try_from(self.table.len()).unwrap_or(i64::MAX));
        for id in &reached.credentials {
            let specs = self.world.compiler.versions(id, &self.world.index.snapshot);
            let wants = specs.iter().flat_map(|spec| scopes(id, spec)).collect();
            let needs = self.world.index.use_only(&(Kind::ProviderCredential, id.clone()), &wants);
            self.need(needs);
        }
        for id in &reached.consumers {
            let specs = self.world.compiler.consumer_versions(id, &self.world.index.snapshot);
            let wants = specs.iter().flat_map(|spec| secrets(id, spec)).collect();
            let needs = self.world.index.use_only(&(Kind::ModelConsumer, id.clone()), &wants);
            self.need(needs);
        }
        self.note_progress(&reached, changed);
        self.stamp = None;
        if !self.leads() {
            self.waiting = None;
        }
    }

    /// What is known of what the next dollar of a table's accounts costs.
    fn prices_of(&self, contents: &Contents) -> Prices {
        let known = |it: &Arc<Credential>| Some((it.id.clone(), *self.prices.get(&it.id)?));
        contents.tiered().filter_map(known).collect()
    }

    /// Brings the books of accounts with spend tiers up to date; a new price is published.
    pub(super) fn look_at_spending(&mut self, now: Instant) {
        self.spend_due = None;
        let World { index, spend, .. } = &mut self.world;
        let alive = index.proxies().values().map(|proxy| proxy.instance.as_str()).collect();
        let accounts = self.table.tiered().map(|it| {
            let kept = index.credential(&it.id).and_then(|about| about.status.spend.as_ref());
            (&it.id, &it.tiers, kept)
        });
        let (prices, changed) = spend.look(accounts, &alive, Timestamp::now());
        if !prices.is_empty() {
            self.spend_due = Some(now + SPEND_PACE);
        }
        if self.prices != prices {
            self.prices = prices;
            self.pace.changed(1, now);
        }
        let key = |id| (Kind::ProviderCredential, id);
        self.look(changed.into_iter().map(key), false);
    }

    /// How many proxies share what is shared. While none serves, those that were there last.
    fn sharers(&mut self) -> u32 {
        if let Ok(ready @ 1..) = u32::try_from(self.world.fleet.len()) {
            self.sharers = ready;
        }
        self.sharers
    }

    /// The proxies have been the same for a while: what is shared is shared among them.
    pub(super) fn share(&mut self, now: Instant) {
        if self.table.is_shared() && self.table.proxies() != self.sharers() {
            self.pace.changed(1, now);
        }
    }

    fn note_progress(&mut self, reached: &Reached, changed: Instant) {
        let of = |kind| move |id: &ObjectId| (kind, id.clone());
        let credentials = reached.credentials.iter().map(of(Kind::ProviderCredential));
        let consumers = reached.consumers.iter().map(of(Kind::ModelConsumer));
        let routes = reached.routes.iter().map(of(Kind::ModelRoute));
        let mut keys: BTreeSet<Key> = credentials.chain(consumers).chain(routes).collect();
        for key in &keys {
            match self.meaning(key) {
                Some((generation, meaning)) => {
                    self.world.progress.compiled(key.clone(), generation, meaning, changed);
                }
                None => self.world.progress.gone(key),
            }
        }
        keys.extend(reached.used.iter().map(|id| (Kind::ProviderCredential, id.clone())));
        self.look(keys, false);
    }

    /// The generation of an object, and what it means in the table; none when it is gone.
    fn meaning(&self, (kind, id): &Key) -> Option<(i64, Meaning)> {
        let World { index, compiler, .. } = &self.world;
        match kind {
            Kind::ModelRoute => {
                let meaning = Meaning::Route(compiler.route(id).map(Arc::clone));
                Some((index.route(id)?.generation, meaning))
            }
            Kind::ProviderCredential => {
                let meaning = Meaning::Credential(compiler.credential(id).map(Arc::clone));
                Some((index.credential(id)?.generation, meaning))
            }
            Kind::ModelConsumer => {
                let meaning = compiler.consumers().all().iter().find(|consumer| consumer.id == *id);
                let meaning = Meaning::Consumer(meaning.map(Arc::clone));
                Some((index.consumer(id)?.generation, meaning))
            }
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::ModelAutoscaler
            | Kind::Namespace
            | Kind::Pod
            | Kind::Secret => None,
        }
    }

    /// Publishes what was compiled, if this process leads.
    pub(super) async fn publish(&mut self) {
        self.retry = None;
        let Some(term) = self.term.filter(|term| term.lasts(Instant::now())) else { return };
        let result = self.publisher.publish(&self.table, term).await;
        self.published(result);
    }

    pub(super) async fn fold(&mut self) {
        self.fold = None;
        self.fold_since = None;
        let Some(term) = self.term.filter(|term| term.lasts(Instant::now())) else { return };
        let result = self.publisher.fold(&self.table, term).await;
        self.published(result);
    }

    fn published(&mut self, result: Result<Stamp, Unpublished>) {
        let now = Instant::now();
        self.note_floor();
        match result {
            Ok(stamp) => {
                self.backoff.succeed();
                self.stamp = Some(stamp);
                self.waiting = None;
                self.set_too_large(false);
                let published = self.publisher.published();
                let pause = published.and_then(|published| {
                    let rinse = published.wants_rinsing().then_some(RINSE_PAUSE);
                    published.wants_folding().then_some(FOLD_PAUSE).or(rinse)
                });
                self.fold_since = pause.map(|_| self.fold_since.unwrap_or(now));
                let latest = self.fold_since.map(|since| since + FOLD_PATIENCE);
                self.fold = pause.map(|pause| now + pause).into_iter().chain(latest).min();
                if let Some(published) = published {
                    let token = published.head.token.clone();
                    self.acks.want(Wanted { stamp, token });
                }
                let new = self.world.progress.published(stamp);
                self.look_at_arrived();
                self.look(new, false);
            }
            Err(error) => {
                let large = matches!(
                    &error,
                    Unpublished::Refused(Refused::TooLarge(_) | Refused::TooLong(_))
                );
                self.set_too_large(large);
                self.retry = Some(now + self.backoff.fail(fastrand::f64()));
                tracing::error!(%error, "the table is not published; the last one serves");
                let waiting: Vec<_> = self.world.progress.unpublished().iter().cloned().collect();
                self.look(waiting, false);
            }
        }
    }

    fn set_too_large(&mut self, too_large: bool) {
        self.world.too_large = too_large;
        self.meter.too_large.set(i64::from(too_large));
    }

    pub(super) fn note_floor(&self) {
        if let Some(published) = self.publisher.published() {
            self.floor.fetch_max(published.head.stamp.epoch, Ordering::Relaxed);
        }
    }

    /// The proxies may have changed.
    pub(super) fn follow_fleet(&mut self, now: Instant) {
        let serving = self.world.index.proxies().values().filter(|proxy| proxy.serves);
        let port = self.settings.admin_port;
        let addresses: BTreeMap<_, _> = serving
            .filter_map(|proxy| {
                Some((proxy.instance.clone(), SocketAddr::new(proxy.address?, port)))
            })
            .collect();
        self.acks.follow(&addresses);
        self.world.keys.serves(addresses.keys());
        if self.world.fleet.serves(addresses.into_keys().collect()) {
            self.fleet_due = Some(now + FLEET_PAUSE);
            self.fleet_since = now;
            self.look_at_arrived();
        }
    }

    /// A proxy has said something else than before.
    pub(super) fn take_ack(&mut self, ack: Ack) {
        let Ack { instance, told } = ack;
        self.world.fleet.told(&instance, told.as_ref().map(|told| told.stamp));
        if let Some(told) = told {
            let unheard = !self.world.keys.have_all_told();
            if !told.spent.is_empty() {
                self.world.spend.told(&instance, told.spent);
                self.spend_due.get_or_insert_with(|| Instant::now() + SPEND_SOON);
            }
            let changed = self.world.keys.told(&instance, told.refused);
            let key = |id| (Kind::ProviderCredential, id);
            self.look(changed.into_iter().map(key), false);
            if unheard && self.world.keys.have_all_told() {
                // What was said of keys by proxies that are gone may be taken back now.
                self.look_at_all(true);
            }
        }
        self.look_at_arrived();
    }

    /// Some objects may have arrived at every proxy.
    pub(super) fn look_at_arrived(&mut self) {
        let ready = self.world.fleet.len();
        let current = self.stamp.map_or(0, |stamp| self.world.fleet.running(stamp));
        self.meter.count_proxies(current, ready - current);
        if self.stamp.is_none() {
            return;
        }
        let now = Instant::now();
        let arrived = self.world.progress.arrived(&self.world.fleet);
        // What waited for a proxy to come did not propagate all the while.
        for (_, changed) in arrived.iter().filter(|(_, changed)| *changed >= self.fleet_since) {
            self.meter.propagation.observe((now - *changed).as_secs_f64());
        }
        self.look(arrived.into_iter().map(|(key, _)| key), false);
    }

    pub(super) fn look_at_all(&mut self, calm: bool) {
        let keys: Vec<_> = self.world.index.keys().collect();
        self.look(keys, calm);
    }

    pub(super) fn look(&mut self, keys: impl IntoIterator<Item = Key>, calm: bool) {
        if !self.leads() {
            return;
        }
        let now = Instant::now();
        for key in keys {
            self.statuses.look(&key, &self.world, calm, now);
        }
    }
}
