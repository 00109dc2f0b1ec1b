//! Which pod of a backend: the one to which a request belongs, or the less busy of two that are well.
//!
//! Pods run the same model on the same kind of machine, so what tells them apart is how much each has
//! to do and whether it is well. Each has a breaker of its own; the target as a whole has none, since
//! one ill pod must not take the others away.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    affinity,
    ask::Ask,
    backend::{Backend, Pod},
    belonging::Belonging,
    breaker::Admit,
    tried::{PickedPod, Tried},
    verdict::LeftOut,
};
use crate::table::CircuitBreaker;

/// The breaker of a target whose pods have their own: it never opens.
pub(super) const NEVER: CircuitBreaker = CircuitBreaker {
    consecutive_failures: u32::MAX,
    failure_percent: 100,
    min_requests: u32::MAX,
    cooldown: std::time::Duration::from_secs(5),
    max_cooldown: std::time::Duration::from_secs(5),
    ramp_up: std::time::Duration::ZERO,
};

/// How a pod stands with a request.
enum Standing {
    /// It may be asked, this busy for its share; less is better.
    Well(f32),
    /// It is failing and may be seen again.
    Due,
    /// It is failing, until then.
    Failing(Instant),
    /// It accepts and does not answer.
    Silent,
}

fn standing(pod: &Pod, ask: &Ask, policy: &CircuitBreaker, now: Instant) -> Standing {
    let health = &pod.health;
    let millis = health.millis(now);
    let share = match health.breaker().phase().admits(millis, policy) {
        Admit::Share(share) => share,
        Admit::Probe => return Standing::Due,
        Admit::Until(until) => return Standing::Failing(health.instant(until)),
    };
    let reading = health.read(ask.lane, ask.input_tokens, millis);
    if reading.is_silent() {
        return Standing::Silent;
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let busy = (reading.in_flight as f32 + 1.0) * (1.0 + reading.overdue) / share;
    Standing::Well(busy)
}

/// Whether a request may go to some pod of a backend.
pub(super) fn admits(
    backend: &Backend,
    tried: &Tried,
    ask: &Ask,
    policy: &CircuitBreaker,
    now: Instant,
) -> Result<(), LeftOut> {
    let pods = backend.pods();
    if pods.is_empty() {
        return Err(LeftOut::NoPod);
    }
    let mut why = LeftOut::Tried;
    for pod in pods.iter().filter(|pod| !tried.has_pod(pod.address)) {
        match (standing(pod, ask, policy, now), why) {
            (Standing::Well(_) | Standing::Due, _) => return Ok(()),
            (Standing::Silent, _) => why = LeftOut::Silent,
            (Standing::Failing(_), LeftOut::Silent) => {}
            (Standing::Failing(until), LeftOut::CircuitOpen { until: earlier }) => {
                why = LeftOut::CircuitOpen { until: until.min(earlier) };
            }
            (Standing::Failing(until), _) => why = LeftOut::CircuitOpen { until },
        }
    }
    Err(why)
}

/// Chooses a pod that this request has not tried; `None` when there is none. A pod that is failing and
/// is due to be seen again gets a request that has not failed elsewhere; when no pod is well, the one
/// that is free the soonest serves.
pub(super) fn choose(
    backend: &Backend,
    tried: &Tried,
    ask: &Ask,
    policy: &CircuitBreaker,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<PickedPod> {
    let pods = backend.pods();
    let mut well: SmallVec<[(f32, &Arc<Pod>); 8]> = SmallVec::new();
    let mut ill: Option<(Instant, &Arc<Pod>)> = None;
    for pod in pods.iter().filter(|pod| !tried.has_pod(pod.address)) {
        let until = match standing(pod, ask, policy, now) {
            Standing::Well(busy) => {
                well.push((busy, pod));
                continue;
            }
            Standing::Due => {
                let health = &pod.health;
                if tried.is_empty() && health.breaker().claim(health.millis(now), policy) {
                    return Some(PickedPod { pod: Arc::clone(pod), probe: true });
                }
                now
            }
            Standing::Failing(until) => until,
            Standing::Silent => now,
        };
        if ill.is_none_or(|(earlier, _)| until < earlier) {
            ill = Some((until, pod));
        }
    }
    let belongs = ask.belonging.and_then(|belonging| home(belonging, &well));
    let pod =
        belongs.or_else(|| less_busy(&mut well, random)).or_else(|| ill.map(|(_, pod)| pod))?;
    Some(PickedPod { pod: Arc::clone(pod), probe: false })
}

/// The pod to which a request belongs, unless it has more to do than its share.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn home<'a>(belonging: Belonging, well: &[(f32, &'a Arc<Pod>)]) -> Option<&'a Arc<Pod>> {
    let fair = well.iter().map(|(busy, _)| busy).sum::<f32>() / well.len() as f32;
    well.iter()
        .filter(|(busy, _)| !belonging.is_too_much(*busy, fair))
        .map(|(_, pod)| (belonging.rank(&affinity::pod(pod.address), 1.0), *pod))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, pod)| pod)
}

/// The less busy of two that are drawn: of all of them everybody would run to the same one.
fn less_busy<'a>(
    well: &mut SmallVec<[(f32, &'a Arc<Pod>); 8]>,
    random: &mut dyn FnMut() -> f64,
) -> Option<&'a Arc<Pod>> {
    let mut draw = || {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of pods"
        )]
        let at = (random() * well.len() as f64) as usize;
        (at < well.len()).then(|| well.swap_remove(at))
    };
    let (busy, pod) = draw()?;
    Some(match draw() {
        Some((less, other)) if less < busy => other,
        Some(_) | None => pod,
    })
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::{
        super::{Flight, Lane, backend::Backends, needs::Needs},
        *,
    };
    use crate::table::{self, ObjectId, Table};

    const POLICY: CircuitBreaker = CircuitBreaker {
        consecutive_failures: 3,
        failure_percent: 100,
        min_requests: 100,
        cooldown: Duration::from_secs(5),
        max_cooldown: Duration::from_mins(5),
        ramp_up: Duration::from_secs(30),
    };

    const ASK: Ask = Ask {
        lane: Lane::Streamed,
        input_tokens: 100,
        output_tokens: 100,
        needs: Needs::NONE,
        preference: None,
        belonging: None,
    };

    fn backend(pods: usize, now: Instant) -> Arc<Backend> {
        let pod = |at: usize| SocketAddr::from(([10, 0, 0, u8::try_from(at).unwrap()], 80));
        let ready = table::Backend { pods: (0..pods).map(pod).collect() };
        let backends = [(ObjectId::new("team", "vllm"), Arc::new(ready))].into();
        let known = Backends::new(now);
        known.follow(&Table::new(1, Vec::new()).with_backends(backends));
        known.all().remove(0).1
    }

    /// A choice, and the request on its way to the pod alone.
    fn send(backend: &Backend, tried: &Tried, now: Instant) -> (PickedPod, Flight) {
        let picked = choose(backend, tried, &ASK, &POLICY, now, &mut fastrand::f64).unwrap();
        let health = Arc::clone(&picked.pod.health);
        let flight = Flight::begin(health, POLICY, ASK.lane, 100, picked.probe, now);
        (picked, flight)
    }

    fn fail(backend: &Backend, at: usize, now: Instant) {
        for _ in 0..POLICY.consecutive_failures {
            let health = Arc::clone(&backend.pods()[at].health);
            Flight::begin(health, POLICY, ASK.lane, 100, false, now).failed(now, 0.0);
        }
    }

    #[test]
    fn concurrent_requests_are_spread_evenly() {
        let now = Instant::now();
        let backend = backend(4, now);
        let flights: Vec<_> = (0..40).map(|_| send(&backend, &Tried::default(), now)).collect();
        let pods = backend.pods();
        let mut counts = pods.iter().map(|pod| {
            flights.iter().filter(|(picked, _)| picked.address() == pod.address).count()
        });
        assert!(counts.all(|count| (7..=13).contains(&count)));
    }

    #[test]
    fn a_request_asks_no_pod_twice() {
        let now = Instant::now();
        let (backend, mut tried) = (backend(3, now), Tried::default());
        for left in (0..3).rev() {
            assert!(admits(&backend, &tried, &ASK, &POLICY, now).is_ok());
            let (picked, _flight) = send(&backend, &tried, now);
            tried.pod(&picked);
            let rest = backend.pods().iter().filter(|pod| !tried.has_pod(pod.address)).count();
            assert_eq!(rest, left);
        }
        assert_eq!(admits(&backend, &tried, &ASK, &POLICY, now), Err(LeftOut::Tried));
    }

    #[test]
    fn a_failing_pod_is_left_alone_until_one_request_may_see_it_again() {
        let now = Instant::now();
        let backend = backend(2, now);
        let ill = backend.pods()[0].address;
        fail(&backend, 0, now);
        let alone = (0..20).all(|_| send(&backend, &Tried::default(), now).0.address() != ill);
        assert!(alone);
        let later = now + Duration::from_secs(6);
        let (probe, mut flight) = send(&backend, &Tried::default(), later);
        assert!(probe.probe && probe.address() == ill);
        assert!(!send(&backend, &Tried::default(), later).0.probe, "one at a time");
        flight.answered(later);
        assert!(!send(&backend, &Tried::default(), later).0.probe);
    }

    #[test]
    fn when_every_pod_fails_the_target_is_left_out_and_the_least_bad_pod_still_serves() {
        let now = Instant::now();
        let backend = backend(2, now);
        fail(&backend, 0, now);
        fail(&backend, 1, now + Duration::from_secs(1));
        let later = now + Duration::from_secs(2);
        let why = admits(&backend, &Tried::default(), &ASK, &POLICY, later);
        assert_eq!(why, Err(LeftOut::CircuitOpen { until: now + Duration::from_secs(5) }));
        let (picked, _flight) = send(&backend, &Tried::default(), later);
        assert_eq!(picked.address(), backend.pods()[0].address);
    }

    #[test]
    fn without_a_pod_there_is_no_choice() {
        let now = Instant::now();
        let backend = backend(0, now);
        let tried = Tried::default();
        assert_eq!(admits(&backend, &tried, &ASK, &POLICY, now), Err(LeftOut::NoPod));
        assert!(choose(&backend, &tried, &ASK, &POLICY, now, &mut fastrand::f64).is_none());
    }
}
