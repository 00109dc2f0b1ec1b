//! The resources: one file a kind. Fields, bounds, defaults, rules and the text of `kubectl explain`.
//!
//! No logic: what a field means is decided in `compile`. Defaults stand here and nowhere else, so
//! that the schema shows them and a manifest read from a file gets the very same ones. An API server
//! holds objects against bounds and rules before anybody sees them; for files, `files` holds them
//! against the bounds of the very same schema, and `compile` asks the rules again.
//!
//! No field is named `on`, `off`, `yes`, `no`, `y` or `n`: `kubectl` reads YAML 1.1, where these are
//! truth values, and would send `"true"` instead.

mod access;
mod autoscaler;
mod bounds;
mod choosing;
mod condition;
mod consumer;
mod credential;
mod definition;
mod pricing;
mod quota;
mod requirements;
mod route;
mod service;
mod spend;

pub use self::{
    access::{AccessSpec, ConsumerRef, GroupRef},
    autoscaler::{
        AllProxies, AutoscalerInputs, AutoscalerMode, DemandCredentialRef, DemandQuery, DemandSpec,
        ModelAutoscaler, ModelAutoscalerSpec, ModelAutoscalerStatus, ScaleTargetRef,
    },
    choosing::{
        AffinityBy, AffinitySpec, BalancedSpec, CircuitBreakerSpec, HedgeSpec, QueueSpec, SloSpec,
        SpilloverSpec, StrategySpec, StrategyType,
    },
    condition::{Condition, ConditionStatus},
    consumer::{
        ConsumerAuthSpec, ConsumerKeySpec, ModelConsumer, ModelConsumerSpec, ModelConsumerStatus,
        PreferenceName,
    },
    credential::{
        AllowedNamespaces, AllowedRoutes, ApiKeySpec, ApiKeysSpec, AuthSpec, CaBundleKind,
        CaBundleRef, CooldownSpec, EndpointSpec, LabelExpression, LabelOperator, LabelSelector,
        NamespacesFrom, NoAuth, ProviderCredential, ProviderCredentialSpec,
        ProviderCredentialStatus, SecretKeyRef, TlsSpec,
    },
    definition::{SCHEMA_REVISION, SCHEMA_REVISION_ANNOTATION, crds, crds_yaml},
    pricing::{AboveSpec, ModelSpec, PricingSpec},
    quota::QuotaSpec,
    requirements::{CapabilityName, RequirementsSpec},
    route::{
        ApiName, CredentialRef, FailoverReason, FailoverSpec, HeaderSpec, HeaderType, MatchSpec,
        ModelRoute, ModelRouteSpec, ModelRouteStatus, OverridesSpec, TargetSpec, TargetStatus,
        TargetTimeouts, TimeoutsSpec, UsableState,
    },
    service::{Scheme, ServicePort, ServiceSpec},
    spend::{CountedSpend, SpendStatus, SpendTierSpec},
};

/// The API group.
pub const GROUP: &str = "trunkline.dev";

/// The API group and its first version.
pub const API_VERSION: &str = "trunkline.dev/v1alpha1";

/// Whether a value says nothing that its absence would not say.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
