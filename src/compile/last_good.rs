//! What served before an edit that is not good.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::{ModelConsumerSpec, ModelRouteSpec, ProviderCredentialSpec},
    table::ObjectId,
};

/// The last good version of each object that still exists.
#[derive(Clone, Debug, Default)]
pub struct LastGood {
    pub(super) routes: BTreeMap<ObjectId, Arc<ModelRouteSpec>>,
    pub(super) credentials: BTreeMap<ObjectId, Arc<ProviderCredentialSpec>>,
    pub(super) consumers: BTreeMap<ObjectId, Arc<ModelConsumerSpec>>,
}
