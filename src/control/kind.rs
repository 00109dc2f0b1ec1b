//! The kinds that the operator looks at, and where it looks for them.

use std::{fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};

use crate::{
    api::{ModelAutoscaler, ModelConsumer, ModelRoute, ProviderCredential},
    compile::slice::SERVICE_LABEL,
    table::ObjectId,
};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Certificates to trust, where a credential names them.
    ConfigMap,
    /// The pods of a Service, where a credential names it.
    EndpointSlice,
    /// What scales replicas.
    ModelAutoscaler,
    /// Callers.
    ModelConsumer,
    /// Routes.
    ModelRoute,
    /// Labels that grants select by.
    Namespace,
    /// The proxies.
    Pod,
    /// Accounts.
    ProviderCredential,
    /// Keys, where a credential or a consumer names them.
    Secret,
}

impl Kind {
    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::EndpointSlice => "EndpointSlice",
            Self::ModelAutoscaler => "ModelAutoscaler",
            Self::ModelConsumer => "ModelConsumer",
            Self::ModelRoute => "ModelRoute",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::ProviderCredential => "ProviderCredential",
            Self::Secret => "Secret",
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
            Self::ModelAutoscaler => ApiResource::erase::<ModelAutoscaler>(&()),
            Self::ModelConsumer => ApiResource::erase::<ModelConsumer>(&()),
            Self::ModelRoute => ApiResource::erase::<ModelRoute>(&()),
            Self::Namespace => ApiResource::erase::<Namespace>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
            Self::ProviderCredential => ApiResource::erase::<ProviderCredential>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
        }
    }
}

/// Where objects of one kind are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The kind.
    pub kind: Kind,
    /// One namespace, or all of them.
    pub namespace: Option<Arc<str>>,
    /// One object, or all of them.
    pub name: Option<Arc<str>>,
    /// Those with these labels, in the syntax of `kubectl -l`.
    pub labels: Option<Arc<str>>,
}

impl Scope {
    /// All objects of a kind in a namespace, or everywhere.
    pub const fn all(kind: Kind, namespace: Option<Arc<str>>) -> Self {
        Self { kind, namespace, name: None, labels: None }
    }

    /// One object. Rights may be given for it alone, because the API server takes a watch by name
    /// for a request for that name.
    pub fn one(kind: Kind, id: &ObjectId) -> Self {
        let namespace = (!id.namespace.is_empty()).then(|| Arc::clone(&id.namespace));
        Self { kind, namespace, name: Some(Arc::clone(&id.name)), labels: None }
    }

    /// The `EndpointSlice`s of a Service. They have names of their own, so they are found by a label.
    pub fn slices(service: &ObjectId) -> Self {
        let labels = format!("{SERVICE_LABEL}={}", service.name);
        let namespace = Some(Arc::clone(&service.namespace));
        Self { kind: Kind::EndpointSlice, namespace, name: None, labels: Some(labels.into()) }
    }

    /// The Service whose `EndpointSlice`s it holds, if it holds some.
    pub fn service(&self) -> Option<ObjectId> {
        let (_, name) =
            self.labels.as_ref().filter(|_| self.kind == Kind::EndpointSlice)?.split_once('=')?;
        Some(ObjectId::new(self.namespace.clone()?, name))
    }

    /// Whether an object lies in it, as far as its name tells.
    pub fn holds(&self, id: &ObjectId) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
    }

    /// The field selector that says the same.
    pub(super) fn fields(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }

    /// The API to list and watch.
    pub(super) fn api(&self, client: Client) -> Api<DynamicObject> {
        let resource = self.kind.resource();
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }

    /// The API to get one object of it.
    pub(super) fn api_of(&self, client: Client, id: &ObjectId) -> Api<DynamicObject> {
        let resource = self.kind.resource();
        if id.namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &id.namespace, &resource)
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref());
        write!(f, "{} {}/{}", self.kind.as_str(), namespace.unwrap_or("*"), name.unwrap_or("*"))
    }
}
