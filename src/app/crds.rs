//! `trunkline crds`: writes the definitions of all kinds, one file each.

use std::{fs, process::ExitCode};

use super::{args::CrdsArgs, say_error};
use crate::{api, compile};

/// The definitions as YAML, with the file name of each.
pub(crate) fn definitions() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    api::crds_yaml(&compile::providers())
}

pub(super) fn crds(args: &CrdsArgs) -> ExitCode {
    let written = definitions().map_err(|error| error.to_string()).and_then(|files| {
        fs::create_dir_all(&args.folder).map_err(|error| error.to_string())?;
        files.iter().try_for_each(|(name, text)| {
            fs::write(args.folder.join(name), text).map_err(|error| error.to_string())
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_definitions_are_those_of_the_types() {
        for (name, text) in definitions().unwrap() {
            let path = format!("{}/crds/{name}", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(fs::read_to_string(path).unwrap(), text, "run `make crds`");
        }
    }
}
