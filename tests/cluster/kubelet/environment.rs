//! A container's environment and arguments, with everything that they refer to filled in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, Secret,
};
use kube::Api;

use super::{Node, network::GATEWAY};
use crate::plane;

/// What the environment is, in the order in which it was written.
pub async fn environment(
    node: &Node,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut known = BTreeMap::from([
        ("HOSTNAME".to_owned(), pod.metadata.name.clone().unwrap_or_default()),
        // The API server itself: nothing here forwards the address of a Service.
        ("KUBERNETES_SERVICE_HOST".to_owned(), GATEWAY.to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), plane::PORT.to_string()),
    ]);
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let values = if let Some(secret) = &source.secret_ref {
            secret_values(node, pod, &secret.name, secret.optional).await?
        } else if let Some(map) = &source.config_map_ref {
            config_values(node, pod, &map.name, map.optional).await?
        } else {
            BTreeMap::new()
        };
        known.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &known)),
            (None, Some(source)) => value_from(node, pod, source, address).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            known.insert(variable.name.clone(), value);
        }
    }
    Ok(known.into_iter().collect())
}

/// Replaces `$(NAME)` by the variable's value; `$$` is a dollar, and unknown names stay.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
            && let Some(value) = known.get(name)
        {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// What a field of the pod is, by the paths that the downward API knows.
pub fn field(pod: &Pod, selector: &ObjectFieldSelector, address: &str) -> Result<String, String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    let quoted = |prefix: &str| {
        let rest = selector.field_path.strip_prefix(prefix)?.strip_prefix("['")?;
        rest.strip_suffix("']").map(str::to_owned)
    };
    if let Some(key) = quoted("metadata.labels") {
        return Ok(of(&metadata.labels, &key));
    }
    if let Some(key) = quoted("metadata.annotations") {
        return Ok(of(&metadata.annotations, &key));
    }
    match selector.field_path.as_str() {
        "metadata.name" => Ok(metadata.name.clone().unwrap_or_default()),
        "metadata.namespace" => Ok(metadata.namespace.clone().unwrap_or_default()),
        "metadata.uid" => Ok(metadata.uid.clone().unwrap_or_default()),
        "spec.nodeName" => Ok(spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default()),
        "spec.serviceAccountName" => {
            Ok(spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default())
        }
        "status.podIP" | "status.podIPs" => Ok(address.to_owned()),
        "status.hostIP" | "status.hostIPs" => Ok(GATEWAY.to_string()),
        path => Err(format!("this kubelet knows no field {path}")),
    }
}

async fn value_from(
    node: &Node,
    pod: &Pod,
    source: &EnvVarSource,
    address: &str,
) -> Result<Option<String>, String> {
    if let Some(selector) = &source.field_ref {
        return field(pod, selector, address).map(Some);
    }
    let (values, key, optional, name) = if let Some(from) = &source.secret_key_ref {
        (
            secret_values(node, pod, &from.name, from.optional).await?,
            &from.key,
            from.optional,
            &from.name,
        )
    } else if let Some(from) = &source.config_map_key_ref {
        (
            config_values(node, pod, &from.name, from.optional).await?,
            &from.key,
            from.optional,
            &from.name,
        )
    } else {
        return Err(
            "this kubelet fills variables from fields, Secrets and ConfigMaps only".to_owned()
        );
    };
    match values.get(key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional == Some(true) => Ok(None),
        None => Err(format!("couldn't find key {key} in {name}")),
    }
}

async fn secret_values(
    node: &Node,
    pod: &Pod,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    let api = Api::<Secret>::namespaced(node.client.clone(), &namespace(pod));
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(secret) => Ok(secret
            .data
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
            .collect()),
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

async fn config_values(
    node: &Node,
    pod: &Pod,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    let api = Api::<ConfigMap>::namespaced(node.client.clone(), &namespace(pod));
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(map) => Ok(map.data.unwrap_or_default()),
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => Err(format!("configmap \"{name}\" not found")),
    }
}

/// The namespace of a pod that came from the API server, which has one.
pub fn namespace(pod: &Pod) -> String {
    pod.metadata.namespace.clone().unwrap_or_default()
}
