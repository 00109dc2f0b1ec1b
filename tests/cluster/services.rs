//! What a kube-proxy does: the address of a Service leads to its ready pods.
//!
//! The first kube-proxy was a program that accepted and copied, and this one is, too: it needs no
//! right to change packet filters. A connection keeps the pod that it was given, and a pod that is
//! on its way out gets no new ones, as soon as its `EndpointSlice` says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible as Never,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{reflector, reflector::Store, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, LocalSet},
    time::sleep,
};

use crate::{
    plane::Plane,
    sandbox::{DATA, run},
};

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Front {
    address: Ipv4Addr,
    number: u16,
    port: String,
    service: String,
    namespace: String,
}

/// Starts forwarding on a thread of its own.
pub fn start(plane: Arc<Plane>) {
    fs::write(hosts(), "").unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, serve(&plane))
    });
}

async fn serve(plane: &Plane) -> ! {
    let client = plane.client("kubelet").await;
    let slices = follow(Api::<EndpointSlice>::all(client.clone()));
    let services = follow(Api::<Service>::all(client));
    let mut open: BTreeMap<Front, Listener> = BTreeMap::new();
    loop {
        let wanted = fronts(&services);
        if open.keys().ne(&wanted) {
            fs::write(hosts(), names(&wanted)).unwrap();
        }
        open.retain(|front, _| wanted.contains(front));
        for front in wanted {
            let listen = || Listener::start(front.clone(), slices.clone());
            open.entry(front.clone()).or_insert_with(listen);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What a cluster's name server says, as a file that every pod has as `/etc/hosts`.
pub fn hosts() -> PathBuf {
    Path::new(DATA).join("hosts")
}

fn names(fronts: &BTreeSet<Front>) -> String {
    let line = |front: &Front| {
        let Front { address, service, namespace, .. } = front;
        format!("{address} {service}.{namespace}.svc {service}.{namespace}.svc.cluster.local\n")
    };
    fronts.iter().map(line).collect()
}

/// Keeps all objects of a kind.
fn follow<K>(api: Api<K>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().timeout(60);
    let events = reflector(writer, watcher(api, config));
    tokio::task::spawn_local(events.for_each(async |event| {
        if event.is_err() {
            sleep(Duration::from_millis(300)).await;
        }
    }));
    store
}

fn fronts(services: &Store<Service>) -> BTreeSet<Front> {
    let mut fronts = BTreeSet::new();
    for service in services.state() {
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().and_then(|address| address.parse().ok());
        let (Some(address), Some(_)) = (address, &spec.selector) else { continue };
        for port in spec.ports.iter().flatten() {
            fronts.insert(Front {
                address,
                number: u16::try_from(port.port).unwrap_or(0),
                port: port.name.clone().unwrap_or_default(),
                service: service.name_any(),
                namespace: service.namespace().unwrap_or_default(),
            });
        }
    }
    fronts
}

/// Accepts the connections of a port until it is dropped.
struct Listener(JoinHandle<Never>);

impl Listener {
    fn start(front: Front, slices: Store<EndpointSlice>) -> Self {
        Self(tokio::task::spawn_local(async move {
            // The Service may have its address already, of another port.
            drop(run("ip", &["address", "add", &format!("{}/32", front.address), "dev", "lo"]));
            let listener = TcpListener::bind((front.address, front.number)).await;
            let listener = listener.expect("a Service's address is free");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let pods = endpoints(&slices, &front);
                if let Some(pod) = fastrand::choice(&pods) {
                    tokio::task::spawn_local(forward(stream, *pod));
                }
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn forward(mut front: TcpStream, pod: SocketAddr) {
    let Ok(mut back) = TcpStream::connect(pod).await else { return };
    drop((front.set_nodelay(true), back.set_nodelay(true)));
    drop(copy_bidirectional(&mut front, &mut back).await);
}

/// The ready endpoints of a port; when there are none, those that still serve while they end.
fn endpoints(slices: &Store<EndpointSlice>, front: &Front) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices.state() {
        let of = slice.labels().get("kubernetes.io/service-name");
        if slice.namespace().as_ref() != Some(&front.namespace) || of != Some(&front.service) {
            continue;
        }
        let mut ports = slice.ports.iter().flatten();
        let number = ports.find(|it| it.name.as_deref().unwrap_or_default() == front.port);
        let number = number.and_then(|it| it.port).and_then(|it| u16::try_from(it).ok());
        for endpoint in &slice.endpoints {
            let address = endpoint.addresses.first().and_then(|address| address.parse().ok());
            let (Some(address), Some(number)) = (address, number) else { continue };
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.ready == Some(true) {
                ready.push(SocketAddr::new(address, number));
            } else if conditions.serving == Some(true) {
                serving.push(SocketAddr::new(address, number));
            }
        }
    }
    if ready.is_empty() { serving } else { ready }
}
