//! What is scaled: anything in a namespace that has a `scale`.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery,
};
use serde_json::json;

use crate::{
    api::ScaleTargetRef,
    control::watch::{Failure, within},
};

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Finds the API of the target's kind.
///
/// # Errors
/// When the API server does not know the kind, or does not answer.
pub(super) async fn find(
    client: Client,
    namespace: &str,
    target: &ScaleTargetRef,
) -> Result<Api<DynamicObject>, Failure> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let (resource, _) = within(ANSWER, discovery::pinned_kind(&client, &kind)).await?;
    Ok(Api::namespaced_with(client, namespace, &resource))
}

/// How many replicas the target asks for.
///
/// # Errors
/// When there is no such target, it has no scale, or the API server does not answer.
pub(super) async fn replicas(api: &Api<DynamicObject>, name: &str) -> Result<u32, Failure> {
    let scale = within(ANSWER, api.get_scale(name)).await?;
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    Ok(u32::try_from(replicas).unwrap_or(0))
}

/// Asks for so many replicas.
///
/// # Errors
/// When the API server refuses or does not answer.
pub(super) async fn scale(
    api: &Api<DynamicObject>,
    name: &str,
    replicas: u32,
) -> Result<(), Failure> {
    let patch = json!({ "spec": { "replicas": replicas } });
    within(ANSWER, api.patch_scale(name, &PatchParams::default(), &Patch::Merge(&patch)))
        .await
        .map(drop)
}
