//! A route and its targets, resolved.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    choosing::Choosing,
    consumer::Access,
    credential::Credential,
    id::ObjectId,
    matcher::{Match, Pattern},
    policy::{Failover, Overrides, Timeouts},
    reference,
};
use crate::{
    dialect::{Dialect, Traits},
    provider::{Ability, Pricing},
};

/// One model route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which `ModelRoute` this is.
    pub id: ObjectId,
    /// Seconds since the Unix epoch at which the object was created; 0 for files. Older wins a tie.
    pub created: u64,
    /// The names that it really owns.
    pub models: Vec<Pattern>,
    /// What else a request must have.
    pub matches: Match,
    /// Decides between routes that match equally well; higher wins.
    pub precedence: i32,
    /// Who may use it.
    pub access: Access,
    /// Where it can go. Never empty unless every target was taken out, and then each request gets a
    /// clear error.
    pub targets: Vec<Arc<Target>>,
    /// How one of them is chosen.
    #[serde(default)]
    pub choosing: Choosing,
    /// When to go elsewhere, and how often.
    pub failover: Failover,
    /// Answer 503 to everything.
    pub paused: bool,
}

/// One way to reach a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The name within its route: label, header value, status key.
    pub name: Arc<str>,
    /// The account or server.
    #[serde(with = "reference")]
    pub credential: Arc<Credential>,
    /// The upstream's own name of the model.
    pub model: Arc<str>,
    /// What this model takes and refuses.
    pub traits: Traits,
    /// What is known of what it can do.
    #[serde(default)]
    pub ability: Ability,
    /// What it costs; none where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Arc<Pricing>>,
    /// Lower tiers are tried first.
    pub tier: u8,
    /// Share within its tier; 0 takes no traffic.
    pub weight: u32,
    /// So many of a hundred answers are good; none where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u32>,
    /// How long each step may take, the route's values under the target's.
    pub timeouts: Timeouts,
    /// Fields of the upstream request to set or remove.
    pub overrides: Overrides,
}

impl Target {
    /// The wire format that this target speaks.
    pub fn dialect(&self) -> Dialect {
        self.credential.provider.dialect
    }
}
