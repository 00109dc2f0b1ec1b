//! The line of those who wait for the first pod of a Service.
//!
//! A Service may have no pod that is ready: it is scaled to zero, or starts. A request that no other
//! target can serve waits then, in a bounded line and for a bounded time; who waits is what wakes the
//! Service (`ModelAutoscaler`). A client that leaves leaves the line.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::race::Common;
use crate::{
    observe::RouteCells,
    select::{Backend, LeftOut, Tried, Verdict, consider},
};

/// What became of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A pod has come.
    Came,
    /// The line is full.
    Full,
    /// Nothing came in time, or there is nothing to wait for.
    InVain,
}

/// Waits until a target that lacks nothing but a pod has one.
pub async fn wait(common: Common<'_>, tried: &Tried, until: Instant) -> Line {
    let Common { route, handles, .. } = common;
    let queue = route.choosing.queue;
    let found = consider(common.targets(), &common.ask, tried, Instant::now());
    let asleep =
        found.candidates.iter().find(|one| one.verdict == Verdict::LeftOut(LeftOut::NoPod));
    let backend = asleep.and_then(|one| handles.backends.get(one.at)?.as_ref());
    let Some(backend) = backend.filter(|_| queue.most > 0) else { return Line::InVain };
    let Some(_place) = Place::take(backend, queue.most, &handles.cells) else { return Line::Full };
    match timeout_at(until, backend.first_pod()).await {
        Ok(()) => Line::Came,
        Err(_late) => Line::InVain,
    }
}

/// A place in a line, which is free again when it is dropped. Then it is known how long somebody stood
/// there, also if it was the client who left.
struct Place {
    backend: Arc<Backend>,
    cells: Arc<RouteCells>,
    since: Instant,
}

impl Place {
    fn take(backend: &Arc<Backend>, most: u32, cells: &Arc<RouteCells>) -> Option<Self> {
        backend.stand_in_line(most).then(|| Self {
            backend: Arc::clone(backend),
            cells: Arc::clone(cells),
            since: Instant::now(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backend.leave_line();
        self.cells.queue.observe(self.since.elapsed());
    }
}
