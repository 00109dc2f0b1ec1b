//! `trunkline check`: 0 when all is well, 1 when something is not, 2 when it could not be read.

use std::process::ExitCode;

use super::{
    args::{CheckArgs, Output},
    environment, say, say_error,
};
use crate::{
    compile::{self, LastGood, Options, render},
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
        Output::Text => Ok(render::text(&reports)),
        Output::Json => Ok(render::json(&reports)),
        Output::Yaml => render::yaml(&reports),
    };
    match text {
        Ok(text) => say(text.trim_end()),
        Err(error) => say_error(&error.to_string()),
    }
    ExitCode::from(render::exit_code(&reports))
}
