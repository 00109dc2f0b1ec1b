//! A folder that changes: what is kept, what is told, what is an error.

use std::fs;

use secrecy::ExposeSecret;

use super::*;

const ROUTE: &str = "apiVersion: trunkline.dev/v1alpha1\nkind: ModelRoute\nmetadata: { name: NAME }\n\
    spec: { models: [NAME], targets: [{ name: t, credentialRef: { name: c }, model: m }] }\n";

fn route(name: &str) -> String {
    ROUTE.replace("NAME", name)
}

fn none(_: &str) -> Option<String> {
    None
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::new(self.0.path())
    }
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.routes.keys().map(|id| &*id.name).collect()
}

fn told(snapshot: &Snapshot) -> Vec<&str> {
    let problems = snapshot.unread.iter().flat_map(|report| &report.problems);
    problems.map(|problem| problem.message.as_str()).collect()
}

#[test]
fn manifests_are_found_in_folders_and_temporary_files_are_not() {
    let folder = Folder::new();
    folder.write("a.yaml", &route("a"));
    folder.write("deep/er/b.yml", &route("b"));
    folder.write("c.json", r#"{"apiVersion":"trunkline.dev/v1alpha1","kind":"ModelRoute","metadata":{"name":"c"},"spec":{}}"#);
    for ignored in
        [".a.yaml", ".git/x.yaml", "a.yaml~", "#a.yaml#", ".a.yaml.swp", "README.md", "4913"]
    {
        folder.write(ignored, &route("ignored"));
    }
    let snapshot = folder.reader().read(&none).unwrap();
    assert_eq!(names(&snapshot), ["a", "b", "c"]);
}

#[test]
fn a_broken_file_keeps_what_it_gave_and_only_that() {
    let folder = Folder::new();
    folder.write("a.yaml", &format!("{}---\n{}", route("a"), route("a2")));
    folder.write("b.yaml", &route("b"));
    let mut reader = folder.reader();
    reader.read(&none).unwrap();
    for broken in ["kind: [", "", " \n"] {
        folder.write("a.yaml", broken);
        folder.write("b.yaml", &route("b2"));
        let snapshot = reader.read(&none).unwrap();
        assert_eq!(names(&snapshot), ["a", "a2", "b2"]);
        assert!(told(&snapshot)[0].ends_with("its 2 objects stay as they last were"), "{broken:?}");
    }
    folder.write("a.yaml", &route("a3"));
    let snapshot = reader.read(&none).unwrap();
    assert_eq!((names(&snapshot), told(&snapshot)), (vec!["a3", "b2"], vec![]));
    folder.remove("a.yaml");
    assert_eq!(names(&reader.read(&none).unwrap()), ["b2"]);
}

#[test]
fn a_folder_that_is_empty_or_gone_is_an_error_and_comes_back() {
    let folder = Folder::new();
    let mut reader = folder.reader();
    assert_eq!(reader.read(&none).unwrap_err().kind(), io::ErrorKind::NotFound);
    folder.write("a.yaml", &route("a"));
    assert_eq!(names(&reader.read(&none).unwrap()), ["a"]);
    folder.remove("a.yaml");
    assert!(reader.read(&none).is_err());
    folder.write("a.yaml", "kind: [");
    assert_eq!(names(&reader.read(&none).unwrap()), ["a"], "remembered over the error");
    assert!(Reader::new("/no/such/folder").read(&none).is_err());
}

#[test]
fn one_file_can_be_read_alone() {
    let folder = Folder::new();
    folder.write("a.txt", &route("a"));
    let snapshot = Reader::new(folder.0.path().join("a.txt")).read(&none).unwrap();
    assert_eq!(names(&snapshot), ["a"]);
}

#[test]
fn of_two_objects_of_one_name_the_first_counts_and_both_places_are_told() {
    let folder = Folder::new();
    folder.write("a.yaml", &route("x"));
    folder.write("b.yaml", &format!("# below\n{}", route("x")));
    let snapshot = folder.reader().read(&none).unwrap();
    let source = &snapshot.routes.values().next().unwrap().source;
    assert!(source.file.ends_with("a.yaml"));
    let told = told(&snapshot)[0];
    assert!(told.contains("a.yaml:1, which counts") && told.contains("b.yaml:2;"), "{told}");
}

#[test]
fn secrets_namespaces_and_variables_are_taken_and_other_kinds_left_alone() {
    let folder = Folder::new();
    folder.write(
        "all.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: s, namespace: n }\nstringData: { k: v }\n\
         ---\napiVersion: v1\nkind: Namespace\nmetadata: { name: n, labels: { a: b } }\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\ndata: { k: v }\n\
         ---\napiVersion: apps/v1\nkind: Deployment\n\
         ---\napiVersion: trunkline.dev/v1alpha1\nkind: ProviderCredential\nmetadata: { name: p }\n\
         spec: { provider: OpenAI, auth: { apiKey: { keys: [{ name: a, env: SET }, { name: b, env: UNSET }] } } }\n",
    );
    let set = |name: &str| (name == "SET").then(|| "sk-canary".to_owned());
    let snapshot = folder.reader().read(&set).unwrap();
    let secret = &snapshot.secrets[&ObjectId::new("n", "s")];
    assert_eq!(secret["k"].expose_secret(), b"v");
    assert_eq!(snapshot.namespaces["n"]["a"], "b");
    assert_eq!(snapshot.config_maps[&ObjectId::new("default", "c")]["k"], "v");
    let environment = snapshot.environment.as_ref().unwrap();
    assert_eq!(environment.keys().collect::<Vec<_>>(), ["SET"]);
    let kinds: Vec<_> = snapshot.unread.iter().map(|r| (r.kind.as_str(), r.left_alone)).collect();
    assert_eq!(kinds, [("Deployment", true)]);
    assert!(!format!("{snapshot:?}").contains("canary"));
}
