//! What an operator is told at its start.

use std::collections::BTreeSet;

use crate::compile::Options;

/// What an operator is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the table's Secrets, the lease and the proxies are.
    pub namespace: String,
    /// The namespaces whose objects count; all when none is named.
    pub watched: Option<BTreeSet<String>>,
    /// The labels of the proxies, as `kubectl -l` takes them.
    pub proxies: String,
    /// The proxies' admin port.
    pub admin_port: u16,
    /// What endpoints may be.
    pub options: Options,
    /// The name of this process.
    pub identity: String,
    /// Whether `ModelAutoscaler`s are looked at.
    pub autoscale: bool,
    /// The base URL of the Prometheus server that autoscalers may ask.
    pub prometheus: Option<String>,
    /// For the token of a first head.
    pub random: [u8; 32],
}
