//! What counts of an `EndpointSlice`: where the pods of a Service listen, and which of them are ready.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::api::ServicePort;

/// The label with the name of the Service that a slice belongs to.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// One `EndpointSlice`, as far as it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Where pods listen, by the name of the Service's port.
    pub(super) ports: Vec<(String, u16)>,
    /// Each pod's address, and whether it is ready.
    pub(super) pods: Vec<(IpAddr, bool)>,
}

/// The slices of a Service, by their names.
pub type Slices = BTreeMap<Arc<str>, Slice>;

impl Slice {
    /// What counts of an `EndpointSlice`, and the Service that it belongs to; none of one that belongs
    /// to no Service.
    pub fn of(slice: &EndpointSlice) -> Option<(String, Self)> {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?.clone();
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?))
        });
        let pods = slice.endpoints.iter().filter_map(|endpoint| {
            // Of several addresses the first is the one to use; one that is a name is none.
            let address = endpoint.addresses.first()?.parse().ok()?;
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let ready = conditions.ready.unwrap_or(true) && conditions.terminating != Some(true);
            Some((address, ready))
        });
        Some((service, Self { ports: ports.collect(), pods: pods.collect() }))
    }

    /// The ports of that name or number.
    pub(super) fn ports<'a>(&'a self, wanted: &'a ServicePort) -> impl Iterator<Item = u16> + 'a {
        let fits = move |(name, port): &&(String, u16)| match wanted {
            ServicePort::Name(wanted) => name == wanted,
            ServicePort::Number(wanted) => i32::from(*port) == *wanted,
        };
        self.ports.iter().filter(fits).map(|(_, port)| *port)
    }
}
