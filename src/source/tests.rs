//! The source against an API server in the test's own process, on a paused clock.

use std::{
    convert::Infallible,
    fs,
    sync::{Mutex, MutexGuard},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    observe::Metrics,
    table::{
        Contents, Stamp, Token,
        arbitrary::parts,
        head::{DATA_KEY, HEAD_SECRET},
        publish::{Plan, Published, fold, plan},
    },
};

type Arc<T> = std::sync::Arc<T>;
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
type Fault = Box<dyn FnMut(&str) -> Option<u16> + Send>;

/// Secrets, whoever watches them, and how requests fail.
#[derive(Default)]
struct State {
    version: u64,
    secrets: Vec<(String, Value)>,
    events: Vec<(u64, String, Value)>,
    watches: Vec<(String, mpsc::UnboundedSender<Bytes>)>,
    asked: Vec<String>,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let answer = server.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        };
        Client::new(tower::service_fn(answer), "trunkline")
    }

    /// Requests fail as `fault` says, given `watch NAME`, `list NAME` or `get NAME`.
    fn fail(&self, fault: impl FnMut(&str) -> Option<u16> + Send + 'static) {
        self.state().fault = Some(Box::new(fault));
    }

    fn heal(&self) {
        self.state().fault = None;
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let kind =
            if state.secrets.iter().any(|(own, _)| own == name) { "MODIFIED" } else { "ADDED" };
        state.version += 1;
        let metadata = json!({"name": name, "namespace": "trunkline", "resourceVersion": state.version.to_string()});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {DATA_KEY: STANDARD.encode(bytes)}});
        state.secrets.retain(|(own, _)| own != name);
        state.secrets.push((name.to_owned(), secret.clone()));
        state.tell(name, kind, &secret);
    }

    fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let at = state.secrets.iter().position(|(own, _)| own == name).unwrap();
        let (_, secret) = state.secrets.remove(at);
        state.tell(name, "DELETED", &secret);
    }

    fn answer(&self, request: &Request<Body>) -> Answer {
        let mut state = self.state();
        let query = request.uri().query().unwrap_or_default().replace("%3D", "=");
        let named = query.split("metadata.name=").nth(1).and_then(|rest| rest.split('&').next());
        let path = request.uri().path().rsplit('/').next().unwrap();
        let name = named.unwrap_or(path).to_owned();
        let verb = match named {
            None => "get",
            Some(_) if query.contains("watch=true") => "watch",
            Some(_) => "list",
        };
        let asked = format!("{verb} {name}");
        state.asked.push(asked.clone());
        if let Some(code) = state.fault.as_mut().and_then(|fault| fault(&asked)) {
            let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "no", "code": code});
            return full(code, &status);
        }
        let found: Vec<_> = state.secrets.iter().filter(|(own, _)| *own == name).collect();
        match verb {
            "get" => match found.first() {
                Some((_, secret)) => full(200, secret),
                None => full(
                    404,
                    &json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "NotFound", "code": 404}),
                ),
            },
            "list" => {
                let items: Vec<_> = found.iter().map(|(_, secret)| secret).collect();
                let metadata = json!({"resourceVersion": state.version.to_string()});
                full(
                    200,
                    &json!({"kind": "SecretList", "apiVersion": "v1", "metadata": metadata, "items": items}),
                )
            }
            _ => {
                let from = query.split("resourceVersion=").nth(1).unwrap();
                let from: u64 = from.split('&').next().unwrap().parse().unwrap();
                let (send, receive) = mpsc::unbounded_channel();
                for (version, own, event) in &state.events {
                    if *version > from && *own == name {
                        send.send(line(event)).unwrap();
                    }
                }
                state.watches.push((name, send));
                let lines = stream::unfold(receive, async |mut receive| {
                    let line = receive.recv().await?;
                    Some((Ok::<_, Infallible>(Frame::data(line)), receive))
                });
                Response::new(StreamBody::new(lines.chain(stream::pending())).boxed_unsync())
            }
        }
    }
}

impl State {
    fn tell(&mut self, name: &str, kind: &str, secret: &Value) {
        let event = json!({"type": kind, "object": secret});
        self.watches.retain(|(own, watch)| own != name || watch.send(line(&event)).is_ok());
        self.events.push((self.version, name.to_owned(), event));
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn full(code: u16, body: &Value) -> Answer {
    let body = http_body_util::Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

/// An operator: it writes what it is told to, by the rules.
#[derive(Default)]
struct Operator {
    published: Option<Published>,
}

impl Operator {
    /// The writes that publish a table.
    fn writes(
        &mut self,
        table: &Arc<Contents>,
        epoch: u64,
        folds: bool,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let (last, token) = (Stamp { epoch, revision: 0 }, Token::new([1; 32]));
        let mut writes = Vec::new();
        let mut folds = folds;
        loop {
            let planned = match &self.published {
                Some(published) if folds => fold(published, table, last),
                published => plan(published.as_ref(), table, last, &token),
            };
            let next = match planned.unwrap() {
                Plan::Unchanged => return writes,
                Plan::Head(next) => next,
                Plan::Flip { base, slot, next } => {
                    writes.push((slot.secret(), base.bytes));
                    folds = false;
                    next
                }
            };
            writes.push((HEAD_SECRET, next.head.encode().unwrap().bytes));
            self.published = Some(next);
        }
    }

    fn publish(&mut self, server: &Server, table: &Arc<Contents>, epoch: u64) -> Stamp {
        for (name, bytes) in self.writes(table, epoch, false) {
            server.put(name, &bytes);
        }
        self.stamp()
    }

    fn stamp(&self) -> Stamp {
        self.published.as_ref().unwrap().head.stamp
    }
}

/// Different tables, each with some routes.
fn tables(n: usize) -> Vec<Arc<Contents>> {
    let mut runner = TestRunner::deterministic();
    let mut tables: Vec<Arc<Contents>> = Vec::new();
    while tables.len() < n {
        let table = parts().new_tree(&mut runner).unwrap().current().contents();
        if table.len() > 1 && !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

/// A source that runs, and what it has taken.
struct Running {
    server: Server,
    operator: Operator,
    metrics: Metrics,
    taken: mpsc::UnboundedReceiver<Version>,
}

impl Running {
    /// A source whose server is as `prepare` leaves it.
    fn start(mounted: Option<PathBuf>, prepare: impl FnOnce(&Server, &mut Operator)) -> Self {
        let (server, mut operator) = (Server::default(), Operator::default());
        prepare(&server, &mut operator);
        let metrics = Metrics::new().unwrap();
        let meter = Meter::new(&metrics).unwrap();
        let (send, taken) = mpsc::unbounded_channel();
        let config = Config { namespace: None, mounted };
        let take = move |version| drop(send.send(version));
        tokio::spawn(run(server.client(), config, meter, take));
        Self { server, operator, metrics, taken }
    }

    async fn takes(&mut self, stamp: Stamp, table: &Contents) {
        let within = tokio::time::timeout(Duration::from_mins(2), self.taken.recv());
        let version = within.await.expect("a table is taken").unwrap();
        assert_eq!(version.stamp, stamp);
        assert_eq!(*version.table, table.table(stamp.revision));
    }

    /// Nothing is taken for two minutes.
    async fn takes_nothing(&mut self) {
        let within = tokio::time::timeout(Duration::from_mins(2), self.taken.recv()).await;
        assert!(
            within.is_err(),
            "{:?}",
            within.map(|version| version.map(|version| version.stamp))
        );
    }

    fn counts(&self, series: &str) -> bool {
        let text = self.metrics.render();
        text.lines().any(|line| line.strip_prefix(series).is_some_and(|value| value != " 0"))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_taken_at_once() {
    let tables = tables(3);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    for table in &tables[1..] {
        let start = Instant::now();
        let stamp = running.operator.publish(&running.server, table, 1);
        running.takes(stamp, table).await;
        assert!(start.elapsed() < Duration::from_millis(10));
    }
    for (name, bytes) in running.operator.writes(&tables[0], 1, true) {
        running.server.put(name, &bytes);
    }
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_before_a_table_is_complete() {
    let tables = tables(1);
    let mut running = Running::start(None, |_, _| ());
    let writes = running.operator.writes(&tables[0], 1, false);
    let (last, first) = writes.split_last().unwrap();
    for (name, bytes) in first {
        running.server.put(name, bytes);
    }
    running.takes_nothing().await;
    running.server.put(last.0, &last.1);
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
}

/// On `kube`'s own watcher the same watch is asked for again and again, for ever.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_as_gone_is_followed_by_a_list() {
    let tables = tables(2);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    let mut refused = 0;
    running.server.state().watches.clear();
    running.server.fail(move |asked| {
        let refuse = asked == "watch trunkline-head" && refused < 3;
        refused += u32::from(refuse);
        refuse.then_some(410)
    });
    let lists = |running: &Running| {
        running.server.state().asked.iter().filter(|asked| *asked == "list trunkline-head").count()
    };
    assert_eq!(lists(&running), 1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(lists(&running), 4);
    let stamp = running.operator.publish(&running.server, &tables[1], 1);
    running.takes(stamp, &tables[1]).await;
    let restarts = r#"trunkline_source_restarts_total{reason="gone",secret="head"}"#;
    assert!(running.counts(restarts), "{}", running.metrics.render());
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_given_up_and_nothing_is_lost_meanwhile() {
    let tables = tables(2);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    // The connection stays and tells nothing any more.
    for (_, watch) in &mut running.server.state().watches {
        *watch = mpsc::unbounded_channel().0;
    }
    let start = Instant::now();
    let stamp = running.operator.publish(&running.server, &tables[1], 1);
    running.takes(stamp, &tables[1]).await;
    assert!(start.elapsed() <= Duration::from_secs(26), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_half_written_base_waits_for_the_right_one() {
    let tables = tables(2);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    let writes = running.operator.writes(&tables[1], 1, true);
    let [(slot, base), (head, flip)] = &writes[..] else { panic!("a base and a head") };
    running.server.put(slot, &tables[0].encode().unwrap().bytes);
    running.server.put(head, flip);
    running.takes_nothing().await;
    assert!(running.counts(r#"trunkline_table_rejected_total{reason="base"}"#));
    running.server.put(slot, &base[..base.len() / 2]);
    running.takes_nothing().await;
    running.server.put(slot, base);
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lower_epoch_changes_nothing() {
    let tables = tables(3);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    // Of the same base, so that only the epoch tells them apart.
    let late = running.operator.writes(&tables[1], 1, false).pop().unwrap();
    running.operator.published = None;
    let stamp = running.operator.publish(&running.server, &tables[2], 2);
    running.takes(stamp, &tables[2]).await;
    running.server.put(late.0, &late.1);
    running.takes_nothing().await;
    assert!(running.counts(r#"trunkline_table_rejected_total{reason="stale"}"#));
    assert!(running.counts("trunkline_table_epoch"));
}

#[tokio::test(start_paused = true)]
async fn the_mounted_copy_starts_a_proxy_whose_api_server_is_away() {
    let tables = tables(2);
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(Some(folder.path().to_owned()), |server, _| {
        server.fail(|_| Some(503));
    });
    running.takes_nothing().await;
    let folders = [
        ("trunkline-head", "head"),
        ("trunkline-base-a", "base-a"),
        ("trunkline-base-b", "base-b"),
    ];
    for (name, bytes) in running.operator.writes(&tables[0], 1, false) {
        let (_, own) = folders.iter().find(|(secret, _)| *secret == name).unwrap();
        fs::create_dir_all(folder.path().join(own)).unwrap();
        fs::write(folder.path().join(own).join(DATA_KEY), &bytes).unwrap();
        running.server.put(name, &bytes);
    }
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    assert!(running.counts(r#"trunkline_source_failing{secret="head"}"#));
    running.server.heal();
    let stamp = running.operator.publish(&running.server, &tables[1], 1);
    running.takes(stamp, &tables[1]).await;
    assert!(!running.counts(r#"trunkline_source_failing{secret="head"}"#));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_table_and_a_deleted_head_leave_the_last_one() {
    let tables = tables(2);
    let mut running = Running::start(None, |server, operator| {
        operator.publish(server, &tables[0], 1);
    });
    let stamp = running.operator.stamp();
    running.takes(stamp, &tables[0]).await;
    running.server.put(HEAD_SECRET, b"no table");
    running.takes_nothing().await;
    assert!(running.counts(r#"trunkline_table_rejected_total{reason="unreadable"}"#));
    running.server.delete(HEAD_SECRET);
    running.takes_nothing().await;
    let stamp = running.operator.publish(&running.server, &tables[1], 1);
    running.takes(stamp, &tables[1]).await;
}
