//! A kubelet whose containers are processes of this machine.
//!
//! It registers a node, takes the pods that the scheduler binds to it, starts the program that an
//! image stands for, and writes the pods' status. What a container of a real cluster would notice
//! is real: its own network namespace, a root with nothing but its program and its volumes, the
//! user and the read-only root that the pod asks for, the token of its `ServiceAccount`, probes,
//! hooks, signals, grace and back-off. What is left out is refused by name, not ignored: images
//! other than Trunkline's, init containers, kinds of volumes that nobody here mounts.

mod container;
mod environment;
pub mod network;
mod pod;
mod probe;
mod process;
mod status;
mod volumes;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use network::Network;
use pod::Wanted;
use serde_json::json;
use tokio::{sync::watch, task::LocalSet, time::sleep};

use crate::{
    plane::Plane,
    sandbox::{self, DATA},
};

const NAME: &str = "node-0";

/// What every pod of the node shares.
struct Node {
    client: Client,
    network: Network,
    folder: PathBuf,
    logs: PathBuf,
    settings: Arc<Settings>,
}

/// What a test may set while the kubelet runs.
#[derive(Debug)]
pub struct Settings {
    mount_delay: AtomicU64,
    folder: PathBuf,
}

impl Settings {
    /// How long a change of a Secret or `ConfigMap` takes to reach the pods that mount it.
    pub fn set_mount_delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.mount_delay.store(millis, Ordering::Relaxed);
    }

    /// Where a pod's volumes are on the node.
    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.folder.join(uid).join("volumes")
    }
}

impl Node {
    fn mount_delay(&self) -> Duration {
        Duration::from_millis(self.settings.mount_delay.load(Ordering::Relaxed))
    }

    fn log(&self, pod: &Pod, container: &str) -> PathBuf {
        let namespace = pod.namespace().unwrap_or_default();
        self.logs.join(format!("{namespace}_{}_{container}.log", pod.name_any()))
    }
}

/// What is in an image: something of the node, where it is in the container, and which program is
/// started unless somebody says otherwise.
struct Image {
    source: PathBuf,
    target: &'static str,
    entry: &'static str,
}

/// The images that there are, whatever their registry and tag.
fn image(image: &str) -> Option<Image> {
    match image.rsplit('/').next()?.split(['@', ':']).next()? {
        "trunkline" => Some(Image {
            source: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
            target: "/usr/local/bin/trunkline",
            entry: "trunkline",
        }),
        "llama-server" => Some(Image {
            source: sandbox::inside()?.join("llama").canonicalize().ok()?,
            target: "/opt/llama",
            entry: "/opt/llama/llama-server",
        }),
        _ => None,
    }
}

/// Starts the kubelet on a thread of its own: what a test does must not slow its probes.
pub fn start(plane: Arc<Plane>, logs: &Path) -> Arc<Settings> {
    let folder = Path::new(DATA).join("pods");
    let settings = Arc::new(Settings { mount_delay: AtomicU64::new(1000), folder: folder.clone() });
    let logs = logs.join("pods");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&logs).unwrap();
    let network = Network::new().expect("a bridge");
    let shared = Arc::clone(&settings);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let client = plane.client("kubelet").await;
            register(&client).await;
            let node = Node { client, network, folder, logs, settings: shared };
            serve(Rc::new(node)).await;
        });
    });
    settings
}

/// Makes the node one that pods are bound to. Admission taints a new node, and no controller here
/// takes that away.
async fn register(client: &Client) {
    let api = Api::<NodeObject>::all(client.clone());
    let capacity =
        json!({ "cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "100Gi" });
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": NAME, "labels": { "kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "zone-a" } },
    });
    api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let status = json!({ "status": {
        "capacity": capacity, "allocatable": capacity,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "" }],
        "nodeInfo": { "kubeletVersion": "v1.36.4", "operatingSystem": "linux", "architecture": "amd64",
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "process://1", "kubeProxyVersion": "" },
    }});
    let parameters = PatchParams::default();
    api.patch_status(NAME, &parameters, &Patch::Merge(status)).await.unwrap();
    let untainted = json!({ "spec": { "taints": [] } });
    api.patch(NAME, &parameters, &Patch::Merge(untainted)).await.unwrap();
}

/// Follows the pods of the node for ever.
async fn serve(node: Rc<Node>) {
    let api = Api::<Pod>::all(node.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={NAME}")).timeout(60);
    let mut events = Box::pin(watcher(api, config));
    let mut pods: HashMap<String, watch::Sender<Wanted>> = HashMap::new();
    let mut listed: Option<Vec<String>> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = Some(Vec::new()),
            Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                if let Some(listed) = &mut listed {
                    listed.push(uid.clone());
                }
                let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                let ended = matches!(ended, Some("Succeeded" | "Failed"));
                let wanted = Wanted::Present(Box::new(pod));
                if let Some(sender) = pods.get(&uid) {
                    sender.send_replace(wanted);
                } else if !ended {
                    let (sender, receiver) = watch::channel(wanted);
                    tokio::task::spawn_local(pod::run(Rc::clone(&node), receiver));
                    pods.insert(uid, sender);
                }
            }
            Ok(watcher::Event::Delete(pod)) => {
                if let Some(sender) = pods.remove(&pod.uid().unwrap_or_default()) {
                    sender.send_replace(Wanted::Gone);
                }
            }
            // A pod that was deleted while nobody watched is in no event.
            Ok(watcher::Event::InitDone) => {
                let listed = listed.take().unwrap_or_default();
                pods.retain(|uid, sender| {
                    let kept = listed.contains(uid);
                    if !kept {
                        sender.send_replace(Wanted::Gone);
                    }
                    kept
                });
            }
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}
