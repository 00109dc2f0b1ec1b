//! A container's process: how it is started, signalled and waited for.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, time::timeout};

/// Prepares the root and becomes the program; see there.
const CONTAINER: &str = include_str!("container.sh");

/// What PATH is in an image that says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that is needed to start a container, as often as it has to be.
#[derive(Clone, Debug)]
pub struct Launch {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub namespace: PathBuf,
    /// An empty folder for its root.
    pub root: PathBuf,
    pub user: i64,
    pub group: i64,
    pub extra_group: Option<i64>,
    pub read_only: bool,
    pub mounts: Vec<Mount>,
    pub log: PathBuf,
}

/// A folder or file of the node inside a container.
#[derive(Clone, Debug)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Launch {
    /// Starts the process and a thread that waits for it.
    pub fn start(&self) -> io::Result<Process> {
        fs::create_dir_all(&self.root)?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let access = |read_only: bool| if read_only { "ro" } else { "rw" };
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace.display()))
            .args(["unshare", "--mount", "bash", "-c", CONTAINER, "container"])
            .arg(&self.root)
            .arg(format!("{}:{}", self.user, self.group))
            .arg(self.extra_group.map(|group| group.to_string()).unwrap_or_default())
            .arg(access(self.read_only));
        for Mount { source, target, read_only } in &self.mounts {
            command.arg(format!("{}:{target}:{}", source.display(), access(*read_only)));
        }
        command.arg("--").args(&self.arguments);
        command.env_clear().env("PATH", PATH).env("HOME", "/").envs(self.environment.clone());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (ended, status) = watch::channel(None);
        std::thread::spawn(move || ended.send_replace(child.wait().ok()));
        Ok(Process { pid, status })
    }
}

impl Process {
    /// Waits for the end.
    pub async fn ended(&self) -> ExitStatus {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        ended.unwrap_or_default()
    }

    /// Asks it to end, waits, and kills it when it did not.
    pub async fn end(&self, grace: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(grace, self.ended()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Whether a command inside the container succeeds in time.
    pub async fn succeeds(&self, command: &[String], limit: Duration) -> bool {
        let mut inside = Command::new("timeout");
        inside.arg(format!("{}", limit.as_secs_f64()));
        inside.args(["nsenter", "--target", &self.pid.as_raw_nonzero().to_string()]);
        inside.args(["--mount", "--net", "--root", "--wd", "--"]).args(command);
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || inside.status()).await;
        ran.is_ok_and(|status| status.is_ok_and(|status| status.success()))
    }

    /// A process that has ended has no id that could be another's by now.
    fn signal(&self, signal: Signal) {
        if self.status.borrow().is_none() {
            // It may end at this moment, and then there is nobody to tell.
            let _gone = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
