//! The end of a process: one signal that every worker and connection hears.

use tokio::sync::watch;

/// Starts the drain.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Hears of the drain. Cheap to clone, and usable on every thread.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A trigger and what hears it.
pub fn channel() -> (Trigger, Drain) {
    let (trigger, drain) = watch::channel(false);
    (Trigger(trigger), Drain(drain))
}

impl Trigger {
    /// Starts the drain; everybody hears it, however late they begin to listen.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Waits until the drain has started, or its trigger is gone.
    pub async fn started(&mut self) {
        let _gone = self.0.wait_for(|started| *started).await;
    }
}
