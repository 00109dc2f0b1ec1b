//! Manifests from a folder: every `.yaml`, `.yml` and `.json` file in it, many documents a file.
//!
//! A file that cannot be read keeps the objects that it gave before: half an edit must not take
//! routes away. Objects of other kinds are left alone, so that a folder of Kubernetes manifests can
//! be read as it is.

mod fields;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::{API_VERSION, ModelRouteSpec, ProviderCredentialSpec},
    compile::{Condition, Entry, Report, Snapshot, Source, report::Reason},
    table::ObjectId,
};

/// Reads a folder again and again, and remembers what each file gave.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// The documents of each file when it was last readable.
    good: BTreeMap<PathBuf, Vec<Document>>,
    schemas: fields::Schemas,
}

/// One object as it was written.
#[derive(Clone, Debug)]
struct Document {
    source: Source,
    value: Value,
}

impl Reader {
    /// A reader of a folder or of one file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), good: BTreeMap::new(), schemas: fields::Schemas::new() }
    }

    /// Reads everything. `env` looks environment variables up, for keys that name one.
    ///
    /// # Errors
    /// When the folder itself cannot be read, or holds no manifest at all.
    pub fn read(&mut self, env: &dyn Fn(&str) -> Option<String>) -> io::Result<Snapshot> {
        let files = manifests(&self.path)?;
        let mut snapshot = Snapshot::default();
        self.good.retain(|file, _| files.contains(file));
        for file in files {
            let shown = file.display().to_string();
            let read = fs::read_to_string(&file).map_err(|error| (1, error.to_string()));
            match read.and_then(|text| documents(&shown, &text)) {
                Ok(documents) => {
                    self.good.insert(file, documents);
                }
                Err((line, message)) => {
                    let source = Source { file: shown, line };
                    let mut report = Report::named("File", String::new(), &source);
                    report.last_good_serves = self.good.contains_key(&file);
                    report.push(Condition::not_accepted(Reason::Unreadable, message));
                    snapshot.unread.push(report);
                }
            }
        }
        for document in self.good.values().flatten() {
            self.place(document, &mut snapshot, env);
        }
        Ok(snapshot)
    }

    fn place(
        &self,
        document: &Document,
        snapshot: &mut Snapshot,
        env: &dyn Fn(&str) -> Option<String>,
    ) {
        let Document { source, value } = document;
        let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let namespace = Some(text("/metadata/namespace")).filter(|name| !name.is_empty());
        let id = ObjectId::new(namespace.unwrap_or("default"), text("/metadata/name"));
        let group = API_VERSION.split('/').next().unwrap_or_default();
        match (version, kind) {
            (API_VERSION, "ModelRoute") => {
                let spec = self.decode::<ModelRouteSpec>("ModelRoute", value);
                insert(&mut snapshot.routes, id, source, spec);
            }
            (API_VERSION, "ProviderCredential") => {
                let spec = self.decode::<ProviderCredentialSpec>("ProviderCredential", value);
                if let Ok(spec) = &spec {
                    let keys = spec.auth.api_key.iter().flat_map(|pool| &pool.keys);
                    for name in keys.map(|key| &key.env).filter(|name| !name.is_empty()) {
                        snapshot.environment.extend(env(name).map(|value| (name.clone(), value)));
                    }
                }
                insert(&mut snapshot.credentials, id, source, spec);
            }
            ("v1", "Secret") => {
                snapshot.secrets.insert(id, secret(value));
            }
            ("v1", "ConfigMap") => {
                snapshot.config_maps.insert(id, texts(value.get("data")));
            }
            _ if version.split('/').next() == Some(group) || version.is_empty() => {
                let mut report = Report::named("Object", id.to_string(), source);
                let message = format!(
                    "`{version}` `{kind}` is no kind of ours; there are ModelRoute and \
                     ProviderCredential in {API_VERSION}"
                );
                report.push(Condition::not_accepted(Reason::Invalid, message));
                snapshot.unread.push(report);
            }
            _ => {}
        }
    }

    /// Decodes a specification; every unknown field is reported, not just the first.
    fn decode<T: DeserializeOwned>(&self, kind: &str, value: &Value) -> Result<T, Vec<Condition>> {
        let unknown = self.schemas.unknown(kind, value);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let spec = value.get("spec").cloned().unwrap_or_default();
        serde_json::from_value(spec).map_err(|error| {
            vec![Condition::not_accepted(Reason::Invalid, format!("spec: {error}"))]
        })
    }
}

fn insert<T>(
    to: &mut BTreeMap<ObjectId, Entry<T>>,
    id: ObjectId,
    source: &Source,
    spec: Result<T, Vec<Condition>>,
) {
    if let Some(first) = to.get_mut(&id) {
        let message = format!(
            "{id} stands twice: here and in {}:{}; remove one of them",
            source.file, source.line
        );
        first.spec = Err(vec![Condition::not_accepted(Reason::Duplicate, message)]);
        return;
    }
    to.insert(id, Entry { source: source.clone(), spec });
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect()
}

fn secret(value: &Value) -> BTreeMap<String, String> {
    let encoded = texts(value.get("data")).into_iter().filter_map(|(key, text)| {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        Some((key, String::from_utf8(bytes).ok()?))
    });
    // As in a cluster, stringData wins.
    encoded.chain(texts(value.get("stringData"))).collect()
}

/// Every manifest below a path, sorted. Hidden files and folders are skipped: editors and mounted
/// volumes keep their temporary files there.
fn manifests(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    if fs::metadata(path)?.is_file() {
        found.insert(path.to_owned());
        return Ok(found);
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let known =
            path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|k| end == *k));
        if hidden {
            continue;
        }
        if path.is_dir() {
            found.extend(manifests(&path)?);
        } else if known {
            found.insert(path);
        }
    }
    Ok(found)
}

/// The documents of a file; a `List` is taken apart. An error has its line.
fn documents(file: &str, text: &str) -> Result<Vec<Document>, (usize, String)> {
    let mut found = Vec::new();
    let (mut from, mut chunk) = (1, String::new());
    let mut end = |from: usize, chunk: &str| {
        let value: Value = serde_yaml::from_str(chunk).map_err(|error| {
            let line = error.location().map_or(0, |at| at.line().saturating_sub(1));
            (from + line, error.to_string())
        })?;
        let blank = chunk.lines().take_while(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        });
        let source = Source { file: file.to_owned(), line: from + blank.count() };
        match value.get("items").and_then(Value::as_array) {
            Some(items) if value.get("kind").and_then(Value::as_str) == Some("List") => {
                for item in items {
                    found.push(Document { source: source.clone(), value: item.clone() });
                }
            }
            _ if value.is_null() => {}
            _ => found.push(Document { source, value }),
        }
        Ok(())
    };
    for (at, line) in text.lines().enumerate() {
        // At the beginning of a line this is always a new document, whatever stands around it.
        if line == "---" || line.starts_with("--- ") {
            end(from, &chunk)?;
            chunk.clear();
            from = at + 2;
        } else {
            chunk.push_str(line);
            chunk.push('\n');
        }
    }
    end(from, &chunk)?;
    Ok(found)
}
