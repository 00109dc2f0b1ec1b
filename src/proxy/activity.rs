//! Which clients are at work, which are silent, and the end of those that are silent too long.
//!
//! hyper has a timer for the headers of HTTP/1.1. It is not used, for three reasons: it also closes a
//! kept connection between two requests, after the same few seconds; it knows nothing of a client
//! that has not yet said which protocol it speaks; and it makes and drops a timer for every request.
//! Here a connection keeps three cells, and one task a worker looks at all of them once in a while.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::spawn_local,
};

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Registry {
    open: RefCell<Vec<Weak<Activity>>>,
    /// Looks since the start.
    now: Rc<Cell<u64>>,
    /// Whether the process is about to end.
    retiring: Rc<Cell<bool>>,
}

/// How often a headers' timeout is looked at while it runs: it may take a tenth longer.
const LOOKS: u32 = 10;

impl Registry {
    /// An empty registry, and the task that looks after it until it is dropped.
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Rc<Self> {
        let registry =
            Rc::new(Self { open: RefCell::default(), now: Rc::default(), retiring: Rc::default() });
        let period = (header_timeout / LOOKS).max(Duration::from_millis(1));
        let idle = idle_timeout.as_nanos() / period.as_nanos();
        let limits =
            Limits { head: u64::from(LOOKS), idle: u64::try_from(idle).unwrap_or(u64::MAX) };
        let seen = Rc::downgrade(&registry);
        spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(registry) = seen.upgrade() else { return };
                registry.look(limits);
            }
        });
        registry
    }

    /// Enters a new connection, which has until the headers' timeout to send its first request.
    pub(super) fn enter(&self) -> Rc<Activity> {
        let activity = Rc::new(Activity {
            now: Rc::clone(&self.now),
            retiring: Rc::clone(&self.retiring),
            http2: Cell::new(false),
            requests: Cell::new(0),
            heard: Cell::new(true),
            since: Cell::new(self.now.get()),
            order: Cell::new(None),
            waiter: RefCell::default(),
        });
        self.open.borrow_mut().push(Rc::downgrade(&activity));
        activity
    }

    /// Tells clients to go elsewhere, without closing a connection on which a request may be on its
    /// way: HTTP/2 has GOAWAY for it, HTTP/1.1 says it in the next answer.
    pub(super) fn retire(&self) {
        self.retiring.set(true);
        let open = self.open.borrow();
        let http2 = open.iter().filter_map(Weak::upgrade).filter(|one| one.http2.get());
        http2.for_each(|activity| activity.order(Order::Finish));
    }

    /// Lets every connection finish what it is doing, and no more.
    pub(super) fn finish_all(&self) {
        for activity in self.open.borrow().iter().filter_map(Weak::upgrade) {
            activity.order(Order::Finish);
        }
    }

    fn look(&self, limits: Limits) {
        let now = self.now.get() + 1;
        self.now.set(now);
        self.open.borrow_mut().retain(|activity| {
            let Some(activity) = activity.upgrade() else { return false };
            if let Some(order) = activity.overdue(now, limits) {
                activity.order(order);
            }
            true
        });
    }
}

/// In looks.
#[derive(Clone, Copy, Debug)]
struct Limits {
    head: u64,
    idle: u64,
}

/// What a connection has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Finish the requests under way, then close.
    Finish,
    /// Close now.
    Close,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    now: Rc<Cell<u64>>,
    retiring: Rc<Cell<bool>>,
    http2: Cell<bool>,
    /// Requests between their headers and the end of their answer.
    requests: Cell<usize>,
    /// Whether bytes of a next request are there, or are due.
    heard: Cell<bool>,
    /// When the connection became silent, or the next request began.
    since: Cell<u64>,
    order: Cell<Option<Order>>,
    /// Who waits for it.
    waiter: RefCell<Option<Waker>>,
}

impl Activity {
    /// What this connection is to be told, if it has been silent too long.
    fn overdue(&self, now: u64, limits: Limits) -> Option<Order> {
        if self.requests.get() > 0 {
            return None;
        }
        let silent = now.saturating_sub(self.since.get());
        match self.heard.get() {
            true if silent > limits.head => Some(Order::Close),
            false if silent > limits.idle => {
                // A client that does not let itself be closed is as late as one with half a head.
                self.heard.set(true);
                self.since.set(now);
                Some(Order::Finish)
            }
            true | false => None,
        }
    }

    fn order(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Waits for an order. One task waits for a connection's orders.
    pub(super) fn ordered(&self) -> impl Future<Output = Order> {
        poll_fn(|cx| {
            if let Some(order) = self.order.take() {
                return Poll::Ready(order);
            }
            let mut waiter = self.waiter.borrow_mut();
            if !waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker())) {
                *waiter = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// The client has said which protocol it speaks.
    pub(super) fn speaks_http2(&self) {
        self.http2.set(true);
        if self.retiring.get() {
            self.order(Order::Finish);
        }
    }

    /// Whether the client should go elsewhere after this answer.
    pub(super) fn retires(&self) -> bool {
        self.retiring.get()
    }

    /// A request has begun: its headers are there.
    pub(super) fn begin(self: &Rc<Self>) -> Request {
        self.requests.set(self.requests.get() + 1);
        Request(Rc::clone(self))
    }

    /// Bytes of a next request have come.
    fn hear(&self) {
        if !self.heard.replace(true) {
            self.since.set(self.now.get());
        }
    }
}

/// A request under way; dropping it ends it.
#[derive(Debug)]
pub(super) struct Request(Rc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        let Self(activity) = self;
        let left = activity.requests.get().saturating_sub(1);
        activity.requests.set(left);
        if left == 0 {
            activity.heard.set(false);
            activity.since.set(activity.now.get());
        }
    }
}

/// An answer's body, whose end is the end of its request.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _request: Request,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, request: Request) -> Self {
        Self { body, _request: request }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's HTTP/1.1 stream, heard by its [`Activity`].
#[derive(Debug)]
pub(super) struct Heard<T> {
    stream: T,
    activity: Rc<Activity>,
}

impl<T> Heard<T> {
    pub(super) fn new(stream: T, activity: Rc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.hear();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head: 10, idle: 75 };

    fn registry() -> Registry {
        Registry { open: RefCell::default(), now: Rc::default(), retiring: Rc::default() }
    }

    /// Looks `n` times and says what the connection was told.
    fn look(registry: &Registry, activity: &Activity, n: u32) -> Option<Order> {
        for _ in 0..n {
            registry.look(LIMITS);
        }
        activity.order.take()
    }

    #[test]
    fn a_client_that_does_not_finish_its_headers_is_closed() {
        let registry = registry();
        let activity = registry.enter();
        assert_eq!(look(&registry, &activity, 9), None);
        activity.hear();
        assert_eq!(look(&registry, &activity, 2), Some(Order::Close));
    }

    #[test]
    fn a_request_under_way_is_never_closed() {
        let registry = registry();
        let activity = registry.enter();
        let _request = activity.begin();
        activity.hear();
        assert_eq!(look(&registry, &activity, 1000), None);
    }

    #[test]
    fn a_kept_connection_may_be_silent_longer_but_not_for_ever() {
        let registry = registry();
        let activity = registry.enter();
        drop(activity.begin());
        assert_eq!(look(&registry, &activity, 75), None);
        assert_eq!(look(&registry, &activity, 1), Some(Order::Finish));
        assert_eq!(look(&registry, &activity, 11), Some(Order::Close));
    }

    #[test]
    fn the_next_request_on_a_kept_connection_has_its_own_time_for_headers() {
        let registry = registry();
        let activity = registry.enter();
        drop(activity.begin());
        assert_eq!(look(&registry, &activity, 60), None);
        activity.hear();
        assert_eq!(look(&registry, &activity, 10), None);
        assert_eq!(look(&registry, &activity, 1), Some(Order::Close));
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let registry = registry();
        drop(registry.enter());
        registry.look(LIMITS);
        assert!(registry.open.borrow().is_empty());
    }
}
