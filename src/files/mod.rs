//! Manifests from a folder: every `.yaml`, `.yml` and `.json` file in it, many documents a file.
//!
//! Nothing here decides what an object means; `compile` does. A file that cannot be read keeps the
//! objects that it gave before, and a folder that is suddenly empty is an error: half an edit must
//! not take routes away. Objects of other kinds are left alone, so that a folder of Kubernetes
//! manifests can be read as it is.

mod document;
mod position;
mod schema;
mod secret;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::document::{Document, Unreadable};
use crate::{
    api::{API_VERSION, GROUP, ModelAutoscalerSpec, ModelConsumerSpec, ProviderCredentialSpec},
    compile::{
        Entry, Problem, Reason, Report, Snapshot, Source, autoscaler,
        slice::{SERVICE_LABEL, Slice},
        value::suggestion,
    },
    table::ObjectId,
};

/// How deep folders may lie in each other. A link to a folder above would have no end.
const DEEPEST: usize = 16;

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads a folder again and again, and remembers what each file gave when it was last readable.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    good: BTreeMap<PathBuf, Vec<Document>>,
}

impl Reader {
    /// A reader of a folder or of one file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), good: BTreeMap::new() }
    }

    /// Reads everything. `env` looks environment variables up, for keys that name one.
    ///
    /// # Errors
    /// When the folder itself cannot be read, or holds no manifest at all. What was read before is
    /// remembered, so the next call may succeed.
    pub fn read(&mut self, env: &dyn Fn(&str) -> Option<String>) -> io::Result<Snapshot> {
        let mut files = BTreeSet::new();
        find(&self.path, DEEPEST, &mut files)?;
        if files.is_empty() {
            let message = "no .yaml, .yml or .json file in it";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let mut snapshot = Snapshot { environment: Some(BTreeMap::new()), ..Snapshot::default() };
        self.good.retain(|file, _| files.contains(file));
        for file in files {
            match self.documents(&file) {
                Ok(documents) => {
                    self.good.insert(file, documents);
                }
                Err(unreadable) => {
                    let kept = self.good.get(&file).map_or(0, Vec::len);
                    snapshot.unread.push(unreadable_file(&file, unreadable, kept));
                }
            }
        }
        let mut seen = Seen::new();
        for document in self.good.values().flatten() {
            place(document, &mut snapshot, &mut seen, env);
        }
        Ok(snapshot)
    }

    fn documents(&self, file: &Path) -> Result<Vec<Document>, Unreadable> {
        let text = fs::read_to_string(file)
            .map_err(|error| Unreadable { line: 0, message: error.to_string() })?;
        let before = self.good.get(file).is_some_and(|documents| !documents.is_empty());
        if before && text.trim().is_empty() {
            // Editors and `>` empty a file before they write it.
            let message = "the file is empty; delete it to take its objects away".to_owned();
            return Err(Unreadable { line: 0, message });
        }
        document::parse(file, &text)
    }
}

/// Puts one object where it belongs, or says why not.
fn place(
    document: &Document,
    snapshot: &mut Snapshot,
    seen: &mut Seen,
    env: &dyn Fn(&str) -> Option<String>,
) {
    let Document { source, object } = document;
    let (version, kind) = (document.text(&["apiVersion"]), document.text(&["kind"]));
    let (Some(version), Some(kind)) = (version, kind) else {
        let field = if version.is_none() { "apiVersion" } else { "kind" };
        let problem = Problem::invalid(field, "is missing, or no text");
        snapshot.unread.push(bad(kind.unwrap_or("Object"), None, source, problem));
        return;
    };
    let group = version.split('/').next().unwrap_or_default();
    let known = schema::kinds().any(|known| known == kind);
    let ours = known && version == API_VERSION;
    if group == GROUP && known && !ours {
        let message = format!("`{version}` is not known; use {API_VERSION}");
        let problem = Problem::at(Reason::UnsupportedValue, "apiVersion", message);
        snapshot.unread.push(bad(kind, None, source, problem));
        return;
    }
    if group == GROUP && !known {
        let message =
            format!("`{kind}` is no kind of {API_VERSION}; {}", suggestion(kind, schema::kinds()));
        let problem = Problem::at(Reason::UnsupportedValue, "kind", message);
        snapshot.unread.push(bad(kind, None, source, problem));
        return;
    }
    let needed = ours
        || (version == "v1" && matches!(kind, "ConfigMap" | "Namespace" | "Secret"))
        || (version == "discovery.k8s.io/v1" && kind == "EndpointSlice");
    if !needed {
        let report = Report::new(kind, None, source.clone());
        snapshot.unread.push(Report { left_alone: true, ..report });
        return;
    }
    let id = match identity(document, kind == "Namespace") {
        Ok(id) => id,
        Err(problem) => {
            snapshot.unread.push(bad(kind, None, source, problem));
            return;
        }
    };
    if let Some(first) = seen.insert((kind.to_owned(), id.clone()), source.clone()) {
        let message = format!(
            "{kind} {id} stands twice: in {}:{}, which counts, and in {}:{}; remove one of them",
            first.file, first.line, source.file, source.line
        );
        let problem = Problem::new(Reason::Duplicate, "metadata", message);
        snapshot.unread.push(bad(kind, Some(id.clone()), source, problem));
        seen.insert((kind.to_owned(), id), first);
        return;
    }
    match kind {
        "ModelRoute" => {
            snapshot.routes.insert(id, entry(kind, document));
        }
        "ProviderCredential" => {
            let entry: Entry<ProviderCredentialSpec> = entry(kind, document);
            let pool = entry.spec.as_ref().and_then(|spec| spec.auth.api_key.as_ref());
            let keys = pool.iter().flat_map(|pool| &pool.keys);
            look_up(keys.filter_map(|key| key.env.as_deref()), snapshot, env);
            snapshot.credentials.insert(id, entry);
        }
        "ModelConsumer" => {
            let entry: Entry<ModelConsumerSpec> = entry(kind, document);
            let keys = entry.spec.iter().flat_map(|spec| &spec.auth.api_keys);
            look_up(keys.filter_map(|key| key.env.as_deref()), snapshot, env);
            snapshot.consumers.insert(id, entry);
        }
        // Nothing is scaled without a cluster; what is wrong with it is told all the same.
        "ModelAutoscaler" => {
            let Entry { spec, mut problems, .. } = entry::<ModelAutoscalerSpec>(kind, document);
            if let (Some(spec), true) = (&spec, problems.is_empty()) {
                let _policy = autoscaler(spec, &mut problems);
            }
            let report = Report::new(kind, Some(id), source.clone());
            snapshot.unread.push(Report { problems, ..report });
        }
        "EndpointSlice" => match slice(object) {
            Ok((service, slice)) => {
                let service = ObjectId::new(Arc::clone(&id.namespace), service);
                snapshot.services.entry(service).or_default().insert(id.name, slice);
            }
            Err(problem) => snapshot.unread.push(bad(kind, Some(id), source, problem)),
        },
        "ConfigMap" => {
            snapshot.config_maps.insert(id, secret::texts(object.get("data")));
        }
        "Namespace" => {
            let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
            snapshot.namespaces.insert(id.name.to_string(), secret::texts(labels));
        }
        _secret => {
            let (data, problems) = secret::data(object);
            if !problems.is_empty() {
                let report = Report::new(kind, Some(id.clone()), source.clone());
                snapshot.unread.push(Report { problems, ..report });
            }
            snapshot.secrets.insert(id, data);
        }
    }
}

/// The pods of a Service, which a cluster would tell.
fn slice(object: &Map<String, Value>) -> Result<(String, Slice), Problem> {
    let slice: EndpointSlice = serde_json::from_value(Value::Object(object.clone()))
        .map_err(|error| Problem::new(Reason::Invalid, "", error.to_string()))?;
    Slice::of(&slice).ok_or_else(|| {
        let message = format!("has no label {SERVICE_LABEL}, so it belongs to no Service");
        Problem::invalid("metadata.labels", message)
    })
}

fn entry<T: DeserializeOwned>(kind: &str, document: &Document) -> Entry<T> {
    let mut problems = schema::problems(kind, &document.object);
    let spec = document.object.get("spec").cloned().unwrap_or_default();
    let spec = match serde_json::from_value(spec) {
        Ok(spec) => Some(Arc::new(spec)),
        Err(error) => {
            // The schema has said it already, with its place and in better words.
            if problems.is_empty() {
                problems.push(Problem::invalid("spec", error));
            }
            None
        }
    };
    Entry { source: document.source.clone(), created: 0, spec, problems }
}

/// The objects that were read, and where.
type Seen = BTreeMap<(String, ObjectId), Source>;

/// The values of the environment variables that an object's keys name.
fn look_up<'a>(
    names: impl Iterator<Item = &'a str>,
    snapshot: &mut Snapshot,
    env: &dyn Fn(&str) -> Option<String>,
) {
    for name in names {
        if let (Some(environment), Some(value)) = (&mut snapshot.environment, env(name)) {
            environment.insert(name.to_owned(), SecretString::from(value));
        }
    }
}

fn bad(kind: &str, id: Option<ObjectId>, source: &Source, problem: Problem) -> Report {
    Report { problems: vec![problem], ..Report::new(kind, id, source.clone()) }
}

fn unreadable_file(file: &Path, unreadable: Unreadable, kept: usize) -> Report {
    let Unreadable { line, message } = unreadable;
    let source = Source {
        file: file.display().to_string().into(),
        line: line.max(1),
        fields: Arc::default(),
    };
    let message = match kept {
        0 => message,
        1 => format!("{message}; its object stays as it last was"),
        kept => format!("{message}; its {kept} objects stay as they last were"),
    };
    bad("File", None, &source, Problem::new(Reason::Unreadable, "", message))
}

/// Namespace and name, by the rules of Kubernetes (RFC 1123).
fn identity(document: &Document, is_namespace: bool) -> Result<ObjectId, Problem> {
    let metadata = document.object.get("metadata");
    let text = |field: &str| match metadata.and_then(|metadata| metadata.get(field)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Problem::invalid(&format!("metadata.{field}"), "expected a text")),
    };
    let name = text("name")?.ok_or_else(|| Problem::invalid("metadata.name", "is missing"))?;
    let namespace = text("namespace")?.filter(|_| !is_namespace).unwrap_or(DEFAULT_NAMESPACE);
    if !is_dns_name(name, 253) {
        let message = format!("`{name}` must be lower case letters, digits, `-` and `.`");
        return Err(Problem::invalid("metadata.name", message));
    }
    if !is_dns_name(namespace, 63) || namespace.contains('.') {
        let message = format!("`{namespace}` must be lower case letters, digits and `-`");
        return Err(Problem::invalid("metadata.namespace", message));
    }
    Ok(ObjectId::new(namespace, name))
}

fn is_dns_name(text: &str, longest: usize) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let part = |part: &str| {
        let ends = part.starts_with('-') || part.ends_with('-');
        !part.is_empty() && !ends && part.bytes().all(inside)
    };
    text.len() <= longest && text.split('.').all(part)
}

/// Every manifest below a path. Hidden files and folders are skipped: editors and mounted volumes
/// keep their temporary files there.
fn find(path: &Path, deepest: usize, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        found.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['.', '#', '~']) {
            continue;
        }
        let ends = ["yaml", "yml", "json"];
        if path.is_dir() {
            if let Some(deepest) = deepest.checked_sub(1) {
                find(&path, deepest, found)?;
            }
        } else if path.extension().is_some_and(|end| ends.iter().any(|known| end == *known)) {
            found.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
