//! Objects as the API server writes them, decoded into what the operator needs of them.
//!
//! Decoding is total: an object of ours whose specification cannot be read is there all the same,
//! with a problem of its own, so that it is reported and holds no other object up. Everything that is
//! not needed is dropped here, managed fields first: they are often larger than the object.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DynamicObject;
use secrecy::{SecretSlice, zeroize::Zeroize};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kind::Kind;
use crate::{
    api::{
        ModelAutoscalerSpec, ModelAutoscalerStatus, ModelConsumerSpec, ModelConsumerStatus,
        ModelRouteSpec, ModelRouteStatus, ProviderCredentialSpec, ProviderCredentialStatus,
    },
    compile::{Entry, Problem, Source, slice::Slice},
    table::ObjectId,
};

/// A decoded object.
#[derive(Clone, Debug)]
pub enum Object {
    /// A `ModelAutoscaler`.
    Autoscaler(Box<Declared<ModelAutoscalerSpec, ModelAutoscalerStatus>>),
    /// A `ConfigMap`'s texts.
    ConfigMap(BTreeMap<String, String>),
    /// A `ModelConsumer`.
    Consumer(Box<Declared<ModelConsumerSpec, ModelConsumerStatus>>),
    /// A `ProviderCredential`.
    Credential(Box<Declared<ProviderCredentialSpec, ProviderCredentialStatus>>),
    /// A `Namespace`'s labels.
    Namespace(BTreeMap<String, String>),
    /// A pod that serves.
    Proxy(Proxy),
    /// A `ModelRoute`.
    Route(Box<Declared<ModelRouteSpec, ModelRouteStatus>>),
    /// A `Secret`'s values.
    Secret(BTreeMap<String, SecretSlice<u8>>),
    /// An `EndpointSlice`, with its Service.
    Slice(ObjectId, Slice),
}

/// An object of ours.
#[derive(Clone, Debug)]
pub struct Declared<S, T> {
    /// Tells it from an earlier object of the same name.
    pub uid: String,
    /// Grows with every change of the specification.
    pub generation: i64,
    /// What was asked for, for `compile`.
    pub entry: Entry<S>,
    /// What was last said of it; the empty one when that cannot be read.
    pub status: T,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Which start of which pod: a container that starts anew has nothing of what it had.
    pub instance: String,
    /// Where it is, once it has an address.
    pub address: Option<IpAddr>,
    /// Whether it takes traffic: ready, and not on its way out.
    pub serves: bool,
}

/// An object's place in the server's history.
pub(super) fn version(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

/// An object's name.
pub(super) fn id_of(object: &DynamicObject) -> Option<ObjectId> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Some(ObjectId::new(namespace, object.metadata.name.as_deref()?))
}

/// An object as it came from the API server.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: ObjectId,
    pub(super) version: u64,
    pub(super) object: Object,
}

/// Decodes one object. None without a name or a version, which no API server sends.
pub(super) fn read(kind: Kind, object: DynamicObject) -> Option<Read> {
    let id = id_of(&object)?;
    let version = version(object.metadata.resource_version.as_deref())?;
    let object = match kind {
        Kind::ConfigMap => Object::ConfigMap(texts(object.data.get("data"))),
        Kind::EndpointSlice => slice(&id, object)?,
        Kind::ModelAutoscaler => Object::Autoscaler(Box::new(declared(object))),
        Kind::ModelConsumer => Object::Consumer(Box::new(declared(object))),
        Kind::ModelRoute => Object::Route(Box::new(declared(object))),
        Kind::Namespace => Object::Namespace(object.metadata.labels.unwrap_or_default()),
        Kind::Pod => Object::Proxy(proxy(&object)),
        Kind::ProviderCredential => Object::Credential(Box::new(declared(object))),
        Kind::Secret => Object::Secret(values(object.data)),
    };
    Some(Read { id, version, object })
}

fn declared<S: DeserializeOwned, T: DeserializeOwned + Default>(
    object: DynamicObject,
) -> Declared<S, T> {
    let DynamicObject { metadata, data: mut fields, .. } = object;
    let mut take = |field| fields.get_mut(field).map(Value::take).unwrap_or_default();
    let mut problems = Vec::new();
    let spec = serde_path_to_error::deserialize(take("spec"))
        .map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { format!(".{path}") };
            problems.push(Problem::invalid(&format!("spec{path}"), error.into_inner()));
        })
        .ok()
        .map(Arc::new);
    let created = metadata.creation_timestamp.map_or(0, |time| time.0.as_second());
    let created = u64::try_from(created).unwrap_or(0);
    Declared {
        uid: metadata.uid.unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        entry: Entry { source: Source::default(), created, spec, problems },
        status: serde_json::from_value(take("status")).unwrap_or_default(),
    }
}

/// None of a slice that belongs to no Service, which no watch asks for. One that cannot be read is empty.
fn slice(id: &ObjectId, object: DynamicObject) -> Option<Object> {
    let DynamicObject { metadata, mut data, .. } = object;
    let mut take = |field| data.get_mut(field).map(Value::take).unwrap_or_default();
    let read = EndpointSlice {
        address_type: String::new(),
        endpoints: serde_json::from_value(take("endpoints")).unwrap_or_default(),
        ports: serde_json::from_value(take("ports")).unwrap_or_default(),
        metadata,
    };
    let (service, slice) = Slice::of(&read)?;
    Some(Object::Slice(ObjectId::new(Arc::clone(&id.namespace), service), slice))
}

fn texts(fields: Option<&Value>) -> BTreeMap<String, String> {
    let fields = fields.and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A Secret's values. The encoded form is wiped: it is as good as the key.
fn values(mut object: Value) -> BTreeMap<String, SecretSlice<u8>> {
    let empty = Map::new();
    let decoded = |(key, value): (&String, &Value)| {
        let bytes = STANDARD.decode(value.as_str()?).ok()?;
        Some((key.clone(), SecretSlice::from(bytes)))
    };
    let fields = object.get("data").and_then(Value::as_object).unwrap_or(&empty);
    let found = fields.iter().filter_map(decoded).collect();
    if let Some(Value::Object(fields)) = object.get_mut("data") {
        for value in fields.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
    found
}

fn proxy(pod: &DynamicObject) -> Proxy {
    let status = pod.data.get("status");
    let list = |field| {
        let list = status.and_then(|status| status.get(field)).and_then(Value::as_array);
        list.into_iter().flatten()
    };
    let text =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let ready = list("conditions").any(|condition| {
        text(condition, "type").as_deref() == Some("Ready")
            && text(condition, "status").as_deref() == Some("True")
    });
    let starts: i64 = list("containerStatuses")
        .filter_map(|container| container.get("restartCount").and_then(Value::as_i64))
        .sum();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Proxy {
        instance: format!("{uid}/{starts}"),
        address: status.and_then(|status| text(status, "podIP")?.parse().ok()),
        serves: ready && pod.metadata.deletion_timestamp.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_object_that_cannot_be_decoded_is_there_with_its_problem() {
        let route = object(json!({
            "metadata": {"name": "chat", "namespace": "team", "resourceVersion": "7", "generation": 3},
            "spec": {"models": 7},
        }));
        let Read { id, version, object } = read(Kind::ModelRoute, route).unwrap();
        assert_eq!((id.to_string().as_str(), version), ("team/chat", 7));
        let Object::Route(route) = object else { panic!("{object:?}") };
        assert_eq!((route.generation, route.entry.spec.is_none()), (3, true));
        assert!(route.entry.problems[0].message.starts_with("spec.models: invalid type"));
    }

    #[test]
    fn a_secret_is_decoded_and_never_shown() {
        let secret = object(json!({
            "metadata": {"name": "s", "namespace": "team", "resourceVersion": "7"},
            "data": {"key": STANDARD.encode("sk-canary"), "bad": "%"},
        }));
        let Read { object, .. } = read(Kind::Secret, secret).unwrap();
        assert!(!format!("{object:?}").contains("canary"));
        let Object::Secret(values) = object else { panic!("no secret") };
        assert_eq!(values["key"].expose_secret(), b"sk-canary");
        assert_eq!(values.len(), 1);
    }

    #[test]
    fn a_slice_that_cannot_be_read_is_there_without_pods() {
        let slice = |endpoints: Value| {
            let slice = object(json!({
                "metadata": {"name": "vllm-x", "namespace": "team", "resourceVersion": "7",
                    "labels": {"kubernetes.io/service-name": "vllm"}},
                "addressType": "IPv4", "endpoints": endpoints,
                "ports": [{"name": "http", "port": 8000}],
            }));
            let read = read(Kind::EndpointSlice, slice).unwrap().object;
            let Object::Slice(service, slice) = read else { panic!("{read:?}") };
            (service.to_string(), slice)
        };
        let (service, with_pod) = slice(json!([{"addresses": ["10.0.0.1"]}]));
        let (_, without) = slice(json!([]));
        assert_eq!(service, "team/vllm");
        assert_ne!(with_pod, without);
        assert_eq!(slice(json!("no list")).1, without);
    }

    #[test]
    fn a_proxy_serves_while_it_is_ready_and_not_on_its_way_out() {
        let pod = |status: &str, deleted: Value| {
            let pod = object(json!({
                "metadata": {"name": "p", "namespace": "t", "resourceVersion": "7", "uid": "u",
                    "deletionTimestamp": deleted},
                "status": {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": status}],
                    "containerStatuses": [{"restartCount": 2}]},
            }));
            proxy(&pod)
        };
        let ready = pod("True", Value::Null);
        assert_eq!((ready.serves, ready.instance.as_str()), (true, "u/2"));
        assert_eq!(ready.address, Some("10.0.0.7".parse().unwrap()));
        assert!(!pod("False", Value::Null).serves);
        assert!(!pod("True", json!("2026-01-01T00:00:00Z")).serves);
    }
}
