//! Who leads: one `Lease`, held by writing it again and again.
//!
//! Ours, because the crates for it write without a `resourceVersion` or trust another machine's
//! clock. The rules:
//!
//! * Every write replaces the version that was read; who loses it does not lead.
//! * A lease is expired when *we* have seen no change of it for its duration, on our own monotonic
//!   clock. Nobody's wall clock counts.
//! * A leader stops to write when its deadline passes, counted from the *start* of the last renewal
//!   that succeeded.
//! * `leaseTransitions` grows with every taking over, above every epoch that was published. It is the
//!   epoch of what this leader publishes.
//!
//! None of this is needed for a right table: two leaders would conflict on the head, and the one with
//! the lower epoch could not publish. It keeps two operators from working against each other.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use tokio::{sync::watch, time::Instant};

use super::watch::within;

/// The name of the lease.
pub const NAME: &str = "trunkline-operator";

/// How long a lease holds without being renewed.
pub const DURATION: Duration = Duration::from_secs(15);

/// How long a leader writes after the start of its last renewal.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often a leader renews and a candidate looks.
const RETRY: Duration = Duration::from_secs(2);

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// That this process leads, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Higher than that of every leader before.
    pub epoch: u64,
    /// When it ends unless it is renewed.
    pub until: Instant,
}

impl Term {
    /// Whether it has not ended.
    pub fn lasts(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// What a candidate remembers of the lease.
#[derive(Clone, Debug, Default)]
struct Observed {
    /// Holder, renewal and count, as far as they tell one renewal from the next.
    mark: Option<(String, Option<MicroTime>, i32)>,
    /// When that was first seen.
    since: Option<Instant>,
}

/// What to do about the lease as it was read.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Somebody else holds it.
    Wait,
    /// Write this specification; it gives this epoch.
    Write(Box<LeaseSpec>, u64),
}

/// Decides; pure. `ours` is the epoch that we lead with, if we do; `floor` is the highest epoch that
/// was ever published.
fn decide(
    spec: Option<&LeaseSpec>,
    observed: &mut Observed,
    identity: &str,
    ours: Option<u64>,
    floor: u64,
    (now, wall): (Instant, Timestamp),
) -> Step {
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let renewed = spec.and_then(|spec| spec.renew_time.clone());
    let count = spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    let epoch = u64::try_from(count).unwrap_or(0);
    let mark = Some((holder.clone(), renewed, count));
    if observed.mark != mark {
        *observed = Observed { mark, since: Some(now) };
    }
    let held =
        spec.and_then(|spec| spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
    let held = held.map_or(DURATION, Duration::from_secs);
    let expired = observed.since.is_some_and(|since| now >= since + held);
    let mine = holder == identity;
    let next = if mine && ours == Some(epoch) && floor <= epoch {
        epoch
    } else if holder.is_empty() || mine || expired {
        // Under our own name and not by us: a process of this pod that is no more.
        epoch.max(floor) + 1
    } else {
        return Step::Wait;
    };
    let acquired = spec.and_then(|spec| spec.acquire_time.clone()).filter(|_| next == epoch);
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        lease_transitions: i32::try_from(next).ok(),
        acquire_time: acquired.or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        ..LeaseSpec::default()
    };
    Step::Write(Box::new(spec), next)
}

/// One process's part in who leads.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    observed: Observed,
    term: watch::Sender<Option<Term>>,
}

impl Candidate {
    /// A candidate under a name that no other process that lives has, and where it tells its terms.
    pub fn new(api: Api<Lease>, identity: String) -> (Self, watch::Receiver<Option<Term>>) {
        let (term, terms) = watch::channel(None);
        (Self { api, identity, observed: Observed::default(), term }, terms)
    }

    /// Holds the lease, or waits for it, until `stop`; then gives it back. `floor` gives the highest
    /// epoch that was published.
    pub async fn run(mut self, floor: impl Fn() -> u64, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let begin = Instant::now();
            let won = self.attempt(floor(), begin).await;
            let now = Instant::now();
            match won {
                Ok(Some(epoch)) => {
                    let term = Term { epoch, until: begin + DEADLINE };
                    let before = self.term.send_replace(Some(term));
                    if before.is_none_or(|before| before.epoch != epoch) {
                        tracing::info!(epoch, identity = self.identity, "this process leads");
                    }
                }
                Ok(None) => self.lose("another process leads"),
                Err(error) => {
                    tracing::warn!(error, "the lease cannot be renewed");
                    let over = self.term.borrow().is_some_and(|term| !term.lasts(now));
                    if over {
                        self.lose("the lease could not be renewed in time");
                    }
                }
            }
            // As seldom as it may be, and never later than the deadline would let it be.
            tokio::select! {
                () = tokio::time::sleep_until(begin + RETRY) => {}
                () = &mut stop => break,
            }
        }
        self.release().await;
    }

    fn lose(&self, why: &str) {
        if self.term.send_replace(None).is_some() {
            tracing::warn!(why, "this process does not lead any more");
        }
    }

    /// Reads the lease and writes it if it is ours to write: the epoch if it is ours now.
    async fn attempt(&mut self, floor: u64, now: Instant) -> Result<Option<u64>, String> {
        let read =
            within(ANSWER, self.api.get_opt(NAME)).await.map_err(|error| error.to_string())?;
        let spec = read.as_ref().and_then(|lease| lease.spec.as_ref());
        let ours = self.term.borrow().map(|term| term.epoch);
        let clock = (now, Timestamp::now());
        let step = decide(spec, &mut self.observed, &self.identity, ours, floor, clock);
        let Step::Write(spec, epoch) = step else { return Ok(None) };
        let written = self.write(read, *spec).await;
        match written {
            Ok(()) => Ok(Some(epoch)),
            // Somebody else was faster.
            Err(Failed::Conflict) if ours.is_none() => Ok(None),
            Err(Failed::Conflict) => Err("it was written by somebody else".to_owned()),
            Err(Failed::Other(error)) => Err(error),
        }
    }

    async fn write(&self, read: Option<Lease>, spec: LeaseSpec) -> Result<(), Failed> {
        let post = PostParams::default();
        let written = if let Some(mut lease) = read {
            // The version that was read goes with it.
            lease.spec = Some(spec);
            lease.metadata.managed_fields = None;
            within(ANSWER, self.api.replace(NAME, &post, &lease)).await
        } else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(spec) };
            within(ANSWER, self.api.create(&post, &lease)).await
        };
        written.map(drop).map_err(|error| {
            if error.is_conflict() { Failed::Conflict } else { Failed::Other(error.to_string()) }
        })
    }

    /// Gives the lease back, if it is ours: the next leader need not wait.
    async fn release(&self) {
        let Some(term) = self.term.send_replace(None) else { return };
        let Ok(Some(lease)) = within(ANSWER, self.api.get_opt(NAME)).await else { return };
        let spec = lease.spec.clone().unwrap_or_default();
        let ours = spec.holder_identity.as_deref() == Some(&*self.identity)
            && spec.lease_transitions.and_then(|it| u64::try_from(it).ok()) == Some(term.epoch);
        if ours {
            let free = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..spec };
            match self.write(Some(lease), free).await {
                Ok(()) => tracing::info!("the lease is given back"),
                Err(error) => tracing::warn!(?error, "the lease could not be given back"),
            }
        }
    }
}

#[derive(Debug)]
enum Failed {
    Conflict,
    Other(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;
    use crate::control::fake::{Fake, Fault};

    const PATH: &str =
        "/apis/coordination.k8s.io/v1/namespaces/trunkline/leases/trunkline-operator";

    struct Process {
        terms: watch::Receiver<Option<Term>>,
        stop: oneshot::Sender<()>,
    }

    fn start(fake: &Fake, identity: &str, floor: u64) -> Process {
        let api = Api::namespaced(fake.client(), "trunkline");
        let (candidate, terms) = Candidate::new(api, identity.to_owned());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(candidate.run(move || floor, async {
            let _ended = stopped.await;
        }));
        Process { terms, stop }
    }

    impl Process {
        async fn epoch(&mut self, wanted: Option<u64>) {
            let changed = self.terms.wait_for(|term| term.map(|term| term.epoch) == wanted);
            let changed = tokio::time::timeout(Duration::from_mins(1), changed).await;
            assert!(changed.is_ok(), "never {wanted:?}");
        }

        fn leads(&self) -> bool {
            self.terms.borrow().is_some_and(|term| term.lasts(Instant::now()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_a_release_hands_over_at_once() {
        let fake = Fake::default();
        let (mut a, mut b) = (start(&fake, "a", 0), start(&fake, "b", 0));
        a.epoch(Some(1)).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(a.leads() && !b.leads());
        let begin = Instant::now();
        a.stop.send(()).unwrap();
        b.epoch(Some(2)).await;
        assert!(begin.elapsed() <= Duration::from_secs(3), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_dies_is_followed_within_15_seconds_and_never_earlier_than_its_deadline()
    {
        let fake = Fake::default();
        let api = Api::namespaced(fake.client(), "trunkline");
        let (candidate, mut terms) = Candidate::new(api, "a".to_owned());
        let dying = tokio::spawn(candidate.run(|| 0, std::future::pending()));
        terms.wait_for(Option::is_some).await.unwrap();
        let mut b = start(&fake, "b", 0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let last = terms.borrow().unwrap();
        dying.abort();
        let begin = Instant::now();
        b.epoch(Some(2)).await;
        assert!(Instant::now() > last.until);
        assert!(begin.elapsed() <= Duration::from_secs(17), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_read_the_same_expired_lease_do_not_both_get_it() {
        let fake = Fake::default();
        let old =
            json!({"holderIdentity": "old", "leaseTransitions": 4, "leaseDurationSeconds": 15});
        fake.put(PATH, json!({"metadata": {}, "spec": old}));
        let (mut a, mut b) = (start(&fake, "a", 0), start(&fake, "b", 0));
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(!(a.leads() && b.leads()));
        }
        let winner = if a.leads() { &mut a } else { &mut b };
        winner.epoch(Some(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
        let fake = Fake::default();
        let mut a = start(&fake, "a", 0);
        a.epoch(Some(1)).await;
        fake.fault(|seen| (seen.method == http::Method::PUT).then_some(Fault::Status(500)));
        tokio::time::sleep(DEADLINE + Duration::from_millis(100)).await;
        assert!(!a.leads());
        a.epoch(None).await;
        fake.heal();
        a.epoch(Some(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_epoch_is_above_everything_that_was_published() {
        let fake = Fake::default();
        let mut a = start(&fake, "a", 41);
        a.epoch(Some(42)).await;
        let lease = fake.get(PATH).unwrap();
        assert_eq!(lease["spec"]["leaseTransitions"], 42);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_starts_anew_under_its_name_does_not_wait_for_itself() {
        let fake = Fake::default();
        let held =
            json!({"holderIdentity": "a", "leaseTransitions": 4, "leaseDurationSeconds": 15});
        fake.put(PATH, json!({"metadata": {}, "spec": held}));
        let begin = Instant::now();
        start(&fake, "a", 0).epoch(Some(5)).await;
        assert!(begin.elapsed() < Duration::from_secs(1));
    }

    /// Trap G: with `kube`'s own retries a call may take minutes, and the leader would still lead.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_does_not_keep_a_leader_leading() {
        let fake = Fake::default();
        let mut a = start(&fake, "a", 0);
        a.epoch(Some(1)).await;
        fake.fault(|_| Some(Fault::Hang));
        a.epoch(None).await;
        assert!(!a.leads());
    }
}
