//! Worker threads: one a core, each with a runtime of its own, and none lost in silence.
//!
//! A worker that panics takes its core's share of the connections with it while the others go on,
//! and nothing would show it. So every end is told, the unwound one too, and who started the workers
//! decides; see [`Workers::next`].

use std::{future::Future, io, thread};

use hyper::rt::Executor;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
    task::spawn_local,
};

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, fut: F) {
        spawn_local(fut);
    }
}

/// The end of a worker before its time.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not go on.
    #[error("worker failed")]
    Failed(#[source] io::Error),
    /// It had a bug. What it said is in the log already.
    #[error("worker panicked")]
    Panicked,
}

/// Workers that run.
#[derive(Debug)]
pub struct Workers {
    ends: mpsc::UnboundedReceiver<Result<(), WorkerError>>,
}

impl Workers {
    /// The next worker that ends; `None` when none is left.
    pub async fn next(&mut self) -> Option<Result<(), WorkerError>> {
        self.ends.recv().await
    }
}

/// Starts a worker for each of `starts` (its socket, and what else it brings), which runs what `make`
/// makes of it, on the worker's own thread.
///
/// # Errors
/// When a thread cannot be started.
pub fn spawn<T, M, F>(starts: impl IntoIterator<Item = T>, make: M) -> io::Result<Workers>
where
    T: Send + 'static,
    M: Fn(T) -> F + Clone + Send + 'static,
    F: Future<Output = io::Result<()>> + 'static,
{
    let (tell, ends) = mpsc::unbounded_channel();
    for (at, start) in starts.into_iter().enumerate() {
        let (make, tell) = (make.clone(), tell.clone());
        thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
            let mut end = End { tell, result: Err(WorkerError::Panicked) };
            end.result = run(make, start).map_err(WorkerError::Failed);
        })?;
    }
    Ok(Workers { ends })
}

fn run<T, F>(make: impl Fn(T) -> F, start: T) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    // A runtime that is local itself: a set of local tasks inside an ordinary one is a second
    // scheduler, which every wake-up would pass through.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move { make(start).await })
}

/// Tells the end of a thread, also when it unwinds.
struct End {
    tell: mpsc::UnboundedSender<Result<(), WorkerError>>,
    result: Result<(), WorkerError>,
}

impl Drop for End {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // Nobody listens only when the process ends anyway.
        let _gone = self.tell.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_end_is_told_also_a_panic() {
        let mut workers = spawn(["fine", "failed", "broken"], |how| async move {
            match how {
                "fine" => Ok(()),
                "failed" => Err(io::Error::other("no more")),
                _ => panic!("a bug"),
            }
        })
        .unwrap();
        let mut ends = Vec::new();
        while let Some(end) = workers.next().await {
            ends.push(end.map_err(|error| error.to_string()));
        }
        ends.sort();
        let told = |text: &str| Err(text.to_owned());
        assert_eq!(ends, [Ok(()), told("worker failed"), told("worker panicked")]);
    }
}
