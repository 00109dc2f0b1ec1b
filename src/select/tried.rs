//! What was picked for a request, and what it has tried in vain.

use std::{net::SocketAddr, sync::Arc};

use smallvec::SmallVec;

use super::{backend::Pod, keys::KeyState};

/// A chosen key.
#[derive(Clone, Debug)]
pub struct PickedKey {
    /// Which of the credential's keys.
    pub at: usize,
    /// Whether it rests, and until when.
    pub state: Arc<KeyState>,
}

/// A chosen pod.
#[derive(Clone, Debug)]
pub struct PickedPod {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Whether it is to show that it has recovered.
    pub probe: bool,
}

impl PickedPod {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.pod.address
    }
}

/// What one request has tried in vain.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    targets: SmallVec<[usize; 4]>,
    keys: SmallVec<[Arc<KeyState>; 2]>,
    pods: SmallVec<[SocketAddr; 2]>,
}

impl Tried {
    /// Leaves a target out of this request's further choices.
    pub fn target(&mut self, target: usize) {
        self.targets.push(target);
    }

    /// Leaves a key out of this request's further choices; its target keeps its other keys.
    pub fn key(&mut self, key: &PickedKey) {
        self.keys.push(Arc::clone(&key.state));
    }

    /// Leaves a pod out of this request's further choices; its target keeps its other pods.
    pub fn pod(&mut self, pod: &PickedPod) {
        self.pods.push(pod.address());
    }

    /// Whether nothing has failed yet.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.keys.is_empty() && self.pods.is_empty()
    }

    pub(super) fn has_target(&self, target: usize) -> bool {
        self.targets.contains(&target)
    }

    pub(super) fn has_pod(&self, address: SocketAddr) -> bool {
        self.pods.contains(&address)
    }

    pub(super) fn has_key(&self, key: &Arc<KeyState>) -> bool {
        self.keys.iter().any(|tried| Arc::ptr_eq(tried, key))
    }
}
