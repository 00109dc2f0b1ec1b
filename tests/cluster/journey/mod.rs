//! Trunkline as a platform engineer has it: installed by Helm, with routes applied by kubectl, serving.
//!
//! One installation serves all the journeys; each brings routes of its own.

mod broken;
mod first;
mod gone;
mod large;
mod load;
mod model;
mod rights;
mod scale;
mod truth;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use trunkline::api::ModelRoute;

use crate::{
    Test,
    support::{Cluster, SOON, eventually, http},
};

/// Where Trunkline is.
const HOME: &str = "trunkline";

/// Where the applications' routes are.
const APPS: &str = "apps";

/// The key of the one consumer of `APPS`.
const KEY: &str = "tk-of-the-tests-0123456789abcdef";

const PROXIES: &str = "app.kubernetes.io/name=trunkline,app.kubernetes.io/component=proxy";
const OPERATORS: &str = "app.kubernetes.io/name=trunkline,app.kubernetes.io/component=operator";

/// Every journey, in the order in which they are made. Scaling comes before the outage of the API server,
/// from which Kubernetes' own controllers take their time to recover.
pub fn tests() -> Vec<Test> {
    let bad = [&broken::TESTS[..], &large::TESTS, &gone::TESTS, &rights::TESTS];
    [&[&first::TESTS[..], &scale::TESTS, &model::TESTS, &load::TESTS, &truth::TESTS], &bad[..]]
        .concat()
        .concat()
}

/// The one installation.
#[derive(Debug)]
struct Installed {
    cluster: Arc<Cluster>,
    /// The Service in front of the proxies.
    address: SocketAddr,
    /// The Service in front of the simulator.
    simulator: IpAddr,
}

/// What is installed with the chart beside its defaults: the image that was built, the applications'
/// namespace, the simulator's addresses and ports.
const VALUES: [&str; 5] = [
    "image.repository=registry.test/trunkline",
    "watchNamespaces={apps,lender,bad,odd,gone}",
    "allowPrivateEndpoints=true",
    "proxy.gracePeriodSeconds=20",
    "networkPolicy.providerPorts={9101,9102,9103}",
];

/// Installs Trunkline, the simulator and the quickstart, the first time.
fn installed(cluster: &Arc<Cluster>) -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        for namespace in [HOME, APPS, "lender", "bad", "odd", "gone"] {
            cluster.namespace(namespace);
        }
        cluster.apply(HOME, include_str!("simulator.yaml")).unwrap();
        for name in ["modelroutes", "providercredentials", "modelconsumers", "modelautoscalers"] {
            let crd = format!("{name}.trunkline.dev");
            cluster.kubectl(&["delete", "crd", &crd, "--ignore-not-found"]).unwrap();
        }
        let refused = helm(cluster, "helm4", "install", &[]).expect_err("there are no definitions");
        assert!(refused.contains("helm install trunkline-crds"), "{refused}");
        let crds = ["install", "trunkline-crds", "charts/trunkline-crds", "-n", HOME];
        cluster.helm("helm4", &crds).unwrap();
        if let Err(error) = helm(cluster, "helm4", "install", &[]) {
            let pods = cluster.kubectl(&["-n", HOME, "describe", "pods"]);
            panic!("{error}\n{}", pods.unwrap());
        }
        let installed = Installed {
            cluster: Arc::clone(cluster),
            address: cluster.service(HOME, "trunkline", "http"),
            simulator: cluster.service(HOME, "simulator", "openai").ip(),
        };
        cluster.apply(APPS, &installed.quickstart()).unwrap();
        cluster.apply(APPS, &consumer()).unwrap();
        installed
    })
}

/// Installs or upgrades the chart and waits until all of it is ready.
fn helm(cluster: &Cluster, major: &str, verb: &str, more: &[&str]) -> Result<String, String> {
    let values = VALUES.iter().chain(more).flat_map(|value| ["--set", *value]);
    let rest = [verb, "trunkline", "charts/trunkline", "-n", HOME, "--wait", "--timeout=120s"];
    cluster.helm(major, &rest.into_iter().chain(values).collect::<Vec<_>>())
}

impl Installed {
    /// The quickstart, with the address of the simulator in this cluster instead of a loopback one.
    fn quickstart(&self) -> String {
        let files = ["credentials", "route", "failover"];
        let files = files.map(|file| {
            let path = format!("{}/examples/quickstart/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        });
        files.join("\n---\n").replace("127.0.0.1", &self.simulator.to_string())
    }

    /// Applies a route of `APPS` and waits until every proxy serves it.
    fn route(&self, name: &str, spec: &Value) {
        let route = serde_json::json!({
            "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelRoute",
            "metadata": { "name": name }, "spec": spec,
        });
        self.cluster.apply(APPS, &route.to_string()).unwrap();
        self.programmed(name, SOON);
    }

    /// Waits until every proxy serves the newest generation of a route.
    fn programmed(&self, name: &str, limit: Duration) {
        let route = || self.cluster.get(APPS, &["modelroutes.trunkline.dev", name]);
        eventually("Programmed", limit, route, |route| {
            let condition = condition(route, "Programmed");
            let generation = &route["metadata"]["generation"];
            condition["status"] == "True" && &condition["observedGeneration"] == generation
        });
    }

    /// The proxies that are ready.
    fn proxies(&self) -> Vec<SocketAddr> {
        let pods = self.cluster.ready_pods(HOME, PROXIES).into_iter();
        pods.map(|(_, ip)| SocketAddr::new(ip.parse().unwrap(), 8080)).collect()
    }

    /// What the operator that leads says of itself.
    fn metrics_of_the_leader(&self) -> String {
        let pods = self.cluster.ready_pods(HOME, OPERATORS).into_iter();
        let pages = pods.map(|(_, ip)| {
            let admin = SocketAddr::new(ip.parse().unwrap(), 9090);
            http::get(admin, "/metrics").unwrap().body
        });
        let leads = |page: &String| page.contains("\ntrunkline_operator_leader 1");
        pages.filter(leads).collect()
    }

    /// Waits until so many proxies are ready and no other is left.
    fn scaled(&self, part: &str, selector: &str, count: usize) {
        let replicas = format!("--replicas={count}");
        let scale = ["-n", HOME, "scale", &format!("deployment/{part}"), &replicas];
        self.cluster.kubectl(&scale).unwrap();
        let pods = || {
            let all = self.cluster.get(HOME, &["pods", "--selector", selector]);
            let all = all["items"].as_array().map_or(0, Vec::len);
            (self.cluster.ready_pods(HOME, selector).len(), all)
        };
        eventually(part, SOON * 2, pods, |pods| *pods == (count, count));
    }
}

/// What a request for a model comes to, on one pod or on the Service.
fn ask(address: SocketAddr, model: &str) -> http::Answer {
    let body = serde_json::json!({
        "model": model, "messages": [{ "role": "user", "content": "Count, please." }],
    });
    let answer = http::post(address, "/v1/chat/completions", KEY, &body.to_string());
    answer.unwrap_or_else(|error| panic!("{model} at {address}: {error}"))
}

/// A consumer of `APPS`.
fn consumer() -> String {
    format!(
        "\
apiVersion: trunkline.dev/v1alpha1
kind: ModelConsumer
metadata: {{ name: app }}
spec: {{ auth: {{ apiKeys: [{{ name: only, secretRef: {{ name: app-key, key: key }} }}] }} }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: app-key }}
stringData: {{ key: {KEY} }}
"
    )
}

/// A condition of an object; null when it has none.
fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

/// The routes of a namespace, as objects without a type: what a test writes may be wrong.
fn routes(client: kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<ModelRoute>(&()))
}

/// Changes a part of a route.
async fn patch(api: &Api<DynamicObject>, name: &str, change: Value) -> DynamicObject {
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
}

/// A specification with one target at the simulator's OpenAI.
fn spec(model: &str, target: &str, upstream: &str) -> Value {
    serde_json::json!({
        "models": [model],
        "targets": [{ "name": target, "credentialRef": { "name": "openai" }, "model": upstream }],
    })
}
