//! How an answer ended, as far as its cost is concerned.

use crate::observe::Outcome;

/// How the answer of an open attempt ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The client has all of it.
    Whole,
    /// The client did not wait for the end.
    Left,
    /// There was no end.
    Broken,
}

impl End {
    pub(super) const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Whole,
            Outcome::ClientClosed => Self::Left,
            Outcome::ClientError
            | Outcome::Forbidden
            | Outcome::Internal
            | Outcome::NotFound
            | Outcome::Overloaded
            | Outcome::RateLimited
            | Outcome::Refused
            | Outcome::Timeout
            | Outcome::TooLarge
            | Outcome::Truncated
            | Outcome::Unauthorized
            | Outcome::Unavailable
            | Outcome::UpstreamError => Self::Broken,
        }
    }
}
