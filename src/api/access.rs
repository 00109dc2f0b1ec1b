//! `ModelRoute.spec.access`: which callers may use a route.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AllowedNamespaces, bounds};

/// Who may use a route: each consumer that any part of it names.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.consumers) || has(self.groups) || has(self.namespaces)")
    .message("give at least one of `consumers`, `groups` and `namespaces`"))]
pub struct AccessSpec {
    /// These consumers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub consumers: Vec<ConsumerRef>,
    /// The consumers that belong to one of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<GroupRef>,
    /// Every consumer of these namespaces. With `Selector` the route's own namespace counts like any
    /// other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<AllowedNamespaces>,
}

/// Names a `ModelConsumer`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the route's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Names a group of consumers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRef {
    /// The group's name, as in the consumers' `spec.groups`.
    #[schemars(schema_with = "bounds::label")]
    pub name: String,
    /// The namespace whose consumers are meant; the route's own when left out. Whoever may write
    /// consumers there decides who belongs to the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}
