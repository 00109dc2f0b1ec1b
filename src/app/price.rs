//! `trunkline price`: what recorded answers of providers cost by the built-in catalogue.
//!
//! For checking a bill: one JSON object a line comes in, `{"provider": …, "model": …, "answer": …}`
//! with the answer as the provider wrote it, and one goes out with the tokens and the exact cost.
//! The very code that counts and prices served requests does it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    process::ExitCode,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{args::PriceArgs, say, say_error};
use crate::provider::{self, catalogue::catalogue};

#[derive(Deserialize)]
struct Recorded<'a> {
    provider: &'a str,
    model: &'a str,
    #[serde(borrow)]
    answer: &'a RawValue,
}

pub(super) fn price(args: &PriceArgs) -> ExitCode {
    let input: Box<dyn BufRead> = match &args.file {
        None => Box::new(io::stdin().lock()),
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => {
                say_error(&format!("{} cannot be read: {error}", path.display()));
                return ExitCode::from(2);
            }
        },
    };
    let mut wrong = false;
    for (number, line) in input.lines().enumerate() {
        match line.map_err(|error| error.to_string()).and_then(|line| priced(&line)) {
            Ok(priced) => say(&priced.to_string()),
            Err(problem) => {
                wrong = true;
                say_error(&format!("line {}: {problem}", number + 1));
            }
        }
    }
    ExitCode::from(u8::from(wrong))
}

/// One answer's tokens and cost; an unknown cost is null.
fn priced(line: &str) -> Result<Value, String> {
    let Recorded { provider: name, model, answer } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let row = provider::find(name).ok_or_else(|| format!("there is no provider `{name}`"))?;
    let usage = row.dialect.upstream().usage(answer.get().as_bytes());
    let usage = usage.ok_or("the answer has no usage")?;
    let pricing = catalogue().find(name, model).and_then(|row| row.pricing.as_ref());
    Ok(json!({
        "provider": name,
        "model": model,
        "input": usage.input,
        "cached": usage.cached,
        "cacheWrite": usage.cache_write,
        "output": usage.output,
        "usd": pricing.and_then(|pricing| pricing.cost(&usage)).map(|cost| cost.total().to_string()),
    }))
}
