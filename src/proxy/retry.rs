//! What to do after an attempt has failed: ask the same target again, move on, or give up.
//!
//! Pure. The failure, the progress, the allowance, the time and the randomness are arguments, so the
//! rules of failover stand in one place, to be read as a list and tested as a table. Nothing here
//! knows HTTP or a provider: [`super::attempt`] has already said what happened.
//!
//! The rules, in order; the first that applies decides:
//!
//! 1. A byte of the answer has gone out: give up. A retry would show a second beginning.
//! 2. The request itself is at fault, or was filtered: give up. Every target would say so.
//! 3. The route's `failover.retryOn` does not name the failure: give up.
//! 4. Attempts, time or the retry budget are spent: give up; what is known is the answer.
//! 5. A wait of at most [`SHORT_WAIT`] was asked for, waiting can help, it fits the time that is left,
//!    and nothing else is free: wait and stay. The target has said when it will answer.
//! 6. The connection broke before the headers, or 500, 502, 503, for the first time at this target,
//!    quickly, and it was not on trial: stay after a moment. Most such failures are gone at once, and the prompt cache is warm.
//! 7. Another key or target is left: move. A refused key is never used again, and a silent target
//!    never asked twice; that would double the longest wait of all.
//! 8. Give up.

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

use crate::{
    dialect::ErrorClass,
    observe::{AttemptOutcome, FailoverPhase},
    select::Refusal,
    table::{FailoverOn, FailoverSet},
};

/// The longest wait that a target may ask for and still keep the request.
///
/// After more than this another attempt elsewhere has long answered, and so has a client's patience.
pub const SHORT_WAIT: Duration = Duration::from_secs(3);

/// The longest wait that is believed. An hour later one request that finds out is cheap; and a wait of
/// centuries, which a header can hold, would overflow the clock.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The wait before the same target is asked again: between this and twice this.
const MOMENT: Duration = Duration::from_millis(50);

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection: name, address or port.
    Connect,
    /// The first token did not come in time.
    FirstTokenTimeout,
    /// The head of the response, or the rest of a whole answer, did not come in time.
    HeadersTimeout,
    /// The answer is not what the dialect promises.
    Malformed,
    /// The provider answered with an error.
    Provider {
        /// What the error means.
        class: ErrorClass,
        /// The HTTP status; 0 for an error inside a stream.
        status: u16,
        /// The wait that the provider asks for.
        retry_after: Option<Duration>,
    },
    /// The connection broke after the request was sent and before the head of the response.
    Reset,
    /// No TLS: the certificate is wrong, or there is none.
    Tls,
    /// The answer broke before its first meaningful token.
    Truncated,
}

impl Failure {
    /// How far the attempt had come.
    pub const fn phase(&self) -> FailoverPhase {
        match self {
            Self::Connect | Self::Tls => FailoverPhase::Connect,
            Self::HeadersTimeout | Self::Reset => FailoverPhase::Head,
            Self::Provider { .. } => FailoverPhase::Error,
            Self::FirstTokenTimeout | Self::Malformed | Self::Truncated => {
                FailoverPhase::FirstToken
            }
        }
    }

    /// Which entry of `failover.retryOn` covers it; `None` for what is the request's own fault.
    pub fn mended_by(&self) -> Option<FailoverOn> {
        match self {
            Self::Connect | Self::Reset | Self::Tls => Some(FailoverOn::Connect),
            Self::FirstTokenTimeout | Self::HeadersTimeout => Some(FailoverOn::Timeout),
            Self::Malformed | Self::Truncated => Some(FailoverOn::ServerError),
            Self::Provider { class, .. } => match class {
                ErrorClass::Billing | ErrorClass::CredentialRejected => {
                    Some(FailoverOn::CredentialRejected)
                }
                ErrorClass::ContentFilter | ErrorClass::InvalidRequest | ErrorClass::TooLarge => {
                    None
                }
                ErrorClass::ContextExceeded => Some(FailoverOn::ContextExceeded),
                ErrorClass::ModelNotFound => Some(FailoverOn::ModelNotFound),
                ErrorClass::Overloaded => Some(FailoverOn::Overloaded),
                ErrorClass::RateLimited => Some(FailoverOn::RateLimited),
                ErrorClass::Server => Some(FailoverOn::ServerError),
                ErrorClass::Timeout => Some(FailoverOn::Timeout),
            },
        }
    }

    /// Whether the provider refused our key rather than the request.
    pub const fn refuses_key(&self) -> bool {
        self.refusal().is_some()
    }

    /// Why the provider refused our key, where it did.
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Provider { class: ErrorClass::Billing, .. } => Some(Refusal::Unpaid),
            Self::Provider { class: ErrorClass::CredentialRejected, .. } => Some(Refusal::Rejected),
            Self::Provider { .. }
            | Self::Connect
            | Self::FirstTokenTimeout
            | Self::HeadersTimeout
            | Self::Malformed
            | Self::Reset
            | Self::Tls
            | Self::Truncated => None,
        }
    }

    /// Whether it says that the target is ill, rather than the request, its key or its rate.
    pub const fn blames_target(&self) -> bool {
        match self {
            Self::Provider { class, .. } => match class {
                ErrorClass::ModelNotFound
                | ErrorClass::Overloaded
                | ErrorClass::Server
                | ErrorClass::Timeout => true,
                ErrorClass::Billing
                | ErrorClass::ContentFilter
                | ErrorClass::ContextExceeded
                | ErrorClass::CredentialRejected
                | ErrorClass::InvalidRequest
                | ErrorClass::RateLimited
                | ErrorClass::TooLarge => false,
            },
            Self::Connect
            | Self::FirstTokenTimeout
            | Self::HeadersTimeout
            | Self::Malformed
            | Self::Reset
            | Self::Tls
            | Self::Truncated => true,
        }
    }

    /// Whether another pod of the same server may do better.
    pub const fn blames_one_pod(&self) -> bool {
        match self {
            Self::Provider { class, .. } => match class {
                ErrorClass::Overloaded
                | ErrorClass::RateLimited
                | ErrorClass::Server
                | ErrorClass::Timeout => true,
                ErrorClass::Billing
                | ErrorClass::ContentFilter
                | ErrorClass::ContextExceeded
                | ErrorClass::CredentialRejected
                | ErrorClass::InvalidRequest
                | ErrorClass::ModelNotFound
                | ErrorClass::TooLarge => false,
            },
            Self::Connect
            | Self::FirstTokenTimeout
            | Self::HeadersTimeout
            | Self::Malformed
            | Self::Reset
            | Self::Tls
            | Self::Truncated => true,
        }
    }

    /// The word in `x-trunkline-attempts`.
    pub fn word(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Connect => "connect",
            Self::FirstTokenTimeout => "first-token-timeout",
            Self::HeadersTimeout => "headers-timeout",
            Self::Malformed => "malformed",
            Self::Provider { class, status: 0, .. } => class.as_str(),
            Self::Provider { status, .. } => return Cow::Owned(status.to_string()),
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::Truncated => "truncated",
        })
    }

    /// What happened, as a part of a sentence.
    pub fn explanation(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Connect => "could not be reached",
            Self::FirstTokenTimeout => "sent no first token in time",
            Self::HeadersTimeout => "did not answer in time",
            Self::Malformed => "sent an unreadable answer",
            Self::Provider { class, status: 0, .. } => class.words(),
            Self::Provider { class, status, .. } => {
                return Cow::Owned(format!("{status} {}", class.words()));
            }
            Self::Reset => "closed the connection",
            Self::Tls => "has no valid TLS certificate",
            Self::Truncated => "broke off its answer",
        })
    }

    /// Under which outcome the attempt is counted.
    pub const fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Connect => AttemptOutcome::Connect,
            Self::FirstTokenTimeout => AttemptOutcome::FirstTokenTimeout,
            Self::HeadersTimeout => AttemptOutcome::HeadersTimeout,
            Self::Malformed => AttemptOutcome::Malformed,
            Self::Provider { class, .. } => match class {
                ErrorClass::Billing => AttemptOutcome::Billing,
                ErrorClass::ContentFilter => AttemptOutcome::ContentFilter,
                ErrorClass::ContextExceeded => AttemptOutcome::ContextExceeded,
                ErrorClass::CredentialRejected => AttemptOutcome::CredentialRejected,
                ErrorClass::InvalidRequest | ErrorClass::TooLarge => AttemptOutcome::InvalidRequest,
                ErrorClass::ModelNotFound => AttemptOutcome::ModelNotFound,
                ErrorClass::Overloaded => AttemptOutcome::Overloaded,
                ErrorClass::RateLimited => AttemptOutcome::RateLimited,
                ErrorClass::Server => AttemptOutcome::ServerError,
                ErrorClass::Timeout => AttemptOutcome::HeadersTimeout,
            },
            Self::Reset => AttemptOutcome::Reset,
            Self::Tls => AttemptOutcome::Tls,
            Self::Truncated => AttemptOutcome::Truncated,
        }
    }

    /// The wait that the provider asked for, [`LONGEST_WAIT`] at most.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider { retry_after, .. } => retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            Self::Connect
            | Self::FirstTokenTimeout
            | Self::HeadersTimeout
            | Self::Malformed
            | Self::Reset
            | Self::Tls
            | Self::Truncated => None,
        }
    }

    /// Whether the same target may answer the same request later.
    fn mends_with_time(&self) -> bool {
        match self.mended_by() {
            Some(
                FailoverOn::Connect
                | FailoverOn::Overloaded
                | FailoverOn::RateLimited
                | FailoverOn::ServerError
                | FailoverOn::Timeout,
            ) => true,
            Some(
                FailoverOn::ContextExceeded
                | FailoverOn::CredentialRejected
                | FailoverOn::ModelNotFound,
            )
            | None => false,
        }
    }

    /// Whether it is of the kind that is gone at once.
    const fn passes_quickly(&self) -> bool {
        match self {
            Self::Reset => true,
            Self::Provider { class, status, .. } => match class {
                ErrorClass::Server => true,
                // 529 says that all of the provider is busy; 503 is often one server of many.
                ErrorClass::Overloaded => *status == 503,
                ErrorClass::Billing
                | ErrorClass::ContentFilter
                | ErrorClass::ContextExceeded
                | ErrorClass::CredentialRejected
                | ErrorClass::InvalidRequest
                | ErrorClass::ModelNotFound
                | ErrorClass::RateLimited
                | ErrorClass::Timeout
                | ErrorClass::TooLarge => false,
            },
            Self::Connect
            | Self::FirstTokenTimeout
            | Self::HeadersTimeout
            | Self::Malformed
            | Self::Tls
            | Self::Truncated => false,
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Attempts made, the failed one included.
    pub attempts: u32,
    /// Attempts made at this target, the failed one included.
    pub at_target: u32,
    /// Whether the client has received a byte of the answer.
    pub committed: bool,
    /// Whether another choice of target or key is left.
    pub alternatives: bool,
    /// Whether the target may be asked again at once: it failed quickly, and was not on trial.
    pub trusted: bool,
}

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Attempts in all; at least 1.
    pub attempts: u32,
    /// When the answer must have begun.
    pub deadline: Instant,
    /// The failures that another attempt may mend.
    pub on: FailoverSet,
    /// Whether the retry budget has something left, so that failover cannot amplify an outage.
    pub budget: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Answer with the failure.
    GiveUp,
    /// Choose again: another key or another target.
    Move,
    /// Ask the same target again after this wait.
    Stay(Duration),
}

/// Applies the rules to one failed attempt. `jitter` is between 0 and 1.
#[must_use]
pub fn next(
    failure: &Failure,
    progress: Progress,
    allowance: Allowance,
    now: Instant,
    jitter: f64,
) -> Next {
    let mendable = failure.mended_by().is_some_and(|on| allowance.on.contains(on));
    let spent =
        progress.attempts >= allowance.attempts || now >= allowance.deadline || !allowance.budget;
    if progress.committed || !mendable || spent {
        return Next::GiveUp;
    }
    let wait = match failure.retry_after().filter(|_| failure.mends_with_time()) {
        Some(wait) => (wait <= SHORT_WAIT && !progress.alternatives).then_some(wait),
        None => (failure.passes_quickly() && progress.at_target == 1 && progress.trusted)
            .then(|| MOMENT.mul_f64(1.0 + jitter)),
    };
    match wait {
        Some(wait) if now + wait < allowance.deadline => Next::Stay(wait),
        _ if progress.alternatives => Next::Move,
        _ => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A request with attempts, time, budget and targets left: each test changes one thing.
    fn fresh(now: Instant) -> (Progress, Allowance) {
        (
            Progress {
                attempts: 1,
                at_target: 1,
                committed: false,
                alternatives: true,
                trusted: true,
            },
            Allowance {
                attempts: 3,
                deadline: now + 30 * SECOND,
                on: FailoverOn::ALL.into_iter().collect(),
                budget: true,
            },
        )
    }

    fn provider(class: ErrorClass, status: u16, wait: Option<Duration>) -> Failure {
        Failure::Provider { class, status, retry_after: wait }
    }

    #[test]
    fn a_committed_answer_is_never_retried() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let committed = Progress { committed: true, ..progress };
        for failure in [Failure::Connect, Failure::Reset, provider(ErrorClass::Server, 500, None)] {
            assert_eq!(next(&failure, committed, allowance, now, 0.0), Next::GiveUp, "{failure:?}");
        }
    }

    #[test]
    fn each_failure_has_its_way_while_all_is_left() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let stay = Next::Stay(MOMENT);
        for (failure, expected) in [
            (Failure::Connect, Next::Move),
            (Failure::Tls, Next::Move),
            (Failure::Reset, stay),
            (Failure::HeadersTimeout, Next::Move),
            (Failure::FirstTokenTimeout, Next::Move),
            (Failure::Malformed, Next::Move),
            (Failure::Truncated, Next::Move),
            (provider(ErrorClass::Server, 500, None), stay),
            (provider(ErrorClass::Overloaded, 503, None), stay),
            (provider(ErrorClass::Overloaded, 529, None), Next::Move),
            (provider(ErrorClass::RateLimited, 429, None), Next::Move),
            (provider(ErrorClass::RateLimited, 429, Some(SECOND)), Next::Move),
            (provider(ErrorClass::CredentialRejected, 401, None), Next::Move),
            (provider(ErrorClass::Billing, 402, None), Next::Move),
            (provider(ErrorClass::ContextExceeded, 400, None), Next::Move),
            (provider(ErrorClass::ModelNotFound, 404, None), Next::Move),
            (provider(ErrorClass::Timeout, 504, None), Next::Move),
            (provider(ErrorClass::InvalidRequest, 400, None), Next::GiveUp),
            (provider(ErrorClass::ContentFilter, 400, None), Next::GiveUp),
            (provider(ErrorClass::TooLarge, 413, None), Next::GiveUp),
        ] {
            assert_eq!(next(&failure, progress, allowance, now, 0.0), expected, "{failure:?}");
        }
    }

    #[test]
    fn without_another_target_a_short_wait_is_waited_and_a_long_one_is_the_answer() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let alone = Progress { alternatives: false, ..progress };
        let after = |wait, allowance| {
            let failure = provider(ErrorClass::RateLimited, 429, Some(wait));
            next(&failure, alone, allowance, now, 0.0)
        };
        assert_eq!(after(2 * SECOND, allowance), Next::Stay(2 * SECOND));
        assert_eq!(after(4 * SECOND, allowance), Next::GiveUp);
        let soon = Allowance { deadline: now + SECOND, ..allowance };
        assert_eq!(after(2 * SECOND, soon), Next::GiveUp);
    }

    #[test]
    fn the_same_target_is_asked_again_once() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let second = Progress { attempts: 2, at_target: 2, ..progress };
        assert_eq!(next(&Failure::Reset, second, allowance, now, 0.0), Next::Move);
        let alone = Progress { alternatives: false, ..second };
        assert_eq!(next(&Failure::Reset, alone, allowance, now, 0.0), Next::GiveUp);
    }

    #[test]
    fn what_the_route_does_not_name_is_not_mended() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        for failure in [Failure::Connect, provider(ErrorClass::RateLimited, 429, None)] {
            let on = failure.mended_by().unwrap();
            let others = FailoverOn::ALL.into_iter().filter(|other| *other != on).collect();
            let without = Allowance { on: others, ..allowance };
            assert_eq!(next(&failure, progress, without, now, 0.0), Next::GiveUp, "{failure:?}");
        }
    }

    #[test]
    fn spent_attempts_time_or_budget_end_it() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let failure = Failure::Connect;
        let third = Progress { attempts: 3, ..progress };
        assert_eq!(next(&failure, third, allowance, now, 0.0), Next::GiveUp);
        assert_eq!(next(&failure, progress, allowance, allowance.deadline, 0.0), Next::GiveUp);
        let broke = Allowance { budget: false, ..allowance };
        assert_eq!(next(&failure, progress, broke, now, 0.0), Next::GiveUp);
    }

    #[test]
    fn the_moment_is_jittered_within_its_double() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        assert_eq!(next(&Failure::Reset, progress, allowance, now, 1.0), Next::Stay(MOMENT * 2));
    }

    #[test]
    fn a_wait_of_centuries_is_no_wait_and_overflows_nothing() {
        let now = Instant::now();
        let (progress, allowance) = fresh(now);
        let alone = Progress { alternatives: false, ..progress };
        let endless = provider(ErrorClass::RateLimited, 429, Some(Duration::MAX));
        assert_eq!(endless.retry_after(), Some(LONGEST_WAIT));
        assert_eq!(next(&endless, alone, allowance, now, 0.0), Next::GiveUp);
    }

    /// The rules in one sentence each, held against every failure in every situation.
    #[test]
    fn no_situation_breaks_a_rule() {
        const CLASSES: [ErrorClass; 11] = [
            ErrorClass::Billing,
            ErrorClass::ContentFilter,
            ErrorClass::ContextExceeded,
            ErrorClass::CredentialRejected,
            ErrorClass::InvalidRequest,
            ErrorClass::ModelNotFound,
            ErrorClass::Overloaded,
            ErrorClass::RateLimited,
            ErrorClass::Server,
            ErrorClass::Timeout,
            ErrorClass::TooLarge,
        ];
        let now = Instant::now();
        let (_, allowance) = fresh(now);
        let waits = [None, Some(Duration::ZERO), Some(SHORT_WAIT), Some(10 * SECOND)];
        let mut failures = vec![
            Failure::Connect,
            Failure::FirstTokenTimeout,
            Failure::HeadersTimeout,
            Failure::Malformed,
            Failure::Reset,
            Failure::Tls,
            Failure::Truncated,
        ];
        for class in CLASSES {
            for status in [0, 500, 503, 529] {
                failures.extend(waits.map(|wait| provider(class, status, wait)));
            }
        }
        let mut seen = [0_u32; 3];
        for (failure, bits) in
            failures.iter().flat_map(|failure| (0..32).map(move |b| (failure, b)))
        {
            let bit = |at: u32| bits >> at & 1;
            let progress = Progress {
                attempts: 2,
                at_target: 1 + bit(0),
                committed: bit(1) == 1,
                alternatives: bit(2) == 1,
                trusted: true,
            };
            let allowance = Allowance { budget: bit(3) == 1, ..allowance };
            let now = now + 29 * SECOND * bit(4);
            let case = format!("{failure:?} {progress:?} {allowance:?}");
            let decided = next(failure, progress, allowance, now, 0.5);
            if progress.committed || !allowance.budget || failure.mended_by().is_none() {
                assert_eq!(decided, Next::GiveUp, "{case}");
            }
            match decided {
                Next::GiveUp => seen[0] += 1,
                Next::Move => {
                    seen[1] += 1;
                    assert!(progress.alternatives, "there is nowhere to go: {case}");
                }
                Next::Stay(wait) => {
                    seen[2] += 1;
                    let silent = [Failure::HeadersTimeout, Failure::FirstTokenTimeout];
                    assert!(!silent.contains(failure), "a silent target is asked twice: {case}");
                    assert!(!failure.refuses_key(), "a refused key is used again: {case}");
                    assert!(now + wait < allowance.deadline, "it waits too long: {case}");
                    assert!(wait <= SHORT_WAIT, "{case}");
                    let hopeless = [FailoverOn::ContextExceeded, FailoverOn::ModelNotFound];
                    let on = failure.mended_by().unwrap();
                    assert!(!hopeless.contains(&on), "time will not mend it: {case}");
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
