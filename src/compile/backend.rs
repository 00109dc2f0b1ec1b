//! The Service of a credential, and which of its pods are ready.
//!
//! What is known of a Service are its `EndpointSlice`s, which Kubernetes writes from the readiness of
//! pods: a pod that is not ready, or on its way out, is not there. That none is ready is no problem of
//! the resource, since a Service may be scaled to zero: it is said, and requests may wait.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use super::{
    Options, Snapshot,
    report::{Problem, Reason},
    slice::Slices,
    value::{base_path, list, port, service_name},
};
use crate::{
    api::{Scheme, ServiceSpec},
    provider::Provider,
    table::{Backend, Endpoint, ObjectId, address::is_pod},
};

/// The field that this file speaks of.
const FIELD: &str = "spec.endpoint.service";

/// Where the pods of a Service are connected to, but for their addresses. None when that is wrong, which
/// has then been told.
pub(super) fn endpoint(
    namespace: &str,
    spec: &ServiceSpec,
    provider: &Provider,
    problems: &mut Vec<Problem>,
) -> Option<Endpoint> {
    let ServiceSpec { name, port: wanted, scheme, path } = spec;
    let checks = [("name", service_name(name)), ("port", port(wanted)), ("path", base_path(path))];
    let before = problems.len();
    for (field, check) in checks {
        let told = check.err();
        problems.extend(told.map(|message| Problem::invalid(&format!("{FIELD}.{field}"), message)));
    }
    if !provider.hosts.is_empty() {
        let message = format!(
            "needs a provider `…Compatible`: a key of {} goes to that provider only",
            provider.name
        );
        problems.push(Problem::invalid(FIELD, message));
    }
    (problems.len() == before).then(|| Endpoint {
        tls: *scheme == Scheme::Https,
        host: format!("{name}.{namespace}.svc").into(),
        // What requests name in `host`; each pod has a port of its own.
        port: if *scheme == Scheme::Https { 443 } else { 80 },
        base_path: path.strip_suffix('/').unwrap_or(path).into(),
        ca: None,
        server_name: None,
        service: true,
    })
}

/// What is known of the pods behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) backend: Backend,
    /// What is said when no pod is ready; empty when one is.
    pub(super) note: String,
}

/// Finds the pods behind a Service of a namespace.
pub(super) fn find(
    namespace: &Arc<str>,
    spec: &ServiceSpec,
    snapshot: &Snapshot,
    options: Options,
    problems: &mut Vec<Problem>,
) -> Found {
    let id = ObjectId::new(Arc::clone(namespace), spec.name.as_str());
    if snapshot.refused_services.contains(&id) {
        let message = format!(
            "the EndpointSlices of Service {id} may not be read; allow this process to list and \
             watch endpointslices.discovery.k8s.io in `{namespace}`"
        );
        problems.push(Problem::at(Reason::RefNotReadable, FIELD, message));
    }
    let none = Slices::new();
    let slices = snapshot.services.get(&id).unwrap_or(&none);
    let mut pods = BTreeSet::new();
    let mut refused = None;
    for slice in slices.values() {
        for port in slice.ports(&spec.port) {
            for (address, _) in slice.pods.iter().filter(|(_, ready)| *ready) {
                let home = options.allow_private_endpoints && address.is_loopback();
                if is_pod(*address) || home {
                    pods.insert(SocketAddr::new(*address, port));
                } else {
                    refused = Some(*address);
                }
            }
        }
    }
    if let Some(address) = refused {
        let message = format!(
            "an EndpointSlice of Service {id} has the address {address}, which is no pod's; \
             loopback, link-local and metadata addresses are never connected to"
        );
        problems.push(Problem::at(Reason::AddressNotAllowed, FIELD, message));
    }
    port_is_there(&id, spec, slices, problems);
    // A pod of a cluster with two families of addresses stands in slices of both.
    if pods.iter().any(SocketAddr::is_ipv4) {
        pods.retain(SocketAddr::is_ipv4);
    }
    let note = if pods.is_empty() { note(&id, slices) } else { String::new() };
    Found { backend: Backend { pods }, note }
}

/// Tells of a port that no pod has. A Service without pods names no ports at all.
fn port_is_there(id: &ObjectId, spec: &ServiceSpec, slices: &Slices, problems: &mut Vec<Problem>) {
    let mut with_pods = slices.values().filter(|slice| !slice.pods.is_empty()).peekable();
    if with_pods.peek().is_none()
        || slices.values().any(|slice| slice.ports(&spec.port).next().is_some())
    {
        return;
    }
    let known: BTreeSet<_> = with_pods.flat_map(|slice| &slice.ports).collect();
    let known: Vec<_> = known.iter().map(|(name, port)| format!("{port} (`{name}`)")).collect();
    let message = format!(
        "the pods of Service {id} listen on no port {}; there are: {}",
        spec.port,
        list(known.iter().map(String::as_str))
    );
    problems.push(Problem::at(Reason::PortNotFound, FIELD, message));
}

fn note(id: &ObjectId, slices: &Slices) -> String {
    if slices.is_empty() {
        format!("Service {id} has no EndpointSlice; is there such a Service, with a selector?")
    } else {
        format!("no pod of Service {id} is ready; requests wait for one, or go to other targets")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::ServicePort,
        compile::slice::{SERVICE_LABEL, Slice},
    };

    fn slice(ports: &Value, endpoints: &Value) -> Slice {
        let object = json!({
            "metadata": {"name": "s", "labels": {SERVICE_LABEL: "vllm"}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        });
        let (service, slice) = Slice::of(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(service, "vllm");
        slice
    }

    fn pod(address: &str, conditions: &Value) -> Value {
        json!({"addresses": [address], "conditions": conditions})
    }

    fn found(port: &ServicePort, slices: Vec<Slice>, allow: bool) -> (Vec<String>, Vec<Reason>) {
        let mut snapshot = Snapshot::default();
        let slices = slices.into_iter().enumerate();
        let slices = slices.map(|(at, slice)| (at.to_string().into(), slice)).collect();
        snapshot.services.insert(ObjectId::new("team", "vllm"), slices);
        let spec = service(port.clone());
        let (mut problems, options) = (Vec::new(), Options { allow_private_endpoints: allow });
        let Found { backend, note } =
            find(&"team".into(), &spec, &snapshot, options, &mut problems);
        assert_eq!(backend.pods.is_empty(), !note.is_empty());
        let pods = backend.pods.iter().map(ToString::to_string).collect();
        (pods, problems.iter().map(|problem| problem.reason).collect())
    }

    fn service(port: ServicePort) -> ServiceSpec {
        ServiceSpec { name: "vllm".into(), port, scheme: Scheme::Http, path: "/v1".into() }
    }

    const HTTP: fn() -> ServicePort = || ServicePort::Name("http".into());

    #[test]
    fn pods_count_while_they_are_ready_and_not_on_their_way_out() {
        let ports = json!([{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}]);
        let slice = slice(
            &ports,
            &json!([
                pod("10.0.0.1", &json!({})),
                pod("10.0.0.2", &json!({"ready": true, "terminating": false})),
                pod("10.0.0.3", &json!({"ready": false})),
                pod("10.0.0.4", &json!({"ready": true, "serving": true, "terminating": true})),
                pod("some.name", &json!({"ready": true})),
            ]),
        );
        let ready = ["10.0.0.1:8000", "10.0.0.2:8000"].map(str::to_owned).to_vec();
        for port in [HTTP(), ServicePort::Number(8000)] {
            assert_eq!(found(&port, vec![slice.clone()], false), (ready.clone(), vec![]));
        }
    }

    #[test]
    fn a_port_that_no_pod_has_is_told_but_not_while_there_is_no_pod() {
        let ports = json!([{"name": "http", "port": 8000}]);
        let slice_of = |endpoints: &Value| vec![slice(&ports, endpoints)];
        let there = slice_of(&json!([pod("10.0.0.1", &json!({}))]));
        let other = ServicePort::Number(80);
        assert_eq!(found(&other, there, false), (vec![], vec![Reason::PortNotFound]));
        assert_eq!(found(&other, slice_of(&json!([])), false), (vec![], vec![]));
        assert_eq!(found(&other, vec![slice(&Value::Null, &json!([]))], false), (vec![], vec![]));
    }

    #[test]
    fn a_pod_with_two_addresses_is_one_pod() {
        let ports = json!([{"name": "http", "port": 8000}]);
        let four = slice(&ports, &json!([pod("10.0.0.1", &json!({}))]));
        let six = slice(&ports, &json!([pod("fd00::1", &json!({}))]));
        assert_eq!(found(&HTTP(), vec![six.clone(), four], false).0, ["10.0.0.1:8000"]);
        assert_eq!(found(&HTTP(), vec![six], false).0, ["[fd00::1]:8000"]);
    }

    #[test]
    fn an_address_that_only_we_can_reach_is_no_pod() {
        let ports = json!([{"name": "http", "port": 8000}]);
        let of = |address| vec![slice(&ports, &json!([pod(address, &json!({}))]))];
        let refused = (vec![], vec![Reason::AddressNotAllowed]);
        for allow in [false, true] {
            assert_eq!(found(&HTTP(), of("169.254.169.254"), allow), refused);
        }
        assert_eq!(found(&HTTP(), of("127.0.0.1"), false), refused);
        assert_eq!(found(&HTTP(), of("127.0.0.1"), true).0, ["127.0.0.1:8000"]);
    }

    #[test]
    fn a_service_that_may_not_be_looked_at_is_told() {
        let mut snapshot = Snapshot::default();
        snapshot.refused_services.insert(ObjectId::new("team", "vllm"));
        let spec = service(HTTP());
        let mut problems = Vec::new();
        find(&"team".into(), &spec, &snapshot, Options::default(), &mut problems);
        assert_eq!(problems[0].reason, Reason::RefNotReadable);
    }
}
