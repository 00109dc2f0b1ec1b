//! What requests that belong together have in common, and which place that prefers.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// So many requests at once are never too many: among so few, shares say nothing.
const ROOM: f32 = 4.0;

/// What requests that belong together have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belonging {
    pub(super) key: u64,
    /// So many times worse than the best, or than its share, a place may be.
    pub(super) slack: f32,
}

impl Belonging {
    /// Of requests that are alike in these parts.
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>, tolerance_percent: u32) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            // With its length, so that what ends one part never begins another.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { key: hasher.digest(), slack: 1.0 + tolerance_percent as f32 / 100.0 }
    }

    /// How much a place is preferred; the highest serves.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    pub(super) fn rank(self, place: &[u8], weight: f32) -> f64 {
        let drawn = (xxh3_64_with_seed(place, self.key) >> 11) as f64 + 0.5;
        -f64::from(weight) / (drawn / (1_u64 << 53) as f64).ln()
    }

    /// Whether so many requests at a place, this one included, are too many where its share of all
    /// would be `fair`.
    pub(super) fn is_too_much(self, requests: f32, fair: f32) -> bool {
        requests > (fair * self.slack).max(ROOM)
    }
}
