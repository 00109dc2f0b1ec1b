//! One endpoint and its connections: which one a request gets, and who may open another.
//!
//! Over TLS the protocol is known only after the handshake. As long as it may be HTTP/2, one request
//! opens a connection and the others wait for it: a burst at a cold start would otherwise open as
//! many connections as it has requests, where one would have done.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::time::Instant;

use super::{
    connect::{Opened, connect},
    error::SendError,
    http1::{self, Idle},
    http2,
    site::Site,
    turn::Turns,
};

/// An endpoint and its connections.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) site: Site,
    /// The pool's clock.
    now: Rc<Cell<u64>>,
    idle: Rc<Idle>,
    shared: RefCell<Vec<http2::Shared>>,
    http1_only: Cell<bool>,
    /// Openings under way.
    turns: Turns,
    /// How many openings have come to an end, and how the last one failed.
    opened: Cell<(u64, Option<SendError>)>,
}

/// A connection for one request.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(http1::Connection),
    Http2(http2::Connection),
}

impl Origin {
    pub(super) fn new(site: Site, most_idle: usize, now: Rc<Cell<u64>>) -> Self {
        let http1_only = Cell::new(!site.endpoint.tls);
        Self {
            site,
            idle: Rc::new(Idle::new(most_idle, Rc::clone(&now))),
            now,
            shared: RefCell::default(),
            http1_only,
            turns: Turns::default(),
            opened: Cell::new((0, None)),
        }
    }

    /// A connection that was open when it was last looked at.
    pub(super) fn take(&self) -> Option<Connection> {
        if let Some(place) = self.take_place() {
            return Some(Connection::Http2(place));
        }
        self.idle.take().map(Connection::Http1)
    }

    fn take_place(&self) -> Option<http2::Connection> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.is_closed());
        // The first that has room: the later ones fall idle and are closed.
        shared.iter().find_map(|connection| connection.take(self.now.get()))
    }

    /// A new connection, or a place on one that somebody else has just opened.
    pub(super) async fn open(self: &Rc<Self>, deadline: Instant) -> Result<Connection, SendError> {
        while self.turns.any() && !self.http1_only.get() {
            let (before, _) = self.opened.get();
            self.turns.ended().await;
            if let Some(place) = self.take_place() {
                return Ok(Connection::Http2(place));
            }
            // What has just failed for one fails for all: each trying it again would be a queue.
            let (after, failed) = self.opened.get();
            if let Some(error) = failed.filter(|_| after != before) {
                return Err(error);
            }
        }
        let turn = self.turns.take();
        let opened = connect(&self.site, &self.idle, self.now.get(), deadline).await;
        self.opened.set((self.opened.get().0 + 1, opened.as_ref().err().copied()));
        match opened? {
            Opened::Http1(connection) => {
                self.http1_only.set(true);
                Ok(Connection::Http1(connection))
            }
            Opened::Http2(connection) => {
                self.http1_only.set(false);
                let place = connection.take(self.now.get()).ok_or(SendError::Protocol)?;
                connection.hold(turn);
                self.shared.borrow_mut().push(connection);
                Ok(Connection::Http2(place))
            }
        }
    }

    /// Closes what has not been used since `before`. Returns whether anything is left to keep.
    pub(super) fn sweep(self: &Rc<Self>, before: u64) -> bool {
        self.idle.sweep(before);
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| {
            let unused = connection.is_free() && connection.used.get() <= before;
            !unused && !connection.is_closed()
        });
        // Connections will come home, and requests under way hold us.
        Rc::weak_count(&self.idle) > 0 || Rc::strong_count(self) > 1 || !shared.is_empty()
    }

    /// Idle HTTP/1.1 connections and open HTTP/2 connections.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.idle.count(), self.shared.borrow().len())
    }
}
