//! The data plane as a process: what `run` and `proxy` share, wherever their tables come from.
//!
//! Workers, the admin port, the access log, TLS, and the end: readiness goes first, the listener stays
//! for as long as somebody may still route to us, open streams get the grace period.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use hyper::service::service_fn;
use rustls::RootCertStore;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::{
    Failure,
    args::{LogFormat, ServeArgs},
    environment, explain,
    traces::{self, Exporter},
};
use crate::{
    observe::{
        AccessLog, BackendSample, Cells, CircuitSample, KeySample, Metrics, PriceSample,
        QuotaSample, Readiness, Shown, SpillSample, access_log, admin, telemetry, trace::Tracer,
    },
    provider::{LIST, NanoDollars},
    proxy::{
        authenticate::Anonymous,
        drain::{self, Drain, Trigger},
        listener::{self, Event},
        service,
        state::{Shared, Worker},
        tls::ServerTls,
        upstream::{Pool, load_roots},
        worker::{self, Workers},
    },
    select::{Load, Spill, Standing},
    table::{ObjectId, Prices, Table},
};

/// What the log shows unless `RUST_LOG` says otherwise. `kube`'s client reports each failed call as an
/// error of its own; whoever made the call says it once, and what follows from it.
const LOG: &str = "info,kube_client=off";

/// Starts the process's own log.
pub(super) fn start_log(format: LogFormat) -> Result<(), Failure> {
    let format = match format {
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Text => telemetry::Format::Text,
    };
    telemetry::start(format, &environment("RUST_LOG").unwrap_or_else(|| LOG.to_owned()))?;
    Ok(())
}

/// A data plane that does not serve yet.
pub(super) struct Plane {
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) tables: Tables,
}

impl Plane {
    /// A plane with an empty table; `anonymous` is who is served without a key, `shown` what /metrics shows.
    pub(super) fn new(anonymous: Anonymous, shown: Shown) -> Result<Self, Failure> {
        let metrics = Metrics::with(shown)?;
        let shared = Arc::new(Shared::new(Instant::now(), anonymous));
        let tables = Tables { shared, metrics: metrics.clone() };
        let keys = tables.clone();
        metrics.watch_keys(move || keys.key_samples());
        let circuits = tables.clone();
        metrics.watch_circuits(move || circuits.circuits());
        let backends = tables.clone();
        metrics.watch_backends(move || backends.backends());
        let quotas = tables.clone();
        metrics.watch_quotas(move || quotas.quotas());
        let prices = tables.clone();
        metrics.watch_prices(move || prices.prices());
        let spills = tables.clone();
        metrics.watch_spills(move || spills.spills());
        Ok(Self { metrics, readiness: Readiness::default(), tables })
    }

    /// Starts to serve. `linger` is how long connections are taken
    /// once the end has begun.
    pub(super) fn start(
        self,
        ports: Ports,
        args: &ServeArgs,
        linger: Duration,
        internal: Internal,
    ) -> Result<Running, Failure> {
        let Self { metrics, readiness, tables } = self;
        let explained = tables.clone();
        let explain: admin::Explain = Arc::new(move |query, body| explained.explain(query, body));
        let Internal { state, demand } = internal;
        let more = admin::More { state, demand, explain: Some(explain) };
        admin::serve(ports.admin, metrics.clone(), readiness.clone(), more)?;
        let (log, writer) = access_log_of(&args.access_log, &metrics)?;
        let roots = load_roots();
        let (tracer, exporter) = traces::start(
            args.otlp_endpoint.as_deref(),
            args.trace_percent / 100.0,
            Arc::clone(&roots),
            metrics.traces_dropped.clone(),
        )?;
        let tls = tls(args)?;
        let (trigger, drain) = drain::channel();
        let starts = ports.sockets.into_iter().map(|socket| Start {
            socket,
            shared: Arc::clone(&tables.shared),
            cells: metrics.worker(),
            log: log.clone(),
            tracer: tracer.clone(),
            allow_private: args.allow_private_endpoints,
            roots: Arc::clone(&roots),
            tls: tls.clone(),
            config: listener::Config { linger, ..listener::Config::default() },
            drain: drain.clone(),
        });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = signals(&runtime)?;
        let workers = worker::spawn(starts, serve)?;
        let patience = linger + Duration::from_secs(args.grace_period);
        let last = (writer, exporter);
        Ok(Running { runtime, signals, workers, trigger, readiness, patience, _last: last })
    }
}

/// The pages for the operator.
#[derive(Default)]
pub(super) struct Internal {
    pub(super) state: Option<admin::State>,
    pub(super) demand: Option<admin::State>,
}

/// The table in use, for whoever brings a new one.
#[derive(Clone)]
pub(super) struct Tables {
    shared: Arc<Shared>,
    metrics: Metrics,
}

impl Tables {
    /// The table in use.
    pub(super) fn current(&self) -> Arc<Table> {
        self.shared.table.load_full()
    }

    /// Puts a table into use: the next request is served from it. What ends with the old one is
    /// cleared up after that.
    pub(super) fn put(&self, table: &Arc<Table>) {
        self.shared.put(table);
        let (revision, routes) = (table.revision, table.routes().len());
        self.metrics.table_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.metrics.table_timestamp.set(jiff::Timestamp::now().as_second());
        self.metrics.retain(&lives_in(table));
        tracing::info!(revision, routes, "a new routing table is in use");
    }

    /// What a request would meet now, as JSON.
    fn explain(&self, query: &str, body: Bytes) -> Result<String, String> {
        let Shared { keys, healths, backends, accounts, spills, .. } = &*self.shared;
        let known = explain::Known { keys, healths, backends, accounts, spills };
        explain::answer(&self.current(), known, query, body)
    }

    /// Every model of every credential, and whether it is left alone.
    fn circuits(&self) -> Vec<CircuitSample> {
        let all = self.shared.healths.all().into_iter();
        all.map(|(id, model, open)| CircuitSample {
            namespace: id.namespace,
            credential: id.name,
            model,
            open,
        })
        .collect()
    }

    /// The Service behind each credential that names one.
    fn backends(&self) -> Vec<BackendSample> {
        let all = self.shared.backends.all().into_iter();
        all.map(|(id, backend)| BackendSample {
            namespace: id.namespace,
            credential: id.name,
            pods: u64::try_from(backend.pods().len()).unwrap_or(u64::MAX),
            in_flight: backend.in_flight(),
            queued: u64::from(backend.waiting()),
        })
        .collect()
    }

    /// What was spent of each account with spend tiers since this process began, and what its next dollar
    /// costs.
    pub(super) fn spent(&self) -> BTreeMap<ObjectId, (NanoDollars, u32)> {
        self.shared.accounts.spent(&self.current())
    }

    /// The next dollar of each of these accounts costs so much.
    pub(super) fn set_prices(&self, prices: &Prices) {
        self.shared.accounts.set_prices(prices);
    }

    /// What the next dollar of each account with spend tiers costs.
    fn prices(&self) -> Vec<PriceSample> {
        let all = self.spent().into_iter();
        all.map(|(id, (_, permille))| PriceSample {
            namespace: id.namespace,
            credential: id.name,
            ratio: f64::from(permille) / f64::from(LIST),
        })
        .collect()
    }

    /// Every target that can be full.
    fn spills(&self) -> Vec<SpillSample> {
        let all = self.shared.spills.all(&self.current(), Instant::now()).into_iter();
        all.map(|Spill { route, target, full, spilled }| SpillSample {
            namespace: route.namespace,
            route: route.name,
            target,
            full,
            spilled,
        })
        .collect()
    }

    /// What is left of each quota.
    fn quotas(&self) -> Vec<QuotaSample> {
        let all = self.shared.accounts.headrooms(&self.current(), Instant::now()).into_iter();
        all.map(|(id, part, headroom)| QuotaSample {
            namespace: id.namespace,
            credential: id.name,
            limit: part.as_str(),
            headroom,
        })
        .collect()
    }

    /// What each model of each credential is asked to do.
    pub(super) fn loads(&self) -> Vec<Load> {
        self.shared.healths.loads()
    }

    /// Requests that wait for a pod of each backend, and those that others served in its place.
    pub(super) fn lines(&self) -> Vec<(ObjectId, u32, u64)> {
        let all = self.shared.backends.all().into_iter();
        all.map(|(id, backend)| (id, backend.waiting(), backend.passed_over())).collect()
    }

    /// Every key, and how it is.
    pub(super) fn keys(&self) -> Vec<(ObjectId, Arc<str>, Standing)> {
        self.shared.keys.all(Instant::now())
    }

    /// A refused key rests, too: nothing is sent with it.
    fn key_samples(&self) -> Vec<KeySample> {
        let all = self.keys().into_iter();
        all.map(|(id, key, standing)| KeySample {
            namespace: id.namespace,
            credential: id.name,
            key,
            resting: standing != Standing::Ready,
            refused: matches!(standing, Standing::Refused { .. }),
        })
        .collect()
    }
}

/// Whether a route, or a target of it, is still in a table.
fn lives_in(table: &Table) -> impl Fn(&str, &str, Option<&str>) -> bool {
    let live: HashSet<(&str, &str, Option<&str>)> = table
        .routes()
        .iter()
        .flat_map(|route| {
            let (namespace, name) = (&*route.id.namespace, &*route.id.name);
            let targets = route.targets.iter();
            let targets = targets.map(move |target| (namespace, name, Some(&*target.name)));
            std::iter::once((namespace, name, None)).chain(targets)
        })
        .collect();
    move |namespace, route, target| live.contains(&(namespace, route, target))
}

/// The ports of a process.
pub(super) struct Ports {
    sockets: Vec<TcpListener>,
    admin: TcpListener,
}

impl Ports {
    /// Takes both ports: a client's socket for each worker, and the admin's.
    pub(super) fn bind(
        listen: SocketAddr,
        admin: SocketAddr,
        workers: usize,
    ) -> Result<Self, Failure> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = if workers == 0 { cores } else { workers };
        let failed = |address| move |error| format!("{address} cannot be listened on: {error}");
        let sockets = listener::bind(listen, workers).map_err(failed(listen))?;
        let admin = TcpListener::bind(admin).map_err(failed(admin))?;
        Ok(Self { sockets, admin })
    }

    /// Where clients connect, and where the admin port is.
    pub(super) fn addresses(&self) -> io::Result<(Option<SocketAddr>, SocketAddr)> {
        let client = self.sockets.first().map(TcpListener::local_addr).transpose()?;
        Ok((client, self.admin.local_addr()?))
    }
}

/// A data plane that serves.
pub(super) struct Running {
    runtime: Runtime,
    signals: (Signal, Signal),
    workers: Workers,
    trigger: Trigger,
    readiness: Readiness,
    patience: Duration,
    /// Dropped last: they write the lines and send the traces that are left.
    _last: (Option<access_log::Writer>, Option<Exporter>),
}

impl Running {
    /// Serves until a signal, and to the end of the last stream after it.
    pub(super) fn until_the_end(mut self) -> Result<(), Failure> {
        let (terminate, interrupt) = (&mut self.signals.0, &mut self.signals.1);
        let workers = &mut self.workers;
        self.runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                // A worker has no reason to end: without it a share of the connections hangs.
                Some(ended) = workers.next() => ended?,
            }
            tracing::info!("draining: open streams may finish");
            self.readiness.drain();
            self.trigger.start();
            let all = async {
                while let Some(ended) = workers.next().await {
                    ended?;
                }
                Ok::<_, Failure>(())
            };
            tokio::time::timeout(self.patience, all).await.unwrap_or_else(|_late| {
                tracing::warn!("the grace period is over; open streams are cut");
                Ok(())
            })
        })
    }
}

/// What ends the process. Asked for before the first request: until somebody listens, a signal kills.
fn signals(runtime: &Runtime) -> io::Result<(Signal, Signal)> {
    let _entered = runtime.enter();
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// What a worker starts with.
struct Start {
    socket: TcpListener,
    shared: Arc<Shared>,
    cells: Arc<Cells>,
    log: AccessLog,
    tracer: Tracer,
    allow_private: bool,
    roots: Arc<RootCertStore>,
    tls: Option<Arc<ServerTls>>,
    config: listener::Config,
    drain: Drain,
}

/// A worker: one socket, nothing shared but the table.
async fn serve(start: Start) -> io::Result<()> {
    let Start { socket, shared, cells, log, tracer, allow_private, roots, tls, config, drain } =
        start;
    let pool = Pool::new(allow_private, roots);
    let worker =
        Rc::new(Worker::new(shared, pool, Arc::clone(&cells), (log, tracer), fastrand::u64(..)));
    let answer = service_fn(move |request| service::respond(Rc::clone(&worker), request));
    let count = move |event| match event {
        Event::Opened => cells.connections.add(1),
        Event::Closed => cells.connections.sub(1),
        Event::Full | Event::Failed => {}
    };
    listener::serve(socket, config, tls, answer, count, drain).await
}

fn access_log_of(
    to: &str,
    metrics: &Metrics,
) -> io::Result<(AccessLog, Option<access_log::Writer>)> {
    let dropped = metrics.log_dropped.clone();
    let (log, writer) = match to {
        "off" => return Ok((AccessLog::off(dropped), None)),
        "-" => AccessLog::start(io::stdout(), dropped)?,
        file => {
            let file = fs::OpenOptions::new().create(true).append(true).open(file)?;
            AccessLog::start(file, dropped)?
        }
    };
    Ok((log, Some(writer)))
}

fn tls(args: &ServeArgs) -> Result<Option<Arc<ServerTls>>, Failure> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let tls = ServerTls::load(cert, key)?;
    tls.watch()?;
    Ok(Some(tls))
}
