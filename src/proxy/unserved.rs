//! Why no target of a route could be asked: what a client is told when there was no attempt.
//!
//! It asks the very choice that found nobody, as if nothing had been tried, and makes of its reasons
//! what the client can do something about.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{needs::asked_by, race::Common};
use crate::{
    dialect::Refusal,
    select::{self, LeftOut, Tried, Verdict},
    table::QuotaPart,
};

/// The targets that could serve but for their account's quota, with the part that is used up and how
/// long it is.
pub fn over_quota(common: Common<'_>, now: Instant) -> Vec<(Arc<str>, QuotaPart, Duration)> {
    let Common { route, ask, .. } = common;
    let found = select::consider(common.targets(), &ask, &Tried::default(), now);
    let full = found.candidates.iter().zip(&route.targets).filter_map(|(one, target)| {
        let Verdict::LeftOut(LeftOut::OverQuota(over)) = one.verdict else { return None };
        let wait = over.until.saturating_duration_since(now);
        Some((Arc::clone(&target.name), over.part, wait))
    });
    full.collect()
}

/// The targets that cannot do what the request needs, with what they lack.
pub fn incapable(common: Common<'_>) -> Vec<(Arc<str>, Refusal)> {
    let Common { route, chat, ask, .. } = common;
    let found = select::consider(common.targets(), &ask, &Tried::default(), common.arrived);
    let told = found.candidates.iter().zip(&route.targets).filter_map(|(one, target)| {
        let (field, message) = match one.verdict {
            Verdict::LeftOut(LeftOut::Incapable(missing)) => {
                let message = format!("model {} has no {}", target.model, missing.as_str());
                (asked_by(missing), message)
            }
            Verdict::LeftOut(LeftOut::TooLong { tokens, context }) => (
                "messages",
                format!(
                    "about {tokens} tokens are more than the {context} that model {} takes",
                    target.model
                ),
            ),
            Verdict::LeftOut(_) | Verdict::Eligible { .. } => return None,
        };
        let refusal = Refusal::at(chat.api.client().own_name(field), message);
        Some((Arc::clone(&target.name), refusal))
    });
    told.collect()
}
