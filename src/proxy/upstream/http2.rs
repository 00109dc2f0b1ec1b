//! HTTP/2 towards a provider: one connection for many requests.
//!
//! Each request takes a [`Place`], which its answer's body holds until it is read or dropped. When
//! all places are taken another connection is opened: a request that waits for a stranger's stream
//! to end would look like a slow provider.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Waker,
    time::Duration,
};

use hyper::{
    client::conn::http2::{Builder, SendRequest},
    rt::{Executor, Read, Write},
};
use hyper_util::rt::TokioTimer;
use tokio::task::spawn_local;

use super::{
    body::RequestBody,
    error::SendError,
    place::{Place, Taken},
    turn::Turn,
};

/// The most requests on one connection, whatever the provider allows: a lost packet delays all of
/// them, and a lost connection loses all of them.
const MOST_PLACES: usize = 100;

/// The largest list of response headers.
const MOST_HEADER_BYTES: u32 = 64 << 10;

/// What hyper believes before the provider's settings are there. No provider can say it: settings
/// have 32 bits, and hyper takes none to mean `usize::MAX`.
const UNKNOWN: usize = usize::MAX - 1;

/// A connection with streams in silence this long is asked whether it is alive: models think for
/// minutes, and a dead connection looks the same.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
const PING_ANSWER: Duration = Duration::from_secs(10);

/// A connection that many requests share.
#[derive(Debug)]
pub(super) struct Shared {
    sender: SendRequest<RequestBody>,
    places: Rc<Places>,
    /// When it was last asked for a place, in ticks of the pool.
    pub(super) used: Cell<u64>,
}

#[derive(Debug)]
struct Places {
    taken: Taken,
    /// How many there are: one, until the provider has said how many it allows.
    most: Cell<usize>,
    /// Held until then, so that those who wait for this connection do not open others.
    turn: RefCell<Option<Turn>>,
    /// The driver, which wants to look until then.
    driver: RefCell<Option<Waker>>,
}

impl Places {
    /// Learns how many there are from hyper's view of the provider's settings.
    fn learn(&self, allowed: usize, driver: &Waker) {
        if allowed == UNKNOWN {
            *self.driver.borrow_mut() = Some(driver.clone());
        } else {
            self.most.set(allowed.clamp(1, MOST_PLACES));
            drop(self.turn.take());
        }
    }
}

/// Runs the tasks of a connection. One of them reads the provider's settings and tells nobody, so
/// the driver is woken after its steps until it has seen them.
#[derive(Clone, Debug)]
struct Settling(Rc<Places>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Settling {
    fn execute(&self, fut: F) {
        let Self(places) = self.clone();
        spawn_local(async move {
            let mut task = pin!(fut);
            poll_fn(|cx| {
                let done = task.as_mut().poll(cx);
                if let Some(driver) = places.driver.take() {
                    driver.wake();
                }
                done
            })
            .await;
        });
    }
}

/// One request's hold on a shared connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) place: Place,
}

/// Makes a stream an HTTP/2 connection and starts its driver.
pub(super) async fn handshake<T>(io: T, now: u64) -> Result<Shared, SendError>
where
    T: Read + Write + Unpin + 'static,
{
    let places = Rc::new(Places {
        taken: Taken::default(),
        most: Cell::new(1),
        turn: RefCell::default(),
        driver: RefCell::default(),
    });
    let (sender, driver) = Builder::new(Settling(Rc::clone(&places)))
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .initial_max_send_streams(UNKNOWN)
        .max_header_list_size(MOST_HEADER_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER)
        .handshake(io)
        .await
        .map_err(|error| SendError::of(&error))?;
    let seen = Rc::clone(&places);
    spawn_local(async move {
        let mut driver = pin!(driver);
        // How it ends is told to the requests that were on it.
        let _ended = poll_fn(|cx| {
            let ended = driver.as_mut().poll(cx);
            if ended.is_pending() {
                seen.learn(driver.current_max_send_streams(), cx.waker());
            }
            ended
        })
        .await;
        drop(seen.turn.take());
    });
    Ok(Shared { sender, places, used: Cell::new(now) })
}

impl Shared {
    /// A place, if one is free.
    pub(super) fn take(&self, now: u64) -> Option<Connection> {
        if self.places.taken.count() >= self.places.most.get() {
            return None;
        }
        self.used.set(now);
        Some(Connection { sender: self.sender.clone(), place: self.places.taken.place() })
    }

    /// Keeps the turn until the provider has said how many requests it allows.
    pub(super) fn hold(&self, turn: Turn) {
        *self.places.turn.borrow_mut() = Some(turn);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether no request is on it.
    pub(super) fn is_free(&self) -> bool {
        self.places.taken.count() == 0
    }
}
