//! One endpoint and its connections: which one a request gets, and who may open another.
//!
//! Over TLS the protocol is known only after the handshake. As long as it may be HTTP/2, one request
//! opens a connection and the others wait for it: a burst at a cold start would otherwise open as
//! many connections as it has requests, where one would have done.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
};

use http::{HeaderValue, uri::Authority};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{sync::Notify, time::Instant};

use super::{connect, error::SendError, http1, http2};
use crate::table::Endpoint;

/// An endpoint and its connections.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) endpoint: Endpoint,
    /// The pod that is connected to, where the endpoint is a Service.
    pub(super) pod: Option<SocketAddr>,
    /// What `host` and `:authority` say.
    pub(super) authority: Authority,
    pub(super) host: HeaderValue,
    /// What to trust, and the name to verify; `None` for plain text.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) allow_private: bool,
    most_idle: usize,
    /// The pool's clock.
    now: Rc<Cell<u64>>,
    /// Idle connections and since when; used last, taken first, so that the rest grows old.
    idle: RefCell<Vec<(http1::Connection, u64)>>,
    shared: RefCell<Vec<http2::Shared>>,
    http1_only: Cell<bool>,
    /// Openings under way.
    turns: Cell<usize>,
    /// How many openings have come to an end, and how the last one failed.
    opened: Cell<(u64, Option<SendError>)>,
    arrived: Notify,
}

/// A connection for one request.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(http1::Connection),
    Http2(http2::Connection),
}

/// A new connection.
#[derive(Debug)]
pub(super) enum Opened {
    Http1(http1::Connection),
    Http2(http2::Shared),
}

impl Origin {
    pub(super) fn new(
        endpoint: &Endpoint,
        pod: Option<SocketAddr>,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        allow_private: bool,
        most_idle: usize,
        now: Rc<Cell<u64>>,
    ) -> Result<Self, SendError> {
        let authority = authority(endpoint).ok_or(SendError::Resolve)?;
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_malformed| SendError::Resolve)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            pod,
            authority,
            host,
            tls,
            allow_private,
            most_idle,
            now,
            idle: RefCell::default(),
            shared: RefCell::default(),
            http1_only: Cell::new(!endpoint.tls),
            turns: Cell::new(0),
            opened: Cell::new((0, None)),
            arrived: Notify::new(),
        })
    }

    /// Whether both lead to the same connections. The path and the keys are a request's own affair.
    pub(super) fn serves(&self, other: &Endpoint, pod: Option<SocketAddr>) -> bool {
        let own = &self.endpoint;
        let same_roots = match (&own.ca, &other.ca) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.pod == pod
            && own.service == other.service
            && own.port == other.port
            && own.tls == other.tls
            && own.host == other.host
            && own.server_name == other.server_name
            && same_roots
    }

    /// A connection that was open when it was last looked at.
    pub(super) fn take(&self) -> Option<Connection> {
        if let Some(place) = self.take_place() {
            return Some(Connection::Http2(place));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, _)) = idle.pop() {
            if !connection.sender.is_closed() {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    fn take_place(&self) -> Option<http2::Connection> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.is_closed());
        // The first that has room: the later ones fall idle and are closed.
        shared.iter().find_map(|connection| connection.take(self.now.get()))
    }

    /// A new connection, or a place on one that somebody else has just opened.
    pub(super) async fn open(self: &Rc<Self>, deadline: Instant) -> Result<Connection, SendError> {
        while self.turns.get() > 0 && !self.http1_only.get() {
            let (before, _) = self.opened.get();
            self.arrived.notified().await;
            if let Some(place) = self.take_place() {
                return Ok(Connection::Http2(place));
            }
            // What has just failed for one fails for all: each trying it again would be a queue.
            let (after, failed) = self.opened.get();
            if let Some(error) = failed.filter(|_| after != before) {
                return Err(error);
            }
        }
        let turn = Turn::take(self);
        let opened = connect::connect(self, self.now.get(), deadline).await;
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

    /// Takes a connection back whose answer has been read.
    pub(super) fn put_back(&self, connection: http1::Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most_idle {
            idle.push((connection, self.now.get()));
        }
    }

    /// Closes what has not been used since `before`. Returns whether anything is left to keep.
    pub(super) fn sweep(self: &Rc<Self>, before: u64) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(connection, since)| *since > before && !connection.sender.is_closed());
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| {
            let unused = connection.is_free() && connection.used.get() <= before;
            !unused && !connection.is_closed()
        });
        // Connections with an answer under way will come home, and requests under way hold us.
        Rc::weak_count(self) > 0 || Rc::strong_count(self) > 1 || !shared.is_empty()
    }

    /// Idle HTTP/1.1 connections and open HTTP/2 connections.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.idle.borrow().len(), self.shared.borrow().len())
    }
}

/// The right to open a connection while others wait. Dropping it lets them look again: when the
/// connection serves, when it failed, and when the client that opened it has left.
#[derive(Debug)]
pub(super) struct Turn(Weak<Origin>);

impl Turn {
    fn take(origin: &Rc<Origin>) -> Self {
        origin.turns.set(origin.turns.get() + 1);
        Self(Rc::downgrade(origin))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(origin) = self.0.upgrade() {
            origin.turns.set(origin.turns.get().saturating_sub(1));
            origin.arrived.notify_waiters();
        }
    }
}

/// The endpoint's name as HTTP writes it: brackets around IPv6, no port where it is the usual one.
fn authority(endpoint: &Endpoint) -> Option<Authority> {
    let Endpoint { tls, host, port, .. } = endpoint;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let usual = if *tls { 443 } else { 80 };
    let text = if *port == usual { host } else { format!("{host}:{port}") };
    Authority::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(tls: bool, host: &str, port: u16) -> Endpoint {
        let (host, base_path) = (host.into(), "".into());
        Endpoint { tls, host, port, base_path, ca: None, server_name: None, service: false }
    }

    #[test]
    fn the_authority_is_written_as_http_wants_it() {
        for (tls, host, port, written) in [
            (true, "api.openai.com", 443, "api.openai.com"),
            (true, "api.openai.com", 80, "api.openai.com:80"),
            (false, "vllm", 80, "vllm"),
            (false, "vllm", 8000, "vllm:8000"),
            (false, "::1", 8000, "[::1]:8000"),
        ] {
            assert_eq!(authority(&endpoint(tls, host, port)).unwrap(), written);
        }
    }

    #[test]
    fn connections_are_shared_by_paths_but_never_by_trust() {
        let plain = endpoint(true, "a", 1);
        let origin = Origin::new(&plain, None, None, false, 1, Rc::default()).unwrap();
        assert!(origin.serves(&Endpoint { base_path: "/v1".into(), ..plain.clone() }, None));
        assert!(!origin.serves(&Endpoint { ca: Some((*b"x").into()), ..plain.clone() }, None));
        assert!(!origin.serves(&Endpoint { server_name: Some("b".into()), ..plain.clone() }, None));
        assert!(!origin.serves(&Endpoint { tls: false, ..plain.clone() }, None));
        assert!(!origin.serves(&Endpoint { port: 2, ..plain }, None));
    }

    #[test]
    fn a_pods_connections_are_its_own() {
        let service = Endpoint { service: true, ..endpoint(false, "vllm.team.svc", 8000) };
        let [pod, other] = ["10.0.0.1:8000", "10.0.0.2:8000"].map(|pod| pod.parse().ok());
        let origin = Origin::new(&service, pod, None, false, 1, Rc::default()).unwrap();
        assert!(origin.serves(&service, pod));
        assert!(!origin.serves(&service, other) && !origin.serves(&service, None));
        assert!(!origin.serves(&Endpoint { service: false, ..service }, pod));
    }
}
