//! Notices that something in a folder has changed.

use std::{path::Path, sync::mpsc, time::Duration};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How long a burst of changes is waited out: editors write, rename and touch in one go.
const QUIET: Duration = Duration::from_millis(20);

/// Changes of a folder.
#[derive(Debug)]
pub struct Changes {
    events: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

/// Begins to watch a folder and everything in it.
///
/// # Errors
/// When the system cannot watch it.
pub fn watch(path: &Path) -> notify::Result<Changes> {
    let (changed, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too, and reading is what a change leads to.
        let read = event.as_ref().is_ok_and(|event| event.kind.is_access());
        if !read {
            // The reader is gone only when the process ends.
            let _gone = changed.send(());
        }
    })?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(Changes { events, _watcher: watcher })
}

impl Changes {
    /// Blocks until something has changed and a burst is over; `false` when there will be no more.
    pub fn next(&self) -> bool {
        if self.events.recv().is_err() {
            return false;
        }
        while self.events.recv_timeout(QUIET).is_ok() {}
        true
    }
}
