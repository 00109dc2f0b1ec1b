//! The `CustomResourceDefinition`s, made from the types and tidied for Kubernetes.
//!
//! What the generator writes for Rust's types is not all good for an API server: an optional field
//! becomes `nullable`, so that clients may store explicit nulls, and an unsigned or sized number
//! gets a `format` that Kubernetes does not know and warns of. Both go.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use super::{ModelAutoscaler, ModelConsumer, ModelRoute, ProviderCredential};

/// The revision of the schemas, on every definition. Raise it in a release whose operator needs a
/// field that the one before did not have, together with the annotation in
/// `charts/trunkline/Chart.yaml`: that chart refuses definitions that are older.
pub const SCHEMA_REVISION: u32 = 1;

/// The annotation that has it.
pub const SCHEMA_REVISION_ANNOTATION: &str = "trunkline.dev/schema-revision";

/// The formats that Kubernetes knows among those that the generator writes.
const KNOWN_FORMATS: [&str; 2] = ["int32", "int64"];

/// The definitions of all kinds. `providers` become the values that `spec.provider` may have.
pub fn crds(providers: &[&'static str]) -> Vec<CustomResourceDefinition> {
    let mut credential = ProviderCredential::crd();
    for root in schemas(&mut credential) {
        if let Some(provider) = field(root, "spec").and_then(|spec| field(spec, "provider")) {
            provider.enum_ = Some(providers.iter().map(|name| JSON(Value::from(*name))).collect());
        }
    }
    let mut crds =
        vec![ModelRoute::crd(), credential, ModelConsumer::crd(), ModelAutoscaler::crd()];
    for crd in &mut crds {
        let revision = (SCHEMA_REVISION_ANNOTATION.to_owned(), SCHEMA_REVISION.to_string());
        crd.metadata.annotations.get_or_insert_default().extend([revision]);
        schemas(crd).for_each(tidy);
    }
    crds
}

/// The definitions as YAML, each with its file's name. With `kept`, Helm leaves them where they are
/// when their release is taken away: every object of theirs would go with them.
///
/// # Errors
/// When the YAML writer fails, which it does not for these types.
pub fn crds_yaml(
    providers: &[&'static str],
    kept: bool,
) -> Result<Vec<(String, String)>, serde_yaml::Error> {
    let write = |mut crd: CustomResourceDefinition| {
        if kept {
            let policy = ("helm.sh/resource-policy".to_owned(), "keep".to_owned());
            crd.metadata.annotations.get_or_insert_default().extend([policy]);
        }
        let text = serde_yaml::to_string(&crd)?;
        Ok((format!("{}.yaml", crd.spec.names.plural), text))
    };
    crds(providers).into_iter().map(write).collect()
}

fn schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    crd.spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
}

fn field<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}

/// Takes out what Kubernetes does not know or clients would misuse, all the way down.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.format = schema.format.take().filter(|known| KNOWN_FORMATS.contains(&known.as_str()));
    if let Some(values) = &mut schema.enum_ {
        values.retain(|JSON(value)| !value.is_null());
    }
    schema.properties.iter_mut().flat_map(|fields| fields.values_mut()).for_each(tidy);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
