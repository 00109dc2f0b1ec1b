//! What was typed.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use super::Failure;
use crate::observe::{MOST_SERIES, Shown};

/// One API in front of every model provider.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what the built-in catalogue knows of a model: prices, sizes, capabilities
    Catalogue(CatalogueArgs),
    /// Compile manifests offline and say what is wrong with them
    Check(CheckArgs),
    /// Write the `CustomResourceDefinitions` into a folder
    Crds(CrdsArgs),
    /// Bring the resources of a cluster to its proxies
    Operator(OperatorArgs),
    /// Price recorded answers of providers by the built-in catalogue
    Price(PriceArgs),
    /// Serve the table that an operator publishes in a cluster
    Proxy(ProxyArgs),
    /// Say which targets a request could go to, and why not to the others
    Explain(ExplainArgs),
    /// Ask a URL until it answers as expected: for `helm test` and health checks
    Probe(ProbeArgs),
    /// Serve the manifests of a folder, without Kubernetes
    Run(RunArgs),
    /// Play the providers on loopback
    Sim(SimArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CatalogueArgs {
    /// A provider's own name of a model; every model, one a line, when left out
    pub(super) model: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The folder or file with manifests
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub(super) path: PathBuf,
    /// How the result is written
    #[arg(short, long, default_value = "text")]
    pub(super) output: Output,
    /// Plain http, loopback and private addresses: whether the process that serves takes them
    #[arg(long, value_name = "VERDICT", default_value = "note")]
    pub(super) private_endpoints: PrivateEndpoints,
}

/// How private endpoints are judged, which depends on a flag of a process that `check` does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PrivateEndpoints {
    /// It was started with --allow-private-endpoints
    Allow,
    /// It was not: each is a problem
    Deny,
    /// Not known: each is named and none is a problem
    Note,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    Json,
    Text,
    Yaml,
}

#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// The folder
    pub(super) folder: PathBuf,
    /// As templates of a Helm chart, that keeps them when it is uninstalled
    #[arg(long)]
    pub(super) helm: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// `http://HOST[:PORT]/PATH`, or `tcp://HOST:PORT` to ask for no more than a connection
    pub(super) url: String,
    /// The status to wait for
    #[arg(long, default_value_t = 200)]
    pub(super) status: u16,
    /// Seconds until it must have come
    #[arg(long, default_value_t = 30)]
    pub(super) timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct PriceArgs {
    /// One JSON object a line: provider, model, and the provider's own answer; stdin when left out
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ProxyArgs {
    /// The namespace of the table's Secrets; that of the pod or the kubeconfig when left out
    #[arg(long)]
    pub(super) namespace: Option<String>,
    /// Where these Secrets are mounted, as head, base-a and base-b: for a start without an API server
    #[arg(long, value_name = "FOLDER")]
    pub(super) head_dir: Option<PathBuf>,
    /// Where clients connect; port 0 takes a free one
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub(super) listen: SocketAddr,
    /// Where /metrics, /healthz, /readyz and /internal/state are
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub(super) admin_listen: SocketAddr,
    /// Seconds that new connections are taken after SIGTERM, until everybody routes elsewhere
    #[arg(long, default_value_t = 5)]
    pub(super) pre_stop: u64,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The folder or file with manifests: what a proxy would do that has learned nothing yet
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with = "server")]
    pub(super) path: Option<PathBuf>,
    /// The admin port of a running proxy, as in `http://127.0.0.1:9090`: what it would do now
    #[arg(long, value_name = "URL", required_unless_present = "path")]
    pub(super) server: Option<String>,
    /// The request's body, a JSON file
    #[arg(value_name = "REQUEST")]
    pub(super) request: PathBuf,
    /// Who asks, as namespace/name of a `ModelConsumer`; somebody without a key when left out
    #[arg(long)]
    pub(super) consumer: Option<String>,
    /// The API that would be called
    #[arg(long, default_value = "chat-completions")]
    pub(super) api: ExplainApi,
    /// How the result is written
    #[arg(short, long, default_value = "text")]
    pub(super) output: ExplainOutput,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExplainApi {
    /// POST /v1/chat/completions
    ChatCompletions,
    /// POST /v1/messages
    Messages,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExplainOutput {
    Json,
    Text,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The folder or file with manifests; read again when it changes
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub(super) path: PathBuf,
    /// Where clients connect; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub(super) admin_listen: SocketAddr,
    /// Play the providers on 127.0.0.1:9101, 9102 and 9103 in this process
    #[arg(long)]
    pub(super) sim: bool,
    /// What the simulated providers do (docs/simulator.md)
    #[arg(long, value_name = "FILE", requires = "sim")]
    pub(super) sim_config: Option<PathBuf>,
    /// Append every request that the simulated providers get to this file, prompts included
    #[arg(long, value_name = "FILE", requires = "sim")]
    pub(super) sim_journal: Option<PathBuf>,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// What everybody who serves requests takes.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Take plain http, loopback and private addresses as endpoints
    #[arg(long)]
    pub(super) allow_private_endpoints: bool,
    /// Callers without the key of a `ModelConsumer`. When left out they are refused; `run` lets them in
    /// on a loopback address as long as there is no `ModelConsumer`
    #[arg(long, value_name = "VERDICT")]
    pub(super) anonymous: Option<AnonymousCallers>,
    /// Threads that serve requests; one a core when 0
    #[arg(long, default_value_t = 0)]
    pub(super) workers: usize,
    /// Seconds that open streams are given to finish once no connection is taken any more
    #[arg(long, default_value_t = 30)]
    pub(super) grace_period: u64,
    /// Certificate chain (PEM) for TLS from clients
    #[arg(long, requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Where the access log goes: `-` for stdout, a file, or `off`
    #[arg(long, default_value = "-")]
    pub(super) access_log: String,
    /// How the process's own log looks
    #[arg(long, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Upper bounds of `trunkline_first_token_seconds`, rising, in seconds: with the limit of an SLO among
    /// them, the share of first tokens within it is exact
    #[arg(long, value_delimiter = ',', value_name = "SECONDS")]
    pub(super) first_token_buckets: Vec<f64>,
    /// Send traces there, by OTLP over HTTP, such as `http://collector:4318`; headers for it come from
    /// `$OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long, value_name = "URL")]
    pub(super) otlp_endpoint: Option<String>,
    /// How many of a hundred requests are traced where the caller's `traceparent` does not say
    #[arg(long, default_value_t = 100.0, value_name = "PERCENT")]
    pub(super) trace_percent: f64,
    /// The most series of routes, targets and keys that /metrics shows; `trunkline_dropped_series`
    /// counts the others
    #[arg(long, default_value_t = MOST_SERIES)]
    pub(super) max_series: usize,
}

impl ServeArgs {
    /// What /metrics shows.
    pub(super) fn shown(&self) -> Result<Shown, Failure> {
        let usual = Shown { most_series: self.max_series, ..Shown::default() };
        let bounds = &self.first_token_buckets;
        if bounds.is_empty() {
            return Ok(usual);
        }
        let positive = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        if !positive || !bounds.is_sorted_by(|a, b| a < b) || bounds.len() > MOST_BUCKETS {
            let wanted = "must rise, be above 0, and be at most 30 numbers";
            return Err(format!("--first-token-buckets {wanted}").into());
        }
        // For the life of the process, as the usual ones are.
        Ok(Shown { first_token: bounds.clone().leak(), ..usual })
    }
}

/// More bounds would be more series than answers.
const MOST_BUCKETS: usize = 30;

#[derive(Debug, clap::Args)]
pub(super) struct OperatorArgs {
    /// Where the routing table's Secrets, the lease and the proxies are; `$POD_NAMESPACE` when left
    /// out
    #[arg(long)]
    pub(super) namespace: Option<String>,
    /// Namespaces whose resources count, beside its own
    #[arg(long, value_delimiter = ',', conflicts_with = "watch_all")]
    pub(super) watch_namespaces: Vec<String>,
    /// Take the resources of all namespaces
    #[arg(long)]
    pub(super) watch_all: bool,
    /// The labels of the proxies
    #[arg(
        long,
        default_value = "app.kubernetes.io/name=trunkline,app.kubernetes.io/component=proxy"
    )]
    pub(super) proxy_selector: String,
    /// Look at `ModelAutoscaler`s, and scale what they name
    #[arg(long)]
    pub(super) autoscale: bool,
    /// The Prometheus server that `demand.prometheus` of `ModelAutoscaler`s asks, such as
    /// `http://prometheus.monitoring:9090`
    #[arg(long, value_name = "URL")]
    pub(super) prometheus_url: Option<String>,
    /// The admin port of the proxies
    #[arg(long, default_value_t = 9090)]
    pub(super) proxy_admin_port: u16,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub(super) admin_listen: SocketAddr,
    /// Take plain http, loopback and private addresses as endpoints
    #[arg(long)]
    pub(super) allow_private_endpoints: bool,
    /// The name of this process among the operators; `$POD_NAME` when left out
    #[arg(long)]
    pub(super) identity: Option<String>,
    /// How the process's own log looks
    #[arg(long, default_value = "text")]
    pub(super) log_format: LogFormat,
}

/// What becomes of callers without the key of a `ModelConsumer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AnonymousCallers {
    /// They may use every route that has no `access`, or is for all namespaces
    Allow,
    /// They are refused with 401
    Deny,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    Json,
    Text,
}

#[derive(Debug, clap::Args)]
pub(super) struct SimArgs {
    /// What the providers do (docs/simulator.md)
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Append every request to this file, or `-` for stdout: one JSON object a line, prompts included
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    /// OpenAI's API
    #[arg(long, default_value = "127.0.0.1:9101")]
    pub(super) openai: SocketAddr,
    /// Anthropic's API
    #[arg(long, default_value = "127.0.0.1:9102")]
    pub(super) anthropic: SocketAddr,
    /// Gemini's API
    #[arg(long, default_value = "127.0.0.1:9103")]
    pub(super) gemini: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(buckets: &str) -> Result<Shown, String> {
        let args = ["trunkline", "run", "-f", "x", &format!("--first-token-buckets={buckets}")];
        let args = Args::try_parse_from(args).map_err(|error| error.to_string())?;
        let Command::Run(args) = args.command else { panic!("run") };
        args.serve.shown().map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_of_ones_own_rise() {
        assert_eq!(shown("0.25,1,1.5").unwrap().first_token, [0.25, 1.0, 1.5]);
        for wrong in ["1,1", "2,1", "0,1", "-1", "inf"] {
            let told = shown(wrong).unwrap_err();
            assert!(told.starts_with("--first-token-buckets must rise"), "{wrong}: {told}");
        }
    }
}
