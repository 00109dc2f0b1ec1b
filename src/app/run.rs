//! `trunkline run`: files, compile, table, proxy and admin in one process.

use std::{
    collections::BTreeSet, error::Error, fs, io, path::Path, rc::Rc, sync::Arc, thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use rustls::RootCertStore;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{
    args::{LogFormat, RunArgs, SimArgs},
    environment, say,
    sim::play,
};
use crate::{
    compile::{self, LastGood, Options},
    files::{Reader, watch},
    observe::{AccessLog, KeySample, Metrics, Readiness, access_log, admin, telemetry},
    proxy::{
        admit::Limits,
        drain::{self, Drain},
        listener::{self, Event},
        service,
        state::{Shared, Worker},
        tls::ServerTls,
        upstream::{Pool, load_roots},
        worker,
    },
    select::KeyStates,
    table::Table,
};

type Failure = Box<dyn Error + Send + Sync>;

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let format = match args.log_format {
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Text => telemetry::Format::Text,
    };
    telemetry::start(format, &environment("RUST_LOG").unwrap_or_else(|| "info".to_owned()))?;
    let metrics = Metrics::new()?;
    let readiness = Readiness::default();
    let mut source = Manifests {
        reader: Reader::new(&args.path),
        options: Options { allow_private_endpoints: args.allow_private_endpoints },
        last: LastGood::default(),
        metrics: metrics.clone(),
    };
    let waiting = readiness.wait_for("routing table");
    let shared = Arc::new(Shared {
        table: ArcSwap::from_pointee(Table::default()),
        keys: KeyStates::new(Instant::now()),
        limits: Limits::default(),
    });
    source.reload(&shared).map_err(|error| format!("{}: {error}", args.path.display()))?;
    drop(waiting);
    let keys = Arc::clone(&shared);
    metrics.watch_keys(move || {
        let all = keys.keys.all(Instant::now()).into_iter();
        all.map(|(id, key, resting)| KeySample {
            namespace: id.namespace,
            credential: id.name,
            key,
            resting,
        })
        .collect()
    });
    if args.sim {
        play(&SimArgs {
            openai: ([127, 0, 0, 1], 9101).into(),
            anthropic: ([127, 0, 0, 1], 9102).into(),
            gemini: ([127, 0, 0, 1], 9103).into(),
            config: args.sim_config.clone(),
            journal: args.sim_journal.clone(),
        })?;
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = if args.workers == 0 { cores } else { args.workers };
    let sockets = listener::bind(args.listen, workers)
        .map_err(|error| format!("{} cannot be listened on: {error}", args.listen))?;
    let admin_socket = std::net::TcpListener::bind(args.admin_listen)
        .map_err(|error| format!("{} cannot be listened on: {error}", args.admin_listen))?;
    let client = sockets.first().map(std::net::TcpListener::local_addr).transpose()?;
    banner(args, &shared.table.load(), client, admin_socket.local_addr()?);
    admin::serve(admin_socket, metrics.clone(), readiness.clone())?;
    let (log, writer) = access_log_of(&args.access_log, &metrics)?;
    let tls = tls(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    let (trigger, drain) = drain::channel();
    let roots = load_roots();
    let starts = sockets.into_iter().map(|socket| Start {
        socket,
        shared: Arc::clone(&shared),
        cells: metrics.worker(),
        log: log.clone(),
        allow_private: args.allow_private_endpoints,
        roots: Arc::clone(&roots),
        tls: tls.clone(),
        drain: drain.clone(),
    });
    let mut workers = worker::spawn(starts, serve)?;
    let again = Arc::clone(&shared);
    let mut changes = watch::watch(&args.path)?;
    thread::Builder::new().name("reload".to_owned()).spawn(move || {
        while changes.wait() {
            if let Err(error) = source.reload(&again) {
                tracing::error!(%error, "the manifests cannot be read; the last good table serves");
            }
        }
    })?;
    let grace = Duration::from_secs(args.grace_period);
    let stop = Builder::new_current_thread().enable_all().build()?;
    stop.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // A worker has no reason to end: without it a share of the connections hangs.
            Some(ended) = workers.next() => ended?,
        }
        tracing::info!("draining: open streams may finish");
        readiness.drain();
        trigger.start();
        let all = async {
            while let Some(ended) = workers.next().await {
                ended?;
            }
            Ok::<_, Failure>(())
        };
        tokio::time::timeout(grace, all).await.unwrap_or_else(|_late| {
            tracing::warn!("the grace period is over; open streams are cut");
            Ok(())
        })
    })?;
    drop(writer);
    Ok(())
}

/// Whether a route, or a target of it, is still in a table.
fn lives_in(table: &Table) -> impl Fn(&str, &str, Option<&str>) -> bool {
    let live: BTreeSet<(String, String, Option<String>)> = table
        .routes()
        .iter()
        .flat_map(|route| {
            let of = |target| (route.id.namespace.to_string(), route.id.name.to_string(), target);
            let targets = route.targets.iter().map(move |target| of(Some(target.name.to_string())));
            let (namespace, name) = (route.id.namespace.to_string(), route.id.name.to_string());
            std::iter::once((namespace, name, None)).chain(targets)
        })
        .collect();
    move |namespace, route, target| {
        let key = (namespace.to_owned(), route.to_owned(), target.map(str::to_owned));
        live.contains(&key)
    }
}

/// What a worker starts with.
struct Start {
    socket: std::net::TcpListener,
    shared: Arc<Shared>,
    cells: Arc<crate::observe::Cells>,
    log: AccessLog,
    allow_private: bool,
    roots: Arc<RootCertStore>,
    tls: Option<Arc<ServerTls>>,
    drain: Drain,
}

/// A worker: one socket, nothing shared but the table.
async fn serve(start: Start) -> io::Result<()> {
    let Start { socket, shared, cells, log, allow_private, roots, tls, drain } = start;
    let pool = Pool::new(allow_private, roots);
    let worker = Rc::new(Worker::new(shared, pool, Arc::clone(&cells), log, fastrand::u64(..)));
    let answer = service_fn(move |request| service::respond(Rc::clone(&worker), request));
    let count = move |event| match event {
        Event::Opened => cells.connections.add(1),
        Event::Closed => cells.connections.sub(1),
        Event::Full | Event::Failed => {}
    };
    listener::serve(socket, listener::Config::default(), tls, answer, count, drain).await
}

/// The manifests and what became of them.
struct Manifests {
    reader: Reader,
    options: Options,
    last: LastGood,
    metrics: Metrics,
}

impl Manifests {
    /// Reads, compiles, and puts the table into use if it has changed.
    fn reload(&mut self, shared: &Shared) -> io::Result<()> {
        let count = |result: &str| self.metrics.reloads.with_label_values(&[result]).inc();
        let snapshot =
            self.reader.read(&environment).inspect_err(|_unreadable| count("rejected"))?;
        let current = shared.table.load();
        let revision = current.revision + 1;
        let compiled = compile::compile(&snapshot, self.options, revision, &mut self.last);
        for line in compiled.reports.iter().flat_map(compile::Report::lines) {
            tracing::warn!("{line}");
        }
        if compiled.reports.iter().any(|report| !report.problems.is_empty()) {
            count("rejected");
        }
        if current.revision > 0 && compiled.same_routes_as(&current) {
            count("unchanged");
            return Ok(());
        }
        let routes = compiled.table.routes().len();
        shared.keys.retain(&compiled.table);
        self.metrics.retain(&lives_in(&compiled.table));
        shared.table.store(Arc::new(compiled.table));
        count("applied");
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        self.metrics.table_revision.set(revision);
        self.metrics.table_timestamp.set(jiff::Timestamp::now().as_second());
        tracing::info!(revision, routes, "a new routing table is in use");
        Ok(())
    }
}

fn banner(
    args: &RunArgs,
    table: &Table,
    client: Option<std::net::SocketAddr>,
    admin: std::net::SocketAddr,
) {
    let Some(client) = client else { return };
    let (path, routes) = (args.path.display(), table.routes().len());
    let version = env!("CARGO_PKG_VERSION");
    say(&format!("trunkline {version} · {path} · {routes} routes, revision {}", table.revision));
    if args.sim {
        say(
            "  simulated providers  openai 127.0.0.1:9101 · anthropic 127.0.0.1:9102 · gemini 127.0.0.1:9103",
        );
    }
    say(&format!("  client API           http://{client}     (OpenAI and Anthropic SDKs)"));
    say(&format!("  admin                http://{admin}     /metrics /readyz"));
    let models = table.models(crate::dialect::Api::ChatCompletions);
    let Some((model, _)) = models.first() else { return };
    say(&format!(
        "\nTry it:\n  curl http://{client}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n  \
         python -c 'from openai import OpenAI; print(OpenAI(base_url=\"http://{client}/v1\", api_key=\"x\")\
         .chat.completions.create(model=\"{model}\", messages=[{{\"role\":\"user\",\"content\":\"Hello\"}}])\
         .choices[0].message.content)'\n"
    ));
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

fn tls(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<Arc<ServerTls>>, Failure> {
    let (Some(cert), Some(key)) = (cert, key) else { return Ok(None) };
    let tls = ServerTls::load(cert, key)?;
    tls.watch()?;
    Ok(Some(tls))
}
