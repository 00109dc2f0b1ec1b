//! The control plane and the kubelet themselves: a Deployment comes up, scales, rolls and ends.
//!
//! Without these, a failure of a later test could be the harness's.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Test,
    load::{Load, Running},
    support::{Cluster, SOON, eventually, http},
};

pub const TESTS: [Test; 6] = [
    ("deployment::comes_up_scales_rolls_and_ends", comes_up_scales_rolls_and_ends),
    ("deployment::a_crashed_container_starts_again", a_crashed_container_starts_again),
    ("deployment::pods_outlive_the_api_server", pods_outlive_the_api_server),
    ("deployment::only_the_harness_may_do_everything", only_the_harness_may_do_everything),
    ("deployment::the_load_counts_what_is_lost", the_load_counts_what_is_lost),
    ("deployment::a_pod_has_its_own_rights_and_files", a_pod_has_its_own_rights_and_files),
];

const SIMULATOR: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: sim }
spec:
  replicas: 1
  selector: { matchLabels: { app: sim } }
  strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } }
  template:
    metadata: { labels: { app: sim } }
    spec:
      securityContext: { runAsNonRoot: true, seccompProfile: { type: RuntimeDefault } }
      terminationGracePeriodSeconds: 5
      containers:
      - name: sim
        image: registry.test/trunkline:0.1.0
        args: [sim, --openai, "0.0.0.0:9101", --anthropic, "0.0.0.0:9102", --gemini, "$(POD_IP):9103"]
        env:
        - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
        ports: [{ name: openai, containerPort: 9101 }]
        readinessProbe: { tcpSocket: { port: openai }, periodSeconds: 1 }
        volumeMounts: [{ name: notes, mountPath: /notes, readOnly: true }]
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: { drop: [ALL] }
      volumes:
      - { name: notes, configMap: { name: notes } }
---
apiVersion: v1
kind: Service
metadata: { name: sim }
spec: { selector: { app: sim }, ports: [{ name: openai, port: 80, targetPort: openai }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: notes }
data: { note: first }
"#;

fn comes_up_scales_rolls_and_ends(cluster: &Arc<Cluster>) {
    let namespace = "deployment";
    cluster.namespace(namespace);
    cluster.apply(namespace, SIMULATOR).unwrap();
    let first = pods(cluster, namespace, 1);
    for (_, address) in &first {
        let answer = http::get(SocketAddr::new(address.parse().unwrap(), 9101), "/").unwrap();
        assert!(answer.status < 500, "the simulator answers: {}", answer.body);
    }

    cluster.kubectl(&["-n", namespace, "scale", "deployment/sim", "--replicas=3"]).unwrap();
    let scaled = pods(cluster, namespace, 3);
    assert!(scaled.contains(&first[0]), "scaling leaves the pods that are there");
    let endpoints = eventually(
        "the Service's endpoints",
        SOON,
        || {
            cluster
                .get(namespace, &["endpointslices", "--selector", "kubernetes.io/service-name=sim"])
        },
        |slices| endpoints(slices).len() == 3,
    );
    let mut addresses: Vec<String> = scaled.iter().map(|(_, address)| address.clone()).collect();
    addresses.sort();
    assert_eq!(self::endpoints(&endpoints), addresses);

    cluster.kubectl(&["-n", namespace, "rollout", "restart", "deployment/sim"]).unwrap();
    let status = ["-n", namespace, "rollout", "status", "deployment/sim", "--timeout=90s"];
    cluster.kubectl(&status).unwrap();
    let rolled = pods(cluster, namespace, 3);
    assert!(rolled.iter().all(|pod| !scaled.contains(pod)), "every pod is a new one");

    cluster.kubectl(&["delete", "namespace", namespace, "--timeout=90s"]).unwrap();
    for (_, address) in &rolled {
        let address = SocketAddr::new(address.parse().unwrap(), 9101);
        let ended = http::get(address, "/");
        assert!(ended.is_err(), "a process outlived its pod at {address}");
    }
}

fn a_crashed_container_starts_again(cluster: &Arc<Cluster>) {
    let namespace = "crash";
    cluster.namespace(namespace);
    let twice = SIMULATOR.replace("$(POD_IP):9103", "0.0.0.0:9101");
    cluster.apply(namespace, &twice).unwrap();
    let restarts = || {
        let pods = cluster.get(namespace, &["pods"]);
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        (status["restartCount"].as_i64(), status["lastState"]["terminated"]["exitCode"].as_i64())
    };
    let (_, code) = eventually("a restart", SOON, restarts, |(count, _)| *count >= Some(2));
    assert!(
        code.is_some_and(|code| code != 0),
        "the port is taken, so the program fails: {code:?}"
    );
    let pod = cluster.get(namespace, &["pods"])["items"][0].clone();
    let log = cluster.log(namespace, pod["metadata"]["name"].as_str().unwrap());
    assert!(log.contains("in use"), "the log is kept: {log}");
    let ready = cluster.ready_pods(namespace, "app=sim");
    assert!(ready.is_empty(), "a pod that crashes is not ready: {ready:?}");
    cluster.abandon(namespace);
}

fn a_pod_has_its_own_rights_and_files(cluster: &Arc<Cluster>) {
    let namespace = "rights";
    cluster.namespace(namespace);
    cluster.kubelet.set_mount_delay(Duration::from_millis(200));
    cluster.apply(namespace, SIMULATOR).unwrap();
    pods(cluster, namespace, 1);
    let pod = cluster.get(namespace, &["pods"])["items"][0].clone();
    let volumes = cluster.kubelet.volumes(pod["metadata"]["uid"].as_str().unwrap());
    let token = pod["spec"]["volumes"].as_array().unwrap().iter();
    let token = token.filter_map(|volume| volume["name"].as_str());
    let token = token.clone().find(|name| name.starts_with("kube-api-access")).unwrap();
    let token = std::fs::read_to_string(volumes.join(token).join("token")).unwrap();
    let user = cluster.kubectl(&["--token", &token, "auth", "whoami", "-o", "json"]);
    let user: Value = serde_json::from_str(&user.unwrap()).unwrap();
    let user = &user["status"]["userInfo"]["username"];
    assert_eq!(user, &format!("system:serviceaccount:{namespace}:default"));
    let refused = cluster.kubectl(&["--token", &token, "-n", namespace, "get", "secrets"]);
    assert!(refused.unwrap_err().contains("forbidden"));

    let note = || std::fs::read_to_string(volumes.join("notes/note")).unwrap();
    assert_eq!(note(), "first");
    let patch = r#"{"data":{"note":"second"}}"#;
    cluster.kubectl(&["-n", namespace, "patch", "configmap", "notes", "-p", patch]).unwrap();
    eventually("the mounted file", SOON, note, |note| note == "second");
    cluster.abandon(namespace);
}

fn the_load_counts_what_is_lost(cluster: &Arc<Cluster>) {
    let namespace = "load";
    cluster.namespace(namespace);
    cluster.apply(namespace, SIMULATOR).unwrap();
    pods(cluster, namespace, 1);
    let load = Load {
        address: cluster.service(namespace, "sim", "openai"),
        key: "sk-simulated".to_owned(),
        model: "sim-tokens-20".to_owned(),
        clients: 2,
        pause: Duration::from_millis(5),
    };
    let cut = Load { model: "sim-tokens-20-cut-3".to_owned(), ..load.clone() }.start();
    let gone = Load { model: "sim-503".to_owned(), ..load.clone() }.start();
    let whole = load.start();
    let enough = |it: &Running| it.account().streams + it.account().answers > 50;
    eventually("answers", SOON, || enough(&whole), |enough| *enough);
    whole.lost_nothing(50);
    let (cut, gone) = (cut.finish(), gone.finish());
    assert!(cut.truncated.len() > 10 && cut.streams == 0, "{cut}");
    assert!(gone.failed.len() > 10 && gone.answers == 0, "{gone}");
    cluster.abandon(namespace);
}

fn pods_outlive_the_api_server(cluster: &Arc<Cluster>) {
    let namespace = "outage";
    cluster.namespace(namespace);
    cluster.apply(namespace, SIMULATOR).unwrap();
    let before = pods(cluster, namespace, 1);
    cluster.plane.stop_api_server();
    let address = SocketAddr::new(before[0].1.parse().unwrap(), 9101);
    assert!(http::get(address, "/").is_ok());
    assert!(cluster.kubectl(&["get", "nodes"]).is_err(), "the API server is away");
    cluster.plane.start_api_server();
    cluster.kubectl(&["-n", namespace, "scale", "deployment/sim", "--replicas=2"]).unwrap();
    let after = pods(cluster, namespace, 2);
    assert!(after.contains(&before[0]), "the pod is the same as before");
    cluster.abandon(namespace);
}

fn only_the_harness_may_do_everything(cluster: &Arc<Cluster>) {
    let log = std::fs::read_to_string(cluster.plane.audit_log()).unwrap();
    let writes = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let masters = writes.map(|write| write["user"].clone()).filter(|user| {
        user["groups"].as_array().is_some_and(|groups| groups.contains(&"system:masters".into()))
    });
    let mut names: Vec<String> =
        masters.map(|user| user["username"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    // The API server acts as itself when it fills in what every cluster has.
    assert_eq!(names, ["admin", "kubelet", "system:apiserver"]);
}

/// The pods of the simulator, once so many are ready and no other is left.
fn pods(cluster: &Cluster, namespace: &str, count: usize) -> Vec<(String, String)> {
    let found = || {
        let all = cluster.get(namespace, &["pods"])["items"].as_array().map_or(0, Vec::len);
        (cluster.ready_pods(namespace, "app=sim"), all)
    };
    let as_wanted = |(ready, all): &(Vec<_>, usize)| ready.len() == count && *all == count;
    eventually("the simulator's pods", SOON, found, as_wanted).0
}

fn endpoints(slices: &Value) -> Vec<String> {
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let mut addresses: Vec<String> =
        ready.filter_map(|it| it["addresses"][0].as_str()).map(str::to_owned).collect();
    addresses.sort();
    addresses
}
