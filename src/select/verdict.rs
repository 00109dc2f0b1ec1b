//! What a request finds of a route's targets: each with its score, or with the reason why it is left
//! out.

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{account::Over, health::Reading};
use crate::{provider::Capability, table::Slo};

/// A target as a request sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which of `route.targets`.
    pub at: usize,
    /// What is known of it; `None` where nothing had to be known.
    pub reading: Option<Reading>,
    /// What the request would cost, in nano-dollars; `None` where no price is known.
    pub cost: Option<u64>,
    /// So many of a hundred answers are good; `None` where nobody says.
    pub quality: Option<u32>,
    /// Whether it may serve.
    pub verdict: Verdict,
}

/// Whether a target may serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It may.
    Eligible {
        /// By the strategy; lower is better.
        score: f32,
        /// By speed and load alone, to decide between those that the strategy finds equal.
        speed: f32,
        /// Its weight, less while it comes back from a failure.
        weight: f32,
    },
    /// It may not.
    LeftOut(LeftOut),
}

/// Why a target may not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its breaker is open.
    CircuitOpen {
        /// When it is tried again.
        until: Instant,
    },
    /// Its weight is 0.
    Drained,
    /// Its model does less of what was asked for than another one of its tier.
    FallsShort,
    /// It has as much to do as it takes well.
    Full {
        /// When it serves again at the earliest.
        until: Instant,
    },
    /// A lower tier serves.
    HigherTier,
    /// Its model cannot do what the request needs.
    Incapable(Capability),
    /// All its keys rest.
    KeysRest {
        /// When the first of them is free.
        until: Instant,
    },
    /// It misses the SLO, and another target does not.
    MissesSlo(SloPart),
    /// Every key was tried for this request.
    NoKey,
    /// No pod of its Service is ready.
    NoPod,
    /// Its account is used as much as it may be.
    OverQuota(Over),
    /// It accepts and does not answer.
    Silent,
    /// It is far slower than the fastest.
    Slow,
    /// The request is longer than its model's context.
    TooLong {
        /// The request's tokens, estimated.
        tokens: u64,
        /// The tokens of the context.
        context: u64,
    },
    /// It was tried for this request.
    Tried,
}

/// A part of an SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SloPart {
    /// `slo.firstToken`.
    FirstToken,
    /// `slo.perOutputToken`.
    PerOutputToken,
    /// `slo.successPercent`.
    Success,
}

impl SloPart {
    /// Which part is given up first when no target holds all of them: a slow answer is still one.
    pub const ORDER: [Self; 3] = [Self::PerOutputToken, Self::FirstToken, Self::Success];

    /// Those that were given up, of those that are asked for.
    pub fn given_up(slo: &Slo, relaxed: usize) -> impl Iterator<Item = Self> {
        let given_up = Self::ORDER.into_iter().take(relaxed);
        given_up.filter(|part| match part {
            Self::FirstToken => slo.first_token.is_some(),
            Self::PerOutputToken => slo.per_output_token.is_some(),
            Self::Success => slo.success_per_10k.is_some(),
        })
    }

    /// The name in the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "firstToken",
            Self::PerOutputToken => "perOutputToken",
            Self::Success => "successPercent",
        }
    }
}

/// Every target of a route as a request sees it.
#[derive(Clone, Debug)]
pub struct Considered {
    /// In the order of `route.targets`.
    pub candidates: SmallVec<[Candidate; 8]>,
    /// How many of [`SloPart::ORDER`] were given up.
    pub relaxed: usize,
    /// The tier that serves; `None` when no target may.
    pub tier: Option<u8>,
    /// The expected first token of the fastest that may, in seconds, where one is known.
    pub fastest: Option<f32>,
}

impl Candidate {
    pub(super) const fn is_eligible(&self) -> bool {
        matches!(self.verdict, Verdict::Eligible { .. })
    }

    /// The requests in flight for its weight.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub(super) fn busy(&self, weight: f32) -> f32 {
        self.reading.map_or(0.0, |reading| reading.in_flight as f32) / weight
    }

    /// The expected time to the first token, in seconds, what is late taken into account.
    pub(super) fn first_token(&self, unknown: f32) -> f32 {
        let of =
            |reading: Reading| reading.first_token.unwrap_or(unknown) * (1.0 + reading.overdue);
        self.reading.map_or(unknown, of)
    }
}
