//! Readiness as tokens: the process is ready when nobody holds one any more.
//!
//! Each part that must come up first takes a [`Waiting`] and drops it when it is up. So readiness
//! cannot be forgotten in a flag, and `/readyz` can name what is missing. Draining is the one way
//! back: a process that ends takes no new traffic.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Whether the process can take traffic.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<Vec<&'static str>>>,
    draining: Arc<AtomicBool>,
}

/// Held by a part that is not up yet.
#[derive(Debug)]
pub struct Waiting {
    name: &'static str,
    of: Readiness,
}

impl Readiness {
    /// Makes the process wait for a part, until the token is dropped.
    #[must_use]
    pub fn wait_for(&self, name: &'static str) -> Waiting {
        self.lock().push(name);
        Waiting { name, of: self.clone() }
    }

    /// Says that the process is ending.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// What is missing; empty when the process is ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = self.lock().clone();
        if self.draining.load(Ordering::Acquire) {
            missing.push("draining");
        }
        missing
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.of.lock();
        if let Some(at) = waiting.iter().position(|name| *name == self.name) {
            waiting.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_nothing_is_waited_for_until_it_drains() {
        let readiness = Readiness::default();
        let table = readiness.wait_for("table");
        let listener = readiness.wait_for("listener");
        drop(table);
        assert_eq!(readiness.missing(), ["listener"]);
        drop(listener);
        assert!(readiness.missing().is_empty());
        readiness.drain();
        assert_eq!(readiness.missing(), ["draining"]);
    }
}
