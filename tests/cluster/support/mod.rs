//! What the tests share: the cluster, its clients, and waiting for what must come true.

pub mod http;

use std::{
    env, fmt, fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    kubelet::{self, Settings},
    plane::Plane,
    services,
};

/// How long a test waits for what has no limit of its own.
pub const SOON: Duration = Duration::from_mins(1);

/// The control plane with its one node.
#[derive(Debug)]
pub struct Cluster {
    pub plane: Arc<Plane>,
    pub kubelet: Arc<Settings>,
    logs: PathBuf,
}

impl Cluster {
    pub fn start(tools: &Path) -> Self {
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        drop(fs::remove_dir_all(&logs));
        fs::create_dir_all(&logs).unwrap();
        let plane = Arc::new(Plane::start(tools, &logs));
        let kubelet = kubelet::start(Arc::clone(&plane), &logs);
        services::start(Arc::clone(&plane));
        Self { plane, kubelet, logs }
    }

    /// Runs kubectl as the cluster's administrator; what it says is an error unless it succeeds.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        said(&self.command("kubectl", arguments).output().unwrap())
    }

    /// The same, with what it says besides: its warnings.
    pub fn kubectl_aloud(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command("kubectl", arguments).output().unwrap();
        Ok(said(&output)? + &String::from_utf8_lossy(&output.stderr))
    }

    /// Applies manifests.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<String, String> {
        let mut kubectl = self.command("kubectl", &["apply", "--namespace", namespace, "-f", "-"]);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = kubectl.spawn().unwrap();
        running.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        said(&running.wait_with_output().unwrap())
    }

    /// One object, or a list of them.
    pub fn get(&self, namespace: &str, arguments: &[&str]) -> Value {
        let get = [&["get", "--namespace", namespace, "--output", "json"], arguments].concat();
        let json = self.kubectl(&get).unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&json).unwrap()
    }

    /// Runs one major of Helm as the cluster's administrator.
    pub fn helm(&self, major: &str, arguments: &[&str]) -> Result<String, String> {
        said(&self.command(major, arguments).output().unwrap())
    }

    /// Installs the definitions, as a user without Helm would; also over changed ones.
    pub fn define(&self) {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "crds"];
        let said = self.kubectl_aloud(&apply).unwrap();
        assert!(!said.contains("Warning"), "{said}");
        let ready = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        self.kubectl(&ready).unwrap();
    }

    /// Does something with a client of the administrator's.
    pub fn block_on<T>(&self, work: impl AsyncFnOnce(Client) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(self.plane.client("admin").await).await })
    }

    /// Makes a namespace that admits only what is *restricted*.
    pub fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]).unwrap();
        let label = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", name, label]).unwrap();
    }

    /// Lets a namespace end, without waiting for it.
    pub fn abandon(&self, name: &str) {
        self.kubectl(&["delete", "namespace", name, "--wait=false"]).unwrap();
    }

    /// The names and addresses of the pods that are ready and not on their way out.
    pub fn ready_pods(&self, namespace: &str, selector: &str) -> Vec<(String, String)> {
        let pods = self.get(namespace, &["pods", "--selector", selector]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
            ready && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = pods.iter().filter(|pod| ready(pod));
        pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]))).collect()
    }

    /// Where a Service is reached.
    pub fn service(&self, namespace: &str, name: &str, port: &str) -> SocketAddr {
        let service = self.get(namespace, &["service", name]);
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let port = ports.iter().find(|it| it["name"] == port).unwrap()["port"].as_u64().unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        SocketAddr::new(address, u16::try_from(port).unwrap())
    }

    /// What a pod's containers have written.
    pub fn log(&self, namespace: &str, pod: &str) -> String {
        self.logs(&format!("{namespace}_{pod}_"))
    }

    /// What all pods of a Deployment have written, those too that are gone.
    pub fn log_of_all(&self, namespace: &str, deployment: &str) -> String {
        self.logs(&format!("{namespace}_{deployment}-"))
    }

    fn logs(&self, start: &str) -> String {
        let files =
            fs::read_dir(self.logs.join("pods")).unwrap().map(|entry| entry.unwrap().path());
        let ours = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
        };
        files.filter(ours).map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.plane.tool(tool));
        command.args(arguments).env("KUBECONFIG", self.plane.kubeconfig("admin"));
        command
    }
}

fn said(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Waits until a value is as it should be, and fails with the last one when it never is.
pub fn eventually<T: fmt::Debug>(
    what: &str,
    limit: Duration,
    mut value: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let end = Instant::now() + limit;
    loop {
        let now = value();
        if holds(&now) {
            return now;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}; the last was {now:#?}");
        thread::sleep(Duration::from_millis(100));
    }
}
