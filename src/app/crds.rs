//! `trunkline crds`: writes the definitions of all kinds, one file each, for `kubectl` or for Helm.

use std::{fs, process::ExitCode};

use super::{args::CrdsArgs, say_error};
use crate::{api, compile};

/// The definitions as YAML, with the file name of each.
pub(crate) fn definitions(helm: bool) -> Result<Vec<(String, String)>, serde_yaml::Error> {
    api::crds_yaml(&compile::providers(), helm)
}

pub(super) fn crds(args: &CrdsArgs) -> ExitCode {
    let written = definitions(args.helm).map_err(|error| error.to_string()).and_then(|files| {
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
        for (helm, folder) in [(false, "crds"), (true, "charts/trunkline-crds/templates")] {
            for (name, text) in definitions(helm).unwrap() {
                let path = format!("{}/{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
                assert_eq!(fs::read_to_string(path).unwrap(), text, "run `make crds`");
                assert!(!text.contains("{{"), "{name}: Helm would take this for a template");
            }
        }
    }
}
