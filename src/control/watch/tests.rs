//! What the watch promises, each against what `kube`'s own watcher does in the same place.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{self, WatchStreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    control::{
        fake::{End, Fake, Fault},
        kind::Kind,
    },
    observe::{Metrics, operator::Operator},
};

const ROUTES: &str = "/apis/trunkline.dev/v1alpha1/namespaces/team/modelroutes";

fn meter(kind: &'static str) -> (Metrics, WatchMeter) {
    let metrics = Metrics::new().unwrap();
    let meter = Operator::new(&metrics).unwrap().watch(kind);
    (metrics, meter)
}

fn start(fake: &Fake, scope: Scope, known: Vec<ObjectId>) -> mpsc::Receiver<News> {
    let (send, receive) = mpsc::channel(64);
    tokio::spawn(watch(fake.client(), scope, known, send, meter("ModelRoute").1));
    receive
}

fn routes(fake: &Fake) -> mpsc::Receiver<News> {
    start(fake, Scope::all(Kind::ModelRoute, Some("team".into())), Vec::new())
}

fn namespaces(fake: &Fake) -> mpsc::Receiver<News> {
    start(fake, Scope::all(Kind::Namespace, None), Vec::new())
}

/// The next thing told, as `+name` and `-name`; `?` for a refusal.
async fn next(news: &mut mpsc::Receiver<News>) -> Vec<String> {
    let told = timeout(Duration::from_mins(2), news.recv()).await.expect("nothing is told");
    match told.unwrap().told {
        Told::Refused => vec!["?".to_owned()],
        Told::Changed(changes) => changes
            .iter()
            .map(|change| match change {
                Change::Applied(id, _) => format!("+{}", id.name),
                Change::Deleted(id) => format!("-{}", id.name),
            })
            .collect(),
    }
}

async fn silent(news: &mut mpsc::Receiver<News>, seconds: u64) {
    let told = timeout(Duration::from_secs(seconds), news.recv()).await;
    assert!(told.is_err(), "{told:?}");
}

fn put(fake: &Fake, name: &str) {
    let spec = json!({"models": [name], "targets": []});
    fake.put(&format!("{ROUTES}/{name}"), json!({"metadata": {}, "spec": spec}));
}

fn namespace(name: &str, version: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "resourceVersion": version.to_string()}})
}

fn gone() -> Value {
    json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "too old", "reason": "Expired", "code": 410}})
}

fn kubes_own(
    fake: &Fake,
) -> impl futures_util::Stream<Item = runtime::watcher::Result<runtime::watcher::Event<Namespace>>>
{
    runtime::watcher(Api::all(fake.client()), runtime::watcher::Config::default())
}

/// Trap A.
#[tokio::test(start_paused = true)]
async fn a_watch_request_that_is_answered_with_410_is_followed_by_a_list() {
    let gone_once = |fake: &Fake| {
        let mut watches = 0;
        fake.fault(move |seen| {
            watches += usize::from(seen.is_watch());
            (seen.is_watch() && watches < 8).then_some(Fault::Status(410))
        });
    };
    let fake = Fake::default();
    gone_once(&fake);
    let mut news = namespaces(&fake);
    assert!(next(&mut news).await.is_empty());
    fake.put("/api/v1/namespaces/a", json!({"metadata": {}}));
    assert_eq!(next(&mut news).await, ["+a"]);
    assert!(fake.count(super::super::fake::Seen::is_list) > 1);

    // kube's own asks for the same place in the history for ever.
    let fake = Fake::default();
    gone_once(&fake);
    let events = kubes_own(&fake).take(9);
    events.for_each(|_| std::future::ready(())).await;
    assert_eq!(fake.count(super::super::fake::Seen::is_list), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_says_410_is_followed_by_a_list() {
    let fake = Fake::default();
    let first = Arc::new(AtomicUsize::new(0));
    fake.fault(move |seen| {
        let once = seen.is_watch() && first.fetch_add(1, Ordering::Relaxed) == 0;
        once.then(|| Fault::Lines(vec![gone()], End::Silent))
    });
    let mut news = routes(&fake);
    assert!(next(&mut news).await.is_empty());
    put(&fake, "a");
    assert_eq!(next(&mut news).await, ["+a"]);
}

/// Trap B: the store of `kube` would be right, and nobody would be told.
#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_the_watch_is_away_is_told() {
    let fake = Fake::default();
    put(&fake, "a");
    put(&fake, "b");
    let mut news = routes(&fake);
    assert_eq!(next(&mut news).await, ["+a", "+b"]);
    fake.fault(|seen| seen.is_watch().then_some(Fault::Status(410)));
    fake.hang_up();
    fake.delete_silently(&format!("{ROUTES}/b"));
    assert_eq!(next(&mut news).await, ["-b"]);

    let fake = Fake::default();
    fake.put("/api/v1/namespaces/a", json!({"metadata": {}}));
    fake.put("/api/v1/namespaces/b", json!({"metadata": {}}));
    let mut touched = pin!(kubes_own(&fake).touched_objects());
    for _ in 0..2 {
        assert!(touched.next().await.unwrap().is_ok());
    }
    let mut once = false;
    fake.fault(move |seen| {
        let lines = (seen.is_watch() && !once).then(|| Fault::Lines(vec![gone()], End::Closes));
        once |= lines.is_some();
        lines
    });
    fake.hang_up();
    fake.delete_silently("/api/v1/namespaces/b");
    let mut after = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(5), touched.next()).await {
        after.extend(event.ok().and_then(|object| object.metadata.name));
    }
    assert_eq!(after, ["a"], "kube tells of what is there and not of what is gone");
}

/// Trap C.
#[tokio::test(start_paused = true)]
async fn a_list_that_is_older_than_what_was_seen_changes_nothing() {
    let scripted = |fake: &Fake| {
        let (mut lists, mut watches) = (0, 0);
        fake.fault(move |seen| {
            if seen.is_list() {
                lists += 1;
                let (list, object) = [(30, 30), (60, 50)][usize::from(lists > 3)];
                return Some(Fault::List(list, vec![namespace("a", object)]));
            }
            watches += usize::from(seen.is_watch());
            let newer = json!({"type": "MODIFIED", "object": namespace("a", 50)});
            Some(match (seen.is_watch(), watches) {
                (true, 1) => Fault::Lines(vec![newer, gone()], End::Closes),
                _ => Fault::Hang,
            })
        });
    };
    let fake = Fake::default();
    scripted(&fake);
    let mut news = namespaces(&fake);
    assert_eq!(next(&mut news).await, ["+a"]);
    assert_eq!(next(&mut news).await, ["+a"]);
    silent(&mut news, 60).await;
    assert!(fake.count(super::super::fake::Seen::is_list) >= 4);

    let fake = Fake::default();
    scripted(&fake);
    let mut versions = Vec::new();
    let mut applied = pin!(kubes_own(&fake).touched_objects());
    while let Ok(Some(event)) = timeout(Duration::from_secs(5), applied.next()).await {
        versions.extend(event.ok().and_then(|object| object.metadata.resource_version));
    }
    assert_eq!(versions, ["30", "50", "30"], "kube goes back in time");
}

/// Trap D, as far as one watch can show it: each has a task and a wait of its own.
#[tokio::test(start_paused = true)]
async fn a_kind_that_fails_slows_no_other() {
    let fake = Fake::default();
    fake.fault(|seen| seen.path.contains("secrets").then_some(Fault::Status(404)));
    let (send, mut news) = mpsc::channel(64);
    let secret = Scope::one(Kind::Secret, &ObjectId::new("team", "key"));
    tokio::spawn(watch(fake.client(), secret, Vec::new(), send.clone(), meter("Secret").1));
    let scope = Scope::all(Kind::ModelRoute, None);
    tokio::spawn(watch(fake.client(), scope, Vec::new(), send, meter("ModelRoute").1));
    let mut told = [next(&mut news).await, next(&mut news).await];
    told.sort();
    assert_eq!(told, [vec![], vec!["?".to_owned()]]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    while news.try_recv().is_ok() {}
    for at in 0..40 {
        let begin = Instant::now();
        put(&fake, &format!("r{at}"));
        while next(&mut news).await == ["?"] {}
        assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
    }
}

/// Trap E.
#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_given_up_after_25_seconds() {
    let hang_first = |fake: &Fake| {
        let mut watches = 0;
        fake.fault(move |seen| {
            watches += usize::from(seen.is_watch());
            (seen.is_watch() && watches == 1).then(|| Fault::Lines(Vec::new(), End::Silent))
        });
    };
    let fake = Fake::default();
    hang_first(&fake);
    let mut news = routes(&fake);
    assert!(next(&mut news).await.is_empty());
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_millis(10)).await;
    put(&fake, "a");
    assert_eq!(next(&mut news).await, ["+a"]);
    assert!(begin.elapsed() <= Duration::from_millis(25_100), "{:?}", begin.elapsed());

    let fake = Fake::default();
    hang_first(&fake);
    let mut touched = pin!(kubes_own(&fake).touched_objects());
    let begin = Instant::now();
    assert!(timeout(Duration::from_secs(1), touched.next()).await.is_err());
    fake.put("/api/v1/namespaces/a", json!({"metadata": {}}));
    assert!(touched.next().await.unwrap().is_ok());
    assert!(begin.elapsed() > Duration::from_secs(290), "{:?}", begin.elapsed());
}

/// Trap F.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_comes_through_and_blocks_nothing() {
    let fake = Fake::default();
    put(&fake, "a");
    fake.put(&format!("{ROUTES}/bad"), json!({"metadata": {}, "spec": {"models": {"v": 7}}}));
    put(&fake, "z");
    let mut news = routes(&fake);
    assert_eq!(next(&mut news).await, ["+a", "+bad", "+z"]);
    fake.put(&format!("{ROUTES}/worse"), json!({"metadata": {}, "spec": 7}));
    assert_eq!(next(&mut news).await, ["+worse"]);

    let all = Api::<crate::api::ModelRoute>::all(fake.client());
    let events = runtime::watcher(all, runtime::watcher::Config::default());
    let bad = events.take(6).filter(|event| std::future::ready(event.is_err())).count().await;
    assert_eq!(bad, 3, "kube lists again and again and never gets there");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_takes_nothing_away_that_is_there() {
    let fake = Fake::default();
    put(&fake, "a");
    put(&fake, "b");
    let mut news = routes(&fake);
    assert_eq!(next(&mut news).await, ["+a", "+b"]);
    fake.fault(|seen| {
        if seen.is_watch() {
            return Some(Fault::Status(410));
        }
        seen.is_list().then(|| Fault::List(99, Vec::new()))
    });
    fake.hang_up();
    silent(&mut news, 120).await;
    fake.heal();
    put(&fake, "c");
    assert_eq!(next(&mut news).await, ["+c"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_list_that_lacks_what_is_published_is_believed_only_when_that_is_gone() {
    let fake = Fake::default();
    put(&fake, "a");
    fake.fault(|seen| seen.is_list().then(|| Fault::List(9, Vec::new())));
    let known = vec![ObjectId::new("team", "a"), ObjectId::new("team", "gone")];
    let mut news = start(&fake, Scope::all(Kind::ModelRoute, None), known);
    silent(&mut news, 60).await;
    fake.heal();
    assert_eq!(next(&mut news).await, ["+a", "-gone"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_is_told_and_takes_nothing_away() {
    let fake = Fake::default();
    put(&fake, "a");
    fake.fault(|seen| seen.is_list().then_some(Fault::Status(403)));
    let mut news = routes(&fake);
    assert_eq!(next(&mut news).await, ["?"]);
    fake.heal();
    while next(&mut news).await != ["+a"] {}
    fake.fault(|_| Some(Fault::Status(403)));
    fake.hang_up();
    for _ in 0..3 {
        assert_eq!(next(&mut news).await, ["?"]);
    }
    fake.heal();
    put(&fake, "b");
    while next(&mut news).await != ["+b"] {}
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_answers_is_asked_again() {
    let fake = Fake::default();
    let mut lists = 0;
    fake.fault(move |seen| {
        lists += usize::from(seen.is_list());
        (lists == 1).then_some(Fault::Hang)
    });
    let begin = Instant::now();
    let mut news = routes(&fake);
    assert!(next(&mut news).await.is_empty());
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_watch_by_name_tells_of_that_object_alone() {
    let fake = Fake::default();
    let secret = |name: &str| format!("/api/v1/namespaces/team/secrets/{name}");
    let scope = Scope::one(Kind::Secret, &ObjectId::new("team", "key"));
    let mut news = start(&fake, scope, Vec::new());
    assert!(next(&mut news).await.is_empty());
    fake.put(&secret("other"), json!({"metadata": {}, "data": {}}));
    fake.put(&secret("key"), json!({"metadata": {}, "data": {}}));
    assert_eq!(next(&mut news).await, ["+key"]);
    fake.delete(&secret("key"));
    assert_eq!(next(&mut news).await, ["-key"]);
    assert!(fake.seen().iter().all(|seen| seen.query.contains("metadata.name")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_shows_in_the_metrics_until_it_is_well() {
    let fake = Fake::default();
    fake.fault(|seen| seen.is_list().then_some(Fault::Status(500)));
    let (metrics, meter) = meter("ModelRoute");
    let (send, mut news) = mpsc::channel(64);
    let scope = Scope::all(Kind::ModelRoute, None);
    tokio::spawn(watch(fake.client(), scope, Vec::new(), send, meter));
    silent(&mut news, 5).await;
    let failing = r#"trunkline_operator_watches_failing{kind="ModelRoute"}"#;
    assert!(metrics.render().contains(&format!("{failing} 1")));
    fake.heal();
    assert!(next(&mut news).await.is_empty());
    assert!(metrics.render().contains(&format!("{failing} 0")));
}
