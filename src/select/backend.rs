//! The pods behind Services as they are now, and what is known of each.
//!
//! The table says which pods are ready; here each of them has a state of its own, which stays while
//! the pod stays, whatever else changes. A request looks at the pods when it chooses and not when it
//! arrives: a pod that is gone takes no new request, also none of a request that began under an older
//! table, and one that came may take it. What is under way at a pod that is gone goes on to its end.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use tokio::{sync::Notify, time::Instant};

use super::health::Health;
use crate::table::{self, ObjectId, Table};

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Where it is.
    pub address: SocketAddr,
    /// What is known of it, whatever the model.
    pub(super) health: Arc<Health>,
}

/// The pods behind a Service.
#[derive(Debug, Default)]
pub struct Backend {
    pods: ArcSwap<Vec<Arc<Pod>>>,
    /// Requests that wait for the first pod.
    waiting: AtomicU32,
    /// Wakes them.
    came: Notify,
    /// Requests that another target served because there was no pod, or not enough of them.
    passed_over: AtomicU64,
}

impl Backend {
    /// The pods that are ready now.
    #[expect(clippy::rc_buffer, reason = "what an `ArcSwap` can hold has a size")]
    pub fn pods(&self) -> Arc<Vec<Arc<Pod>>> {
        self.pods.load_full()
    }

    /// Takes a place in the line for the first pod, unless so many stand there.
    pub fn stand_in_line(&self, most: u32) -> bool {
        let room = |waiting: u32| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    /// Gives the place back.
    pub fn leave_line(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Until there is a pod.
    pub async fn first_pod(&self) {
        loop {
            // Before the look: a pod that comes after it wakes us.
            let came = self.came.notified();
            if !self.pods.load().is_empty() {
                return;
            }
            came.await;
        }
    }

    /// Requests that wait for the first pod.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests at the pods that are ready.
    pub fn in_flight(&self) -> u64 {
        self.load().0
    }

    /// Requests at the pods that are ready, and how many these are.
    pub(super) fn load(&self) -> (u64, u64) {
        let pods = self.pods.load();
        let all = pods.iter().map(|pod| u64::from(pod.health.in_flight.load(Ordering::Relaxed)));
        all.fold((0, 0), |(requests, pods), own| (requests + own, pods + 1))
    }

    /// Notes that another target serves because there is no pod, or not enough of them.
    pub(super) fn pass_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that another target served because there was no pod, or not enough of them.
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// Takes over which pods are ready. Those that were there before keep their state.
    fn follow(&self, ready: &table::Backend, origin: Instant) {
        let was = self.pods.load();
        let same = was.len() == ready.pods.len()
            && was.iter().all(|pod| ready.pods.contains(&pod.address));
        if same {
            return;
        }
        let pods = ready.pods.iter().map(|address| {
            let known = was.iter().find(|pod| pod.address == *address);
            known.map_or_else(
                || Arc::new(Pod { address: *address, health: Arc::new(Health::new(origin)) }),
                Arc::clone,
            )
        });
        self.pods.store(Arc::new(pods.collect()));
        self.came.notify_waiters();
    }
}

/// Every backend of the table in use.
#[derive(Debug)]
pub struct Backends {
    origin: Instant,
    all: Mutex<FxHashMap<ObjectId, Arc<Backend>>>,
}

impl Backends {
    /// None yet. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, all: Mutex::default() }
    }

    /// Takes over the pods of a table, before the table is taken into use.
    pub fn follow(&self, table: &Table) {
        let mut all = self.lock();
        for (id, ready) in table.backends() {
            all.entry(id.clone()).or_default().follow(ready, self.origin);
        }
        let gone = table::Backend::default();
        all.retain(|id, backend| {
            let stays = table.backends().contains_key(id);
            if !stays {
                // Requests of older tables may hold it.
                backend.follow(&gone, self.origin);
            }
            stays
        });
    }

    /// The backend of a credential that names a Service. Takes a lock: not for the request path.
    pub fn of(&self, credential: &table::Credential) -> Option<Arc<Backend>> {
        let known = credential.endpoint.service.then(|| self.lock().get(&credential.id).cloned());
        known.map(Option::unwrap_or_default)
    }

    /// Every backend, sorted by its credential.
    pub fn all(&self) -> Vec<(ObjectId, Arc<Backend>)> {
        let all = self.lock();
        let mut all: Vec<_> =
            all.iter().map(|(id, backend)| (id.clone(), Arc::clone(backend))).collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<ObjectId, Arc<Backend>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pods: Option<&[&str]>) -> Table {
        let id = ObjectId::new("team", "vllm");
        let backend = |pods: &[&str]| table::Backend {
            pods: pods.iter().map(|pod| pod.parse().unwrap()).collect(),
        };
        let backends = pods.map(|pods| (id, Arc::new(backend(pods))));
        Table::new(1, Vec::new()).with_backends(backends.into_iter().collect())
    }

    #[test]
    fn a_pod_keeps_its_state_while_it_stays_and_begins_anew_when_it_comes_back() {
        let backends = Backends::new(Instant::now());
        backends.follow(&table(Some(&["10.0.0.1:80", "10.0.0.2:80"])));
        let (_, backend) = backends.all().remove(0);
        let first = backend.pods();
        backends.follow(&table(Some(&["10.0.0.2:80", "10.0.0.3:80"])));
        let second = backend.pods();
        assert!(Arc::ptr_eq(&second[0], &first[1]));
        assert_eq!(second[1].address.to_string(), "10.0.0.3:80");
        backends.follow(&table(Some(&["10.0.0.1:80", "10.0.0.2:80"])));
        let third = backend.pods();
        assert_eq!(third[0].address, first[0].address);
        assert!(!Arc::ptr_eq(&third[0], &first[0]), "it may be another pod");
        assert!(Arc::ptr_eq(&third[1], &first[1]));
    }

    #[test]
    fn a_backend_that_is_gone_has_no_pod_for_those_who_still_hold_it() {
        let backends = Backends::new(Instant::now());
        backends.follow(&table(Some(&["10.0.0.1:80"])));
        let (_, backend) = backends.all().remove(0);
        backends.follow(&table(None));
        assert!(backend.pods().is_empty() && backends.all().is_empty());
    }
}
