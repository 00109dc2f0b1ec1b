//! `trunkline catalogue [MODEL]`: what the built-in catalogue says, and where it has it from.

use std::{fmt::Write, process::ExitCode};

use super::{args::CatalogueArgs, say, say_error};
use crate::provider::{
    Capability, Rate, Rates,
    catalogue::{Catalogue, Row, catalogue},
};

pub(super) fn show(args: &CatalogueArgs) -> ExitCode {
    let catalogue = catalogue();
    let Some(model) = &args.model else {
        say(list(catalogue).trim_end());
        return ExitCode::SUCCESS;
    };
    let mut providers: Vec<_> = catalogue.rows.iter().map(|row| row.provider.as_str()).collect();
    providers.dedup();
    let rows: Vec<_> =
        providers.into_iter().filter_map(|provider| catalogue.find(provider, model)).collect();
    if rows.is_empty() {
        let close = close(catalogue, model);
        let hint = if close.is_empty() { "" } else { "; there are: " };
        say_error(&format!("The catalogue has no model `{model}`{hint}{}", close.join(", ")));
        return ExitCode::FAILURE;
    }
    for row in rows {
        say(one(row, catalogue).trim_end());
    }
    ExitCode::SUCCESS
}

/// A line a model.
fn list(catalogue: &Catalogue) -> String {
    let mut out = format!(
        "{:<10} {:<44} {:>9} {:>8} {:>8} {:>8}\n",
        "PROVIDER", "MODEL", "CONTEXT", "INPUT", "CACHED", "OUTPUT"
    );
    for row in &catalogue.rows {
        let rate = row.pricing.as_ref().map(|pricing| pricing.standard.base);
        let of = |price: Option<String>| price.unwrap_or_else(|| "?".to_owned());
        put(
            &mut out,
            &format!(
                "{:<10} {:<44} {:>9} {:>8} {:>8} {:>8}",
                row.provider,
                row.model,
                of(row.context_tokens.map(|tokens| tokens.to_string())),
                of(rate.map(|rate| rate.input.to_string())),
                of(rate.and_then(|rate| rate.cache_read).map(|price| price.to_string())),
                of(rate.map(|rate| rate.output.to_string())),
            ),
        );
    }
    put(&mut out, &format!("US dollars per million tokens. {}", origin(catalogue)));
    out
}

/// Everything about one model.
fn one(row: &Row, catalogue: &Catalogue) -> String {
    let mut out = String::new();
    put(&mut out, &format!("{} {}", row.provider, row.model));
    let tokens = |count: Option<u64>| {
        count.map_or_else(|| "unknown".to_owned(), |count| format!("{count} tokens"))
    };
    put(&mut out, &format!("  context       {}", tokens(row.context_tokens)));
    put(&mut out, &format!("  most output   {}", tokens(row.max_output_tokens)));
    let can: Vec<_> = row.capabilities.iter().copied().map(Capability::as_str).collect();
    put(&mut out, &format!("  capabilities  {}", can.join(", ")));
    match &row.pricing {
        None => put(&mut out, "  prices        unknown"),
        Some(pricing) => {
            put(&mut out, "  prices        US dollars per million tokens");
            rates(&mut out, "standard", &pricing.standard);
            for (name, other) in [
                ("flex", &pricing.flex),
                ("priority", &pricing.priority),
                ("batch", &pricing.batch),
            ] {
                if let Some(other) = other {
                    rates(&mut out, name, other);
                }
            }
        }
    }
    if let Some(day) = &row.retires {
        put(&mut out, &format!("  retires       {day}"));
    }
    if let Some(source) = &row.source {
        put(&mut out, &format!("  source        {source}"));
    }
    put(&mut out, &format!("  {}", origin(catalogue)));
    out
}

fn rates(out: &mut String, name: &str, rates: &Rates) {
    put(out, &format!("    {name:<10}  {}", rate(&rates.base)));
    for above in &rates.above {
        let line = format!(
            "    {:<10}  {}, above {} tokens of input",
            "",
            rate(&above.rate),
            above.tokens
        );
        put(out, &line);
    }
}

fn rate(rate: &Rate) -> String {
    let mut text = format!("input {}", rate.input);
    for (name, price) in [
        ("cache read", rate.cache_read),
        ("cache write", rate.cache_write),
        ("long cache write", rate.cache_write_long),
    ] {
        if let Some(price) = price {
            // Writing into a string cannot fail.
            let _written = write!(text, ", {name} {price}");
        }
    }
    format!("{text}, output {}", rate.output)
}

fn origin(catalogue: &Catalogue) -> String {
    let source = &catalogue.source;
    format!(
        "From {} {} ({}), {}; `pricing` of a credential's model or of a target overrides it.",
        source.package, source.version, source.licence, source.date
    )
}

/// The names that are the most like one that is not there.
fn close<'a>(catalogue: &'a Catalogue, model: &str) -> Vec<&'a str> {
    const MOST: usize = 5;
    let likeness = |row: &'a Row| (strsim::jaro_winkler(&row.model, model), row.model.as_str());
    let mut names: Vec<_> =
        catalogue.rows.iter().map(likeness).filter(|(like, _)| *like > 0.8).collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    names.into_iter().take(MOST).map(|(_, name)| name).collect()
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
