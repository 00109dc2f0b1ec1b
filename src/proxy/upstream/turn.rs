//! Whose turn it is to open a connection, while others wait for it.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// The openings of an origin that are under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Rc<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    count: Cell<usize>,
    ended: Notify,
}

impl Turns {
    /// Whether somebody is opening a connection.
    pub(super) fn any(&self) -> bool {
        self.0.count.get() > 0
    }

    /// Waits for the end of one.
    pub(super) async fn ended(&self) {
        self.0.ended.notified().await;
    }

    /// Takes one.
    pub(super) fn take(&self) -> Turn {
        self.0.count.set(self.0.count.get() + 1);
        Turn(self.clone())
    }
}

/// The right to open a connection while others wait. Dropping it lets them look again: when the
/// connection serves, when it failed, and when the client that opened it has left.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Drop for Turn {
    fn drop(&mut self) {
        let Self(Turns(turns)) = self;
        turns.count.set(turns.count.get().saturating_sub(1));
        turns.ended.notify_waiters();
    }
}
