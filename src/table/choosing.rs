//! How a route chooses among its targets, as values with their units in the type.
//!
//! The algorithms are in `select`; the defaults stand in the resource's schema, where
//! `kubectl explain` shows them. `Default` here is a route that asks for nothing: by weight.

use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::wire;

/// How a route chooses among the targets of a tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choosing {
    /// What makes one target better than another.
    pub strategy: Strategy,
    /// By how much two targets may differ and still be equally good.
    pub tolerance_percent: u32,
    /// What a target must hold; of no meaning to [`Strategy::Weighted`].
    pub slo: Slo,
    /// What goes to the same target again.
    pub affinity: Option<Affinity>,
    /// When a target that fails is left alone.
    pub breaker: CircuitBreaker,
    /// When a second target is asked before the first has answered.
    pub hedge: Option<Hedge>,
    /// How requests wait for the first pod of a Service.
    pub queue: Queue,
    /// When a tier is full.
    pub spillover: Option<Spillover>,
}

/// When a target is full, so that the next tier serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spillover {
    /// So many requests in flight for each of its pods fill it, over all proxies.
    pub in_flight_per_pod: u32,
    /// Below this share of that it has room again.
    pub return_below_percent: u32,
    /// How long it must be below that to serve again.
    #[serde(with = "wire::millis")]
    pub hold_for: Duration,
}

/// What goes to the same target, key and pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// What belongs together.
    pub by: AffinityBy,
    /// How much worse than the best a target may be and keep what belongs to it.
    pub tolerance_percent: u32,
}

/// What belongs together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AffinityBy {
    /// Requests with the same id in the body.
    Conversation,
    /// Requests with the same value of a header, and those without it as in `Conversation`.
    Header(#[serde(with = "wire::header_name")] HeaderName),
    /// Requests that are alike in so many bytes of their tools, system prompt and first messages.
    Prefix(u32),
}

/// How requests wait where no other target can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// The most that wait, at one proxy.
    pub most: u32,
    /// The longest wait.
    #[serde(with = "wire::millis")]
    pub wait: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { most: 100, wait: Duration::from_mins(1) }
    }
}

/// What makes one target better than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Cost, speed and load together.
    Balanced(Shares),
    /// The lowest cost.
    Cheapest,
    /// The earliest first token.
    Fastest,
    /// The fewest requests in flight.
    LeastBusy,
    /// Shares by weight, whatever is known of the targets.
    #[default]
    Weighted,
}

impl Strategy {
    /// The name in the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced(_) => "Balanced",
            Self::Cheapest => "Cheapest",
            Self::Fastest => "Fastest",
            Self::LeastBusy => "LeastBusy",
            Self::Weighted => "Weighted",
        }
    }
}

/// How much each part counts in [`Strategy::Balanced`]; only their proportions matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// The cost of the request.
    pub cost: u32,
    /// The time to the first token.
    pub first_token: u32,
    /// The time for each token after it.
    pub per_token: u32,
    /// The requests in flight.
    pub load: u32,
    /// The answers that are not good.
    #[serde(default)]
    pub quality: u32,
}

/// What matters most to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// A bit of each.
    Balanced,
    /// Cost.
    Economy,
    /// Good answers.
    Quality,
    /// Early answers.
    Speed,
}

impl Preference {
    /// The name in the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "Balanced",
            Self::Economy => "Economy",
            Self::Quality => "Quality",
            Self::Speed => "Speed",
        }
    }
}

/// What a target must hold to be chosen while another one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slo {
    /// Nine first tokens of ten come within this.
    #[serde(default, with = "wire::maybe_millis")]
    pub first_token: Option<Duration>,
    /// A token after the first takes at most this, on average.
    #[serde(default, with = "wire::maybe_millis")]
    pub per_output_token: Option<Duration>,
    /// At least so many of 10,000 requests succeed.
    pub success_per_10k: Option<u32>,
}

impl Slo {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a target that fails is left alone, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreaker {
    /// So many failures in a row open it.
    pub consecutive_failures: u32,
    /// This share of failures in 30 s opens it.
    pub failure_percent: u32,
    /// The fewest requests in 30 s that make a share.
    pub min_requests: u32,
    /// How long it stays open at first.
    #[serde(with = "wire::millis")]
    pub cooldown: Duration,
    /// How long it stays open at most.
    #[serde(with = "wire::millis")]
    pub max_cooldown: Duration,
    /// How long a target takes to get back its whole share.
    #[serde(with = "wire::millis")]
    pub ramp_up: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 25,
            min_requests: 10,
            cooldown: Duration::from_secs(5),
            max_cooldown: Duration::from_mins(5),
            ramp_up: Duration::from_secs(30),
        }
    }
}

/// When a second target is asked before the first has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hedge {
    /// The wait before it; `None` is the time in which 95 of 100 first tokens of the target come.
    #[serde(default, with = "wire::maybe_millis")]
    pub after: Option<Duration>,
    /// The largest share of requests that is asked twice, and of their cost.
    pub budget_percent: u32,
}
