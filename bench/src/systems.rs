//! What is measured: the gateways, and how each is started so that it does the same work.
//!
//! Everybody runs as it is shipped, but for what it needs to serve at all, and with logs of errors
//! only. Trunkline alone runs with everything on: its access log, its metrics, and 2,000 routes.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Failure,
    process::{self, Process},
};

/// The model that every system serves, by OpenAI's API.
pub(crate) const MODEL: &str = "gpt-4o-mini";

/// The model that is served by Anthropic's, to clients of OpenAI's.
pub(crate) const TRANSLATED: &str = "claude-sonnet-4-5";

/// Routes in Trunkline's table while it is measured, and the fewest that do the work.
pub(crate) const ROUTES: usize = 2000;
pub(crate) const FEWEST_ROUTES: usize = 2;

/// How long a system may take to start. Python programs need ten seconds and more.
const START: Duration = Duration::from_mins(1);

/// A kind of system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No gateway: the mock itself. What others take beyond it is what they add.
    Direct,
    /// A bare pass-through on hyper.
    Floor,
    Nginx,
    /// With this many routes in its table.
    Trunkline(usize),
    VllmRouter,
    Ferrogw,
    LiteLlm,
    /// A gateway that runs already.
    Peer(String, SocketAddr),
}

impl Kind {
    /// Its name in the table.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::Trunkline(_) => "trunkline",
            Self::VllmRouter => "vllm-router",
            Self::Ferrogw => "ferrogw",
            Self::LiteLlm => "litellm",
            Self::Peer(name, _) => name,
        }
    }

    /// Whether it translates between the two APIs.
    pub(crate) const fn translates(&self) -> bool {
        match self {
            Self::Trunkline(_) | Self::LiteLlm => true,
            Self::Direct
            | Self::Floor
            | Self::Nginx
            | Self::VllmRouter
            | Self::Ferrogw
            | Self::Peer(..) => false,
        }
    }

    /// Whether a thousand requests a second are too many for it.
    pub(crate) fn is_slow(&self) -> bool {
        *self == Self::LiteLlm
    }
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

impl System {
    /// Its processes; none for the mock, which is nobody's cost.
    pub(crate) fn ids(&self) -> Vec<u32> {
        match (&self.process, &self.kind) {
            (Some(process), _) => process::tree(process.id()),
            (None, Kind::Peer(_, address)) => process::listeners(address.port()),
            (None, _) => Vec::new(),
        }
    }
}

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    /// What is written while it runs.
    pub(crate) folder: PathBuf,
    /// Trunkline's program.
    pub(crate) trunkline: PathBuf,
    /// Folders in which programs of peers are looked for, the search path's after them.
    pub(crate) peers: Vec<PathBuf>,
    /// The mock.
    pub(crate) mock: SocketAddr,
}

impl Places {
    /// A peer's program.
    fn program(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.peers.iter().cloned().chain(std::env::split_paths(&path));
        let system = ["/usr/sbin".into(), "/usr/bin".into()];
        let mut programs = folders.chain(system).map(|folder: PathBuf| folder.join(name));
        programs.find(|program| program.is_file()).ok_or_else(|| "it is not installed".into())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// Starts the provider.
pub(crate) fn mock(folder: &Path, core: usize, address: SocketAddr) -> Result<Process, Failure> {
    if std::net::TcpStream::connect(address).is_ok() {
        return Err(format!("{address} is in use; --mock takes another address").into());
    }
    let args = ["mock".to_owned(), format!("--listen={address}")];
    let own = std::env::current_exe()?;
    let mut process = Process::start(core, own, args, &[], &folder.join("mock.log"))?;
    process::wait_for(address, &mut process, START)?;
    Ok(process)
}

/// Starts a system on a core.
///
/// # Errors
/// When it cannot be had here; the others can be measured all the same.
pub(crate) fn start(kind: &Kind, places: &Places, core: usize) -> Result<System, Failure> {
    let address = match kind {
        Kind::Direct => places.mock,
        Kind::Peer(_, address) => *address,
        Kind::Floor
        | Kind::Nginx
        | Kind::Trunkline(_)
        | Kind::VllmRouter
        | Kind::Ferrogw
        | Kind::LiteLlm => process::free_port()?,
    };
    let process = match kind {
        Kind::Direct | Kind::Peer(..) => None,
        Kind::Floor => {
            let own = std::env::current_exe()?;
            let listen = format!("--listen={address}");
            let upstream = format!("--upstream={}", places.mock);
            Some((own, vec!["floor".to_owned(), listen, upstream], vec![]))
        }
        Kind::Nginx => Some(nginx(places, address)?),
        Kind::Trunkline(count) => Some(trunkline(places, address, *count)?),
        Kind::VllmRouter => Some(vllm_router(places, address)?),
        Kind::Ferrogw => Some(ferrogw(places, address)?),
        Kind::LiteLlm => Some(litellm(places, address)?),
    };
    let process = match process {
        None => None,
        Some((program, args, environment)) => {
            let log = places.log(kind.name());
            let mut process = Process::start(core, program, args, &environment, &log)?;
            process::wait_for(address, &mut process, START)?;
            Some(process)
        }
    };
    Ok(System { kind: kind.clone(), address, process })
}

/// A program, its arguments, its environment.
type Start = (PathBuf, Vec<String>, Vec<(&'static str, String)>);

fn trunkline(places: &Places, address: SocketAddr, count: usize) -> Result<Start, Failure> {
    let manifests = places.folder.join(format!("manifests-{count}"));
    fs::create_dir_all(&manifests)?;
    fs::write(manifests.join("routes.yaml"), routes(places.mock, count))?;
    let args = vec![
        "run".to_owned(),
        format!("--filename={}", manifests.display()),
        format!("--listen={address}"),
        format!("--admin-listen={}", process::free_port()?),
        format!("--access-log={}", places.log("access").display()),
        "--allow-private-endpoints".to_owned(),
        "--workers=1".to_owned(),
    ];
    Ok((places.trunkline.clone(), args, vec![]))
}

/// Two accounts at the mock, the two routes that are used, and many that are not.
fn routes(mock: SocketAddr, count: usize) -> String {
    let mut text = format!(
        "apiVersion: trunkline.dev/v1alpha1\nkind: ProviderCredential\n\
         metadata: {{ name: openai }}\nspec:\n  provider: OpenAICompatible\n  \
         endpoint: {{ baseURL: \"http://{mock}/v1\" }}\n  \
         auth: {{ apiKey: {{ keys: [{{ name: a, secretRef: {{ name: keys, key: a }} }}] }} }}\n\
         ---\napiVersion: trunkline.dev/v1alpha1\nkind: ProviderCredential\n\
         metadata: {{ name: anthropic }}\nspec:\n  provider: AnthropicCompatible\n  \
         endpoint: {{ baseURL: \"http://{mock}\" }}\n  \
         auth: {{ apiKey: {{ keys: [{{ name: a, secretRef: {{ name: keys, key: a }} }}] }} }}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: keys }}\n\
         stringData: {{ a: sk-bench }}\n"
    );
    let mut route = |name: &str, model: &str, credential: &str, upstream: &str| {
        // Writing to a string cannot fail.
        let _written = write!(
            text,
            "---\napiVersion: trunkline.dev/v1alpha1\nkind: ModelRoute\n\
             metadata: {{ name: {name} }}\nspec:\n  models: [{model}]\n  targets:\n  \
             - {{ name: {credential}, credentialRef: {{ name: {credential} }}, model: {upstream} }}\n"
        );
    };
    route("used", MODEL, "openai", "mock-model");
    route("translated", TRANSLATED, "anthropic", "mock-claude");
    for at in FEWEST_ROUTES..count {
        route(&format!("route-{at}"), &format!("model-{at}"), "openai", "mock-model");
    }
    text
}

fn nginx(places: &Places, address: SocketAddr) -> Result<Start, Failure> {
    let folder = places.folder.join("nginx");
    fs::create_dir_all(&folder)?;
    let file = folder.join("nginx.conf");
    let (at, mock) = (folder.display(), places.mock);
    fs::write(
        &file,
        format!(
            "daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log stderr error;\n\
             worker_rlimit_nofile 20000;\nevents {{ worker_connections 18000; }}\n\
             http {{\n  access_log {at}/access.log;\n  client_body_temp_path {at}/body;\n  \
             proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n  \
             uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
             keepalive_requests 100000000;\n  client_max_body_size 32m;\n  \
             client_body_buffer_size 256k;\n  \
             upstream mock {{ server {mock}; keepalive 1024; keepalive_requests 100000000; }}\n  \
             server {{\n    listen {address} backlog=4096;\n    location / {{\n      \
             proxy_pass http://mock;\n      proxy_http_version 1.1;\n      \
             proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
        ),
    )?;
    let args = vec!["-p".to_owned(), at.to_string(), "-c".to_owned(), file.display().to_string()];
    Ok((places.program("nginx")?, args, vec![]))
}

fn vllm_router(places: &Places, address: SocketAddr) -> Result<Start, Failure> {
    let args = vec![
        format!("--host={}", address.ip()),
        format!("--port={}", address.port()),
        format!("--worker-urls=http://{}", places.mock),
        "--policy=round_robin".to_owned(),
        "--log-level=error".to_owned(),
        format!("--prometheus-port={}", process::free_port()?.port()),
    ];
    Ok((places.program("vllm-router")?, args, vec![]))
}

fn ferrogw(places: &Places, address: SocketAddr) -> Result<Start, Failure> {
    let environment = vec![
        ("OPENAI_API_KEY", "sk-bench".to_owned()),
        ("OPENAI_BASE_URL", format!("http://{}/v1", places.mock)),
        ("ALLOW_UNAUTHENTICATED_PROXY", "true".to_owned()),
        // At its default it refuses most requests, and looks five times as fast as it is.
        ("RATE_LIMIT_RPS", "0".to_owned()),
        ("LOG_LEVEL", "error".to_owned()),
        ("PORT", address.port().to_string()),
        ("HOST", address.ip().to_string()),
    ];
    Ok((places.program("ferrogw")?, vec!["serve".to_owned()], environment))
}

fn litellm(places: &Places, address: SocketAddr) -> Result<Start, Failure> {
    let file = places.folder.join("litellm.yaml");
    let mock = places.mock;
    fs::write(
        &file,
        format!(
            "model_list:\n\
             - model_name: {MODEL}\n  litellm_params: {{ model: openai/mock-model, \
             api_base: \"http://{mock}/v1\", api_key: sk-bench }}\n\
             - model_name: {TRANSLATED}\n  litellm_params: {{ model: anthropic/mock-claude, \
             api_base: \"http://{mock}\", api_key: sk-bench }}\n"
        ),
    )?;
    let args = vec![
        format!("--config={}", file.display()),
        format!("--host={}", address.ip()),
        format!("--port={}", address.port()),
    ];
    let environment = vec![
        ("LITELLM_LOCAL_MODEL_COST_MAP", "True".to_owned()),
        ("LITELLM_LOG", "ERROR".to_owned()),
    ];
    Ok((places.program("litellm")?, args, environment))
}
