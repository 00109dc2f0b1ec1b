//! Holds the rule of `ARCHITECTURE.md`: who may name whom, and that every file says what it is.
//!
//! One package has no boundary that the compiler checks between its modules, so this test is it.

mod graph;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use graph::Graph;

/// A room, the rooms that it may name, and the crates that it must not.
const RULES: &[(&str, &[&str], &[&str])] = &[
    ("api", &[], &["hyper", "tokio"]),
    ("autoscale", &["words"], &["kube", "hyper"]),
    (
        "compile",
        &["api", "autoscale", "table", "dialect", "provider", "words"],
        &["hyper", "tokio"],
    ),
    (
        "control",
        &["api", "autoscale", "backoff", "compile", "provider", "spend", "table", "observe"],
        &[],
    ),
    ("dialect", &[], &["kube", "hyper", "tokio"]),
    ("files", &["api", "compile", "table", "observe"], &["hyper"]),
    ("observe", &["words"], &["kube"]),
    ("provider", &["dialect"], &["kube", "hyper", "tokio"]),
    ("proxy", &["table", "dialect", "provider", "select", "observe"], &["kube"]),
    ("select", &["table", "provider", "dialect"], &["kube", "hyper"]),
    ("sim", &[], &["kube"]),
    ("source", &["backoff", "table", "observe"], &[]),
    ("spend", &["provider"], &["kube", "hyper", "tokio"]),
    ("table", &["dialect", "provider"], &["kube", "hyper", "tokio"]),
];

/// The most lines of a file before its tests.
const MOST_LINES: usize = 450;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What stands before a file's test module, whoever may see that module.
fn production(text: &str) -> &str {
    let tests = ["mod tests", "pub(super) mod tests", "pub(crate) mod tests"];
    let at = tests.iter().filter_map(|tests| text.find(&format!("#[cfg(test)]\n{tests}"))).min();
    at.and_then(|at| text.get(..at)).unwrap_or(text)
}

#[test]
fn rooms_name_only_what_their_row_allows() {
    let graph = Graph::read(&src());
    let mut wrong = Vec::new();
    for (room, allowed, banned) in RULES {
        for file in graph.files().filter(|file| file.first().is_some_and(|first| first == room)) {
            for (other, names) in graph.named_by(file) {
                let other = other.first().map_or("", String::as_str);
                if other != *room && !allowed.contains(&other) {
                    wrong.push(format!(
                        "{}: `{room}` must not name `{other}`: {names:?}",
                        file.join("/")
                    ));
                }
            }
            for name in banned.iter().filter(|name| graph.uses(file, name)) {
                wrong.push(format!("{}: `{room}` must not use `{name}`", file.join("/")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_name_each_other() {
    let graph = Graph::read(&src());
    let mut wrong = String::new();
    for circle in graph.circles() {
        wrong.push_str("a circle:\n");
        for file in &circle {
            for (other, names) in
                graph.named_by(file).iter().filter(|(other, _)| circle.contains(*other))
            {
                let (file, other) = (file.join("/"), other.join("/"));
                let _written = writeln!(wrong, "  {file} -> {other}: {names:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_file_says_what_it_is_and_can_be_read_in_one_sitting() {
    for file in sources(&src()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} has no module comment", file.display());
        let lines = production(&text).lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", file.display());
    }
}

#[test]
fn every_file_is_compiled() {
    for file in sources(&src()) {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let folder = file.parent().unwrap();
        let (folder, module) = match stem {
            "lib" | "main" => continue,
            "mod" => (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap()),
            stem => (folder, stem),
        };
        let declared = ["mod.rs", "lib.rs"].iter().any(|name| {
            fs::read_to_string(folder.join(name))
                .is_ok_and(|text| text.contains(&format!("mod {module};")))
        });
        assert!(declared, "{} is in no module tree", file.display());
    }
}
