//! What the process tells about itself, as somebody outside sees it: the page that documents the
//! metrics against the registry, and the admin port over a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test fails by a panic, in its helpers too"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use trunkline::observe::{
    AffinityResult, AttemptOutcome, BackendSample, CircuitSample, CostKind, FailoverPhase,
    HedgeResult, KeySample, Metrics, Outcome, PriceSample, QuotaSample, Readiness, SpillSample,
    TokenKind, Unpriced, Waste, admin,
    operator::{Operator, WatchRestart, WriteResult},
    source::{Source, TableRejection},
};

/// A metric's type and its labels.
type Shape = (String, BTreeSet<String>);

/// Metrics in which everything has been counted once.
fn used() -> Metrics {
    let metrics = Metrics::new().unwrap();
    let source = Source::new(&metrics).unwrap();
    source.taken(1);
    source.rejected(TableRejection::Stale);
    let mut watch = source.watch("head");
    watch.failing(WatchRestart::Gone);
    watch.heard(1);
    let cells = metrics.worker();
    let route = cells.route(&"team".into(), &"chat".into());
    for cell in route.requests("Messages").iter() {
        cell.add(1);
    }
    for histogram in [
        &route.duration,
        &route.first_token,
        &route.output_token,
        &route.added,
        &route.queue,
        &cells.decision,
    ] {
        histogram.observe(Duration::from_millis(1));
    }
    let target = route.target(&"sonnet".into(), "Anthropic");
    for outcome in AttemptOutcome::ALL {
        target.attempt(*outcome);
    }
    for kind in TokenKind::ALL {
        target.tokens(*kind, 1);
    }
    for kind in CostKind::ALL {
        target.cost(*kind, 1);
    }
    for why in Waste::ALL {
        target.waste(*why, 1);
    }
    for why in Unpriced::ALL {
        target.unpriced(*why);
    }
    for result in HedgeResult::ALL {
        route.hedge(*result);
    }
    for result in AffinityResult::ALL {
        route.affinity(*result);
    }
    for phase in FailoverPhase::ALL {
        route.failover(*phase);
    }
    route.slo_relaxed.add(1);
    route.baseline.add(1);
    metrics.watch_circuits(|| {
        let [namespace, credential, model] = ["team", "anthropic", "claude"].map(Arc::from);
        vec![CircuitSample { namespace, credential, model, open: true }]
    });
    metrics.watch_backends(|| {
        let [namespace, credential] = ["team", "vllm"].map(Arc::from);
        vec![BackendSample { namespace, credential, pods: 1, in_flight: 1, queued: 0 }]
    });
    metrics.watch_quotas(|| {
        let [namespace, credential] = ["team", "anthropic"].map(Arc::from);
        vec![QuotaSample { namespace, credential, limit: "maxConcurrent", headroom: 0.5 }]
    });
    metrics.watch_prices(|| {
        let [namespace, credential] = ["team", "anthropic"].map(Arc::from);
        vec![PriceSample { namespace, credential, ratio: 1.2 }]
    });
    metrics.watch_spills(|| {
        let [namespace, route, target] = ["team", "chat", "own"].map(Arc::from);
        vec![SpillSample { namespace, route, target, full: true, spilled: 1 }]
    });
    metrics.watch_keys(|| {
        let [namespace, credential, key] = ["team", "anthropic", "k1"].map(Arc::from);
        vec![KeySample { namespace, credential, key, resting: false, refused: false }]
    });
    let operator = Operator::new(&metrics).unwrap();
    operator.wrote("Secret", WriteResult::Ok, Duration::from_millis(1));
    operator.wrote_bytes("head", 1);
    operator.count_proxies(1, 0);
    operator.autoscaler("team", "vllm", 1, 2);
    operator.count_condition(&["ModelRoute", "Ready", "True", "Ready"], 1);
    let mut watch = operator.watch("ModelRoute");
    watch.failing(WatchRestart::Silent);
    watch.well(1);
    metrics
}

/// The metrics of a text exposition.
fn exposed(text: &str) -> BTreeMap<String, Shape> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            name.clone_into(&mut family);
            shapes.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let (labels, _) = labels.split_once('}').unwrap();
            let names = labels.split(',').map(|label| label.split_once('=').unwrap().0);
            let names = names.filter(|name| *name != "le").map(str::to_owned);
            shapes.get_mut(&family).unwrap().1.extend(names);
        }
    }
    shapes
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    fs::read_to_string(path).unwrap()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The metrics of the page: rows of four cells that begin with a name.
fn documented(page: &str) -> BTreeMap<String, Shape> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
            let [name, kind, _unit, labels, ""] = cells[..] else { return None };
            let name = name.trim_end_matches('`').to_owned();
            Some((name, (kind.to_owned(), quoted(labels).collect())))
        })
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn the_page_names_every_metric_with_its_type_and_labels_and_no_other() {
    let text = used().render();
    assert_eq!(documented(&page()), exposed(&text), "left: docs/metrics.md, right: the registry");
}

#[test]
fn every_metric_of_the_page_has_a_query() {
    let page = page();
    let queries: String =
        page.split("```promql").skip(1).filter_map(|q| q.split("```").next()).collect();
    for name in documented(&page).into_keys() {
        assert!(queries.contains(&name), "no query uses {name}");
    }
    let words = queries.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with("trunkline_") || word.starts_with("process_"))
    {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let known = documented(&page);
        assert!(
            known.contains_key(word) || bare.is_some_and(|bare| known.contains_key(bare)),
            "{word}"
        );
    }
}

#[test]
fn the_page_explains_every_word_of_a_closed_set() {
    let page = page();
    let words: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .filter(|(_, rest)| rest.matches('|').count() == 2)
        .map(|(word, _)| word)
        .collect();
    let requests = Outcome::ALL.iter().map(|outcome| outcome.as_str());
    let attempts = AttemptOutcome::ALL.iter().map(|outcome| outcome.as_str());
    let tables = TableRejection::ALL.iter().map(|reason| reason.as_str());
    assert_eq!(words, requests.chain(attempts).chain(tables).collect());
    for kind in TokenKind::ALL {
        assert!(page.contains(&format!("`{}`", kind.as_str())), "{kind:?}");
    }
}

/// The status and the rest of an answer of the admin port.
fn ask(at: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text[9..12].parse().unwrap(), text)
}

#[test]
fn the_admin_port_serves_three_pages_and_says_what_it_waits_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    let waiting = readiness.wait_for("routing table");
    admin::serve(listener, used(), readiness.clone(), admin::More::default()).unwrap();

    let (status, text) = ask(at, "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("\ntrunkline_open_streams 0\n"), "{text}");
    let (status, head) = ask(at, "HEAD", "/metrics");
    assert_eq!((status, head.contains("trunkline_")), (200, false), "{head}");

    assert_eq!(ask(at, "GET", "/healthz").0, 200);
    let (status, text) = ask(at, "GET", "/readyz");
    assert_eq!((status, text.contains("routing table")), (503, true), "{text}");
    drop(waiting);
    assert_eq!(ask(at, "GET", "/readyz").0, 200);
    readiness.drain();
    assert_eq!(ask(at, "GET", "/readyz").0, 503);

    for path in ["/", "/v1/models", "/debug/pprof", "/config_dump", "/metrics/..", "//metrics"] {
        assert_eq!(ask(at, "GET", path).0, 404, "{path}");
    }
}
