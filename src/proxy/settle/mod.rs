//! Phase 7: what a request and each of its attempts came to, counted exactly once.
//!
//! A [`Ledger`] is opened when a request arrives and travels with it: through admission, through
//! every attempt, into the body of the answer. It is closed by whoever knows the end. If nobody
//! does, the client has left, and dropping the ledger says so. So there is no way to count a request
//! twice or not at all.

mod cost;
mod end;

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::end::End;
use super::{
    facts::Chat,
    headers::name,
    state::{RouteHandles, Worker},
};
use crate::{
    dialect::{Api, Usage, peek::Media},
    observe::{
        AttemptOutcome, HedgeResult, Line, Outcome, TargetCells, Unpriced,
        cells::Cell,
        trace::{self, Attempt, Trace},
    },
    provider::{Capabilities, Cost},
    select::{Flight, Needs},
    table::{Consumer, Endpoint, ObjectId, Route, Target},
};

/// The account of one request.
#[derive(Debug)]
pub struct Ledger {
    worker: Rc<Worker>,
    handles: Rc<RouteHandles>,
    route: Option<Arc<Route>>,
    /// Who calls, and the name of the key that says so.
    consumer: Option<(Arc<Consumer>, Arc<str>)>,
    arrived: Instant,
    id: String,
    api: Option<Api>,
    stream: bool,
    /// Without what a target could not have answered.
    must: Capabilities,
    model: String,
    status: u16,
    bytes_in: u64,
    /// Whether these are text alone, so that they tell how long a token is.
    text_alone: bool,
    bytes_out: u64,
    /// Every attempt so far, as in `x-trunkline-attempts`.
    attempts: String,
    tries: u32,
    /// The attempts that are open: one, or two where the first is late.
    open: SmallVec<[Open; 2]>,
    /// Who answers; empty when everybody failed.
    answered_by: Arc<str>,
    provider: &'static str,
    /// The attempt that answers, for what is learned of its target.
    flight: Option<Flight>,
    usage: Option<Usage>,
    /// How long the request waited for providers before its answer began.
    waited: Duration,
    begun: Option<Instant>,
    /// What is told to a collector, if anything is.
    trace: Option<Box<Trace>>,
    closed: bool,
}

/// An attempt that has not ended.
#[derive(Debug)]
struct Open {
    target: Arc<str>,
    /// Which of the route's targets.
    at: usize,
    provider: &'static str,
    cells: Arc<TargetCells>,
}

impl Ledger {
    /// Opens an account: a request has arrived.
    pub fn open(worker: Rc<Worker>) -> Self {
        let (a, b) = {
            let mut rng = worker.rng.borrow_mut();
            (rng.u64(..), rng.u64(..))
        };
        let arrived = Instant::now();
        let handles = worker.unrouted();
        worker.retries.borrow_mut().earn(arrived);
        Self {
            worker,
            handles,
            route: None,
            consumer: None,
            arrived,
            id: id(a, b),
            api: None,
            stream: false,
            must: Capabilities::NONE,
            model: String::new(),
            status: 0,
            bytes_in: 0,
            text_alone: false,
            bytes_out: 0,
            attempts: String::new(),
            tries: 0,
            open: SmallVec::new(),
            answered_by: "".into(),
            provider: "",
            flight: None,
            usage: None,
            waited: Duration::ZERO,
            begun: None,
            trace: None,
            closed: false,
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.id
    }

    /// When the request arrived.
    pub const fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Every attempt so far, as in `x-trunkline-attempts`.
    pub fn attempts(&self) -> &str {
        &self.attempts
    }

    /// How many attempts were made.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins to trace the request, if it is to be, as its caller's headers say.
    pub fn trace(&mut self, headers: &HeaderMap) {
        let parent = headers.get(name::TRACEPARENT).map(HeaderValue::as_bytes);
        let worker = &self.worker;
        self.trace = worker.tracer.begin(parent, &mut || worker.rng.borrow_mut().u64(..));
    }

    /// A span for an attempt, and what the provider is told of it; none where nothing is traced.
    pub fn span(&self) -> Option<(u64, HeaderValue)> {
        let trace = self.trace.as_ref()?;
        let span = self.worker.rng.borrow_mut().u64(1..);
        Some((span, HeaderValue::from_str(&trace.traceparent(span)).ok()?))
    }

    /// Notes which API was called.
    pub const fn api(&mut self, api: Api) {
        self.api = Some(api);
    }

    /// Notes who calls.
    pub fn consumer(&mut self, consumer: &Arc<Consumer>, key: &Arc<str>) {
        self.consumer = Some((Arc::clone(consumer), Arc::clone(key)));
    }

    /// Notes what a chat asks for.
    pub fn chat(&mut self, chat: &Chat) {
        self.model = super::admit::bounded(&chat.model);
        self.stream = chat.stream;
        self.bytes_in = chat.body.len() as u64;
        self.text_alone = chat.peek.media == Media::default();
    }

    /// Notes the route that serves: from here on the request is in flight there.
    pub fn route(&mut self, route: &Arc<Route>, handles: Rc<RouteHandles>) {
        self.route = Some(Arc::clone(route));
        self.handles = handles;
        self.handles.cells.in_flight.add(1);
    }

    /// Notes what the request needs of a model.
    pub const fn needs(&mut self, needs: &Needs) {
        self.must = needs.must;
    }

    /// An attempt begins at the target `at` of the route, where none is open.
    pub fn try_target(&mut self, target: &Target, at: usize, span: Option<u64>) {
        self.tries += 1;
        if let (Some(trace), Some(span)) = (&mut self.trace, span) {
            let Endpoint { host, port, .. } = &target.credential.endpoint;
            trace.attempt(Attempt {
                at,
                span,
                target: Arc::clone(&target.name),
                provider: target.credential.provider.name,
                model: Arc::clone(&target.model),
                host: Arc::clone(host),
                port: *port,
                began: self.arrived.elapsed(),
                ended: None,
            });
        }
        let open = self.handles.targets.get(at).map(|cells| Open {
            target: Arc::clone(&target.name),
            at,
            provider: target.credential.provider.name,
            cells: Arc::clone(cells),
        });
        self.open.extend(open);
    }

    /// The request has waited for providers.
    pub fn waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// The attempt at the target `at` has failed.
    pub fn failed(&mut self, at: usize, word: &str, outcome: AttemptOutcome) {
        self.end_span(at, word);
        if let Some(open) = self.end(at, word) {
            open.cells.attempt(outcome);
        }
    }

    /// Another target was faster than the one `at`. What it bills for the beginning it will not say.
    pub fn overtaken(&mut self, at: usize) {
        self.end_span(at, "overtaken");
        if let Some(open) = self.end(at, "overtaken") {
            open.cells.attempt(AttemptOutcome::Cancelled);
            open.cells.unpriced(Unpriced::Usage);
        }
    }

    /// The target `at` answers, from now on and alone.
    pub fn answered(&mut self, at: usize, flight: Flight) {
        self.flight = Some(flight);
        if let Some(open) = self.end(at, "ok") {
            self.answered_by = Arc::clone(&open.target);
            self.provider = open.provider;
            self.open.push(open);
        }
        let now = Instant::now();
        self.begun = Some(now);
        let cells = &self.handles.cells;
        cells.added.observe((now - self.arrived).saturating_sub(self.waited));
        if self.stream {
            cells.first_token.observe(now - self.arrived);
            self.worker.cells.open_streams.add(1);
        }
    }

    fn end_span(&mut self, at: usize, word: &str) {
        if let Some(trace) = &mut self.trace {
            trace.attempt_ended(at, self.arrived.elapsed(), word);
        }
    }

    /// Closes the attempt at a target, and says so in `x-trunkline-attempts`.
    fn end(&mut self, at: usize, word: &str) -> Option<Open> {
        let found = self.open.iter().position(|open| open.at == at)?;
        let open = self.open.remove(found);
        self.attempts.reserve(open.target.len() + word.len() + 2);
        if !self.attempts.is_empty() {
            self.attempts.push(',');
        }
        self.attempts.extend([&*open.target, ":", word]);
        Some(open)
    }

    /// The request was asked twice.
    pub fn hedged(&self, result: HedgeResult) {
        self.handles.cells.hedge(result);
    }

    /// The answer comes from a target that misses the route's SLO, because all do.
    pub fn slo_relaxed(&self) {
        self.handles.cells.slo_relaxed.add(1);
    }

    /// The status that the client is told.
    pub const fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// Bytes have gone to the client.
    pub const fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Tokens as the provider reported them, if it did.
    pub const fn usage(&mut self, usage: Option<Usage>) {
        if usage.is_some() {
            self.usage = usage;
        }
    }

    /// The request has ended. Only the first call counts.
    pub fn close(&mut self, outcome: Outcome) {
        if self.closed {
            return;
        }
        self.closed = true;
        let now = Instant::now();
        let took = now - self.arrived;
        let cells = &self.handles.cells;
        if self.route.is_some() {
            cells.in_flight.sub(1);
        }
        if let Some(cell) = self.handles.requests(self.api).get(outcome as usize) {
            Cell::add(cell, 1);
        }
        cells.duration.observe(took);
        if let (true, Some(begun)) = (self.stream, self.begun) {
            self.worker.cells.open_streams.sub(1);
            let after_first = self.usage.map_or(0, |usage| usage.output.saturating_sub(1));
            if let Ok(after_first @ 1..) = u32::try_from(after_first) {
                cells.output_token.observe((now - begun) / after_first);
            }
        }
        self.land(outcome, now);
        let cost = self.cost();
        for Open { at, cells: target, .. } in std::mem::take(&mut self.open) {
            let end = End::of(outcome);
            target.attempt(match end {
                End::Whole => AttemptOutcome::Ok,
                End::Left => AttemptOutcome::Cancelled,
                End::Broken => AttemptOutcome::Truncated,
            });
            self.count_tokens(&target);
            self.count_cost(at, &target, cost, end);
        }
        self.end_trace(outcome, took, cost);
        self.log(outcome, took, cost);
    }

    /// Tells the trace what the request came to.
    fn end_trace(&mut self, outcome: Outcome, took: Duration, cost: Option<Cost>) {
        let Some(mut trace) = self.trace.take() else { return };
        let names = |id: &ObjectId| (Arc::clone(&id.namespace), Arc::clone(&id.name));
        trace.request = trace::Request {
            id: self.id.clone(),
            api: self.api.map_or("", Api::as_str),
            model: self.model.clone(),
            stream: self.stream,
            route: self.route.as_ref().map(|route| names(&route.id)),
            consumer: self.consumer.as_ref().map(|(consumer, _)| names(&consumer.id)),
            status: self.status,
            outcome: (outcome.as_str(), outcome == Outcome::Ok),
            tokens: self.usage.map(|usage| (usage.input, usage.output)),
            nano_dollars: cost.map(|cost| cost.total().0),
            begun: self.begun.map(|begun| begun - self.arrived),
            ended: took,
        };
        self.worker.tracer.end(trace);
    }

    /// Tells what is known of the target how its answer ended.
    fn land(&mut self, outcome: Outcome, now: Instant) {
        let Some(mut flight) = self.flight.take() else { return };
        if let Some(usage) = self.usage {
            flight.spent(usage.input + usage.output, now);
        }
        match outcome {
            Outcome::Ok => {
                if let Some(usage) = self.usage.filter(|_| self.text_alone) {
                    flight.measured(self.bytes_in, usage.input, now);
                }
                flight.finished(self.usage.map_or(0, |usage| usage.output), now);
            }
            Outcome::Truncated | Outcome::UpstreamError | Outcome::Timeout => {
                flight.broke(now, self.worker.random());
            }
            Outcome::ClientClosed
            | Outcome::ClientError
            | Outcome::Forbidden
            | Outcome::Internal
            | Outcome::NotFound
            | Outcome::Overloaded
            | Outcome::RateLimited
            | Outcome::Refused
            | Outcome::TooLarge
            | Outcome::Unauthorized
            | Outcome::Unavailable => {}
        }
    }

    fn log(&mut self, outcome: Outcome, took: Duration, cost: Option<Cost>) {
        if !self.worker.log.is_on() {
            return;
        }
        let nothing: Arc<str> = "".into();
        let id = self.route.as_ref().map(|route| &route.id);
        let [consumer_namespace, consumer, consumer_key] = match self.consumer.take() {
            Some((consumer, key)) => {
                [Arc::clone(&consumer.id.namespace), Arc::clone(&consumer.id.name), key]
            }
            None => std::array::from_fn(|_| Arc::clone(&nothing)),
        };
        let begun = self.begun.map(|begun| begun - self.arrived);
        let added = begun.map(|begun| begun.saturating_sub(self.waited).as_micros());
        self.worker.log.write(Line {
            ts: jiff::Timestamp::now(),
            request_id: std::mem::take(&mut self.id),
            api: self.api.map_or("", Api::as_str),
            stream: self.stream,
            namespace: id.map_or_else(|| Arc::clone(&nothing), |id| Arc::clone(&id.namespace)),
            route: id.map_or_else(|| Arc::clone(&nothing), |id| Arc::clone(&id.name)),
            consumer_namespace,
            consumer,
            consumer_key,
            model: std::mem::take(&mut self.model),
            target: Arc::clone(&self.answered_by),
            provider: self.provider,
            attempts: std::mem::take(&mut self.attempts),
            status: self.status,
            outcome: outcome.as_str(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            input_tokens: self.usage.map(|usage| usage.input),
            output_tokens: self.usage.map(|usage| usage.output),
            nano_dollars: cost.map(|cost| cost.total().0),
            duration_ms: took.as_secs_f64() * 1e3,
            first_byte_ms: begun.map(|begun| begun.as_secs_f64() * 1e3),
            added_us: added.and_then(|added| u64::try_from(added).ok()),
        });
    }
}

/// A request's id, of two random numbers.
fn id(a: u64, b: u64) -> String {
    let mut id = String::with_capacity(36);
    id.push_str("req_");
    for number in [a, b] {
        let digits = (0..16).rev().map(|at| u32::try_from((number >> (4 * at)) & 0xf).unwrap_or(0));
        id.extend(digits.filter_map(|digit| char::from_digit(digit, 16)));
    }
    id
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close(Outcome::ClientClosed);
    }
}
