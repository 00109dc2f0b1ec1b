//! What a request has in common with those that it belongs together with.
//!
//! Read only where the route asks for it. Where a request goes for it is decided in `select`.

use http::HeaderValue;

use super::facts::Chat;
use crate::{
    dialect::lead,
    observe::AffinityResult,
    select::{Belonging, Kept},
    table::{Affinity, AffinityBy},
};

/// With what a request belongs together, if anything in it says so.
pub fn belonging(chat: &Chat, affinity: &Affinity) -> Option<Belonging> {
    let Affinity { by, tolerance_percent } = affinity;
    let of = |id: &[u8]| Belonging::of([id], *tolerance_percent);
    match by {
        AffinityBy::Conversation => lead::conversation(&chat.body).map(of),
        AffinityBy::Header(name) => {
            let header = chat.headers.get(name).map(HeaderValue::as_bytes);
            let header = header.filter(|value| !value.is_empty());
            header.or_else(|| lead::conversation(&chat.body)).map(of)
        }
        AffinityBy::Prefix(bytes) => {
            let most = usize::try_from(*bytes).unwrap_or(usize::MAX);
            let parts = lead::prefix(&chat.body);
            let cut = parts.iter().map(|part| part.get(..most).unwrap_or(part));
            (!parts.is_empty()).then(|| Belonging::of(cut, *tolerance_percent))
        }
    }
}

/// What became of it, as a metric's label.
pub const fn result(kept: Kept) -> AffinityResult {
    match kept {
        Kept::Busy => AffinityResult::Busy,
        Kept::Home => AffinityResult::Kept,
        Kept::Slow => AffinityResult::Slow,
        Kept::Unavailable => AffinityResult::Unavailable,
        Kept::Unkeyed => AffinityResult::Unkeyed,
    }
}
