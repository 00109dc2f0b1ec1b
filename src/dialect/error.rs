//! What can go wrong between two dialects, in words that both sides share.
//!
//! Three things are kept apart because different people must act on them: a [`RequestError`] is the
//! caller's malformed request, a [`Refusal`] is a sound request that one target cannot serve, and a
//! [`ProviderError`] is what a provider answered. All three become an [`ApiError`] before they reach
//! a client, in the client's own shape. None of them ever holds a key, a prompt or an address.

use std::{borrow::Cow, time::Duration};

/// What kind of error this is, to a client. Each client API gives every kind its status and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The caller's credential is missing or wrong. 401.
    Authentication,
    /// The provider wants money. 402.
    Billing,
    /// The request is malformed, or no target can do what it asks. 400.
    InvalidRequest,
    /// The method does not exist on this path. 405.
    MethodNotAllowed,
    /// No such model or path. 404.
    NotFound,
    /// The targets are too busy. 503, or 529 for Anthropic's clients.
    Overloaded,
    /// The caller may not do this. 403.
    Permission,
    /// Too many requests or tokens. 429.
    RateLimited,
    /// The request body is too large. 413.
    TooLarge,
    /// No answer in time. 504.
    Timeout,
    /// The provider failed, or answered what nobody can read. 502.
    Upstream,
    /// Our own fault. 500.
    Internal,
    /// We cannot serve now: paused, draining, no usable target. 503.
    Unavailable,
}

/// An error as a client will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Decides status and type.
    pub kind: ErrorKind,
    /// What happened, where, and what to do; one or two sentences.
    pub message: String,
    /// A stable machine word, such as `model_not_found` or `all_targets_failed`.
    pub code: Option<Cow<'static, str>>,
    /// The field of the request that is at fault, in the caller's own terms.
    pub param: Option<String>,
    /// When asking again may help.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with a kind, a stable code and a message.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: Some(Cow::Borrowed(code)),
            param: None,
            retry_after: None,
        }
    }

    /// The same error, naming the field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error, saying when to ask again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }
}

/// A request that its own API would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// What is wrong and what is expected instead.
    pub message: String,
    /// The path of the field, such as `messages[2].content`.
    pub param: Option<String>,
}

impl RequestError {
    /// An error about one field.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

/// A sound request that this target cannot serve without changing what it means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The field of the client's request, in the client's own terms.
    pub param: String,
    /// What the target lacks.
    pub message: String,
}

impl Refusal {
    /// A refusal because of one field.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }
}

/// One field that a target did not get as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The field of the client's request, in the client's own terms.
    pub field: Cow<'static, str>,
    /// What became of it.
    pub kind: LossKind,
}

/// What became of a field that could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// The value was moved to the nearest one that the target takes.
    Clamped,
    /// The field was left out.
    Dropped,
    /// The effect was reached in another, weaker way.
    Emulated,
}

impl LossKind {
    /// The word in `x-trunkline-dropped`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clamped => "clamped",
            Self::Dropped => "dropped",
            Self::Emulated => "emulated",
        }
    }
}

impl Loss {
    /// A field that was left out.
    pub fn dropped(field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), kind: LossKind::Dropped }
    }

    /// A value that was moved to the nearest one that the target takes.
    pub fn clamped(field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), kind: LossKind::Clamped }
    }

    /// An effect that was reached in another, weaker way.
    pub fn emulated(field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), kind: LossKind::Emulated }
    }
}

/// What a provider answered instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// What it means for the request and for the target.
    pub class: ErrorClass,
    /// The HTTP status; 0 for an error inside a stream.
    pub status: u16,
    /// The provider's own words, bounded, with nothing of ours in them.
    pub message: String,
    /// The provider's own machine word.
    pub code: Option<String>,
    /// The field that the provider blames, in the provider's terms.
    pub param: Option<String>,
    /// The wait that the body asks for.
    pub retry_after: Option<Duration>,
}

/// What a provider's error means, whoever the provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// 402, or 429 with `insufficient_quota`: this key has no money.
    Billing,
    /// The prompt or the answer was filtered: no other target should be asked.
    ContentFilter,
    /// The request does not fit this model's context; a larger one may serve it.
    ContextExceeded,
    /// 401 or 403: this key is not accepted.
    CredentialRejected,
    /// 400, 422 and their like: every target would refuse it.
    InvalidRequest,
    /// 404 on the model: this target's name is wrong.
    ModelNotFound,
    /// 503, 529: the target is busy.
    Overloaded,
    /// 429.
    RateLimited,
    /// 5xx and everything unreadable.
    Server,
    /// 408, 504.
    Timeout,
    /// 413.
    TooLarge,
}

impl ErrorClass {
    /// The bounded word used in metrics, logs and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::ContentFilter => "content_filter",
            Self::ContextExceeded => "context_exceeded",
            Self::CredentialRejected => "credential_rejected",
            Self::InvalidRequest => "invalid_request",
            Self::ModelNotFound => "model_not_found",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Server => "server_error",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
        }
    }

    /// What it means, as a part of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Billing => "the account has no money",
            Self::ContentFilter => "content filtered",
            Self::ContextExceeded => "context too long",
            Self::CredentialRejected => "our key was refused",
            Self::InvalidRequest => "request refused",
            Self::ModelNotFound => "unknown model",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate limited",
            Self::Server => "server error",
            Self::Timeout => "timed out",
            Self::TooLarge => "request too large",
        }
    }
}
