//! Writes one status: server-side apply of all of it, as one field manager.

use std::time::Duration;

use kube::{
    Client,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    api::API_VERSION,
    control::{
        kind::Scope,
        progress::Key,
        watch::{Failure, within},
    },
};

/// Who owns the fields of a status.
const MANAGER: &str = "trunkline";

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Writes the status of an object, if it is still that object.
pub(in crate::control) async fn apply(
    client: Client,
    (kind, id): &Key,
    uid: &str,
    status: impl Serialize,
) -> Result<(), Failure> {
    let api = Scope::one(*kind, id).api_of(client, id);
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": kind.as_str(),
        "metadata": {"name": &*id.name, "namespace": &*id.namespace, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&body);
    within(ANSWER, api.patch_status(&id.name, &params, &patch)).await.map(drop)
}
