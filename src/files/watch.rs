//! Notices that something in a folder has changed.
//!
//! It says only that; what has changed is found by reading everything again, which is quick and
//! cannot miss anything. Besides the folder its parent is watched, because a folder (or the one file)
//! that is replaced takes its own watch with it: editors write a new file and rename it, a mounted
//! `ConfigMap` swaps a link.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::time::Instant;

/// How long silence must last before a burst of changes is over: editors write, rename and touch in
/// one go.
const QUIET: Duration = Duration::from_millis(20);

/// How long a burst is waited out at most; a change is in use within 100 ms.
const PATIENCE: Duration = Duration::from_millis(60);

/// The link that a mounted `ConfigMap` swaps, beside the files that lead through it.
const SWAPPED_LINK: &str = "..data";

/// Changes of a folder or file.
#[derive(Debug)]
pub struct Changes {
    events: mpsc::Receiver<Change>,
    watcher: RecommendedWatcher,
    path: PathBuf,
}

/// What an event means for the watch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Something was written.
    Content,
    /// Something came, went or was renamed: watches may have gone with it.
    Shape,
}

/// Begins to watch a folder and everything in it, or a file.
///
/// # Errors
/// When the system cannot watch it.
pub fn watch(path: &Path) -> notify::Result<Changes> {
    let path = std::path::absolute(path)?;
    let (changed, events) = mpsc::channel();
    let watched = path.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Some(change) = change(event, &watched) {
            // The reader is gone only when the process ends.
            let _gone = changed.send(change);
        }
    })?;
    watcher.watch(&path, RecursiveMode::Recursive)?;
    if let Some(parent) = path.parent() {
        watcher.watch(parent, RecursiveMode::NonRecursive)?;
    }
    Ok(Changes { events, watcher, path })
}

/// What an event says of `path`, if anything.
fn change(event: notify::Result<notify::Event>, path: &Path) -> Option<Change> {
    // An error may be an event that was lost, so it counts as one.
    let Ok(event) = event else { return Some(Change::Shape) };
    // The parent holds other things too, perhaps the log that the next reload writes into.
    let ours = |found: &PathBuf| {
        let name = found.file_name().unwrap_or_default().to_string_lossy();
        found.starts_with(path) || name.starts_with(SWAPPED_LINK)
    };
    if !event.paths.is_empty() && !event.paths.iter().any(ours) {
        return None;
    }
    match event.kind {
        // Reading a file is an event too, and reading is what a change leads to.
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Data(_)) => Some(Change::Content),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => Some(Change::Shape),
    }
}

impl Changes {
    /// Blocks until something has changed and the burst is over; `false` when there will be no more.
    pub fn wait(&mut self) -> bool {
        let Ok(first) = self.events.recv() else { return false };
        let mut shape = first == Change::Shape;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline
            && let Ok(change) = self.events.recv_timeout(QUIET)
        {
            shape |= change == Change::Shape;
        }
        if shape {
            // Before the caller reads: what comes after this is an event again. It fails while the
            // path is away, and then the parent tells when it is back.
            let _away = self.watcher.watch(&self.path, RecursiveMode::Recursive);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// Waits for changes until `done`, for at most some seconds.
    fn until(changes: mpsc::Receiver<()>, mut done: impl FnMut() -> bool) -> mpsc::Receiver<()> {
        for _ in 0..50 {
            changes.recv_timeout(Duration::from_secs(5)).expect("a change is noticed");
            if done() {
                return changes;
            }
        }
        panic!("the change never showed");
    }

    /// Passes changes on from a thread, as the process does.
    fn start(path: &Path) -> mpsc::Receiver<()> {
        let mut changes = watch(path).unwrap();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || while changes.wait() && send.send(()).is_ok() {});
        receive
    }

    #[test]
    fn a_write_a_rename_and_a_new_folder_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("a.yaml");
        let read = || fs::read_to_string(&file).unwrap_or_default();
        let mut changes = start(&folder);
        fs::write(&file, "1").unwrap();
        changes = until(changes, || read() == "1");
        // As editors and `kubectl` write: a new file in place of the old one.
        fs::write(folder.join(".new"), "2").unwrap();
        fs::rename(folder.join(".new"), &file).unwrap();
        changes = until(changes, || read() == "2");
        let inner = folder.join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("b.yaml"), "3").unwrap();
        changes = until(changes, || inner.join("b.yaml").exists());
        fs::write(inner.join("b.yaml"), "4").unwrap();
        until(changes, || fs::read_to_string(inner.join("b.yaml")).unwrap() == "4");
    }

    /// Else a log beside the folder would be read as a change that writes the log.
    #[test]
    fn what_lies_beside_the_folder_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), "1").unwrap();
        let changes = start(&folder);
        fs::write(root.path().join("log"), "1").unwrap();
        fs::write(root.path().join("manifests.log"), "1").unwrap();
        // Nor is reading.
        fs::read_to_string(folder.join("a.yaml")).unwrap();
        assert!(changes.recv_timeout(Duration::from_millis(300)).is_err());
    }

    #[test]
    fn a_folder_that_is_made_anew_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        let mut changes = start(&folder);
        fs::remove_dir(&folder).unwrap();
        changes = until(changes, || !folder.exists());
        fs::create_dir(&folder).unwrap();
        changes = until(changes, || folder.exists());
        // Silence first, so that the next change is one of the new folder's own.
        while changes.recv_timeout(Duration::from_millis(200)).is_ok() {}
        fs::write(folder.join("a.yaml"), "1").unwrap();
        until(changes, || folder.join("a.yaml").exists());
    }

    #[test]
    fn a_swapped_link_of_a_mounted_config_map_is_noticed() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let changes = start(root.path());
        symlink("..2", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        until(changes, || fs::read_to_string(at("a.yaml")).unwrap() == "new");
    }

    #[test]
    fn one_file_is_watched_through_its_replacement() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("route.yaml");
        fs::write(&file, "1").unwrap();
        let mut changes = start(&file);
        for text in ["2", "3"] {
            fs::write(root.path().join("new"), text).unwrap();
            fs::rename(root.path().join("new"), &file).unwrap();
            changes = until(changes, || fs::read_to_string(&file).unwrap() == text);
        }
    }
}
