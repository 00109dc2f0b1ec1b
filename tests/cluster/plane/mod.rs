//! The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
//!
//! The network namespace is this binary's own, so the ports are the usual ones. Everything is on a
//! tmpfs but the logs, which stay in `target/tmp/cluster` for the one who looks for a reason.

mod certificates;

use std::{
    fs::{self, File},
    net::{IpAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Mutex,
    thread,
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::Instant;

use crate::{kubelet::network::GATEWAY, sandbox::DATA};

/// Where pods and tests reach the API server.
pub const PORT: u16 = 6443;

/// Who may sign in: user, groups. Only the harness itself is in `system:masters`.
const USERS: [(&str, &str); 4] = [
    ("admin", "system:masters"),
    ("kubelet", "system:masters"),
    ("system:kube-controller-manager", ""),
    ("system:kube-scheduler", ""),
];

const CONTROLLERS: &str = "deployment-controller,replicaset-controller,\
    horizontal-pod-autoscaler-controller,garbage-collector-controller,namespace-controller,\
    serviceaccount-controller,serviceaccount-token-controller,\
    root-ca-certificate-publisher-controller,endpointslice-controller,disruption-controller,\
    job-controller,clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller";

/// Who wrote what, without the bodies: the trace of writes that tests count in.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// The running control plane.
#[derive(Debug)]
pub struct Plane {
    tools: PathBuf,
    folder: PathBuf,
    logs: PathBuf,
    api_server: Mutex<Option<Child>>,
    others: Mutex<Vec<Child>>,
}

impl Plane {
    /// Starts everything and waits until the API server is ready.
    pub fn start(tools: &Path, logs: &Path) -> Self {
        let folder = Path::new(DATA).join("plane");
        fs::create_dir_all(&folder).unwrap();
        certificates::write(&folder, IpAddr::V4(GATEWAY));
        fs::write(folder.join("audit.yaml"), AUDIT).unwrap();
        let tokens =
            USERS.map(|(user, groups)| format!("{0},{user},{user},\"{groups}\"\n", token(user)));
        fs::write(folder.join("tokens.csv"), tokens.concat()).unwrap();
        for (user, _) in USERS {
            fs::write(folder.join(format!("{user}.kubeconfig")), kubeconfig(&folder, user))
                .unwrap();
        }
        let plane = Self {
            tools: tools.to_owned(),
            folder,
            logs: logs.to_owned(),
            api_server: Mutex::default(),
            others: Mutex::default(),
        };
        plane.start_etcd();
        plane.start_api_server();
        plane.start_controllers();
        plane
    }

    /// The kubeconfig of a user: `admin` may do everything.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// The certificate that pods trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// One JSON object a write, with its user, verb and object.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// A program beside the control plane: `kubectl`, `helm3`, `helm4`.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.tools.join(name)
    }

    /// A client of a user, for the runtime that it is called in.
    pub async fn client(&self, user: &str) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user)).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        // Whoever calls decides about trying again: an outage is a part of some tests.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(2));
        Client::try_from(config).unwrap()
    }

    /// Starts the API server, unless it runs, and waits until it is ready.
    pub fn start_api_server(&self) {
        let mut running = self.api_server.lock().unwrap();
        if running.is_some() {
            return;
        }
        let file = |name: &str| self.folder.join(name).display().to_string();
        *running = Some(self.start_program(
            "kube-apiserver",
            &[
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                "--bind-address=0.0.0.0".to_owned(),
                format!("--secure-port={PORT}"),
                format!("--advertise-address={GATEWAY}"),
                format!("--cert-dir={}", self.folder.display()),
                format!("--tls-cert-file={}", file("apiserver.crt")),
                format!("--tls-private-key-file={}", file("apiserver.key")),
                format!("--token-auth-file={}", file("tokens.csv")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", file("sa.pub")),
                format!("--service-account-signing-key-file={}", file("sa.key")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                format!("--audit-policy-file={}", file("audit.yaml")),
                format!("--audit-log-path={}", file("audit.log")),
            ],
        ));
        drop(running);
        let ready = within(Duration::from_secs(90), || {
            let answer = Command::new(self.tool("kubectl"))
                .arg("--kubeconfig")
                .arg(self.kubeconfig("admin"))
                .args(["get", "--raw", "/readyz"])
                .output();
            answer.is_ok_and(|answer| answer.status.success())
        });
        assert!(ready, "kube-apiserver is not ready; {}", self.logs.display());
    }

    /// Takes the API server away, at once: clients see their connections break.
    pub fn stop_api_server(&self) {
        let running = self.api_server.lock().unwrap().take();
        if let Some(mut running) = running {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    fn start_etcd(&self) {
        self.keep(
            "etcd",
            &[
                format!("--data-dir={}", self.folder.join("etcd").display()),
                "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
                "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
                "--initial-cluster=default=http://127.0.0.1:2380".to_owned(),
                "--unsafe-no-fsync=true".to_owned(),
            ],
        );
        let listens = || TcpStream::connect(("127.0.0.1", 2379)).is_ok();
        assert!(within(Duration::from_secs(30), listens), "etcd; {}", self.logs.display());
    }

    fn start_controllers(&self) {
        let common = |user: &str, port: u16| {
            vec![
                format!("--kubeconfig={}", self.kubeconfig(user).display()),
                "--leader-elect=false".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", self.folder.display()),
            ]
        };
        let mut manager = common("system:kube-controller-manager", 10257);
        manager.extend([
            // Without it, all controllers would act as the one user, which has not their rights.
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", self.folder.join("sa.key").display()),
            format!("--root-ca-file={}", self.authority().display()),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            format!("--controllers={CONTROLLERS}"),
            "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
            "--horizontal-pod-autoscaler-downscale-stabilization=5s".to_owned(),
            "--horizontal-pod-autoscaler-initial-readiness-delay=0s".to_owned(),
        ]);
        self.keep("kube-controller-manager", &manager);
        self.keep("kube-scheduler", &common("system:kube-scheduler", 10259));
    }

    /// Starts what ends with the sandbox.
    fn keep(&self, name: &str, arguments: &[String]) {
        self.others.lock().unwrap().push(self.start_program(name, arguments));
    }

    fn start_program(&self, name: &str, arguments: &[String]) -> Child {
        let log =
            File::options().create(true).append(true).open(self.logs.join(format!("{name}.log")));
        let log = log.unwrap();
        let mut program = Command::new(self.tool(name));
        program.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        program.spawn().unwrap_or_else(|error| panic!("could not start {name}: {error}"))
    }
}

/// The sandbox is closed to everyone else, so the secret need not be one.
fn token(user: &str) -> String {
    format!("token-of-{}", user.replace(':', "-"))
}

fn kubeconfig(folder: &Path, user: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {{ server: \"https://127.0.0.1:{PORT}\", certificate-authority: {}/ca.crt }}
users:
- name: test
  user: {{ token: {} }}
contexts:
- name: test
  context: {{ cluster: test, user: test }}
",
        folder.display(),
        token(user),
    )
}

fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
