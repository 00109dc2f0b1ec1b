//! Compiling after each of many changes gives what compiling everything gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use secrecy::SecretSlice;

use super::*;
use crate::api::{ModelConsumerSpec, ModelRouteSpec, ProviderCredentialSpec};

/// One edit in a world of few names, so that edits meet.
#[derive(Clone, Debug)]
enum Edit {
    Route(ObjectId, u64, Box<ModelRouteSpec>),
    Credential(ObjectId, Box<ProviderCredentialSpec>),
    Consumer(ObjectId, u64, Box<ModelConsumerSpec>),
    Secret(ObjectId, &'static str),
    Namespace(&'static str, &'static str),
    /// A Service with one pod, ready or not.
    Service(ObjectId, bool),
    DeleteService(ObjectId),
    DeleteRoute(ObjectId),
    DeleteCredential(ObjectId),
    DeleteConsumer(ObjectId),
    DeleteSecret(ObjectId),
}

fn id(names: &'static [&'static str]) -> impl Strategy<Value = ObjectId> {
    let namespaces = prop::sample::select(vec!["a", "b"]);
    (namespaces, prop::sample::select(names))
        .prop_map(|(namespace, name)| ObjectId::new(namespace, name))
}

fn route() -> impl Strategy<Value = ModelRouteSpec> {
    let models =
        prop::collection::vec(prop::sample::select(vec!["m", "n", "o*", "not good"]), 1..3);
    let targets = prop::collection::vec(id(&["x", "y", "z"]), 1..3);
    let matches = prop::sample::select(vec!["", "apis: [Messages]"]);
    let access = prop::sample::select(vec![
        "",
        "consumers: [{ name: c }]",
        "groups: [{ name: blue }]",
        "namespaces: { from: Selector, selector: { matchLabels: { team: blue } } }",
    ]);
    (models, targets, matches, access, -1..2_i32, any::<bool>()).prop_map(
        |(models, targets, matches, access, precedence, paused)| {
            let targets = targets.iter().enumerate().map(|(at, ObjectId { namespace, name })| {
                format!(
                    "{{ name: t{at}, model: up, credentialRef: {{ name: {name}, namespace: {namespace} }} }}"
                )
            });
            let (models, targets) = (models.join(", "), targets.collect::<Vec<_>>().join(", "));
            let text = format!(
                "{{ models: [{models}], match: {{ {matches} }}, precedence: {precedence}, paused: \
                 {paused}, targets: [{targets}]{} }}",
                if access.is_empty() { String::new() } else { format!(", access: {{ {access} }}") }
            );
            serde_yaml::from_str(&text).unwrap()
        },
    )
}

fn credential() -> impl Strategy<Value = ProviderCredentialSpec> {
    let provider = prop::sample::select(vec![
        "OpenAI",
        "Anthropic",
        "Nobody",
        "OpenAICompatible, endpoint: { service: { name: v, port: http, path: / } }",
        "OpenAICompatible, endpoint: { service: { name: w, port: 80, path: / } }",
    ]);
    let auth = prop::sample::select(vec![
        "{ none: {} }",
        "{ apiKey: { keys: [{ name: k, secretRef: { name: s, key: k } }] } }",
        "{ apiKey: { keys: [{ name: k, secretRef: { name: s, key: k } }, { name: l, secretRef: { \
         name: t, key: k } }] } }",
    ]);
    let from = prop::sample::select(vec![
        "{ from: Same }",
        "{ from: All }",
        "{ from: Selector, selector: { matchLabels: { team: blue } } }",
    ]);
    (provider, auth, from).prop_map(|(provider, auth, from)| {
        let text = format!(
            "{{ provider: {provider}, auth: {auth}, allowedRoutes: {{ namespaces: {from} }} }}"
        );
        serde_yaml::from_str(&text).unwrap()
    })
}

fn consumer() -> impl Strategy<Value = ModelConsumerSpec> {
    let group = prop::sample::select(vec!["blue", "not good"]);
    (group, prop::sample::select(vec!["s", "t"])).prop_map(|(group, secret)| {
        let text = format!(
            "{{ groups: ['{group}'], auth: {{ apiKeys: [{{ name: k, secretRef: {{ name: {secret}, key: \
             k }} }}] }} }}"
        );
        serde_yaml::from_str(&text).unwrap()
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let consumers = || id(&["c", "d"]);
    let routes = || id(&["p", "q", "r"]);
    let credentials = || id(&["x", "y", "z"]);
    let secrets = || id(&["s", "t"]);
    prop_oneof![
        4 => (routes(), 0..2_u64, route())
            .prop_map(|(id, created, spec)| Edit::Route(id, created, Box::new(spec))),
        3 => (credentials(), credential()).prop_map(|(id, spec)| Edit::Credential(id, Box::new(spec))),
        2 => (secrets(), prop::sample::select(vec!["sixteen characters", "another key of ours", " "]))
            .prop_map(|(id, value)| Edit::Secret(id, value)),
        1 => (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["blue", "red"]))
            .prop_map(|(namespace, team)| Edit::Namespace(namespace, team)),
        2 => (consumers(), 0..2_u64, consumer())
            .prop_map(|(id, created, spec)| Edit::Consumer(id, created, Box::new(spec))),
        1 => consumers().prop_map(Edit::DeleteConsumer),
        1 => routes().prop_map(Edit::DeleteRoute),
        2 => (id(&["v", "w"]), any::<bool>()).prop_map(|(id, ready)| Edit::Service(id, ready)),
        1 => id(&["v", "w"]).prop_map(Edit::DeleteService),
        1 => credentials().prop_map(Edit::DeleteCredential),
        1 => secrets().prop_map(Edit::DeleteSecret),
    ]
}

fn entry<S>(spec: S, created: u64) -> Entry<S> {
    let source = Source::default();
    Entry { source, created, spec: Some(Arc::new(spec)), problems: Vec::new() }
}

fn make(edit: Edit, snapshot: &mut Snapshot, touched: &mut Touched) {
    match edit {
        Edit::Route(id, created, spec) => {
            snapshot.routes.insert(id.clone(), entry(*spec, created));
            touched.routes.insert(id);
        }
        Edit::Credential(id, spec) => {
            snapshot.credentials.insert(id.clone(), entry(*spec, 0));
            touched.credentials.insert(id);
        }
        Edit::Consumer(id, created, spec) => {
            snapshot.consumers.insert(id.clone(), entry(*spec, created));
            touched.consumers.insert(id);
        }
        Edit::DeleteConsumer(id) => {
            snapshot.consumers.remove(&id);
            touched.consumers.insert(id);
        }
        Edit::Secret(id, value) => {
            let value = SecretSlice::from(value.as_bytes().to_vec());
            snapshot.secrets.insert(id.clone(), [("k".to_owned(), value)].into());
            touched.secrets.insert(id);
        }
        Edit::Namespace(name, team) => {
            let labels = [("team".to_owned(), team.to_owned())];
            snapshot.namespaces.insert(name.to_owned(), labels.into());
            touched.namespaces.insert(name.into());
        }
        Edit::Service(id, ready) => {
            let slice = serde_json::json!({
                "metadata": {"labels": {slice::SERVICE_LABEL: *id.name}}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
                "ports": [{"name": "http", "port": 8000}],
            });
            let slice = slice::Slice::of(&serde_json::from_value(slice).unwrap()).unwrap().1;
            snapshot.services.insert(id.clone(), [("slice".into(), slice)].into());
            touched.services.insert(id);
        }
        Edit::DeleteService(id) => {
            snapshot.services.remove(&id);
            touched.services.insert(id);
        }
        Edit::DeleteRoute(id) => {
            snapshot.routes.remove(&id);
            touched.routes.insert(id);
        }
        Edit::DeleteCredential(id) => {
            snapshot.credentials.remove(&id);
            touched.credentials.insert(id);
        }
        Edit::DeleteSecret(id) => {
            snapshot.secrets.remove(&id);
            touched.secrets.insert(id);
        }
    }
}

fn reports<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<Report> {
    let mut reports: Vec<_> = reports.cloned().collect();
    reports.sort_by(|a, b| order(a).cmp(&order(b)));
    reports
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiling_what_changed_gives_what_compiling_everything_gives(
        rounds in prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..12)
    ) {
        let options = Options::default();
        let mut snapshot = Snapshot::default();
        let mut compiler = Compiler::new(options, LastGood::default());
        let mut last = LastGood::default();
        for edits in rounds {
            let mut touched = Touched::default();
            for edit in edits {
                make(edit, &mut snapshot, &mut touched);
            }
            let before: BTreeMap<_, _> =
                compiler.served().map(|route| (route.id.clone(), Arc::clone(route))).collect();
            let reached = compiler.update(&snapshot, &touched);
            let whole = compile(&snapshot, options, 1, &mut last);
            let table = Table::of_shared(1, compiler.served().map(Arc::clone).collect());
            prop_assert_eq!(table.routes(), whole.table.routes());
            prop_assert_eq!(compiler.consumers(), whole.table.consumers());
            prop_assert_eq!(compiler.backends(), whole.table.backends());
            prop_assert_eq!(reports(compiler.reports()), whole.reports);
            // What was not reached is the very same, and what is equal stays where it is.
            for route in compiler.served() {
                let was = before.get(&route.id);
                if let Some(was) = was.filter(|was| *was == route) {
                    prop_assert!(Arc::ptr_eq(was, route));
                }
                if !reached.routes.contains(&route.id) {
                    prop_assert!(was.is_some_and(|was| Arc::ptr_eq(was, route)));
                }
            }
            let gone: BTreeSet<_> =
                before.into_keys().filter(|id| compiler.route(id).is_none()).collect();
            prop_assert!(gone.is_subset(&reached.routes));
        }
    }
}
