//! What a client is told when there is no answer, and under which outcome it is counted.
//!
//! One place turns every failure into status, words and outcome, so that the same failure never has
//! two names. The words say what happened, at which target, and what to do; they never hold an
//! address, a key or a piece of a prompt. Matches here have no wildcard: a new failure must be given
//! its words before it compiles.

use std::{borrow::Cow, fmt::Write, time::Duration};

use super::{admit::bounded, retry::Failure};
use crate::{
    dialect::{ApiError, ErrorClass, ErrorKind, ProviderError, Refusal, RequestError, StreamError},
    observe::Outcome,
    table::{ObjectId, QuotaPart, Target},
};

/// One target that did not answer.
#[derive(Debug)]
pub struct Tried {
    /// The target's name.
    pub target: std::sync::Arc<str>,
    /// What happened.
    pub failure: Failure,
    /// What the provider said of it.
    pub said: Said,
}

/// A provider's own words for a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// For people; the key that the provider was shown is taken out.
    pub message: Option<String>,
    /// For programs.
    pub code: Option<String>,
    /// The field that it blames, in its own terms.
    pub param: Option<String>,
}

impl Said {
    /// What may be repeated to a client of another dialect: its programs know neither the words of
    /// that provider nor the fields that it was sent.
    #[must_use]
    pub fn for_strangers(self) -> Self {
        Self { message: self.message, code: None, param: None }
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Every attempt failed. In order, never empty.
    Failed(Vec<Tried>),
    /// Too many wait for a server that starts.
    LineFull,
    /// The request is malformed.
    Malformed(RequestError),
    /// No target could be asked at all: none is left, or none may be used now.
    NoTarget,
    /// Every target that could serve is at the quota of its account: its name, the part of the quota,
    /// and how long it is used up. Never empty.
    OverQuota(Vec<(std::sync::Arc<str>, QuotaPart, Duration)>),
    /// Every target refused it before it was sent.
    Refused(Vec<(std::sync::Arc<str>, Refusal)>),
}

/// What the client is told, and how it is counted.
pub fn of_no_answer(why: NoAnswer, model: &str, budget: Duration) -> (ApiError, Outcome) {
    match why {
        NoAnswer::Malformed(error) => {
            let mut told =
                ApiError::new(ErrorKind::InvalidRequest, "invalid_request", error.message);
            told.param = error.param;
            (told, Outcome::ClientError)
        }
        NoAnswer::LineFull => {
            let message = format!(
                "model '{}' is starting, and as many requests as may wait for it do",
                bounded(model)
            );
            let told = ApiError::new(ErrorKind::RateLimited, "queue_full", message);
            (told.with_retry_after(Some(Duration::from_secs(5))), Outcome::Overloaded)
        }
        NoAnswer::NoTarget => {
            let message = format!(
                "model '{}' has no usable target now; its route's status says why",
                bounded(model)
            );
            let told = ApiError::new(ErrorKind::Unavailable, "no_usable_target", message);
            (told.with_retry_after(Some(Duration::from_secs(5))), Outcome::Unavailable)
        }
        NoAnswer::OverQuota(full) => {
            let mut message = format!(
                "model '{}' is used as much as its accounts' quotas allow:",
                bounded(model)
            );
            for (target, part, _) in &full {
                let _written = write!(message, " {target} ({}),", part.as_str());
            }
            message.pop();
            let wait = full.iter().map(|(.., wait)| *wait).min().unwrap_or_default();
            let told = ApiError::new(ErrorKind::RateLimited, "quota_exceeded", message);
            let wait = wait.max(Duration::from_secs(1));
            (told.with_retry_after(Some(wait)), Outcome::RateLimited)
        }
        NoAnswer::Refused(refusals) => {
            let mut message =
                format!("no target of model '{}' can serve this request:", bounded(model));
            for (target, refusal) in &refusals {
                let _written = write!(message, " {target}: {};", refusal.message);
            }
            message.pop();
            let param = refusals.into_iter().next().map(|(_, refusal)| refusal.param);
            let kind = ErrorKind::InvalidRequest;
            let mut told = ApiError::new(kind, "unsupported_by_provider", message);
            told.param = param;
            (told, Outcome::Refused)
        }
        NoAnswer::Failed(tried) => of_failed(tried, model, budget),
    }
}

/// A single failure is told as it is; several are summed up, with the status of all if they agree.
fn of_failed(mut tried: Vec<Tried>, model: &str, budget: Duration) -> (ApiError, Outcome) {
    // The provider has judged the request itself: what others said before does not help.
    let judged = tried.last().is_some_and(|last| of_failure(&last.failure).2);
    if (judged || tried.len() == 1)
        && let Some(last) = tried.pop()
    {
        let (kind, outcome, _) = of_failure(&last.failure);
        let Said { message, code: theirs, param } = last.said;
        let words = message.unwrap_or_else(|| last.failure.explanation().into_owned());
        let message = format!("target {}: {words}", last.target);
        let mut told = ApiError::new(kind, code(&last.failure), message);
        // Of its own request a client's program may read what it would have read without us.
        if judged {
            told.code = theirs.map(Cow::Owned).or(told.code);
            told.param = param;
        }
        told.retry_after = wait(&last.failure);
        return (told, outcome);
    }
    let mut kinds = tried.iter().map(|one| of_failure(&one.failure));
    let first = kinds.next().map_or((ErrorKind::Unavailable, Outcome::Unavailable), |f| (f.0, f.1));
    let agreed = kinds.all(|(kind, ..)| kind == first.0);
    let (kind, outcome) =
        if agreed { first } else { (ErrorKind::Overloaded, Outcome::UpstreamError) };
    let mut message = format!(
        "no target of model '{}' could answer within {}s:",
        bounded(model),
        budget.as_secs_f32()
    );
    let mut at = tried.as_slice();
    while let Some((one, rest)) = at.split_first() {
        let same = rest
            .iter()
            .take_while(|next| {
                next.target == one.target && next.failure.word() == one.failure.word()
            })
            .count();
        let _written = write!(message, " {} {}", one.target, one.failure.explanation());
        if same > 0 {
            let _written = write!(message, " ({} attempts)", same + 1);
        }
        message.push(',');
        at = rest.get(same..).unwrap_or_default();
    }
    message.pop();
    let told = ApiError::new(kind, "all_targets_failed", message);
    let after = tried.iter().filter_map(|one| wait(&one.failure)).min();
    (told.with_retry_after(after.or(Some(Duration::from_secs(1)))), outcome)
}

/// Kind, outcome, and whether the failure judges the request rather than the target.
fn of_failure(failure: &Failure) -> (ErrorKind, Outcome, bool) {
    match failure {
        Failure::Connect
        | Failure::Tls
        | Failure::Reset
        | Failure::Malformed
        | Failure::Truncated => (ErrorKind::Upstream, Outcome::UpstreamError, false),
        Failure::HeadersTimeout | Failure::FirstTokenTimeout => {
            (ErrorKind::Timeout, Outcome::Timeout, false)
        }
        Failure::Provider { class, .. } => of_class(*class),
    }
}

fn of_class(class: ErrorClass) -> (ErrorKind, Outcome, bool) {
    match class {
        // Our key, not the caller's: 401 would send the caller looking in the wrong place.
        ErrorClass::Billing | ErrorClass::CredentialRejected => {
            (ErrorKind::Upstream, Outcome::UpstreamError, false)
        }
        ErrorClass::ContentFilter | ErrorClass::InvalidRequest => {
            (ErrorKind::InvalidRequest, Outcome::ClientError, true)
        }
        ErrorClass::ContextExceeded => (ErrorKind::InvalidRequest, Outcome::ClientError, true),
        ErrorClass::ModelNotFound => (ErrorKind::NotFound, Outcome::NotFound, false),
        ErrorClass::Overloaded => (ErrorKind::Overloaded, Outcome::Overloaded, false),
        ErrorClass::RateLimited => (ErrorKind::RateLimited, Outcome::RateLimited, false),
        ErrorClass::Server => (ErrorKind::Upstream, Outcome::UpstreamError, false),
        ErrorClass::Timeout => (ErrorKind::Timeout, Outcome::Timeout, false),
        ErrorClass::TooLarge => (ErrorKind::TooLarge, Outcome::TooLarge, true),
    }
}

/// The stable machine word of a single failure.
fn code(failure: &Failure) -> &'static str {
    match failure {
        Failure::Connect | Failure::Tls | Failure::Reset => "upstream_unreachable",
        Failure::Malformed => "upstream_malformed",
        Failure::Truncated => "upstream_truncated",
        Failure::HeadersTimeout | Failure::FirstTokenTimeout => "upstream_timeout",
        Failure::Provider { class, .. } => match class {
            ErrorClass::Billing => "upstream_billing",
            ErrorClass::ContentFilter => "content_filter",
            ErrorClass::ContextExceeded => "context_length_exceeded",
            ErrorClass::CredentialRejected => "upstream_credential_rejected",
            ErrorClass::InvalidRequest => "invalid_request",
            ErrorClass::ModelNotFound => "upstream_model_not_found",
            ErrorClass::Overloaded => "upstream_overloaded",
            ErrorClass::RateLimited => "rate_limit_exceeded",
            ErrorClass::Server => "upstream_error",
            ErrorClass::Timeout => "upstream_timeout",
            ErrorClass::TooLarge => "request_too_large",
        },
    }
}

fn wait(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Provider { retry_after, .. } => *retry_after,
        Failure::Connect
        | Failure::FirstTokenTimeout
        | Failure::HeadersTimeout
        | Failure::Malformed
        | Failure::Reset
        | Failure::Tls
        | Failure::Truncated => None,
    }
}

/// Why an answer broke after bytes had gone out.
#[derive(Debug)]
pub enum Broken {
    /// A time limit was reached.
    Late,
    /// The upstream failed, or wrote what nobody can read, or was cut.
    Read(StreamError),
}

/// What ends a stream that broke after bytes had gone out.
pub fn of_broken(broken: &Broken) -> (Outcome, ApiError) {
    let (kind, code, message) = match broken {
        Broken::Late => (
            ErrorKind::Timeout,
            "stream_timeout",
            "the provider stopped sending; the answer is incomplete".to_owned(),
        ),
        Broken::Read(StreamError::Truncated) => (
            ErrorKind::Upstream,
            "stream_truncated",
            "the provider's stream was cut; the answer is incomplete".to_owned(),
        ),
        Broken::Read(StreamError::Malformed(_)) => (
            ErrorKind::Upstream,
            "stream_malformed",
            "the provider's stream became unreadable; the answer is incomplete".to_owned(),
        ),
        Broken::Read(StreamError::Provider(ProviderError { class, message, .. })) => {
            let (kind, ..) = of_class(*class);
            (kind, "stream_failed", format!("the provider failed while answering: {message}"))
        }
    };
    (Outcome::Truncated, ApiError::new(kind, code, message))
}

/// No route has this model.
pub fn unknown_model(model: &str) -> ApiError {
    let message = format!(
        "the model '{}' does not exist or you may not use it; GET /v1/models lists the models",
        bounded(model)
    );
    ApiError::new(ErrorKind::NotFound, "model_not_found", message).with_param("model")
}

/// The route is there, and its `access` does not let this consumer in.
pub fn forbidden(model: &str, consumer: &ObjectId) -> ApiError {
    let message = format!(
        "consumer {consumer} may not use the model '{}': its route's `spec.access` does not let it \
         in",
        bounded(model)
    );
    ApiError::new(ErrorKind::Permission, "model_not_allowed", message).with_param("model")
}

/// No key was shown where one is needed.
pub fn no_key() -> ApiError {
    let message = "an API key is needed; send it as `authorization: Bearer …` or as `x-api-key`";
    ApiError::new(ErrorKind::Authentication, "missing_api_key", message)
}

/// A key was shown that nobody has.
pub fn unknown_key() -> ApiError {
    let message = "the API key is not known here; it may have been replaced or taken back";
    ApiError::new(ErrorKind::Authentication, "invalid_api_key", message)
}

/// The route has been paused by its owner.
pub fn paused(model: &str) -> ApiError {
    let message = format!("the model '{}' is paused by its owner", bounded(model));
    ApiError::new(ErrorKind::Unavailable, "route_paused", message)
        .with_retry_after(Some(Duration::from_secs(30)))
}

/// A provider's words with the key that it was shown taken out.
pub fn redacted(words: &str, target: &Target) -> String {
    let keys = target.credential.keys.iter();
    keys.fold(words.to_owned(), |words, key| key.secret.redact(&words))
}
