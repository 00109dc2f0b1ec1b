//! What a target's model can do: its credential's word, else the built-in catalogue's; and whether
//! that is what its route requires.

use super::report::{Problem, Reason};
use crate::{
    api::{CapabilityName, ModelSpec, RequirementsSpec},
    provider::{Ability, Capabilities, Capability, catalogue::catalogue},
    table::Credential,
};

/// What is known of a model.
pub(super) fn known(model: &str, credential: &Credential, models: &[ModelSpec]) -> Ability {
    let listed = models.iter().find(|listed| listed.name == model);
    let row = catalogue().find(credential.provider.name, model);
    let own = listed.and_then(|listed| listed.capabilities.as_deref()).map(set);
    let tokens = |own: Option<i64>, row: Option<u64>| {
        own.and_then(|tokens| u64::try_from(tokens).ok()).or(row)
    };
    Ability {
        capabilities: own.or_else(|| row.map(|row| row.capabilities.iter().copied().collect())),
        context_tokens: tokens(
            listed.and_then(|listed| listed.context_tokens),
            row.and_then(|row| row.context_tokens),
        ),
        max_output_tokens: tokens(
            listed.and_then(|listed| listed.max_output_tokens),
            row.and_then(|row| row.max_output_tokens),
        ),
    }
}

/// Says what a target lacks that its route requires.
///
/// # Errors
/// When it is known to lack something.
pub(super) fn suffices(
    ability: Ability,
    requirements: &RequirementsSpec,
    (target, model, field): (&str, &str, &str),
) -> Result<(), Problem> {
    let missing: Vec<_> =
        ability.lacks(set(&requirements.capabilities)).map(Capability::as_str).collect();
    let incapable = |what: String| {
        let message = format!(
            "target `{target}`: model `{model}` has {what}, which spec.requirements asks for; take \
             another model, or say what it can do in `models` of its credential"
        );
        Err(Problem::new(Reason::Incapable, field, message))
    };
    if !missing.is_empty() {
        return incapable(format!("no {}", missing.join(", ")));
    }
    let least = requirements.min_context_tokens.and_then(|tokens| u64::try_from(tokens).ok());
    match (least, ability.context_tokens) {
        (Some(least), Some(context)) if context < least => {
            incapable(format!("a context of {context} tokens and not {least}"))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn set(names: &[CapabilityName]) -> Capabilities {
    names
        .iter()
        .map(|name| match name {
            CapabilityName::AudioInput => Capability::AudioInput,
            CapabilityName::FileInput => Capability::FileInput,
            CapabilityName::JsonSchema => Capability::JsonSchema,
            CapabilityName::ParallelTools => Capability::ParallelTools,
            CapabilityName::Reasoning => Capability::Reasoning,
            CapabilityName::Tools => Capability::Tools,
            CapabilityName::Vision => Capability::Vision,
        })
        .collect()
}
