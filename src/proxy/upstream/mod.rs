//! Connections to providers: one pool a worker, nothing shared between cores.
//!
//! A request gets an idle connection of its endpoint if there is one, else a new one. A connection
//! that the provider closed while it was idle is noticed when the request comes back unsent, and the
//! request goes out once more on a fresh one: nobody has seen it yet. A request that may have been
//! seen is never sent twice from here; whoever knows what it costs decides that.
//!
//! Redirects are answers like any other: a key never follows one.

mod body;
mod connect;
mod error;
mod http1;
mod http2;
mod origin;
mod place;
mod site;
mod tls;
mod turn;

use std::{
    cell::{Cell, RefCell},
    hash::{Hash, Hasher},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, Uri, header, uri};
use rustc_hash::{FxHashMap, FxHasher};
use rustls::{ClientConfig, RootCertStore};
use tokio::{task::spawn_local, time::Instant};

pub use self::{
    body::{RequestBody, ResponseBody},
    error::SendError,
    tls::load_roots,
};
use self::{
    origin::{Connection, Origin},
    site::Site,
};
use crate::table::Endpoint;

/// What a pool may do.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Whether private addresses are connected to (`--allow-private-endpoints`).
    pub allow_private: bool,
    /// The certificates to trust where an endpoint brings none of its own.
    pub roots: Arc<RootCertStore>,
    /// How long an idle connection is kept at most; it may be half as long. Providers close theirs
    /// after a minute or more, and the side that closes first has no race to lose.
    pub idle_timeout: Duration,
    /// Idle HTTP/1.1 connections of one endpoint. As many are needed as requests are under way, or
    /// each burst opens them anew.
    pub most_idle: usize,
}

impl PoolConfig {
    /// The usual limits.
    pub fn new(allow_private: bool, roots: Arc<RootCertStore>) -> Self {
        Self { allow_private, roots, idle_timeout: Duration::from_secs(50), most_idle: 1024 }
    }
}

/// A worker's connections. Its methods need a [`tokio::task::LocalSet`] around them.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: PoolConfig,
    /// What is trusted without a certificate bundle.
    usual: Result<Arc<ClientConfig>, SendError>,
    /// By [`place_of`]; more than one only if two of them collide.
    origins: RefCell<FxHashMap<u64, Vec<Rc<Origin>>>>,
    /// Half idle timeouts since the start: the only clock that a request needs here.
    now: Rc<Cell<u64>>,
    sweeping: Cell<bool>,
}

impl Pool {
    /// A pool without connections, with the usual limits.
    pub fn new(allow_private: bool, roots: Arc<RootCertStore>) -> Self {
        Self::with(PoolConfig::new(allow_private, roots))
    }

    /// A pool without connections.
    pub fn with(config: PoolConfig) -> Self {
        let usual = tls::config(Arc::clone(&config.roots));
        let (origins, now, sweeping) = Default::default();
        Self(Rc::new(Inner { config, usual, origins, now, sweeping }))
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// The request's URI is the whole path with its query, the endpoint's base path included. Its
    /// host, its length and its `host` header are set here, from the endpoint and the body, whatever
    /// stands in it. `pod` is where to connect when the endpoint is a Service. `connect` bounds name look-up, TCP and TLS together; nothing bounds the wait for
    /// the head. Dropping the future cancels the request at the provider.
    ///
    /// # Errors
    /// When there is no response; [`SendError::is_connect`] says whether anybody saw the request.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        pod: Option<SocketAddr>,
        mut request: Request<RequestBody>,
        connect: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        let origin = self.0.origin(endpoint, pod)?;
        if let Some(open) = origin.take() {
            match send(open, &origin.site, request).await {
                Ok(response) => return Ok(response),
                Err(Unsent { request: Some(unseen), .. }) => request = *unseen,
                Err(Unsent { request: None, error }) => return Err(error),
            }
        }
        self.sweep_from_now_on();
        // Boxed: rare, and large next to everything else that a stream holds.
        let fresh = Box::pin(origin.open(Instant::now() + connect)).await?;
        send(fresh, &origin.site, request).await.map_err(|unsent| unsent.error)
    }

    /// Idle HTTP/1.1 connections, for tests and metrics.
    pub fn idle(&self) -> usize {
        self.0.count().0
    }

    /// Open HTTP/2 connections, for tests and metrics.
    pub fn shared(&self) -> usize {
        self.0.count().1
    }

    /// Starts the task that closes unused connections; it ends when none is left.
    fn sweep_from_now_on(&self) {
        if self.0.sweeping.replace(true) {
            return;
        }
        let inner = Rc::downgrade(&self.0);
        let period = self.0.config.idle_timeout / 2;
        spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(inner) = Weak::upgrade(&inner) else { return };
                if !inner.sweep() {
                    inner.sweeping.set(false);
                    return;
                }
            }
        });
    }
}

impl Inner {
    /// The endpoint's connections.
    fn origin(
        &self,
        endpoint: &Endpoint,
        pod: Option<SocketAddr>,
    ) -> Result<Rc<Origin>, SendError> {
        let mut origins = self.origins.borrow_mut();
        let place = place_of(endpoint, pod);
        let known = origins.get(&place).into_iter().flatten();
        if let Some(origin) = known.into_iter().find(|origin| origin.site.serves(endpoint, pod)) {
            return Ok(Rc::clone(origin));
        }
        let tls = match (endpoint.tls, &endpoint.ca) {
            (false, _) => None,
            (true, None) => Some((self.usual.clone()?, tls::name_of(endpoint)?)),
            (true, Some(bundle)) => {
                // Sessions are resumed across the hosts that trust the same bundle.
                let same =
                    origins.values().flatten().map(|other| &other.site).find(|other| {
                        other.endpoint.tls && other.endpoint.ca.as_ref() == Some(bundle)
                    });
                let config = match same.and_then(|other| other.tls.as_ref()) {
                    Some((config, _)) => Arc::clone(config),
                    None => tls::config_of(bundle)?,
                };
                Some((config, tls::name_of(endpoint)?))
            }
        };
        let PoolConfig { allow_private, most_idle, .. } = self.config;
        let site = Site::new(endpoint, pod, tls, allow_private)?;
        let origin = Rc::new(Origin::new(site, most_idle, Rc::clone(&self.now)));
        origins.entry(place).or_default().push(Rc::clone(&origin));
        Ok(origin)
    }

    /// Closes what was not used for a whole tick, and forgets endpoints without connections.
    /// Returns whether any is left.
    fn sweep(&self) -> bool {
        let now = self.now.get() + 1;
        self.now.set(now);
        let Some(before) = now.checked_sub(2) else { return true };
        let mut origins = self.origins.borrow_mut();
        for same_place in origins.values_mut() {
            same_place.retain(|origin| origin.sweep(before));
        }
        origins.retain(|_, same_place| !same_place.is_empty());
        !origins.is_empty()
    }

    fn count(&self) -> (usize, usize) {
        let origins = self.origins.borrow();
        origins
            .values()
            .flatten()
            .map(|origin| origin.count())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// Where an endpoint stands in the pool's map. The certificate bundle is left out: it is long, and
/// endpoints hardly ever differ in nothing else.
fn place_of(endpoint: &Endpoint, pod: Option<SocketAddr>) -> u64 {
    let Endpoint { tls, host, port, server_name, .. } = endpoint;
    let mut hasher = FxHasher::default();
    (tls, host, port, server_name, pod).hash(&mut hasher);
    hasher.finish()
}

/// A request that got no response; it comes back when nobody can have seen it.
struct Unsent {
    request: Option<Box<Request<RequestBody>>>,
    error: SendError,
}

async fn send(
    connection: Connection,
    site: &Site,
    mut request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Unsent> {
    address(site, &mut request, matches!(connection, Connection::Http2(_)));
    let unsent = match connection {
        Connection::Http1(mut connection) => {
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    connection.finish();
                    return Ok(response.map(|body| ResponseBody::new(body, None)));
                }
                Err(unsent) => unsent,
            }
        }
        Connection::Http2(mut connection) => {
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let place = Some(connection.place);
                    return Ok(response.map(|body| ResponseBody::new(body, place)));
                }
                Err(unsent) => unsent,
            }
        }
    };
    let mut unsent = unsent;
    let request = unsent.take_message().map(Box::new);
    Err(Unsent { request, error: SendError::of(unsent.error()) })
}

/// Puts the endpoint's name where the protocol has it, once, and nothing else about the framing.
fn address<B>(site: &Site, request: &mut Request<B>, http2: bool) {
    let headers = request.headers_mut();
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    if http2 {
        headers.remove(header::HOST);
        headers.remove(header::CONNECTION);
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTPS);
        parts.authority = Some(site.authority.clone());
        parts.path_and_query = Some(path_of(request.uri()));
        // Cannot fail: all three parts are there.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    } else {
        headers.insert(header::HOST, site.host.clone());
        if request.uri().authority().is_some() {
            *request.uri_mut() = Uri::from(path_of(request.uri()));
        }
    }
}

fn path_of(uri: &Uri) -> uri::PathAndQuery {
    let root = || uri::PathAndQuery::from_static("/");
    uri.path_and_query().cloned().unwrap_or_else(root)
}
