//! The measurement: everybody in turns, round after round, and the medians of what was seen.
//!
//! * In turns, because a machine's neighbours come and go: each round sees everybody, so a ratio
//!   within a round holds even where its absolute figures do not.
//! * Latency and processor time on one core, which clients, gateway and mock share: waking another
//!   core costs more than a whole proxy, and would be all that is measured.
//! * Throughput with the gateway alone on its core.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::{
    Failure,
    load::Sample,
    note, process,
    systems::{self, FEWEST_ROUTES, Kind, MODEL, Places, ROUTES, System, TRANSLATED},
    table::{Figures, Measured, Table},
};

/// What to measure, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Trunkline's program, a release build
    #[arg(long)]
    trunkline: PathBuf,
    /// Where configurations, logs and results are written
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// A folder with programs of peers; may be given more than once
    #[arg(long)]
    peers: Vec<PathBuf>,
    /// Gateways to measure beside Trunkline and the floor
    #[arg(long, value_delimiter = ',', default_value = "nginx,vllm-router,ferrogw")]
    systems: Vec<String>,
    /// A gateway that runs already, with the mock behind it, as `name=http://host:port`
    #[arg(long)]
    peer: Vec<String>,
    /// Where the mock listens; what is behind a `--peer`
    #[arg(long, default_value = "127.0.0.1:9100")]
    mock: SocketAddr,
    /// How often everybody has a turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only works whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Streams that are held open for the measure of memory
    #[arg(long, default_value_t = 8000)]
    streams: usize,
}

/// One kind of work.
struct Work {
    name: &'static str,
    unit: &'static str,
    model: &'static str,
    /// Arguments of the load.
    load: &'static [&'static str],
    /// Whether the gateway has a core of its own.
    apart: bool,
    /// Rounds at most.
    rounds: usize,
}

/// The names stand in the results, and in the goals of [`crate::table`].
const WORKS: [Work; 7] = [
    Work {
        name: "chat 1 KB",
        unit: "request",
        model: MODEL,
        load: &["--shape=whole", "--millis=1200"],
        apart: false,
        rounds: usize::MAX,
    },
    Work {
        name: "chat 1 KB, 32 at a time",
        unit: "request",
        model: MODEL,
        load: &["--shape=whole", "--millis=1500", "--connections=32"],
        apart: true,
        rounds: 3,
    },
    Work {
        name: "chat 128 KB, model last",
        unit: "request",
        model: MODEL,
        load: &["--shape=whole", "--millis=1200", "--size=131072", "--connections=4"],
        apart: false,
        rounds: usize::MAX,
    },
    Work {
        name: "token passed through",
        unit: "token",
        model: MODEL,
        load: &["--shape=open", "--millis=2000"],
        apart: false,
        rounds: usize::MAX,
    },
    Work {
        name: "token translated",
        unit: "token",
        model: TRANSLATED,
        load: &["--shape=open", "--millis=2000"],
        apart: false,
        rounds: usize::MAX,
    },
    Work {
        name: "10,000 requests",
        unit: "request",
        model: MODEL,
        load: &["--shape=whole", "--count=10000"],
        apart: false,
        rounds: 1,
    },
    Work {
        name: "10,000 first tokens",
        unit: "stream",
        model: MODEL,
        load: &["--shape=first", "--count=10000"],
        apart: false,
        rounds: 1,
    },
];

/// The core of the gateway, and of everything else where the gateway has one of its own.
const CORES: (usize, usize) = (0, 1);

/// Measures, prints the table, and writes it to `spine.json`.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    fs::create_dir_all(&args.folder)?;
    let folder = fs::canonicalize(&args.folder)?;
    let descriptors = process::take_descriptors();
    let _mock = systems::mock(&folder, CORES.0, args.mock)?;
    let trunkline = fs::canonicalize(&args.trunkline)?;
    let places = Places { folder, trunkline, peers: args.peers.clone(), mock: args.mock };
    let mut table = Table::default();
    let kinds = kinds(args)?;
    let mut running = Vec::new();
    for kind in &kinds {
        match systems::start(kind, &places, CORES.0) {
            Ok(system) => running.push(system),
            Err(why) => table.absent.push((kind.name().to_owned(), why.to_string())),
        }
    }
    for work in wanted(args) {
        measure(args, work, &running, &mut table)?;
    }
    drop(running);
    // Each gateway needs two descriptors a stream, and some for itself.
    let most = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).saturating_sub(500);
    let streams = args.streams.min(most);
    if args.only.as_deref().is_none_or(|only| "idle stream".contains(only)) {
        hold(&kinds, &places, streams, &mut table)?;
    }
    table.binary_mb = program(&places)?;
    table.rest_mb = at_rest(&places)?;
    table.print(&places.folder.join("spine.json"))
}

fn wanted(args: &Args) -> impl Iterator<Item = &'static Work> {
    let only = args.only.clone();
    WORKS.iter().filter(move |work| only.as_ref().is_none_or(|only| work.name.contains(only)))
}

fn kinds(args: &Args) -> Result<Vec<Kind>, Failure> {
    let mut kinds = vec![Kind::Direct, Kind::Floor, Kind::Trunkline(ROUTES)];
    for name in args.systems.iter().filter(|name| !name.is_empty()) {
        kinds.push(match name.as_str() {
            "nginx" => Kind::Nginx,
            "vllm-router" => Kind::VllmRouter,
            "ferrogw" => Kind::Ferrogw,
            "litellm" => Kind::LiteLlm,
            other => return Err(format!("no gateway is known as {other}; use --peer").into()),
        });
    }
    for peer in &args.peer {
        let (name, url) = peer.split_once('=').ok_or("--peer must be name=http://host:port")?;
        let host = url.strip_prefix("http://").ok_or("a peer's URL must begin with http://")?;
        let address = host.trim_end_matches('/').to_socket_addrs()?.next();
        let address = address.ok_or_else(|| format!("{host} has no address"))?;
        kinds.push(Kind::Peer(name.to_owned(), address));
    }
    Ok(kinds)
}

/// Gives everybody their turns at one kind of work.
fn measure(args: &Args, work: &Work, running: &[System], table: &mut Table) -> Result<(), Failure> {
    let mut seen: BTreeMap<usize, Vec<Measured>> = BTreeMap::new();
    let translated = work.model == TRANSLATED;
    for round in 0..args.rounds.min(work.rounds) {
        note(&format!("{} · round {}", work.name, round + 1));
        let mut direct = None;
        for (at, system) in running.iter().enumerate() {
            let able = !translated || system.kind.translates();
            let too_much = system.kind.is_slow() && work.load.contains(&"--count=10000");
            if !able || too_much || (work.apart && system.kind == Kind::Direct) {
                continue;
            }
            let sample = load(work, system)?;
            if system.kind == Kind::Direct {
                direct = Some(sample.clone());
            }
            seen.entry(at).or_default().push(Measured { sample, direct: direct.clone() });
        }
    }
    for (at, rounds) in seen {
        if let Some(system) = running.get(at) {
            table.add(work.name, system.kind.name(), work.unit, &rounds);
        }
    }
    Ok(())
}

/// One turn: a load as a process of its own.
fn load(work: &Work, system: &System) -> Result<Sample, Failure> {
    let core = if work.apart { CORES.1 } else { CORES.0 };
    let ids: Vec<String> = system.ids().iter().map(u32::to_string).collect();
    let output = process::pinned(core, std::env::current_exe()?)
        .args(["load", &format!("--to={}", system.address), &format!("--model={}", work.model)])
        .args(work.load)
        .args((!ids.is_empty()).then(|| format!("--ids={}", ids.join(","))))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        note(&format!("  {} could not be measured", system.kind.name()));
        return Ok(Sample { errors: 1, ..Sample::default() });
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures what an open and silent stream holds in memory, each gateway in a fresh process.
fn hold(kinds: &[Kind], places: &Places, streams: usize, table: &mut Table) -> Result<(), Failure> {
    for kind in kinds {
        if *kind == Kind::Direct || kind.is_slow() {
            continue;
        }
        let Ok(system) = systems::start(kind, places, CORES.0) else { continue };
        note(&format!("{streams} idle streams · {}", kind.name()));
        sleep(Duration::from_secs(1));
        let before = process::memory(&system.ids());
        let mut holding = process::pinned(CORES.1, std::env::current_exe()?)
            .args(["load", "--shape=hold", &format!("--to={}", system.address)])
            .args([&format!("--model={MODEL}"), &format!("--connections={streams}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(told) = holding.stdout.take() {
            BufReader::new(told).read_line(&mut line)?;
        }
        // Once more a token for everybody: what the beginning needed has been given back.
        sleep(Duration::from_secs(5));
        let during = process::memory(&system.ids());
        drop(holding.stdin.take());
        holding.wait()?;
        let sample: Sample = serde_json::from_str(&line)?;
        if sample.done == 0 {
            table.absent.push((kind.name().to_owned(), "it held no stream open".to_owned()));
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "52 bits of kilobytes are enough")]
        let each = during.saturating_sub(before) as f64 / sample.done as f64;
        let figures = Figures::of_memory(each, sample.errors);
        table.put("idle stream", kind.name(), "stream", figures);
    }
    Ok(())
}

/// Megabytes that Trunkline holds before anybody has asked for anything.
fn at_rest(places: &Places) -> Result<f64, Failure> {
    let system = systems::start(&Kind::Trunkline(FEWEST_ROUTES), places, CORES.0)?;
    sleep(Duration::from_secs(1));
    Ok(megabytes(process::memory(&system.ids()) * 1024))
}

/// Megabytes of Trunkline's program as it is shipped: without what only a debugger reads.
fn program(places: &Places) -> Result<f64, Failure> {
    let shipped = places.folder.join("trunkline.stripped");
    let mut strip = Command::new("strip");
    let stripped = strip.arg("-o").arg(&shipped).arg(&places.trunkline).status();
    let shipped = if stripped.is_ok_and(|status| status.success()) {
        shipped
    } else {
        note("strip is not installed: the program's size is that with debug information");
        places.trunkline.clone()
    };
    Ok(megabytes(fs::metadata(shipped)?.len()))
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of bytes are enough")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
