//! What a model can be asked for, as one closed set.
//!
//! A request needs some of these, a target has some: what is needed and not there keeps a request
//! from the target before anything is sent. Sets are small, so they are bits.

use serde::{Deserialize, Serialize};

/// One thing that not every model can do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Capability {
    /// Takes audio.
    AudioInput,
    /// Takes files, such as PDF.
    FileInput,
    /// Writes what a JSON schema asks for.
    JsonSchema,
    /// Calls several tools in one turn.
    ParallelTools,
    /// Thinks before it answers.
    Reasoning,
    /// Calls tools.
    Tools,
    /// Takes images.
    Vision,
}

impl Capability {
    /// Every capability, sorted.
    pub const ALL: [Self; 7] = [
        Self::AudioInput,
        Self::FileInput,
        Self::JsonSchema,
        Self::ParallelTools,
        Self::Reasoning,
        Self::Tools,
        Self::Vision,
    ];

    /// The word in resources and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AudioInput => "AudioInput",
            Self::FileInput => "FileInput",
            Self::JsonSchema => "JsonSchema",
            Self::ParallelTools => "ParallelTools",
            Self::Reasoning => "Reasoning",
            Self::Tools => "Tools",
            Self::Vision => "Vision",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(u16);

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether it has one.
    pub const fn contains(self, one: Capability) -> bool {
        self.0 & one.bit() != 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds one.
    pub const fn insert(&mut self, one: Capability) {
        self.0 |= one.bit();
    }

    /// What is here and not in `other`, sorted.
    pub fn without(self, other: Self) -> impl Iterator<Item = Capability> {
        let left = Self(self.0 & !other.0);
        Capability::ALL.into_iter().filter(move |one| left.contains(*one))
    }
}

/// What is known of a model's abilities. What nobody knows is taken as able: a wrong refusal of ours
/// would be worse than one of the provider's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Ability {
    /// What it can do, where somebody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Tokens that a request and its answer may have together, where somebody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Tokens that an answer may have, where somebody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}

impl Ability {
    /// What is needed and known to be missing, sorted.
    pub fn lacks(self, needs: Capabilities) -> impl Iterator<Item = Capability> {
        needs.without(self.capabilities.unwrap_or(needs))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        Self(iter.into_iter().fold(0, |set, one| set | one.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_in_order() {
        let need: Capabilities =
            [Capability::Vision, Capability::Tools, Capability::JsonSchema].into_iter().collect();
        let has: Capabilities = [Capability::Tools].into_iter().collect();
        let missing: Vec<_> = need.without(has).map(Capability::as_str).collect();
        assert_eq!(missing, ["JsonSchema", "Vision"]);
        assert_eq!(has.without(need).next(), None);
    }

    #[test]
    fn words_are_those_of_the_serialised_form() {
        for one in Capability::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
    }
}
