//! What a request cannot do without, held against what is known of a model.
//!
//! Two kinds. Without some abilities an answer would be wrong, or there would be none: such a model is
//! never asked. Without others it is only less than was hoped for, and the loss is named: such a model
//! serves when no better one of its tier can. What nobody knows of a model is taken as able.

use super::{health::Health, verdict::LeftOut};
use crate::provider::{Ability, Capabilities};

/// About how many bytes of a request make a token, the JSON around the text included, before any
/// answer has told.
pub const BYTES_A_TOKEN: f32 = 5.0;

/// So much longer than a context a request must look before it is held to be too long: the estimate
/// may be wrong, and the provider's refusal costs little.
const MARGIN: f32 = 1.1;

/// What one request needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Without these there is no answer.
    pub must: Capabilities,
    /// Without these the answer is less than was hoped for.
    pub better: Capabilities,
    /// The most tokens that the client wants written, if it said so.
    pub output_tokens: Option<u64>,
    /// Its length in bytes, where that tells its length in tokens: not with pictures in it.
    pub text_bytes: u64,
}

impl Needs {
    /// Those of a request that any model can serve.
    pub const NONE: Self = Self {
        must: Capabilities::NONE,
        better: Capabilities::NONE,
        output_tokens: None,
        text_bytes: 0,
    };
}

/// Why a model cannot serve the request, if it is known not to.
pub(super) fn lacks(needs: &Needs, ability: Ability, health: &Health) -> Option<LeftOut> {
    if let Some(missing) = ability.lacks(needs.must).next() {
        return Some(LeftOut::Incapable(missing));
    }
    let context = ability.context_tokens?;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (bytes, limit) = (needs.text_bytes as f32, context as f32 * MARGIN);
    let tokens = bytes / health.bytes_a_token().unwrap_or(BYTES_A_TOKEN);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    let too_long = LeftOut::TooLong { tokens: tokens as u64, context };
    (tokens > limit).then_some(too_long)
}

/// Whether a model would leave out, or cut short, something that it was asked for.
pub(super) fn falls_short(needs: &Needs, ability: Ability) -> bool {
    let lengths = needs.output_tokens.zip(ability.max_output_tokens);
    ability.lacks(needs.better).next().is_some()
        || lengths.is_some_and(|(wanted, most)| wanted > most)
}
