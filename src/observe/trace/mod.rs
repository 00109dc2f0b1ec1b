//! Traces: for each chat a span, and below it one for each attempt.
//!
//! Off unless somebody says where they go. A request's spans are gathered by the worker that serves
//! it and put into a bounded queue without a lock when it has ended; another thread sends them. A
//! collector that hangs costs traces (which are counted), never latency.
//!
//! A span says who asked whom, how it ended, how long it took and what it cost. It never holds a
//! prompt, an answer or a key: there is no field that could.

mod context;
pub mod otlp;

use std::{sync::Arc, time::Duration};

use crossbeam_queue::ArrayQueue;
use prometheus::IntCounter;

pub use self::context::Context;

/// How many requests may wait to be sent.
const MOST: usize = 4 << 10;

/// Where traces are put. Cheap to clone; one a worker.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: Option<Arc<Queue>>,
    /// The share of requests that is traced where the caller does not say.
    share: f64,
    dropped: IntCounter,
}

/// Requests that wait to be sent. Boxed: a queue holds room for all that may wait.
pub type Queue = ArrayQueue<Box<Trace>>;

impl Tracer {
    /// Traces nothing.
    pub const fn off(dropped: IntCounter) -> Self {
        Self { queue: None, share: 0.0, dropped }
    }

    /// Traces every request whose caller asks for it, and this share of those whose callers do not say.
    pub fn new(share: f64, dropped: IntCounter) -> (Self, Arc<Queue>) {
        let queue = Arc::new(ArrayQueue::new(MOST));
        (Self { queue: Some(Arc::clone(&queue)), share, dropped }, queue)
    }

    /// Begins to trace a request, if it is to be. `traceparent` is what the caller says, by W3C Trace
    /// Context; the random numbers are evenly spread.
    pub fn begin(
        &self,
        traceparent: Option<&[u8]>,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<Box<Trace>> {
        self.queue.as_ref()?;
        let context = match traceparent.and_then(Context::read) {
            Some(context) => context.sampled.then_some(context)?,
            None => Context::begun(self.share, random)?,
        };
        let span = random().max(1);
        Some(Box::new(Trace {
            context,
            span,
            began: jiff::Timestamp::now(),
            request: Request::default(),
            attempts: Vec::new(),
        }))
    }

    /// The request has ended.
    pub fn end(&self, trace: Box<Trace>) {
        let refused = self.queue.as_ref().map(|queue| queue.push(trace));
        if matches!(refused, Some(Err(_))) {
            self.dropped.inc();
        }
    }
}

/// A request under way, or at its end.
#[derive(Debug)]
pub struct Trace {
    context: Context,
    /// The request's own span.
    span: u64,
    /// When it arrived.
    began: jiff::Timestamp,
    /// What it came to; set at its end.
    pub request: Request,
    attempts: Vec<Attempt>,
}

/// What a request came to. Durations are since its arrival.
#[derive(Debug, Default)]
pub struct Request {
    /// `x-request-id` of the answer.
    pub id: String,
    /// The client API.
    pub api: &'static str,
    /// The model as the client wrote it, bounded.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The namespace and name of the route; none where none was reached.
    pub route: Option<(Arc<str>, Arc<str>)>,
    /// The namespace and name of the consumer; none without a key.
    pub consumer: Option<(Arc<str>, Arc<str>)>,
    /// The HTTP status; 0 when the client left before there was one.
    pub status: u16,
    /// How it ended, and whether that is an answer as it should be.
    pub outcome: (&'static str, bool),
    /// Tokens read and written, where the provider said.
    pub tokens: Option<(u64, u64)>,
    /// What the provider bills, in billionths of a US dollar, where anybody knows.
    pub nano_dollars: Option<u64>,
    /// When the answer began.
    pub begun: Option<Duration>,
    /// When it ended.
    pub ended: Duration,
}

/// One try at one target. Durations are since the request's arrival.
#[derive(Debug)]
pub struct Attempt {
    /// Which of the route's targets.
    pub at: usize,
    /// Its span.
    pub span: u64,
    /// The target.
    pub target: Arc<str>,
    /// The target's provider, as in `spec.provider`.
    pub provider: &'static str,
    /// The provider's name of the model.
    pub model: Arc<str>,
    /// Where the provider is.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// When it was begun.
    pub began: Duration,
    /// When it ended, and how: the word of `x-trunkline-attempts`; none while it is under way.
    pub ended: Option<(Duration, String)>,
}

impl Trace {
    /// What an attempt with this span says to its provider.
    pub fn traceparent(&self, span: u64) -> String {
        self.context.traceparent(span)
    }

    /// An attempt was begun.
    pub fn attempt(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// The attempt at a target has ended.
    pub fn attempt_ended(&mut self, at: usize, ended: Duration, word: &str) {
        let open = self.attempts.iter_mut().rev();
        if let Some(attempt) = open.into_iter().find(|one| one.at == at && one.ended.is_none()) {
            attempt.ended = Some((ended, word.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn the_caller_decides_and_else_the_share_does() {
        let sampled = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let not = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let mut random = fastrand::Rng::with_seed(7);
        let mut traced = |share, header: Option<&[u8]>| {
            let (tracer, _queue) = Tracer::new(share, counter());
            (0..1000).filter(|_| tracer.begin(header, &mut || random.u64(..)).is_some()).count()
        };
        assert_eq!(traced(0.0, Some(sampled)), 1000);
        assert_eq!(traced(1.0, Some(not)), 0);
        assert_eq!((traced(0.0, None), traced(1.0, None)), (0, 1000));
        assert!((200..300).contains(&traced(0.25, Some(b"garbage"))));
        assert!(Tracer::off(counter()).begin(Some(sampled), &mut || 1).is_none());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, queue) = Tracer::new(1.0, counter());
        for _ in 0..=MOST {
            tracer.end(tracer.begin(None, &mut || 5).unwrap());
        }
        assert_eq!((queue.len(), tracer.dropped.get()), (MOST, 1));
    }
}
