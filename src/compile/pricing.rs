//! What a target's model costs: the target's word, else its credential's,
//! else the built-in catalogue's.

use std::sync::Arc;

use super::report::Problem;
use crate::{
    api::{AboveSpec, ModelSpec, PricingSpec},
    provider::{Above, Price, Pricing, Rate, Rates, catalogue::catalogue},
    table::{Credential, Target},
};

const WANTED: &str = "must be US dollars per million tokens from 0 to 1000000 with at most six decimals, such as 2.50";

/// The prices of a target that gives none itself; `None` where nobody knows them.
pub(super) fn known(
    model: &str,
    credential: &Credential,
    models: &[ModelSpec],
) -> Option<Arc<Pricing>> {
    let listed = models.iter().find(|listed| listed.name == model);
    if let Some(spec) = listed.and_then(|listed| listed.pricing.as_ref()) {
        // What is wrong with it was told in the credential's own report.
        return read(spec, "", &mut Vec::new()).map(Arc::new);
    }
    catalogue().find(credential.provider.name, model)?.pricing.clone().map(Arc::new)
}

/// What is to be said of the targets whose price nobody knows.
pub(super) fn unknown(targets: &[Arc<Target>]) -> Vec<String> {
    let told = targets.iter().filter(|target| target.pricing.is_none()).map(|target| {
        let Target { name, model, .. } = &**target;
        format!(
            "target `{name}`: what model `{model}` costs is unknown; give its `pricing`, here or in \
             `models` of its credential"
        )
    });
    told.collect()
}

/// Says what is wrong with the models of a credential.
pub(super) fn check(models: &[ModelSpec], problems: &mut Vec<Problem>) {
    for (at, model) in models.iter().enumerate() {
        if let Some(spec) = &model.pricing {
            let _prices = read(spec, &format!("spec.models[{at}].pricing"), problems);
        }
    }
}

/// Reads prices, and says what is wrong with them.
pub(super) fn read(
    spec: &PricingSpec,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Option<Pricing> {
    let PricingSpec { input, cache_read, cache_write, cache_write_long, output, above } = spec;
    let base = rate(
        [
            Some(input),
            cache_read.as_ref(),
            cache_write.as_ref(),
            cache_write_long.as_ref(),
            Some(output),
        ],
        field,
        problems,
    );
    let mut higher = Vec::new();
    for (at, spec) in above.iter().enumerate() {
        let AboveSpec { tokens, input, cache_read, cache_write, cache_write_long, output } = spec;
        let rate = rate(
            [
                Some(input),
                cache_read.as_ref(),
                cache_write.as_ref(),
                cache_write_long.as_ref(),
                Some(output),
            ],
            &format!("{field}.above[{at}]"),
            problems,
        );
        higher.push(Above { tokens: u64::try_from(*tokens).unwrap_or(0), rate: rate? });
    }
    Some(Pricing { standard: Rates { base: base?, above: higher }, ..Pricing::default() })
}

/// Reads the five prices of a rate.
fn rate(texts: [Option<&String>; 5], field: &str, problems: &mut Vec<Problem>) -> Option<Rate> {
    let mut sound = true;
    let mut price = |name: &str, text: Option<&String>| {
        let read = Price::parse(text?);
        if read.is_none() {
            sound = false;
            problems.push(Problem::invalid(&format!("{field}.{name}"), WANTED));
        }
        read
    };
    let [input, cache_read, cache_write, cache_write_long, output] = texts;
    let rate = (
        price("input", input),
        price("cacheRead", cache_read),
        price("cacheWrite", cache_write),
        price("cacheWriteLong", cache_write_long),
        price("output", output),
    );
    let (input, cache_read, cache_write, cache_write_long, output) = rate;
    let rate = Rate { input: input?, cache_read, cache_write, cache_write_long, output: output? };
    sound.then_some(rate)
}
