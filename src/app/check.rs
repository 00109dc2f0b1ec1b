//! `trunkline check`: 0 when all is well, 1 when something is not, 2 when it could not be read.
//!
//! Whether a private endpoint is taken is a flag of the process that will serve, which is not here
//! to be asked. Unless the caller says what it will be, such endpoints are named on stderr and are
//! no problem: the same folder is right on a laptop and wrong in a cluster.

use std::process::ExitCode;

use super::{
    args::{CheckArgs, Output, PrivateEndpoints},
    environment, say, say_error,
};
use crate::{
    compile::{self, LastGood, Options, Reason, Report, Snapshot, render},
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
    let reports = reports(&snapshot, args.private_endpoints != PrivateEndpoints::Deny);
    let text = match args.output {
        Output::Text => Ok(render::text(&reports)),
        Output::Json => Ok(render::json(&reports)),
        Output::Yaml => render::yaml(&reports),
    };
    match text {
        Ok(text) => say(text.trim_end()),
        Err(error) => say_error(&error.to_string()),
    }
    if args.private_endpoints == PrivateEndpoints::Note
        && let Some(note) = note(&snapshot)
    {
        say_error(&note);
    }
    ExitCode::from(render::exit_code(&reports))
}

fn reports(snapshot: &Snapshot, allow_private_endpoints: bool) -> Vec<Report> {
    let options = Options { allow_private_endpoints };
    compile::compile(snapshot, options, 1, &mut LastGood::default()).reports
}

/// Names the objects that are served only where private endpoints are taken.
fn note(snapshot: &Snapshot) -> Option<String> {
    let refused = |report: &Report| {
        report.problems.iter().any(|problem| {
            matches!(problem.reason, Reason::AddressNotAllowed | Reason::EndpointNotAllowed)
        })
    };
    let open = reports(snapshot, true);
    let private: Vec<String> = reports(snapshot, false)
        .iter()
        .zip(&open)
        .filter(|(closed, open)| refused(closed) && !refused(open))
        .map(|(closed, _)| closed.title())
        .collect();
    (!private.is_empty()).then(|| {
        format!(
            "Note: only a process started with --allow-private-endpoints serves {}.",
            private.join(", ")
        )
    })
}
