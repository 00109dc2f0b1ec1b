//! What a worker holds: the table in use, and what stands beside it.
//!
//! The table is shared by all workers and swapped as a whole. Everything else is the worker's own,
//! behind `Rc` and `RefCell`: no lock and no shared cache line on the request path. What a worker
//! keeps beside a route (its cells, its key states) is found when the route is first used after a
//! swap, so a swap costs nothing for routes that nobody asks for.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{admit::Limits, authenticate::Anonymous, upstream::Pool};
use crate::{
    dialect::Api,
    observe::{AccessLog, Cells, RouteCells, TargetCells, cells::Cell, trace::Tracer},
    select::{
        Account, Accounts, Backend, Backends, Health, Healths, HedgeBudget, KeyState, KeyStates,
        RetryBudget, SpillState, SpillStates,
    },
    table::{Route, Table},
};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The table in use.
    pub table: ArcSwap<Table>,
    /// What is known about keys.
    pub keys: KeyStates,
    /// What is known about targets.
    pub healths: Healths,
    /// What is known about the pods of Services.
    pub backends: Backends,
    /// What is used of accounts with a quota.
    pub accounts: Accounts,
    /// Which targets are full.
    pub spills: SpillStates,
    /// What clients may send.
    pub limits: Limits,
    /// Who is served without a key.
    pub anonymous: Anonymous,
}

impl Shared {
    /// An empty table, and nothing known. `now` is the origin of all that will be; `anonymous` is
    /// who is served without a key.
    pub fn new(now: Instant, anonymous: Anonymous) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::default()),
            keys: KeyStates::new(now),
            healths: Healths::new(now),
            backends: Backends::new(now),
            accounts: Accounts::new(now),
            spills: SpillStates::new(now),
            limits: Limits::default(),
            anonymous,
        }
    }

    /// Puts a table into use: the next request is served from it.
    pub fn put(&self, table: &Arc<Table>) {
        self.backends.follow(table);
        self.accounts.share(table.proxies());
        self.spills.share(table.proxies());
        self.accounts.set_prices(table.prices());
        self.table.store(Arc::clone(table));
        self.retain(table);
    }

    /// Forgets the keys and targets that a new table no longer has.
    fn retain(&self, table: &Table) {
        self.keys.retain(table);
        self.healths.retain(table);
        self.accounts.retain(table);
        self.spills.retain(table);
    }
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its connections.
    pub pool: Pool,
    /// Its counters.
    pub cells: Arc<Cells>,
    /// Where its access log lines go.
    pub log: AccessLog,
    /// Where its traces go.
    pub tracer: Tracer,
    /// Its retries.
    pub retries: RefCell<RetryBudget>,
    /// Its randomness.
    pub rng: RefCell<fastrand::Rng>,
    bound: RefCell<Rc<Bound>>,
    /// The cells of requests that reach no route.
    unrouted: Rc<RouteHandles>,
}

/// A table and what the worker keeps beside its routes.
#[derive(Debug)]
pub struct Bound {
    /// The table.
    pub table: Arc<Table>,
    handles: Vec<OnceCell<Rc<RouteHandles>>>,
}

/// What the worker keeps beside a route.
#[derive(Debug)]
pub struct RouteHandles {
    /// The route's counters.
    pub cells: Arc<RouteCells>,
    requests: [Arc<[Cell]>; Api::ALL.len()],
    /// Of requests whose path names no API.
    nowhere: Arc<[Cell]>,
    /// The counters of each target.
    pub targets: Vec<Arc<TargetCells>>,
    /// The key states of each target.
    pub keys: Vec<Arc<[Arc<KeyState>]>>,
    /// What is known of each target.
    pub health: Vec<Arc<Health>>,
    /// The pods of each target that is a Service.
    pub backends: Vec<Option<Arc<Backend>>>,
    /// The account of each target whose credential has a quota.
    pub accounts: Vec<Option<Arc<Account>>>,
    /// The state of each target that can be full.
    pub spills: Vec<Option<Arc<SpillState>>>,
    /// How many requests may be asked twice.
    pub hedges: RefCell<HedgeBudget>,
}

impl RouteHandles {
    /// The request counters of one API, or of requests that name none, by outcome.
    pub fn requests(&self, api: Option<Api>) -> &[Cell] {
        match api {
            Some(Api::ChatCompletions) => &self.requests[0],
            Some(Api::Messages) => &self.requests[1],
            None => &self.nowhere,
        }
    }

    fn new(cells: Arc<RouteCells>, route: Option<&Route>, shared: &Shared) -> Self {
        let targets = route.map_or(&[][..], |route| &route.targets);
        Self {
            requests: Api::ALL.map(|api| cells.requests(api.as_str())),
            nowhere: cells.requests(""),
            targets: targets
                .iter()
                .map(|target| cells.target(&target.name, target.credential.provider.name))
                .collect(),
            keys: targets.iter().map(|target| shared.keys.of(&target.credential)).collect(),
            health: targets.iter().map(|target| shared.healths.of(target)).collect(),
            backends: targets.iter().map(|target| shared.backends.of(&target.credential)).collect(),
            accounts: targets.iter().map(|target| shared.accounts.of(&target.credential)).collect(),
            spills: targets.iter().map(|target| shared.spills.of(route?, target)).collect(),
            hedges: RefCell::default(),
            cells,
        }
    }
}

impl Worker {
    /// A worker that has served nothing yet.
    pub fn new(
        shared: Arc<Shared>,
        pool: Pool,
        cells: Arc<Cells>,
        (log, tracer): (AccessLog, Tracer),
        seed: u64,
    ) -> Self {
        let unrouted = cells.route(&"".into(), &"".into());
        let unrouted = Rc::new(RouteHandles::new(unrouted, None, &shared));
        let bound = RefCell::new(Rc::new(Bound::new(shared.table.load_full())));
        Self {
            shared,
            pool,
            cells,
            log,
            tracer,
            retries: RefCell::new(RetryBudget::new(Instant::now())),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            bound,
            unrouted,
        }
    }

    /// The table in use, once for each request: what it gives stays the same to the request's end.
    pub fn bind(&self) -> Rc<Bound> {
        let table = self.shared.table.load();
        let mut bound = self.bound.borrow_mut();
        if !Arc::ptr_eq(&bound.table, &table) {
            // What ended with the old table is cleared up by whoever brought the new one: a request must
            // not wait for it.
            *bound = Rc::new(Bound::new(Arc::clone(&table)));
        }
        Rc::clone(&bound)
    }

    /// What stands beside a route.
    pub fn handles(&self, bound: &Bound, at: usize) -> Rc<RouteHandles> {
        let (Some(route), Some(cell)) = (bound.table.routes().get(at), bound.handles.get(at))
        else {
            return Rc::clone(&self.unrouted);
        };
        let handles = cell.get_or_init(|| {
            let cells = self.cells.route(&route.id.namespace, &route.id.name);
            cells.retain(&|target| route.targets.iter().any(|own| *own.name == *target));
            Rc::new(RouteHandles::new(cells, Some(route), &self.shared))
        });
        Rc::clone(handles)
    }

    /// The counters of requests that reach no route.
    pub fn unrouted(&self) -> Rc<RouteHandles> {
        Rc::clone(&self.unrouted)
    }

    /// A number evenly between 0 and 1.
    pub fn random(&self) -> f64 {
        self.rng.borrow_mut().f64()
    }
}

impl Bound {
    fn new(table: Arc<Table>) -> Self {
        let handles = table.routes().iter().map(|_| OnceCell::new()).collect();
        Self { table, handles }
    }
}
