//! What a scrape asks for: things that nobody counts, because somebody knows them at every moment.
//!
//! Names and numbers only; who knows them is told by [`Metrics`](super::Metrics)'s `watch_…`, so that
//! this layer knows nothing of keys, pods or accounts.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// One API key of a credential, as a scrape finds it. Names only; nothing here could hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySample {
    /// The credential's namespace.
    pub namespace: Arc<str>,
    /// The credential.
    pub credential: Arc<str>,
    /// The key's name within it.
    pub key: Arc<str>,
    /// Whether it rests.
    pub resting: bool,
    /// Whether it is refused.
    pub refused: bool,
}

/// One model of a credential, as a scrape finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitSample {
    /// The credential's namespace.
    pub namespace: Arc<str>,
    /// The credential.
    pub credential: Arc<str>,
    /// The provider's name of the model.
    pub model: Arc<str>,
    /// Whether it is left alone.
    pub open: bool,
}

/// The Service behind a credential, as a scrape finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSample {
    /// The credential's namespace.
    pub namespace: Arc<str>,
    /// The credential.
    pub credential: Arc<str>,
    /// Pods that may take requests.
    pub pods: u64,
    /// Requests at them.
    pub in_flight: u64,
    /// Requests that wait for the first pod.
    pub queued: u64,
}

/// One limit of a credential's quota, as a scrape finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaSample {
    /// The credential's namespace.
    pub namespace: Arc<str>,
    /// The credential.
    pub credential: Arc<str>,
    /// What is limited.
    pub limit: &'static str,
    /// What is left, from 0 to 1.
    pub headroom: f64,
}

/// A credential with spend tiers, as a scrape finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceSample {
    /// The credential's namespace.
    pub namespace: Arc<str>,
    /// The credential.
    pub credential: Arc<str>,
    /// What its next dollar costs, as a multiple of the list price.
    pub ratio: f64,
}

/// A target that can be full, as a scrape finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillSample {
    /// The route's namespace.
    pub namespace: Arc<str>,
    /// The route.
    pub route: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// Whether it is full.
    pub full: bool,
    /// Requests that another tier served because it was full.
    pub spilled: u64,
}

/// What is asked at every scrape, once somebody has said whom to ask.
pub(super) struct Source<T>(OnceLock<Box<dyn Fn() -> Vec<T> + Send + Sync>>);

impl<T> Source<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The first call decides: a second source would show everything twice.
    pub(super) fn set(&self, source: impl Fn() -> Vec<T> + Send + Sync + 'static) {
        let _taken = self.0.set(Box::new(source));
    }

    pub(super) fn samples(&self) -> Vec<T> {
        self.0.get().map(|source| source()).unwrap_or_default()
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}
