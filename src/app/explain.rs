//! `trunkline explain`: which targets a request could go to, in what order, and why not to others.
//!
//! The very code that serves answers. Offline (`-f`) nothing has been learned yet: what a fresh proxy
//! would do. With `--server` a running proxy answers on its admin port, with what it knows now. 0 when
//! some target may serve, 1 when none may, 2 when something could not be read or asked.

use std::{fmt::Write, fs, path::Path, process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    Failure,
    args::{ExplainApi, ExplainArgs, ExplainOutput},
    environment, say, say_error,
};
use crate::{
    compile::{self, LastGood, Options},
    dialect::Api,
    files::Reader,
    proxy::{affinity, facts::Chat, failover},
    select::{
        Accounts, Ask, Backends, Candidate, Considered, Health, Healths, KeyState, KeyStates,
        LeftOut, SpillStates, Targets, Tried, Verdict, consider, equals, hold, order,
    },
    table::{Caller, Strategy, Table, Target},
};

/// Where a proxy explains; the request's body is posted to it.
pub(super) const PATH: &str = "/internal/explain";

/// How long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a proxy has learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) keys: &'a KeyStates,
    pub(super) healths: &'a Healths,
    pub(super) backends: &'a Backends,
    pub(super) accounts: &'a Accounts,
    pub(super) spills: &'a SpillStates,
}

/// What a request would meet.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    model: String,
    route: String,
    strategy: String,
    /// What matters most to the caller, where that decides what `Balanced` weighs.
    preference: Option<String>,
    paused: bool,
    stream: bool,
    input_tokens: u32,
    /// The targets that share such requests; none when no target may serve.
    serves: Vec<String>,
    /// How many parts of the SLO no target holds.
    relaxed: usize,
    /// What becomes of the request for the route's affinity.
    affinity: Option<String>,
    candidates: Vec<Line>,
}

/// One target of the route.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    target: String,
    tier: u8,
    weight: u32,
    /// In billionths of a US dollar.
    cost_nano_usd: Option<u64>,
    first_token_seconds: Option<f32>,
    per_token_seconds: Option<f32>,
    success: Option<f32>,
    /// So many of a hundred answers are good, as its route says.
    quality: Option<u32>,
    waiting: Option<u32>,
    in_flight: Option<u32>,
    overdue: Option<f32>,
    /// Lower is better.
    score: Option<f32>,
    /// In which place of all it is to keep the request for its affinity, from 1.
    affinity: Option<usize>,
    left_out: Option<String>,
}

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let said = explained(args).map(|found| {
        match args.output {
            ExplainOutput::Text => say(text(&found).trim_end()),
            ExplainOutput::Json => say(&serde_json::to_string(&found).unwrap_or_default()),
        }
        ExitCode::from(u8::from(found.serves.is_empty() || found.paused))
    });
    said.unwrap_or_else(|error| {
        say_error(&error);
        ExitCode::from(2)
    })
}

fn explained(args: &ExplainArgs) -> Result<Explanation, String> {
    let body = fs::read(&args.request)
        .map_err(|error| format!("{} cannot be read: {error}", args.request.display()))?;
    let api = match args.api {
        ExplainApi::ChatCompletions => Api::ChatCompletions,
        ExplainApi::Messages => Api::Messages,
    };
    let consumer = args.consumer.as_deref();
    match (&args.path, &args.server) {
        (Some(path), _) => offline(path, api, consumer, body.into()),
        (None, Some(server)) => ask(server, api, consumer, body.into()),
        (None, None) => Err("give -f DIR, or --server URL".to_owned()),
    }
}

fn offline(
    path: &Path,
    api: Api,
    consumer: Option<&str>,
    body: Bytes,
) -> Result<Explanation, String> {
    let snapshot = Reader::new(path)
        .read(&environment)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let options = Options { allow_private_endpoints: true };
    let table = compile::compile(&snapshot, options, 1, &mut LastGood::default()).table;
    let now = Instant::now();
    let (keys, healths, backends) = (KeyStates::new(now), Healths::new(now), Backends::new(now));
    backends.follow(&table);
    let accounts = Accounts::new(now);
    let known = Known {
        keys: &keys,
        healths: &healths,
        backends: &backends,
        accounts: &accounts,
        spills: &SpillStates::new(now),
    };
    of_request(&table, known, api, consumer, body)
}

/// Asks a running proxy.
fn ask(server: &str, api: Api, consumer: Option<&str>, body: Bytes) -> Result<Explanation, String> {
    let uri: Uri = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host = host
        .ok_or_else(|| format!("{server} must be http://HOST:PORT, the admin port of a proxy"))?;
    let port = uri.port_u16().unwrap_or(80);
    let mut path = format!("{PATH}?api={}", api.as_str());
    if let Some(consumer) = consumer {
        path = format!("{path}&consumer={consumer}");
    }
    let request = Request::post(path).header("host", host).body(Full::new(body));
    let request = request.map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answered = runtime
        .map_err(|error| error.to_string())?
        .block_on(async { timeout(PATIENCE, exchange(host, port, request)).await });
    let (status, body) = answered
        .map_err(|_late| format!("{server} did not answer within {PATIENCE:?}"))?
        .map_err(|error| format!("{server}: {error}"))?;
    if !status.is_success() {
        return Err(format!("{server}: {}", String::from_utf8_lossy(&body).trim_end()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("{server}: {error}"))
}

async fn exchange(
    host: &str,
    port: u16,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failure> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// Answers on the admin port of a proxy: the query of [`PATH`] and the request's body to JSON.
///
/// # Errors
/// When there is no such API, consumer or route, or the body is no request; for people.
pub(super) fn answer(
    table: &Table,
    known: Known<'_>,
    query: &str,
    body: Bytes,
) -> Result<String, String> {
    let field =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let named = field("api").unwrap_or(Api::ChatCompletions.as_str());
    let api = Api::ALL.into_iter().find(|api| api.as_str() == named);
    let api = api.ok_or_else(|| format!("there is no API `{named}`"))?;
    let found = of_request(table, known, api, field("consumer"), body)?;
    serde_json::to_string(&found).map_err(|error| error.to_string())
}

fn of_request(
    table: &Table,
    known: Known<'_>,
    api: Api,
    consumer: Option<&str>,
    body: Bytes,
) -> Result<Explanation, String> {
    let chat = Chat::read(api, HeaderMap::new(), body).map_err(|error| error.message)?;
    let caller =
        match consumer {
            None => Caller::Anonymous,
            Some(name) => {
                let mut all = table.consumers().all().iter();
                let found = all.find(|consumer| consumer.id.to_string() == name);
                Caller::Consumer(found.ok_or_else(|| {
                    format!("there is no ModelConsumer `{name}` with a usable key")
                })?)
            }
        };
    let route = table
        .find(api, &chat.model, &chat.headers, caller)
        .ok_or_else(|| unknown(table, api, &chat.model, caller))?;
    let now = Instant::now();
    let keys: Vec<Arc<[Arc<KeyState>]>> =
        route.targets.iter().map(|target| known.keys.of(&target.credential)).collect();
    let health: Vec<Arc<Health>> =
        route.targets.iter().map(|target| known.healths.of(target)).collect();
    let backends: Vec<_> =
        route.targets.iter().map(|target| known.backends.of(&target.credential)).collect();
    let ask = failover::ask(&chat, route, caller.preference());
    let accounts: Vec<_> =
        route.targets.iter().map(|target| known.accounts.of(&target.credential)).collect();
    let spills: Vec<_> =
        route.targets.iter().map(|target| known.spills.of(route, target)).collect();
    let targets = Targets {
        route,
        keys: &keys,
        health: &health,
        backends: &backends,
        accounts: &accounts,
        spills: &spills,
    };
    let found = consider(targets, &ask, &Tried::default(), now);
    Ok(described(&chat, targets, &found, &ask))
}

fn unknown(table: &Table, api: Api, model: &str, caller: Caller<'_>) -> String {
    let who = match caller {
        Caller::Anonymous => "somebody without a key (see --consumer)".to_owned(),
        Caller::Consumer(consumer) => consumer.id.to_string(),
    };
    let names: Vec<_> = table.models(api, caller).into_iter().map(|(name, _)| name).collect();
    format!(
        "no route serves model `{model}` for {who}; exact names there are: {}",
        names.join(", ")
    )
}

fn described(chat: &Chat, targets: Targets<'_>, found: &Considered, ask: &Ask) -> Explanation {
    let route = targets.route;
    let hold = hold(targets, ask, found);
    let order = ask.belonging.map_or_else(Vec::new, |belonging| order(targets, belonging));
    let place = |at| order.iter().position(|own| *own == at).map(|before| before + 1);
    let mut serves: Vec<_> = equals(&route.choosing, found).iter().map(|one| one.at).collect();
    if let Some(at) = hold.and_then(|hold| hold.serves) {
        serves = vec![at];
    }
    let kept = hold.map(|hold| hold.result(serves.first().copied().unwrap_or(usize::MAX)));
    let name = |at: usize| route.targets.get(at).map(|target| target.name.to_string());
    Explanation {
        model: chat.model.clone(),
        route: route.id.to_string(),
        strategy: route.choosing.strategy.as_str().to_owned(),
        preference: ask
            .preference
            .filter(|_| matches!(route.choosing.strategy, Strategy::Balanced(_)))
            .map(|preference| preference.as_str().to_owned()),
        paused: route.paused,
        stream: chat.stream,
        input_tokens: ask.input_tokens,
        serves: serves.into_iter().filter_map(name).collect(),
        relaxed: found.relaxed,
        affinity: kept.map(|kept| affinity::result(kept).as_str().to_owned()),
        candidates: found
            .candidates
            .iter()
            .zip(&route.targets)
            .map(|(one, target)| Line {
                affinity: place(one.at),
                ..line(one, target, route.choosing.strategy)
            })
            .collect(),
    }
}

fn line(one: &Candidate, target: &Target, strategy: Strategy) -> Line {
    let (score, left_out) = match one.verdict {
        Verdict::Eligible { score, .. } => {
            (Some(score).filter(|_| strategy != Strategy::Weighted), None)
        }
        Verdict::LeftOut(why) => (None, Some(words(why))),
    };
    let reading = one.reading;
    Line {
        target: target.name.to_string(),
        tier: target.tier,
        weight: target.weight,
        cost_nano_usd: one.cost,
        first_token_seconds: reading.and_then(|reading| reading.first_token),
        per_token_seconds: reading.and_then(|reading| reading.per_token),
        success: reading.map(|reading| reading.success),
        quality: one.quality,
        waiting: reading.map(|reading| reading.waiting),
        in_flight: reading.map(|reading| reading.in_flight),
        overdue: reading.map(|reading| reading.overdue),
        score,
        affinity: None,
        left_out,
    }
}

fn text(found: &Explanation) -> String {
    let Explanation { model, route, strategy, input_tokens, .. } = found;
    let way = if found.stream { "streamed" } else { "whole" };
    let preference = found.preference.as_ref();
    let preference = preference.map_or_else(String::new, |name| format!(" as {name} weighs it"));
    let mut text = format!(
        "model \"{model}\" → route {route}, strategy {strategy}{preference}; about {input_tokens} input tokens, {way}\n"
    );
    if found.paused {
        text += "the route is paused: every request gets 503\n";
    }
    if found.relaxed > 0 {
        text += "no target holds the whole SLO\n";
    }
    if let Some(affinity) = &found.affinity {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "where it belongs: {affinity}");
    }
    text += "  target               tier  weight          cost  first token  success  in flight       score  affinity\n";
    for one in &found.candidates {
        let or = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let end = match (&one.left_out, found.serves.contains(&one.target)) {
            (Some(why), _) => format!("left out: {why}"),
            (None, true) => "serves".to_owned(),
            (None, false) => "next".to_owned(),
        };
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "  {:<20} {:>4} {:>7} {:>13} {:>12} {:>8} {:>10} {:>11} {:>9}  {end}",
            one.target,
            one.tier,
            one.weight,
            or(one.cost_nano_usd.map(dollars)),
            or(one.first_token_seconds.map(|seconds| format!("{seconds:.3} s"))),
            or(one.success.map(|share| format!("{:.1} %", share * 100.0))),
            or(one.in_flight.map(|count| count.to_string())),
            or(one.score.map(|score| format!("{score:.4}"))),
            or(one.affinity.map(|place| place.to_string())),
        );
    }
    text + &match found.serves.as_slice() {
        [] => "no target may serve\n".to_owned(),
        [one] => format!("{one} serves\n"),
        several if found.strategy == Strategy::Weighted.as_str() => {
            format!("shared by weight: {}\n", several.join(", "))
        }
        several => format!("the better of two that are drawn by weight: {}\n", several.join(", ")),
    }
}

/// Nano-dollars as dollars.
fn dollars(nanos: u64) -> String {
    format!("${}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn words(why: LeftOut) -> String {
    match why {
        LeftOut::CircuitOpen { .. } => "circuit open".to_owned(),
        LeftOut::Drained => "weight 0".to_owned(),
        LeftOut::Full { .. } => "full; requests spill over".to_owned(),
        LeftOut::FallsShort => "does less of what was asked for than others".to_owned(),
        LeftOut::HigherTier => "a lower tier serves".to_owned(),
        LeftOut::Incapable(missing) => format!("has no {}", missing.as_str()),
        LeftOut::KeysRest { .. } => "every key rests".to_owned(),
        LeftOut::MissesSlo(part) => format!("misses slo.{}", part.as_str()),
        LeftOut::NoKey => "no key is left".to_owned(),
        LeftOut::NoPod => "no pod of its Service is ready".to_owned(),
        LeftOut::OverQuota(over) => format!("at its quota of {}", over.part.as_str()),
        LeftOut::Silent => "accepts and does not answer".to_owned(),
        LeftOut::Slow => "far slower than the fastest".to_owned(),
        LeftOut::TooLong { tokens, context } => {
            format!("about {tokens} tokens are more than its context of {context}")
        }
        LeftOut::Tried => "tried for this request".to_owned(),
    }
}
