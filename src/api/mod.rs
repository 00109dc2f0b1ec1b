//! The resources: one file a kind. Fields, bounds, defaults and the text of `kubectl explain`.
//!
//! No logic: what a field means is decided in `compile`. Defaults stand here and nowhere else, so
//! that the schema shows them and a manifest read from a file gets the very same ones.

mod credential;
mod route;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use self::{
    credential::{
        AllowedNamespaces, AllowedRoutes, ApiKey, ApiKeys, Auth, ConfigMapKeyRef, Cooldown,
        EndpointSpec, From, NoAuth, ProviderCredential, ProviderCredentialSpec, SecretKeyRef, Tls,
    },
    route::{
        ApiName, CredentialRef, FailoverReason, FailoverSpec, HeaderSpec, HeaderType, MatchSpec,
        ModelRoute, ModelRouteSpec, OverridesSpec, TargetSpec, TargetTimeouts, TimeoutsSpec,
    },
};

/// The API group and its first version.
pub const API_VERSION: &str = "trunkline.dev/v1alpha1";

/// The definitions of all kinds. `providers` become the values that `spec.provider` may have.
pub fn crds(providers: &[&'static str]) -> Vec<CustomResourceDefinition> {
    let mut credential = ProviderCredential::crd();
    for version in &mut credential.spec.versions {
        let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        let provider = schema
            .and_then(|schema| schema.properties.as_mut()?.get_mut("spec"))
            .and_then(|spec| spec.properties.as_mut()?.get_mut("provider"));
        if let Some(provider) = provider {
            let names = providers.iter().map(|name| {
                k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON(
                    serde_json::Value::from(*name),
                )
            });
            provider.enum_ = Some(names.collect());
        }
    }
    vec![ModelRoute::crd(), credential]
}
