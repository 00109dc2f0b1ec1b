//! The mounted copies of the Secrets, for a start without an API server.
//!
//! A kubelet brings them up to date a minute late, each Secret by itself; so a head may be mounted
//! before its base. That shows as a base of another hash, and the next look finds both.

use std::{fs, path::Path};

use super::{News, live::Which};
use crate::table::head::DATA_KEY;

/// What is there, bases first. What is not there yet is no error: it may come.
pub(super) fn read(folder: &Path) -> Vec<News> {
    let found = |which: Which| {
        let bytes = fs::read(folder.join(which.as_str()).join(DATA_KEY)).ok()?;
        Some(News::Found(which, bytes))
    };
    Which::ALL.into_iter().filter_map(found).collect()
}
