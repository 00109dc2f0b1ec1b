//! `trunkline crds`: writes the definitions of all kinds, one file each.

use std::{fs, process::ExitCode};

use super::{args::CrdsArgs, say_error};
use crate::{api, provider::PROVIDERS};

/// The definitions as YAML, with the file name of each.
pub(crate) fn definitions() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    let providers: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    let write = |crd| {
        let crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition = crd;
        Ok((format!("{}.yaml", crd.spec.names.plural), serde_yaml::to_string(&crd)?))
    };
    api::crds(&providers).into_iter().map(write).collect()
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
