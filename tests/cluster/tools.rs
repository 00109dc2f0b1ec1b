//! Where the programs of the control plane and the clients are.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder with the tools, made by `tests/tools/install` when it is missing.
pub fn install() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/install");
    let made = Command::new(&script).stderr(Stdio::inherit()).output();
    let made = made.unwrap_or_else(|error| panic!("could not run {}: {error}", script.display()));
    assert!(made.status.success(), "{} failed: see above", script.display());
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}
