//! The text of a key: from a Secret of the object's own namespace, or from the environment.
//!
//! One place for every kind, so that a key is looked up and its absence told in the same way
//! everywhere. No message repeats a key.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Snapshot,
    report::{Problem, Reason},
    value::{list, variable},
};
use crate::{api::SecretKeyRef, table::ObjectId};

/// Where an object says that a key is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The object.
    pub(super) id: &'a ObjectId,
    /// `secretRef`.
    pub(super) secret_ref: Option<&'a SecretKeyRef>,
    /// `env`.
    pub(super) env: Option<&'a str>,
}

/// Reads a key; `field` is where the object names it.
pub(super) fn read(
    place: Place<'_>,
    field: &str,
    snapshot: &Snapshot,
) -> Result<SecretString, Problem> {
    match (place.secret_ref, place.env) {
        (Some(wanted), None) => from_secret(place.id, wanted, field, snapshot),
        (None, Some(name)) => from_environment(name, field, snapshot),
        (Some(_), Some(_)) | (None, None) => {
            Err(Problem::invalid(field, "give exactly one of `secretRef` and `env`"))
        }
    }
}

fn from_secret(
    id: &ObjectId,
    wanted: &SecretKeyRef,
    field: &str,
    snapshot: &Snapshot,
) -> Result<SecretString, Problem> {
    let field = format!("{field}.secretRef");
    let name = ObjectId::new(Arc::clone(&id.namespace), wanted.name.as_str());
    let secret = snapshot.secrets.get(&name).ok_or_else(|| {
        let (reason, message) = absent(snapshot, "Secret", &name);
        Problem::at(reason, &field, message)
    })?;
    let bytes = secret.get(&wanted.key).ok_or_else(|| {
        let there = list(secret.keys().map(String::as_str));
        let message = format!("Secret {name} has no key `{}`; there are: {there}", wanted.key);
        Problem::at(Reason::KeyNotFound, &field, message)
    })?;
    let text = std::str::from_utf8(bytes.expose_secret())
        .map_err(|_binary| Problem::at(Reason::KeyUnusable, &field, "the key is no text"))?;
    Ok(SecretString::from(text))
}

/// What to say of a `Secret` or `ConfigMap` that is not there for us.
pub(super) fn absent(snapshot: &Snapshot, kind: &str, id: &ObjectId) -> (Reason, String) {
    if snapshot.refused.contains(id) {
        let message = format!(
            "{kind} {id} cannot be read; give the operator's ServiceAccount the right to get, list \
             and watch it"
        );
        return (Reason::RefNotReadable, message);
    }
    let reason = if kind == "Secret" { Reason::SecretNotFound } else { Reason::ConfigMapNotFound };
    (reason, format!("there is no {kind} {id}"))
}

fn from_environment(name: &str, field: &str, snapshot: &Snapshot) -> Result<SecretString, Problem> {
    let field = format!("{field}.env");
    variable(name).map_err(|message| Problem::invalid(&field, message))?;
    let Some(environment) = &snapshot.environment else {
        let message = "keys come from Secrets here; only manifests in files may name the \
                       environment";
        return Err(Problem::at(Reason::EnvironmentNotAllowed, &field, message));
    };
    environment.get(name).cloned().ok_or_else(|| {
        let message = format!("the environment variable {name} is not set");
        Problem::at(Reason::VariableNotSet, &field, message)
    })
}
