//! What compile promises: the last good version serves, names have one owner, grants hold, keys stay
//! hidden.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::*;
use crate::{
    dialect::Api,
    table::{Caller, Digest, Namespaces, ObjectId},
};

const OPTIONS: Options = Options { allow_private_endpoints: false };

fn id(name: &str) -> ObjectId {
    match name.split_once('/') {
        Some((namespace, name)) => ObjectId::new(namespace, name),
        None => ObjectId::new("default", name),
    }
}

fn entry<T: serde::de::DeserializeOwned>(spec: &str) -> Entry<T> {
    Entry {
        source: Source::default(),
        created: 0,
        spec: Some(Arc::new(serde_yaml::from_str(spec).unwrap())),
        problems: Vec::new(),
    }
}

/// Objects by name, the shortest that are sound: each test changes the one that it is about.
#[derive(Default)]
pub(super) struct Objects {
    snapshot: Snapshot,
    last: LastGood,
}

impl Objects {
    pub(super) fn credential(&mut self, name: &str, spec: &str) {
        self.snapshot.credentials.insert(id(name), entry(spec));
    }

    pub(super) fn route(&mut self, name: &str, spec: &str) {
        self.snapshot.routes.insert(id(name), entry(spec));
    }

    pub(super) fn compile(&mut self) -> Compiled {
        compile(&self.snapshot, OPTIONS, 1, &mut self.last)
    }
}

const ANTHROPIC: &str = "{ provider: Anthropic, auth: { none: {} } }";

fn to(credential: &str, model: &str) -> String {
    format!(
        "{{ models: [{model}], targets: [{{ name: t, credentialRef: {credential}, model: m }}] }}"
    )
}

pub(super) fn chat() -> Objects {
    let mut objects = Objects::default();
    objects.credential("anthropic", ANTHROPIC);
    objects.route("chat", &to("{ name: anthropic }", "chat"));
    objects
}

fn ready(compiled: &Compiled, name: &str) -> Reason {
    let report = compiled.reports.iter().find(|report| report.id == Some(id(name))).unwrap();
    report.ready.unwrap().reason
}

/// The route that serves a model name, as `namespace/name`.
fn owner(compiled: &Compiled, model: &str) -> Option<String> {
    let route =
        compiled.table.find(Api::Messages, model, &http::HeaderMap::new(), Caller::Anonymous)?;
    Some(route.id.to_string())
}

#[test]
fn defaults_of_the_schema_reach_the_table() {
    let compiled = chat().compile();
    let route = &compiled.table.routes()[0];
    let target = &route.targets[0];
    assert_eq!((target.tier, target.weight), (0, 100));
    assert_eq!(target.timeouts.headers.as_secs(), 300);
    assert_eq!((route.failover.max_attempts, route.failover.total_budget.as_secs()), (3, 30));
    let endpoint = &target.credential.endpoint;
    assert_eq!((endpoint.tls, &*endpoint.host, endpoint.port), (true, "api.anthropic.com", 443));
}

#[test]
fn a_targets_timeouts_override_the_routes_one_by_one() {
    let mut objects = chat();
    objects.route(
        "chat",
        "{ models: [chat], timeouts: { connect: 1s, total: 9s }, targets: [{ name: t, \
         credentialRef: { name: anthropic }, model: m, timeouts: { connect: 3s } }] }",
    );
    let timeouts = objects.compile().table.routes()[0].targets[0].timeouts;
    assert_eq!((timeouts.connect.as_secs(), timeouts.total.as_secs()), (3, 9));
    assert_eq!(timeouts.first_token.as_secs(), 10);
}

#[test]
fn an_invalid_update_keeps_the_last_good_version_until_the_object_is_deleted() {
    let mut objects = chat();
    let good = objects.compile();
    objects.route("chat", &to("{ name: anthropic }", "'two words'"));
    let bad = objects.compile();
    assert!(good.same_as(&bad.table));
    assert_eq!(ready(&bad, "chat"), Reason::LastGood);
    assert!(bad.reports.iter().any(|report| report.lines().any(|l| l.ends_with("serves)"))));
    // A second bad update does not become the last good version.
    objects.route("chat", &to("{ name: anthropic }", "'*a*'"));
    assert!(good.same_as(&objects.compile().table));
    objects.snapshot.routes.clear();
    assert_eq!(objects.compile().table.routes().len(), 0);
    objects.route("chat", &to("{ name: anthropic }", "'two words'"));
    assert_eq!(ready(&objects.compile(), "chat"), Reason::NotAccepted);
}

#[test]
fn an_invalid_credential_keeps_its_routes_served() {
    let mut objects = chat();
    let good = objects.compile();
    objects.credential("anthropic", "{ provider: Antropic, auth: { none: {} } }");
    let bad = objects.compile();
    assert!(good.same_as(&bad.table));
    assert_eq!((ready(&bad, "anthropic"), ready(&bad, "chat")), (Reason::LastGood, Reason::Ready));
}

#[test]
fn what_the_reader_found_wrong_keeps_an_object_from_being_accepted() {
    let mut objects = chat();
    let problem = Problem::at(Reason::UnknownField, "spec.x", "unknown field");
    objects.snapshot.routes.get_mut(&id("chat")).unwrap().problems.push(problem);
    let compiled = objects.compile();
    assert_eq!(ready(&compiled, "chat"), Reason::NotAccepted);
    assert_eq!(compiled.table.routes().len(), 0);
}

#[test]
fn a_route_without_a_usable_target_keeps_its_name() {
    let mut objects = chat();
    objects.snapshot.credentials.clear();
    let compiled = objects.compile();
    assert_eq!(owner(&compiled, "chat").as_deref(), Some("default/chat"), "not another route");
    assert_eq!(ready(&compiled, "chat"), Reason::NoUsableTarget);
}

#[test]
fn a_name_has_one_owner_by_precedence_then_age_then_name() {
    let anthropic = "{ name: anthropic, namespace: default }";
    let mut objects = chat();
    objects.credential(
        "anthropic",
        "{ provider: Anthropic, auth: { none: {} }, allowedRoutes: { namespaces: { from: All } } }",
    );
    objects.route("a/first", &to(anthropic, "chat"));
    let first = objects.compile();
    assert_eq!(owner(&first, "chat").as_deref(), Some("a/first"));
    assert_eq!(ready(&first, "chat"), Reason::NameTaken);

    objects.snapshot.routes.get_mut(&id("a/first")).unwrap().created = 5;
    assert_eq!(owner(&objects.compile(), "chat").as_deref(), Some("default/chat"), "the older");

    let high = to(anthropic, "chat").replacen('{', "{ precedence: 1,", 1);
    objects.route("z/high", &high);
    let compiled = objects.compile();
    assert_eq!(owner(&compiled, "chat").as_deref(), Some("z/high"));
    assert_eq!(compiled.table.routes().len(), 1);
    let told = compiled.reports.iter().flat_map(|report| &report.problems);
    let told: Vec<_> = told.filter(|problem| problem.reason == Reason::NameTaken).collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|problem| problem.message.contains("ModelRoute z/high")));
}

#[test]
fn a_grant_counts_at_once_and_so_does_its_end() {
    let mut objects = Objects::default();
    let granted = |from: &str| {
        format!(
            "{{ provider: Anthropic, auth: {{ none: {{}} }}, allowedRoutes: {{ namespaces: {from} }} }}"
        )
    };
    objects.route("team/chat", &to("{ name: shared, namespace: platform }", "chat"));
    let usable = |objects: &mut Objects, from: &str| {
        objects.credential("platform/shared", &granted(from));
        objects.compile().table.routes()[0].targets.len()
    };
    let selector =
        "{ from: Selector, selector: { matchLabels: { models: yes } } }".replace("yes", "'yes'");
    assert_eq!(usable(&mut objects, "{ from: Same }"), 0);
    assert_eq!(usable(&mut objects, "{ from: All }"), 1);
    assert_eq!(usable(&mut objects, &selector), 0);
    let labels = [("models".to_owned(), "yes".to_owned())].into();
    objects.snapshot.namespaces.insert("team".to_owned(), labels);
    assert_eq!(usable(&mut objects, &selector), 1);
    let by_name =
        "{ from: Selector, selector: { matchLabels: { kubernetes.io/metadata.name: team } } }";
    objects.snapshot.namespaces.clear();
    assert_eq!(usable(&mut objects, by_name), 1);
    assert_eq!(usable(&mut objects, "{ from: Same }"), 0, "revoked");
}

/// The words for a credential that exists and for one that does not are the same.
#[test]
fn a_refusal_does_not_tell_what_exists_elsewhere() {
    let mut objects = Objects::default();
    objects.route("team/chat", &to("{ name: x, namespace: platform }", "chat"));
    let without = objects.compile().reports;
    objects.credential("platform/x", ANTHROPIC);
    let with = objects.compile().reports;
    let of = |reports: &[Report]| reports.iter().find(|r| r.kind == "ModelRoute").cloned();
    assert_eq!(of(&without), of(&with));
    // A credential that is not accepted grants nothing either.
    objects.credential(
        "platform/x",
        "{ provider: Nobody, auth: { none: {} }, allowedRoutes: { namespaces: { from: All } } }",
    );
    objects.last = LastGood::default();
    assert_eq!(of(&without), of(&objects.compile().reports));
}

#[test]
fn the_environment_gives_keys_only_where_manifests_are_files() {
    let mut objects = Objects::default();
    objects.credential(
        "openai",
        "{ provider: OpenAI, auth: { apiKey: { keys: [{ name: k, env: A_KEY }] } } }",
    );
    let reason = |compiled: Compiled| compiled.reports[0].problems.first().map(|p| p.reason);
    assert_eq!(reason(objects.compile()), Some(Reason::EnvironmentNotAllowed));
    objects.snapshot.environment = Some(BTreeMap::new());
    assert_eq!(reason(objects.compile()), Some(Reason::VariableNotSet));
    let value = SecretString::from("sk-canary");
    objects.snapshot.environment = Some([("A_KEY".to_owned(), value)].into());
    assert_eq!(reason(objects.compile()), None);
    objects.route("chat", &to("{ name: openai }", "chat"));
    let compiled = objects.compile();
    assert_eq!(compiled.table.routes()[0].targets[0].credential.keys.len(), 1);
    assert!(!format!("{compiled:?}").contains("canary"));
}

fn caller(secret: &str) -> String {
    format!("{{ auth: {{ apiKeys: [{{ name: k, secretRef: {{ name: {secret}, key: k }} }}] }} }}")
}

impl Objects {
    fn consumer(&mut self, name: &str, secret: &str) {
        self.snapshot.consumers.insert(id(name), entry(&caller(secret)));
    }

    fn secret(&mut self, name: &str, key: &str) {
        let data = [("k".to_owned(), key.as_bytes().to_vec().into())].into();
        self.snapshot.secrets.insert(id(name), data);
    }

    /// Whose key this is.
    fn whose(&mut self, key: &str) -> Option<String> {
        let compiled = self.compile();
        let (consumer, _) = compiled.table.consumers().find(&Digest::of(key.as_bytes()))?;
        Some(consumer.id.to_string())
    }
}

const KEY: &str = "tk-canary-0123456789";

#[test]
fn a_key_belongs_to_the_older_of_two_consumers() {
    let mut objects = Objects::default();
    objects.secret("s", KEY);
    objects.consumer("a", "s");
    objects.consumer("b", "s");
    assert_eq!(objects.whose(KEY).as_deref(), Some("default/a"), "the first name");
    objects.snapshot.consumers.get_mut(&id("a")).unwrap().created = 5;
    assert_eq!(objects.whose(KEY).as_deref(), Some("default/b"), "the older");
    let compiled = objects.compile();
    assert_eq!(ready(&compiled, "a"), Reason::NoUsableKey);
    assert!(!format!("{compiled:?}").contains("canary"));
    objects.snapshot.consumers.remove(&id("b"));
    assert_eq!(objects.whose(KEY).as_deref(), Some("default/a"), "the other one is gone");
}

#[test]
fn a_rotated_key_counts_at_once_also_for_a_consumer_whose_last_edit_was_bad() {
    let mut objects = Objects::default();
    objects.secret("s", KEY);
    objects.consumer("a", "s");
    assert_eq!(objects.whose(KEY).as_deref(), Some("default/a"));
    let bad = entry("{ groups: [two words], auth: { apiKeys: [] } }");
    objects.snapshot.consumers.insert(id("a"), bad);
    assert_eq!(objects.whose(KEY).as_deref(), Some("default/a"), "the last good version");
    assert_eq!(ready(&objects.compile(), "a"), Reason::LastGood);
    objects.secret("s", "tk-another-0123456789");
    assert_eq!(objects.whose(KEY), None);
    assert_eq!(objects.whose("tk-another-0123456789").as_deref(), Some("default/a"));
}

/// The door stays closed when the only consumer is one that was never good.
#[test]
fn a_consumer_is_in_the_table_also_when_it_is_not_accepted() {
    let mut objects = Objects::default();
    assert!(objects.compile().table.consumers().all().is_empty());
    objects.snapshot.consumers.insert(id("a"), entry("{ auth: { apiKeys: [] } }"));
    let compiled = objects.compile();
    assert!(compiled.table.consumers().all()[0].keys.is_empty());
    assert_eq!(ready(&compiled, "a"), Reason::NotAccepted);
    // Routes are the same, and the table is not.
    assert!(!compiled.same_as(&Objects::default().compile().table));
}

#[test]
fn two_namespaces_may_use_one_name_once_there_are_consumers_to_tell_apart() {
    let mut objects = chat();
    objects.credential("team/own", ANTHROPIC);
    objects.route("team/chat", &to("{ name: own }", "chat"));
    assert_eq!(ready(&objects.compile(), "team/chat"), Reason::NameTaken);
    objects.secret("s", KEY);
    objects.consumer("a", "s");
    let compiled = objects.compile();
    assert_eq!(ready(&compiled, "team/chat"), Reason::Ready);
    assert_eq!(compiled.table.routes().len(), 2);
}

#[test]
fn a_selector_of_access_is_resolved_to_the_namespaces_that_have_consumers() {
    let mut objects = chat();
    objects.secret("team/s", KEY);
    objects.consumer("team/a", "s");
    let selected = |labels: &str| {
        to("{ name: anthropic }", "chat").replacen(
            '{',
            &format!(
                "{{ access: {{ namespaces: {{ from: Selector, selector: {{ matchLabels: {labels} }} }} }},"
            ),
            1,
        )
    };
    objects.snapshot.namespaces.insert("team".to_owned(), [("a".into(), "b".into())].into());
    for (labels, expected) in [("{ a: b }", vec!["team"]), ("{ a: c }", vec![])] {
        objects.route("chat", &selected(labels));
        let access = objects.compile().table.routes()[0].access.clone();
        assert_eq!(
            access.namespaces,
            Namespaces::These(expected.into_iter().map(Into::into).collect()),
            "{labels}"
        );
        assert!(!access.anonymous);
    }
}

#[test]
fn an_unchanged_snapshot_gives_the_same_routes_under_any_revision() {
    let mut objects = chat();
    let first = objects.compile();
    let second = compile(&objects.snapshot, OPTIONS, 7, &mut objects.last);
    assert_eq!(second.table.revision, 7);
    assert!(second.same_as(&first.table));
}

/// A fleet's worth of routes is a matter of milliseconds, not of their square.
#[test]
fn ten_thousand_routes_compile_in_a_blink() {
    let mut objects = chat();
    for at in 0..10_000 {
        objects.route(&format!("r{at}"), &to("{ name: anthropic }", &format!("m{at}")));
    }
    let begin = tokio::time::Instant::now();
    let compiled = objects.compile();
    assert_eq!(compiled.table.routes().len(), 10_001);
    // About 0.1 s when optimised; this build is not.
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

const VLLM: &str = "{ provider: OpenAICompatible, auth: { none: {} }, endpoint: { service: { name: \
                    vllm, port: http, path: /v1 } } }";

/// The one slice of Service `vllm`: each pod with whether it is ready.
fn pods(objects: &mut Objects, pods: &[(&str, bool)]) {
    let endpoint = |(address, ready): &(&str, bool)| serde_json::json!({"addresses": [address], "conditions": {"ready": ready}});
    let slice = serde_json::json!({
        "metadata": {"labels": {slice::SERVICE_LABEL: "vllm"}}, "addressType": "IPv4",
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8000}],
    });
    let (_, slice) = slice::Slice::of(&serde_json::from_value(slice).unwrap()).unwrap();
    objects.snapshot.services.insert(id("vllm"), [("s".into(), slice)].into());
}

#[test]
fn the_ready_pods_of_a_service_stand_beside_its_credential() {
    let mut objects = chat();
    objects.credential("local", VLLM);
    objects.route("chat", &to("{ name: local }", "chat"));
    pods(&mut objects, &[("10.0.0.1", true), ("10.0.0.2", false), ("10.0.0.3", true)]);
    let compiled = objects.compile();
    let ready: Vec<_> =
        compiled.table.backends()[&id("local")].pods.iter().map(ToString::to_string).collect();
    assert_eq!(ready, ["10.0.0.1:8000", "10.0.0.3:8000"]);
    let endpoint = &compiled.table.routes()[0].targets[0].credential.endpoint;
    assert_eq!((&*endpoint.host, &*endpoint.base_path), ("vllm.default.svc", "/v1"));
    assert!(endpoint.service && !endpoint.tls);
    assert!(compiled.reports.iter().all(|report| report.problems.is_empty()));
    // A pod more changes nothing but its backend.
    pods(&mut objects, &[("10.0.0.1", true), ("10.0.0.2", true), ("10.0.0.3", true)]);
    let after = objects.compile();
    assert_eq!(after.table.routes(), compiled.table.routes());
    assert!(!after.same_as(&compiled.table));
}

#[test]
fn a_service_without_a_ready_pod_is_said_and_its_target_stays() {
    let mut objects = chat();
    objects.credential("local", VLLM);
    objects.route("chat", &to("{ name: local }", "chat"));
    objects.route(
        "both",
        "{ models: [both], targets: [{ name: own, credentialRef: { name: local }, model: m }, { \
         name: hosted, credentialRef: { name: anthropic }, model: m, tier: 1 }] }",
    );
    for (slices, said) in [(false, "has no EndpointSlice"), (true, "no pod of Service")] {
        if slices {
            pods(&mut objects, &[("10.0.0.1", false)]);
        }
        let compiled = objects.compile();
        assert_eq!(ready(&compiled, "local"), Reason::NoReadyPod);
        assert_eq!(ready(&compiled, "chat"), Reason::NoReadyPod);
        assert_eq!(ready(&compiled, "both"), Reason::Degraded);
        let both = compiled.reports.iter().find(|it| it.id == Some(id("both"))).unwrap();
        assert!(both.problems.is_empty());
        let states: Vec<_> = both.targets.iter().map(|it| (it.usable, it.reason)).collect();
        assert_eq!(states, [(true, Reason::NoReadyPod), (true, Reason::Ready)]);
        assert!(both.targets[0].message.contains(said), "{}", both.targets[0].message);
        let told = both.conditions().pop().unwrap();
        assert!(told.status && told.message.contains(said), "{}", told.message);
        assert!(compiled.table.backends()[&id("local")].pods.is_empty());
        assert_eq!(compiled.table.routes().iter().map(|it| it.targets.len()).sum::<usize>(), 3);
    }
}
