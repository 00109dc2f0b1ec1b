//! `trunkline check`: 0 when all is well, 1 when something is not, 2 when it could not be read.

use std::process::ExitCode;

use super::{
    args::{CheckArgs, Output},
    environment, say, say_error,
};
use crate::{
    compile::{self, LastGood, Options, report},
    files::Reader,
};

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let snapshot = match Reader::new(&args.path).read(&environment) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            say_error(&format!("{} cannot be read: {error}", args.path.display()));
            return ExitCode::from(2);
        }
    };
    let options = Options { allow_private_endpoints: args.allow_private_endpoints };
    let reports = compile::compile(&snapshot, options, 1, &mut LastGood::default()).reports;
    let text = match args.output {
        Output::Text => Ok(report::render(&reports).trim_end().to_owned()),
        Output::Json => serde_json::to_string_pretty(&reports).map_err(|error| error.to_string()),
        Output::Yaml => serde_yaml::to_string(&reports).map_err(|error| error.to_string()),
    };
    match text {
        Ok(text) => say(&text),
        Err(error) => say_error(&error),
    }
    let well = reports.iter().all(|report| report.conditions.is_empty());
    ExitCode::from(u8::from(!well))
}
