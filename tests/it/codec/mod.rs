//! The codecs from outside: every fixture in every dialect (`golden`), streams in pieces and cut
//! anywhere (`streams`), what the fuzz targets run (`fuzz`), and what a strict provider says of it all
//! (`judged`).
//!
//! A fixture is what a client or a provider writes, one file each, by dialect and kind, under
//! `tests/it/fixtures/codec`. A new dialect is one folder of them; nothing here names one.

#![cfg(test)]

mod fuzz;
mod golden;
mod judged;
mod streams;

use std::{
    fs,
    path::{Path, PathBuf},
};

use trunkline::dialect::{Dialect, View};

/// The folder of one kind of fixtures of a dialect.
fn folder(dialect: Dialect, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/fixtures/codec")
        .join(dialect.as_str())
        .join(kind)
}

/// Every fixture of one kind: its name and its bytes, by name.
fn fixtures(dialect: Dialect, kind: &str) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(folder(dialect, kind)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = files.iter().map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    read.collect()
}

fn view() -> View {
    View { model: "asked".to_owned(), created: 1_700_000_000, include_usage: true }
}
