//! What a change costs: how soon it is served, how much is written for it, how large the operator is.
//!
//! No pass and no fail: `make bench-operator` prints the figures and writes them to
//! `target/bench/operator.json`. `ROUTES` says how many routes are made, one after the other.

use std::{collections::BTreeMap, env, fs, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams, WatchParams},
    core::WatchEvent,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    Test, operator,
    support::{Cluster, SOON, eventually, http},
};

pub const MEASURES: [Test; 1] = [("measure::operator", measure)];

const NAMESPACE: &str = "measure";

/// Requests of the API server itself, for comparison.
const BASELINE: usize = 200;

/// Routes that are made at once, for counting writes.
const STORM: usize = 1000;

#[expect(clippy::print_stdout, reason = "figures are for whoever asked for them")]
fn measure(cluster: &Arc<Cluster>) {
    operator::start(cluster, NAMESPACE);
    cluster.apply(NAMESPACE, include_str!("measure.yaml")).unwrap();
    let sim = pod(cluster, "app=sim");
    let url = format!("http://{sim}:9101/v1");
    let key = json!({"name": "k", "secretRef": {"name": "key", "key": "k"}});
    let spec = json!({"provider": "OpenAICompatible", "endpoint": {"baseURL": url},
        "auth": {"apiKey": {"keys": [key]}}});
    let credential = json!({"apiVersion": "trunkline.dev/v1alpha1", "kind": "ProviderCredential",
        "metadata": {"name": "sim"}, "spec": spec});
    cluster.apply(NAMESPACE, &credential.to_string()).unwrap();
    let proxy = SocketAddr::new(pod(cluster, "app=proxy").parse().unwrap(), 8080);
    let count = env::var_os("ROUTES").and_then(|it| it.to_str()?.parse().ok()).unwrap_or(3000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut figures = LocalSet::new().block_on(&runtime, changes(cluster, proxy, count));
    figures["quiet"] = quiet(cluster);
    figures["restart"] = restart(cluster);
    let text = format!("{figures:#}");
    println!("{text}");
    fs::create_dir_all("target/bench").unwrap();
    fs::write("target/bench/operator.json", text).unwrap();
    operator::end(cluster, NAMESPACE);
}

/// The address of the one ready pod.
fn pod(cluster: &Cluster, selector: &str) -> String {
    let pods = || cluster.ready_pods(NAMESPACE, selector);
    eventually(selector, SOON, pods, |pods| pods.len() == 1)[0].1.clone()
}

async fn changes(cluster: &Cluster, proxy: SocketAddr, count: usize) -> Value {
    let client = cluster.plane.client("admin").await;
    let baseline = baseline(&Api::namespaced(client.clone(), NAMESPACE)).await;
    let kind = GroupVersionKind::gvk("trunkline.dev", "v1alpha1", "ModelRoute");
    let kind = ApiResource::from_gvk_with_plural(&kind, "modelroutes");
    let routes = Api::namespaced_with(client, NAMESPACE, &kind);
    let mut line = Line { address: proxy, open: None };
    let (mut served, mut others) = (Vec::new(), BTreeMap::<u16, usize>::new());
    for at in 0..count {
        let begin = Instant::now();
        create(&routes, &kind, &format!("one-{at}")).await;
        loop {
            match line.ask(&format!("one-{at}")).await {
                200 => break,
                status => *others.entry(status).or_default() += 1,
            }
            assert!(begin.elapsed() < SOON, "route {at} is never served: {others:?}");
        }
        served.push(begin.elapsed());
    }
    let part = (count / 10).max(1);
    let (first, last) = (served[..part].to_vec(), served[count - part..].to_vec());
    let before = statuses(cluster);
    let begin = Instant::now();
    let storm = (0..STORM).map(|at| {
        let (routes, kind) = (&routes, &kind);
        async move { create(routes, kind, &format!("storm-{at}")).await }
    });
    futures_util::stream::iter(storm).buffer_unordered(16).collect::<Vec<()>>().await;
    let made = begin.elapsed();
    while line.ask(&format!("storm-{}", STORM - 1)).await != 200 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(10)).await;
    json!({
        "write_to_event_ms": baseline,
        "created_to_served_ms": {
            "routes": count, "all": quantiles(served), "first_tenth": quantiles(first),
            "last_tenth": quantiles(last), "other_answers": others,
        },
        "storm": {
            "routes": STORM, "created_in_s": made.as_secs_f64(),
            "status_writes": statuses(cluster) - before,
        },
    })
}

/// How long the API server takes from a write of 6 KB to the event that tells of it.
async fn baseline(secrets: &Api<Secret>) -> Value {
    let mut times = Vec::new();
    let text = "x".repeat(6 << 10);
    let mut secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "baseline"}, "stringData": {"text": text}}),
    )
    .unwrap();
    secret = secrets.create(&PostParams::default(), &secret).await.unwrap();
    let from = secret.metadata.resource_version.clone().unwrap();
    let params = WatchParams::default().fields("metadata.name=baseline").timeout(290);
    let mut events = pin!(secrets.watch(&params, &from).await.unwrap());
    let post = PostParams::default();
    for at in 0..BASELINE {
        secret.string_data = Some([("at".to_owned(), at.to_string())].into());
        let begin = Instant::now();
        let write = secrets.replace("baseline", &post, &secret);
        let (written, event) = tokio::join!(write, events.next());
        secret = written.unwrap();
        assert!(matches!(event, Some(Ok(WatchEvent::Modified(_)))), "{event:?}");
        times.push(begin.elapsed());
    }
    quantiles(times)
}

async fn create(routes: &Api<DynamicObject>, kind: &ApiResource, name: &str) {
    let target = json!({"name": "t", "credentialRef": {"name": "sim"}, "model": "gpt-5"});
    let spec = json!({"models": [name], "targets": [target]});
    let route = DynamicObject::new(name, kind).data(json!({"spec": spec}));
    routes.create(&PostParams::default(), &route).await.unwrap();
}

/// Statuses of routes that were written so far.
fn statuses(cluster: &Cluster) -> usize {
    let log = fs::read_to_string(cluster.plane.audit_log()).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |line: &Value| line["objectRef"].clone();
    let ours = lines.map(|line| of(&line)).filter(|it| it["namespace"] == NAMESPACE);
    ours.filter(|it| it["subresource"] == "status" && it["apiGroup"] == "trunkline.dev").count()
}

/// A metric of a pod.
fn metric(address: &str, name: &str) -> f64 {
    let address = SocketAddr::new(address.parse().unwrap(), 9090);
    let page = http::get(address, "/metrics").unwrap().body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

/// The size and the work of each operator and proxy while nothing happens.
fn quiet(cluster: &Cluster) -> Value {
    let mut quiet = json!({});
    for selector in ["app=operator", "app=proxy"] {
        let pods = cluster.ready_pods(NAMESPACE, selector).into_iter().map(|(name, address)| {
            let cpu = || metric(&address, "process_cpu_seconds_total");
            let before = cpu();
            std::thread::sleep(Duration::from_secs(50));
            let memory = metric(&address, "process_resident_memory_bytes") / f64::from(1 << 20);
            json!({"pod": name, "resident_mib": memory, "cores": (cpu() - before) / 50.0})
        });
        quiet[selector] = pods.collect();
    }
    quiet
}

/// How long a new operator takes until it is ready, and whether it published anything.
fn restart(cluster: &Cluster) -> Value {
    let version = || {
        let head = cluster.get(NAMESPACE, &["secret/trunkline-head"]);
        head["metadata"]["resourceVersion"].clone()
    };
    let (before, begin) = (version(), Instant::now());
    let delete = ["-n", NAMESPACE, "delete", "pods", "-l", "app=operator", "--wait=false"];
    cluster.kubectl(&delete).unwrap();
    let pods = || cluster.ready_pods(NAMESPACE, "app=operator");
    eventually("new operators", SOON, pods, |pods| pods.len() == 2);
    let ready = begin.elapsed();
    std::thread::sleep(Duration::from_secs(20));
    json!({"ready_s": ready.as_secs_f64(), "published_nothing": version() == before})
}

fn quantiles(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |per_cent: usize| {
        let place = (times.len() * per_cent / 100).min(times.len() - 1);
        (times[place].as_secs_f64() * 1e5).round() / 100.0
    };
    json!({"p50": at(50), "p99": at(99)})
}

/// A connection to the proxy that stays open.
struct Line {
    address: SocketAddr,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    async fn ask(&mut self, model: &str) -> u16 {
        let open = self.open.take().filter(|open| !open.is_closed());
        let mut sender = if let Some(open) = open {
            open
        } else {
            let stream = TcpStream::connect(self.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = handshake.unwrap();
            tokio::task::spawn_local(connection);
            sender
        };
        let message = json!({"role": "user", "content": "Hello"});
        let body = json!({"model": model, "messages": [message]}).to_string();
        let request = Request::post("/v1/chat/completions")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        self.open = Some(sender);
        status
    }
}
