//! `trunkline explain`: which targets a request could go to, in what order, and why not to others.
//!
//! The very code that serves answers, with nothing learned yet: what a fresh proxy would do. 0 when
//! some target may serve, 1 when none may, 2 when something could not be read.

use std::{fmt::Write, fs, process::ExitCode, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    args::{ExplainApi, ExplainArgs, ExplainOutput},
    environment, say, say_error,
};
use crate::{
    compile::{self, LastGood, Options},
    dialect::Api,
    files::Reader,
    proxy::{facts::Chat, failover},
    select::{
        Considered, Health, Healths, KeyState, KeyStates, LeftOut, Targets, Tried, Verdict,
        consider,
    },
    table::{Caller, Route, Table},
};

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    match explained(args) {
        Ok((text, served)) => {
            say(text.trim_end());
            ExitCode::from(u8::from(!served))
        }
        Err(error) => {
            say_error(&error);
            ExitCode::from(2)
        }
    }
}

fn explained(args: &ExplainArgs) -> Result<(String, bool), String> {
    let snapshot = Reader::new(&args.path)
        .read(&environment)
        .map_err(|error| format!("{} cannot be read: {error}", args.path.display()))?;
    let options = Options { allow_private_endpoints: true };
    let table = compile::compile(&snapshot, options, 1, &mut LastGood::default()).table;
    let body = fs::read(&args.request)
        .map_err(|error| format!("{} cannot be read: {error}", args.request.display()))?;
    let api = match args.api {
        ExplainApi::ChatCompletions => Api::ChatCompletions,
        ExplainApi::Messages => Api::Messages,
    };
    let chat = Chat::read(api, HeaderMap::new(), Bytes::from(body))
        .map_err(|error| format!("{}: {}", args.request.display(), error.message))?;
    let caller = match &args.consumer {
        None => Caller::Anonymous,
        Some(name) => Caller::Consumer(
            table
                .consumers()
                .all()
                .iter()
                .find(|consumer| consumer.id.to_string() == *name)
                .ok_or_else(|| format!("there is no ModelConsumer `{name}` with a usable key"))?,
        ),
    };
    let route = table
        .find(api, &chat.model, &chat.headers, caller)
        .ok_or_else(|| unknown(&table, api, &chat.model, caller))?;
    let now = Instant::now();
    let (keys, healths) = (KeyStates::new(now), Healths::new(now));
    let keys: Vec<Arc<[Arc<KeyState>]>> =
        route.targets.iter().map(|target| keys.of(&target.credential)).collect();
    let health: Vec<Arc<Health>> = route.targets.iter().map(|target| healths.of(target)).collect();
    let targets = Targets { route, keys: &keys, health: &health };
    let ask = failover::ask(&chat, route);
    let found = consider(targets, &ask, &Tried::default(), now);
    let text = match args.output {
        ExplainOutput::Text => text(&chat, route, &found, ask.input_tokens),
        ExplainOutput::Json => json_of(&chat, route, &found).to_string(),
    };
    Ok((text, found.tier.is_some() && !route.paused))
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

fn text(chat: &Chat, route: &Route, found: &Considered, input_tokens: u32) -> String {
    let mut text = format!(
        "model \"{}\" → route {}, strategy {}\nabout {input_tokens} input tokens, {}\n",
        chat.model,
        route.id,
        route.choosing.strategy.as_str(),
        if chat.stream { "streamed" } else { "whole" },
    );
    if route.paused {
        text += "the route is paused: every request gets 503\n";
    }
    // Writing to a string cannot fail.
    let _written =
        writeln!(text, "  {:<20} {:>4} {:>12} {:>10}  verdict", "target", "tier", "cost", "score");
    for (one, target) in found.candidates.iter().zip(&route.targets) {
        let cost = one.cost.map_or_else(|| "–".to_owned(), dollars);
        let (score, verdict) = match one.verdict {
            Verdict::Eligible { score, .. } => (format!("{score:.4}"), "may serve".to_owned()),
            Verdict::LeftOut(why) => ("–".to_owned(), words(why)),
        };
        let _written = writeln!(
            text,
            "  {:<20} {:>4} {cost:>12} {score:>10}  {verdict}",
            target.name, target.tier
        );
    }
    text
}

fn json_of(chat: &Chat, route: &Route, found: &Considered) -> Value {
    let candidates = found.candidates.iter().zip(&route.targets).map(|(one, target)| {
        let (score, left_out) = match one.verdict {
            Verdict::Eligible { score, .. } => (Some(score), None),
            Verdict::LeftOut(why) => (None, Some(words(why))),
        };
        json!({
            "target": &*target.name, "tier": target.tier, "weight": target.weight,
            "costNanoUSD": one.cost, "score": score, "leftOut": left_out,
        })
    });
    json!({
        "model": chat.model,
        "route": route.id.to_string(),
        "strategy": route.choosing.strategy.as_str(),
        "paused": route.paused,
        "candidates": candidates.collect::<Vec<_>>(),
    })
}

/// Nano-dollars as dollars.
fn dollars(nanos: u64) -> String {
    format!("${}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn words(why: LeftOut) -> String {
    match why {
        LeftOut::CircuitOpen { .. } => "circuit open".to_owned(),
        LeftOut::Drained => "weight 0".to_owned(),
        LeftOut::FallsShort => "does less of what was asked for than others".to_owned(),
        LeftOut::Incapable(missing) => format!("has no {}", missing.as_str()),
        LeftOut::TooLong { tokens, context } => {
            format!("about {tokens} tokens are more than its context of {context}")
        }
        LeftOut::HigherTier => "a lower tier serves".to_owned(),
        LeftOut::KeysRest { .. } => "every key rests".to_owned(),
        LeftOut::MissesSlo(part) => format!("misses slo.{}", part.as_str()),
        LeftOut::NoKey => "no key is left".to_owned(),
        LeftOut::Silent => "accepts and does not answer".to_owned(),
        LeftOut::Slow => "far slower than the fastest".to_owned(),
        LeftOut::Tried => "tried for this request".to_owned(),
    }
}
