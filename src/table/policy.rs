//! Policies of a route and its targets, as values with their units in the type.
//!
//! Defaults do not live here: they stand in the resource's schema, where `kubectl explain` shows them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire;

/// How long each step of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Name look-up, TCP and TLS together.
    #[serde(with = "wire::millis")]
    pub connect: Duration,
    /// From the beginning of an attempt to the response's headers.
    #[serde(with = "wire::millis")]
    pub headers: Duration,
    /// From the beginning of an attempt to the first meaningful token of a stream.
    #[serde(with = "wire::millis")]
    pub first_token: Duration,
    /// Between two pieces of a stream.
    #[serde(with = "wire::millis")]
    pub stream_idle: Duration,
    /// The whole request, every attempt and the last byte of the answer included.
    #[serde(with = "wire::millis")]
    pub total: Duration,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// Attempts in all, over every target and key; at least 1.
    #[serde(deserialize_with = "wire::at_least_one")]
    pub max_attempts: u32,
    /// From the request's arrival to the first byte of a streamed answer, over all attempts; no
    /// attempt begins after it.
    #[serde(with = "wire::millis")]
    pub total_budget: Duration,
    /// The failures that another attempt may mend.
    pub on: FailoverSet,
}

/// A failure that another attempt may mend. The names are those of `spec.failover.retryOn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailoverOn {
    /// No connection: DNS, TCP, TLS, or reset before the headers.
    Connect,
    /// The request does not fit the model's context.
    ContextExceeded,
    /// The provider refused our key, or it has no money.
    CredentialRejected,
    /// The provider does not know the model.
    ModelNotFound,
    /// 503 or 529.
    Overloaded,
    /// 429.
    RateLimited,
    /// 5xx, or an answer that broke before its first meaningful token.
    ServerError,
    /// No headers or no first token in time.
    Timeout,
}

impl FailoverOn {
    /// Every failure, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::ContextExceeded,
        Self::CredentialRejected,
        Self::ModelNotFound,
        Self::Overloaded,
        Self::RateLimited,
        Self::ServerError,
        Self::Timeout,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<FailoverOn>", from = "Vec<FailoverOn>")]
pub struct FailoverSet(u16);

impl FailoverSet {
    /// Whether this failure is in the set.
    pub const fn contains(self, failure: FailoverOn) -> bool {
        self.0 & failure.bit() != 0
    }
}

impl From<FailoverSet> for Vec<FailoverOn> {
    fn from(set: FailoverSet) -> Self {
        FailoverOn::ALL.into_iter().filter(|failure| set.contains(*failure)).collect()
    }
}

impl From<Vec<FailoverOn>> for FailoverSet {
    fn from(failures: Vec<FailoverOn>) -> Self {
        failures.into_iter().collect()
    }
}

impl FromIterator<FailoverOn> for FailoverSet {
    fn from_iter<I: IntoIterator<Item = FailoverOn>>(iter: I) -> Self {
        Self(iter.into_iter().fold(0, |set, failure| set | failure.bit()))
    }
}

/// Top-level fields of the upstream request, in the upstream's own terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Field and its value as JSON text.
    pub set: Vec<(String, String)>,
    /// Fields that go.
    pub remove: Vec<String>,
}

impl Overrides {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for failure in FailoverOn::ALL {
            let only: FailoverSet = [failure].into_iter().collect();
            for other in FailoverOn::ALL {
                assert_eq!(only.contains(other), other == failure);
            }
        }
    }
}
