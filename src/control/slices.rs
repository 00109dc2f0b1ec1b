//! `EndpointSlice`s as `compile` looks at them: by the Service that they belong to.
//!
//! Pure. A Service has several of them, each of which is told of by itself.

use std::sync::Arc;

use crate::{
    compile::{Snapshot, Touched, slice::Slice},
    table::ObjectId,
};

/// A slice is there, as it is here.
pub(super) fn applied(
    snapshot: &mut Snapshot,
    touched: &mut Touched,
    (service, name): (ObjectId, &Arc<str>),
    slice: Slice,
) {
    let slices = snapshot.services.entry(service.clone()).or_default();
    if slices.get(name) != Some(&slice) {
        slices.insert(Arc::clone(name), slice);
        touched.services.insert(service);
    }
}

/// A slice is gone.
pub(super) fn deleted(
    snapshot: &mut Snapshot,
    touched: &mut Touched,
    (service, name): (ObjectId, &Arc<str>),
) {
    let Some(slices) = snapshot.services.get_mut(&service) else { return };
    if slices.remove(name).is_some() {
        if slices.is_empty() {
            snapshot.services.remove(&service);
        }
        touched.services.insert(service);
    }
}

/// The slices of a Service were looked at, or the look was refused.
pub(super) fn answered(
    snapshot: &mut Snapshot,
    touched: &mut Touched,
    service: ObjectId,
    refused: bool,
) {
    let refusals = &mut snapshot.refused_services;
    let changed =
        if refused { refusals.insert(service.clone()) } else { refusals.remove(&service) };
    if changed {
        touched.services.insert(service);
    }
}

/// Nobody names the Service any more, so nothing of it is kept.
pub(super) fn forget(snapshot: &mut Snapshot, service: &ObjectId) {
    snapshot.services.remove(service);
    snapshot.refused_services.remove(service);
}
