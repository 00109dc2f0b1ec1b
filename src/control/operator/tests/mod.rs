//! The operator from end to end against an API server in this process.

mod refused;

use std::{convert::Infallible, net::SocketAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    compile::Options,
    control::fake::{Fake, Fault, Seen},
    observe::{Metrics, Readiness},
    table::{
        Slot,
        head::{DATA_KEY, HEAD_SECRET},
        publish::Published,
    },
};

const GROUP: &str = "/apis/trunkline.dev/v1alpha1/namespaces";

/// One operator process.
pub(super) struct Process {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
}

pub(super) fn start(fake: &Fake, identity: &str, admin_port: u16) -> Process {
    start_in(fake, None, identity, admin_port)
}

fn start_in(fake: &Fake, watched: Option<&[&str]>, identity: &str, admin_port: u16) -> Process {
    let metrics = Metrics::new().unwrap();
    let meter = Meter::new(&metrics).unwrap();
    let readiness = Readiness::default();
    let waiting = readiness.wait_for("table");
    let settings = Settings {
        autoscale: false,
        prometheus: None,
        namespace: "trunkline".to_owned(),
        watched: watched.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        proxies: "component=proxy".to_owned(),
        admin_port,
        options: Options { allow_private_endpoints: true },
        identity: identity.to_owned(),
        random: [7; 32],
    };
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ended = stopped.await;
    };
    let task = tokio::spawn(run(fake.client(), settings, meter, waiting, stopped));
    Process { task, stop: Some(stop), readiness, metrics }
}

impl Process {
    pub(super) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A cluster with one credential and its key.
pub(super) fn cluster() -> Fake {
    let fake = Fake::default();
    fake.put("/api/v1/namespaces/team", json!({"metadata": {}}));
    secret(&fake, "one");
    let key = json!({"name": "k", "secretRef": {"name": "key", "key": "k"}});
    let spec = json!({"provider": "OpenAI", "auth": {"apiKey": {"keys": [key]}}});
    fake.put(
        &format!("{GROUP}/team/providercredentials/openai"),
        json!({"metadata": {}, "spec": spec}),
    );
    fake
}

pub(super) fn secret(fake: &Fake, key: &str) {
    let data = json!({"k": STANDARD.encode(key)});
    fake.put("/api/v1/namespaces/team/secrets/key", json!({"metadata": {}, "data": data}));
}

pub(super) fn route_path(name: &str) -> String {
    format!("{GROUP}/team/modelroutes/{name}")
}

pub(super) fn route(fake: &Fake, name: &str, models: &[&str]) {
    let target = json!({"name": "t", "credentialRef": {"name": "openai"}, "model": "m"});
    let spec = json!({"models": models, "targets": [target]});
    fake.put(&route_path(name), json!({"metadata": {}, "spec": spec}));
}

/// What a Secret of the table holds.
pub(super) fn stored(fake: &Fake, name: &str, key: &str) -> Option<Vec<u8>> {
    let secret = fake.get(&format!("/api/v1/namespaces/trunkline/secrets/{name}"))?;
    Some(STANDARD.decode(secret["data"][key].as_str()?).unwrap())
}

/// What a proxy would read now.
pub(super) fn published(fake: &Fake) -> Option<Published> {
    let data = |name: &str| stored(fake, name, DATA_KEY);
    let head = data(HEAD_SECRET)?;
    let slots: BTreeMap<_, _> =
        Slot::ALL.into_iter().filter_map(|slot| Some((slot, data(slot.secret())?))).collect();
    Some(Published::read(&head, |slot| slots.get(&slot).map(Vec::as_slice)).unwrap())
}

pub(super) fn served(fake: &Fake) -> Vec<String> {
    let Some(Published { tables: Some(tables), .. }) = published(fake) else { return Vec::new() };
    let table = tables.table.table(0);
    let mut names: Vec<_> = table.routes().iter().map(|route| route.id.name.to_string()).collect();
    names.sort();
    names
}

pub(super) fn key(fake: &Fake) -> Option<String> {
    let table = published(fake)?.tables?.table.table(0);
    let header =
        table.routes().first()?.targets.first()?.credential.keys.first()?.secret.header("");
    Some(header?.to_str().ok()?.to_owned())
}

pub(super) fn is_write(seen: &Seen) -> bool {
    seen.method != Method::GET && !seen.path.contains("/leases")
}

pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}");
}

pub(super) fn condition(fake: &Fake, path: &str, kind: &str) -> String {
    let object = fake.get(path).unwrap();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|it| it["type"] == kind);
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    found.map_or_else(String::new, |it| format!("{} {}", text(it, "status"), text(it, "reason")))
}

#[tokio::test(start_paused = true)]
async fn routes_and_their_keys_come_change_and_go_in_the_published_table() {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    assert_eq!((served(&fake), key(&fake).as_deref()), (vec!["chat".to_owned()], Some("one")));
    route(&fake, "other", &["other"]);
    until("published", || served(&fake) == ["chat", "other"]).await;
    fake.delete(&route_path("chat"));
    until("gone", || served(&fake) == ["other"]).await;
    secret(&fake, "two");
    until("rotated", || key(&fake).as_deref() == Some("two")).await;
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_with_its_key_comes_into_the_table_and_its_status_says_so() {
    let fake = cluster();
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    let path = format!("{GROUP}/team/modelconsumers/app");
    let key = json!({"name": "k", "secretRef": {"name": "app", "key": "k"}});
    fake.put(&path, json!({"metadata": {}, "spec": {"auth": {"apiKeys": [key]}}}));
    until("told", || condition(&fake, &path, "ResolvedRefs") == "False SecretNotFound").await;
    let data = json!({"k": STANDARD.encode("a key of sixteen bytes or more")});
    fake.put("/api/v1/namespaces/team/secrets/app", json!({"metadata": {}, "data": data}));
    let keys = || {
        let table = published(&fake)?.tables?.table.table(0);
        Some(table.consumers().all().first()?.keys.len())
    };
    until("in the table", || keys() == Some(1)).await;
    until("told", || condition(&fake, &path, "ResolvedRefs") == "True ResolvedRefs").await;
    fake.delete(&path);
    until("gone", || keys().is_none()).await;
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_named_secrets_are_asked_for() {
    let fake = cluster();
    let other = json!({"metadata": {}, "data": {"k": ""}});
    fake.put("/api/v1/namespaces/team/secrets/other", other);
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    for seen in fake.seen().iter().filter(|seen| seen.path.contains("/team/secrets")) {
        assert!(seen.query.contains("metadata.name%3Dkey"), "{seen:?}");
    }
}

/// Trap H.
#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_everything_is_known() {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    for late in ["/secrets", "/providercredentials", "/modelroutes", "/api/v1/namespaces", "/pods"]
    {
        let fake = {
            let fresh = cluster();
            route(&fresh, "chat", &["chat"]);
            fresh
        };
        fake.fault(move |seen| {
            let own = seen.path.contains("/namespaces/trunkline/secrets");
            let late = seen.is_list() && seen.path.ends_with(late) && !own;
            late.then_some(Fault::Status(500))
        });
        let process = start(&fake, "a", 1);
        sleep(Duration::from_mins(1)).await;
        assert!(published(&fake).is_none(), "{late}");
        assert!(!process.readiness.missing().is_empty());
        fake.heal();
        until("ready", || process.readiness.missing().is_empty()).await;
        assert_eq!((served(&fake), key(&fake).as_deref()), (vec!["chat".to_owned()], Some("one")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_cluster_is_published_too() {
    let fake = Fake::default();
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    assert!(published(&fake).unwrap().tables.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_nothing_changed_writes_nothing_and_neither_does_silence() {
    let fake = cluster();
    for name in ["a", "b", "c"] {
        route(&fake, name, &[name]);
    }
    let process = start(&fake, "a", 1);
    until("told", || !condition(&fake, &route_path("c"), "Ready").is_empty()).await;
    sleep(Duration::from_secs(20)).await;
    let before = fake.count(is_write);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(fake.count(is_write), before, "silence");
    process.stop().await;
    let process = start(&fake, "b", 1);
    sleep(Duration::from_mins(1)).await;
    assert!(process.readiness.missing().is_empty());
    assert_eq!(fake.count(is_write), before, "a restart");
}

#[tokio::test(start_paused = true)]
async fn two_operators_never_publish_a_wrong_table_and_one_follows_the_other() {
    let fake = cluster();
    let first = start(&fake, "a", 1);
    let second = start(&fake, "b", 1);
    until("ready", || first.readiness.missing().is_empty()).await;
    for at in 0..20 {
        route(&fake, &format!("r{at:02}"), &[&format!("m{at}")]);
        sleep(Duration::from_millis(70)).await;
        let names = served(&fake);
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]) && names.len() <= at + 1);
    }
    until("published", || served(&fake).len() == 20).await;
    let epoch = published(&fake).unwrap().head.stamp.epoch;
    // Without a release, as by SIGKILL.
    first.task.abort();
    fake.delete(&route_path("r00"));
    until("taken over", || served(&fake).len() == 19).await;
    assert!(published(&fake).unwrap().head.stamp.epoch > epoch);
    drop(second);
}

/// A write that fails, or succeeds and looks as if it had failed, at every place in turn.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_anywhere_leaves_a_whole_table_and_is_made_good() {
    for at in 0..6 {
        let fake = cluster();
        route(&fake, "chat", &["chat"]);
        let mut writes = 0;
        fake.fault(move |seen| {
            let table = is_write(seen) && seen.path.contains("/trunkline/secrets");
            writes += usize::from(table);
            (table && writes == at + 1).then_some(Fault::Status(500))
        });
        let process = start(&fake, "a", 1);
        until("ready", || process.readiness.missing().is_empty()).await;
        route(&fake, "other", &["other"]);
        until("published", || served(&fake) == ["chat", "other"]).await;
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_published_in_batches() {
    let fake = cluster();
    let process = start(&fake, "a", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    let heads = |fake: &Fake| fake.count(|seen| is_write(seen) && seen.path.ends_with(HEAD_SECRET));
    let before = heads(&fake);
    for at in 0..200 {
        route(&fake, &format!("r{at}"), &[&format!("m{at}")]);
        sleep(Duration::from_millis(1)).await;
    }
    until("published", || served(&fake).len() == 200).await;
    assert!(heads(&fake) - before <= 10, "{}", heads(&fake) - before);
}

#[tokio::test(start_paused = true)]
async fn each_bad_object_is_named_in_its_own_status_and_changes_nothing_else() {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    let bad = json!({"metadata": {}, "spec": {"models": {"v": 7}}});
    fake.put(&route_path("bad"), bad);
    route(&fake, "late", &["chat"]);
    let process = start(&fake, "a", 1);
    let told = |name: &str, kind: &str| condition(&fake, &route_path(name), kind);
    until("told", || !told("late", "Ready").is_empty() && !told("bad", "Ready").is_empty()).await;
    assert_eq!(told("bad", "Accepted"), "False Invalid");
    assert_eq!(told("bad", "Programmed"), "False NotServed");
    assert_eq!(told("late", "Accepted"), "False NameTaken");
    assert_eq!(served(&fake), ["chat"]);
    until("told", || told("chat", "Programmed") == "False NoProxies").await;
    assert_eq!(told("chat", "Ready"), "False NotProgrammed");
    let status = fake.get(&route_path("late")).unwrap()["status"].clone();
    assert_eq!(status["programmed"], "0/0");
    process.stop().await;
}

/// What a proxy that runs `revision` says of itself, when providers refuse it these keys.
pub(super) fn state(revision: u64, refused: &[&str]) -> Value {
    let key = |name: &&str| {
        json!({"namespace": "team", "credential": "openai", "key": name, "state": "refused",
            "reason": "rejected", "since": "2026-01-01T00:00:00Z"})
    };
    let keys: Vec<_> = refused.iter().map(key).collect();
    json!({"epoch": 1, "revision": revision, "hash": "", "keys": keys})
}

/// A proxy that tells its state to whoever shows the head's token.
pub(super) async fn proxy(state: watch::Receiver<Value>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = state.clone();
            let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let token = request.headers()["authorization"].to_str().unwrap();
                assert_eq!(token, format!("Bearer {}", "07".repeat(32)));
                let state = bytes::Bytes::from(state.borrow().to_string());
                std::future::ready(Ok::<_, Infallible>(http::Response::new(Full::new(state))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

pub(super) fn pod(fake: &Fake, name: &str, ready: &str) {
    let status = json!({"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": ready}]});
    let metadata = json!({"labels": {"component": "proxy"}});
    let path = format!("/api/v1/namespaces/trunkline/pods/{name}");
    fake.put(&path, json!({"metadata": metadata, "status": status}));
}

/// Over a real socket, so on the real clock.
#[tokio::test]
async fn programmed_is_true_when_and_only_when_every_ready_proxy_runs_it() {
    let fake = cluster();
    let (runs, told) = watch::channel(state(0, &[]));
    let address = proxy(told).await;
    pod(&fake, "p", "True");
    pod(&fake, "q", "False");
    route(&fake, "chat", &["chat"]);
    let process = start(&fake, "a", address.port());
    let chat = || condition(&fake, &route_path("chat"), "Programmed");
    until("behind", || chat() == "False Propagating").await;
    runs.send_replace(state(1000, &[]));
    until("programmed", || chat() == "True Programmed").await;
    let status = fake.get(&route_path("chat")).unwrap()["status"].clone();
    assert_eq!((&status["programmed"], &status["usableTargets"]), (&json!("1/1"), &json!("1/1")));
    assert_eq!(
        (&status["models"], &status["targets"][0]["state"]),
        (&json!(["chat"]), &json!("Usable"))
    );
    assert_eq!(condition(&fake, &route_path("chat"), "Ready"), "True Ready");

    // Written once more for each change, and not before the proxy has it.
    let patches = || fake.count(|seen| seen.path == format!("{}/status", route_path("other")));
    route(&fake, "other", &["other"]);
    until("programmed", || {
        condition(&fake, &route_path("other"), "Programmed") == "True Programmed"
    })
    .await;
    assert_eq!(patches(), 1);
    assert!(process.metrics.render().contains("trunkline_operator_propagation_seconds_count 3"));
    process.stop().await;
}

/// Asked again only because something was published: the calm pause is longer than this test.
#[tokio::test]
async fn a_key_that_a_provider_refuses_is_named_on_its_credential_until_it_is_accepted() {
    let fake = cluster();
    let (runs, told) = watch::channel(state(1000, &[]));
    let address = proxy(told).await;
    pod(&fake, "p", "True");
    route(&fake, "chat", &["chat"]);
    let process = start(&fake, "a", address.port());
    let path = format!("{GROUP}/team/providercredentials/openai");
    let valid = || condition(&fake, &path, "CredentialsValid");
    until("well", || valid() == "True NoKeyRefused").await;
    let patches = || fake.count(|seen| seen.path == format!("{path}/status"));
    let events = || fake.count(|seen| is_write(seen) && seen.path.contains("/events"));
    let (wrote, told_of) = (patches(), events());

    runs.send_replace(state(1000, &["k"]));
    route(&fake, "second", &["second"]);
    until("refused", || valid() == "False KeyRejected").await;
    let status = fake.get(&path).unwrap()["status"].to_string();
    assert!(status.contains("key `k`: the provider rejects it"), "{status}");
    until("the event", || events() == told_of + 1).await;
    runs.send_replace(state(1000, &[]));
    route(&fake, "third", &["third"]);
    until("accepted", || valid() == "True NoKeyRefused").await;
    until("the event", || events() == told_of + 2).await;
    // Twice for the key; the counts of routes go with it or come later.
    assert!((2..=4).contains(&(patches() - wrote)), "{}", patches() - wrote);
    process.stop().await;
}
