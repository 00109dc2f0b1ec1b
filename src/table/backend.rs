//! The pods behind a credential's Service.
//!
//! They stand in the table by themselves, and not in the credential: pods come and go far more often
//! than anybody edits a resource, and a pod that became ready must not rewrite the routes that lead
//! to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::ObjectId;

/// Backends by the credential that names the Service.
pub type Backends = BTreeMap<ObjectId, Arc<Backend>>;

/// The pods behind a credential's Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Those that are ready. Empty while the Service has none; requests may wait for the first.
    pub pods: BTreeSet<SocketAddr>,
}
