//! `trunkline run`: files, compile, table, proxy and admin in one process.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use super::{
    Failure,
    args::{AnonymousCallers, RunArgs, SimArgs},
    environment,
    plane::{Internal, Plane, Ports, Tables, start_log},
    say,
    sim::play,
    spend,
};
use crate::{
    compile::{self, LastGood, Options},
    files::{Reader, watch},
    observe::Metrics,
    proxy::authenticate::Anonymous,
    table::{Caller, Table},
};

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    start_log(args.serve.log_format)?;
    let plane = Plane::new(anonymous(args), args.serve.shown()?)?;
    let mut source = Manifests {
        reader: Reader::new(&args.path),
        options: Options { allow_private_endpoints: args.serve.allow_private_endpoints },
        last: LastGood::default(),
        metrics: plane.metrics.clone(),
        tables: plane.tables.clone(),
    };
    // Before the first read, so that an edit right after it is an event. That read says better what is
    // wrong with a path, so it comes before the question mark.
    let changes = watch::watch(&args.path);
    source.reload().map_err(|error| format!("{}: {error}", args.path.display()))?;
    let mut changes = changes.map_err(|error| format!("{}: {error}", args.path.display()))?;
    if args.sim {
        play(&SimArgs {
            openai: ([127, 0, 0, 1], 9101).into(),
            anthropic: ([127, 0, 0, 1], 9102).into(),
            gemini: ([127, 0, 0, 1], 9103).into(),
            config: args.sim_config.clone(),
            journal: args.sim_journal.clone(),
        })?;
    }
    let ports = Ports::bind(args.listen, args.admin_listen, args.serve.workers)?;
    let (client, admin) = ports.addresses()?;
    banner(args, &plane.tables.current(), client, admin);
    spend::keep(plane.tables.clone())?;
    let running = plane.start(ports, &args.serve, Duration::ZERO, Internal::default())?;
    thread::Builder::new().name("reload".to_owned()).spawn(move || {
        while changes.wait() {
            if let Err(error) = source.reload() {
                tracing::error!(%error, "the manifests cannot be read; the last good table serves");
            }
        }
    })?;
    running.until_the_end()
}

/// The manifests and what became of them.
struct Manifests {
    reader: Reader,
    options: Options,
    last: LastGood,
    metrics: Metrics,
    tables: Tables,
}

impl Manifests {
    /// Reads, compiles, and puts the table into use if it has changed.
    fn reload(&mut self) -> io::Result<()> {
        let count = |result: &str| self.metrics.reloads.with_label_values(&[result]).inc();
        let snapshot =
            self.reader.read(&environment).inspect_err(|_unreadable| count("rejected"))?;
        let current = self.tables.current();
        let revision = current.revision + 1;
        let compiled = compile::compile(&snapshot, self.options, revision, &mut self.last);
        for line in compiled.reports.iter().flat_map(compile::Report::lines) {
            tracing::warn!("{line}");
        }
        if compiled.reports.iter().any(|report| !report.problems.is_empty()) {
            count("rejected");
        }
        if current.revision > 0 && compiled.same_as(&current) {
            count("unchanged");
            return Ok(());
        }
        self.tables.put(&Arc::new(compiled.table));
        count("applied");
        Ok(())
    }
}

/// Who is served without a key. On loopback only this machine can ask, so a first try needs no key.
fn anonymous(args: &RunArgs) -> Anonymous {
    match args.serve.anonymous {
        Some(AnonymousCallers::Allow) => Anonymous::Allow,
        None if args.listen.ip().is_loopback() => Anonymous::UntilConsumers,
        Some(AnonymousCallers::Deny) | None => Anonymous::Deny,
    }
}

fn banner(args: &RunArgs, table: &Table, client: Option<SocketAddr>, admin: SocketAddr) {
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
    let models = table.models(crate::dialect::Api::ChatCompletions, Caller::Anonymous);
    let Some((model, _)) = models.first() else { return };
    say(&format!(
        "\nTry it:\n  curl http://{client}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n  \
         python -c 'from openai import OpenAI; print(OpenAI(base_url=\"http://{client}/v1\", api_key=\"x\")\
         .chat.completions.create(model=\"{model}\", messages=[{{\"role\":\"user\",\"content\":\"Hello\"}}])\
         .choices[0].message.content)'\n"
    ));
}
