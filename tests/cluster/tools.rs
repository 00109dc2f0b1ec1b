//! Where the programs of the control plane and the clients are, and the SDKs of the applications.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder with the tools, made by `tests/tools/install` when it is missing.
pub fn install() -> PathBuf {
    PathBuf::from(said("tests/tools/install").trim())
}

/// The folder with the Python packages of the SDKs, made by `tests/sdk/install` when it is missing.
pub fn sdks() -> PathBuf {
    PathBuf::from(said("tests/sdk/install").lines().next().unwrap())
}

fn said(script: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let made = Command::new(&script).stderr(Stdio::inherit()).output();
    let made = made.unwrap_or_else(|error| panic!("could not run {}: {error}", script.display()));
    assert!(made.status.success(), "{} failed: see above", script.display());
    String::from_utf8(made.stdout).unwrap()
}
