//! HTTP/1.1 towards a provider: one request at a time on a connection, and how it comes home.
//!
//! A connection is free again when hyper's driver has read the answer to its end. The driver is a
//! task of ours, so it can look after each of its own steps whether that moment has come. Nothing is
//! spawned for a request, the answer's body needs no hook, and a connection in the list of idle ones
//! is always ready.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::{Rc, Weak},
};

use hyper::{
    client::conn::http1::{Builder, SendRequest},
    rt::{Read, Write},
};
use tokio::task::spawn_local;

use super::{body::RequestBody, error::SendError};

/// The largest head of a response: status line and headers. Real ones are 1 to 3 KB.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// hyper's bound for a connection's buffers. It reads 8 KB at first and doubles up to this while
/// reads come full, so large answers take few system calls and an idle stream keeps 8 KB.
/// (`read_buf_exact_size` would keep less, but it is also the limit of the head.)
const MOST_BUFFER: usize = MOST_HEAD_BYTES;

/// A connection without a request.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    home: Rc<Home>,
}

/// The connections to one place that wait for a request.
#[derive(Debug)]
pub(super) struct Idle {
    /// Each with the time since when; used last, taken first, so that the rest grows old.
    connections: RefCell<Vec<(Connection, u64)>>,
    most: usize,
    /// The pool's clock.
    now: Rc<Cell<u64>>,
}

impl Idle {
    /// None yet, and so many at most.
    pub(super) const fn new(most: usize, now: Rc<Cell<u64>>) -> Self {
        Self { connections: RefCell::new(Vec::new()), most, now }
    }

    /// One that was open when it was last looked at.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut connections = self.connections.borrow_mut();
        loop {
            let (connection, _) = connections.pop()?;
            if !connection.sender.is_closed() {
                return Some(connection);
            }
        }
    }

    /// Takes one back whose answer has been read.
    fn put_back(&self, connection: Connection) {
        let mut connections = self.connections.borrow_mut();
        if connections.len() < self.most {
            connections.push((connection, self.now.get()));
        }
    }

    /// Closes those that have not been used since `before`.
    pub(super) fn sweep(&self, before: u64) {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|(one, since)| *since > before && !one.sender.is_closed());
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.connections.borrow().len()
    }
}

/// The way of a connection back to where it waits.
#[derive(Debug)]
struct Home {
    /// Gone when the pool is.
    idle: Weak<Idle>,
    /// The sending side, while the answer is being read.
    busy: RefCell<Option<SendRequest<RequestBody>>>,
}

/// Makes a stream an HTTP/1.1 connection and starts its driver.
pub(super) async fn handshake<T>(io: T, idle: &Rc<Idle>) -> Result<Connection, SendError>
where
    T: Read + Write + Unpin + 'static,
{
    // `max_headers` stays at hyper's 100: setting it moves the header table to the heap.
    let (sender, driver) = Builder::new()
        .max_header_size(MOST_HEAD_BYTES)
        .max_buf_size(MOST_BUFFER)
        .handshake(io)
        .await
        .map_err(|error| SendError::of(&error))?;
    let home = Rc::new(Home { idle: Rc::downgrade(idle), busy: RefCell::new(None) });
    let returns = Rc::clone(&home);
    spawn_local(async move {
        let mut driver = pin!(driver);
        // How it ends is told to the request that was on it.
        let _ended = poll_fn(|cx| {
            let ended = driver.as_mut().poll(cx);
            if ended.is_pending() {
                returns.step();
            }
            ended
        })
        .await;
    });
    Ok(Connection { sender, home })
}

impl Connection {
    /// Lets the connection go home as soon as its answer has been read.
    pub(super) fn finish(self) {
        let Self { sender, home } = self;
        *home.busy.borrow_mut() = Some(sender);
        // An answer without a body is over already, and the driver may have nothing left to do.
        home.step();
    }
}

impl Home {
    /// Puts the connection into the list of idle ones if its answer has been read.
    fn step(self: &Rc<Self>) {
        let mut busy = self.busy.borrow_mut();
        if !busy.as_ref().is_some_and(SendRequest::is_ready) {
            return;
        }
        if let Some(sender) = busy.take()
            && let Some(idle) = self.idle.upgrade()
        {
            idle.put_back(Connection { sender, home: Rc::clone(self) });
        }
    }
}
