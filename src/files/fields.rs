//! Fields that the schema does not have, each with the one that was probably meant.
//!
//! An API server drops unknown fields or refuses them all at once; here each is named, because the
//! one that matters is usually a misspelt one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::{
    api,
    compile::{Condition, report::Reason},
};

/// The schema of each kind.
#[derive(Debug)]
pub(super) struct Schemas(Vec<(String, JSONSchemaProps)>);

impl Schemas {
    pub(super) fn new() -> Self {
        let schemas = api::crds(&[]).into_iter().filter_map(|crd| {
            let version = crd.spec.versions.into_iter().next()?;
            let mut schema = version.schema?.open_api_v3_schema?;
            Some((crd.spec.names.kind, schema.properties.as_mut()?.remove("spec")?))
        });
        Self(schemas.collect())
    }

    /// Every field of `spec` that the kind's schema does not have.
    pub(super) fn unknown(&self, kind: &str, value: &Value) -> Vec<Condition> {
        let mut found = Vec::new();
        if let (Some((_, schema)), Some(spec)) =
            (self.0.iter().find(|(name, _)| name == kind), value.get("spec"))
        {
            walk(schema, spec, "spec", &mut found);
        }
        found
    }
}

fn walk(schema: &JSONSchemaProps, value: &Value, path: &str, found: &mut Vec<Condition>) {
    match value {
        Value::Object(map) => {
            let Some(properties) = &schema.properties else { return };
            for (key, value) in map {
                if let Some(schema) = properties.get(key) {
                    walk(schema, value, &format!("{path}.{key}"), found);
                    continue;
                }
                let known = properties.keys().map(String::as_str);
                let near =
                    known.map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
                let hint = match near {
                    Some((distance, known)) if distance <= 2 => format!("did you mean `{known}`?"),
                    _ => {
                        let all = properties.keys().map(String::as_str).collect::<Vec<_>>();
                        format!("there are: {}", all.join(", "))
                    }
                };
                let message = format!("{path}.{key}: unknown field; {hint}");
                found.push(Condition::not_accepted(Reason::UnknownField, message));
            }
        }
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
            for (at, item) in items.iter().enumerate() {
                walk(schema, item, &format!("{path}[{at}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
