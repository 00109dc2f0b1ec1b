//! Processes that are measured: how they are started, pinned, read and ended.
//!
//! Linux only: the figures come out of `/proc`. Processor time of every thread (`schedstat`) is the
//! benchmark's first measure, because a busy machine disturbs it least.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;

/// A process of ours; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program on one core, its output in a file.
    pub(crate) fn start<S: AsRef<OsStr>>(
        core: usize,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
        environment: &[(&str, String)],
        log: &Path,
    ) -> io::Result<Self> {
        let log = File::create(log)?;
        let mut command = pinned(core, program);
        command
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().map(Self)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().map_or(true, |ended| ended.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children too, or nginx's workers would stay. All of them are ours.
        for id in tree(self.0.id()).into_iter().rev() {
            let _ended = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status();
        }
        for _ in 0..20 {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// A command that will run on one core.
pub(crate) fn pinned(core: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// A process and all below it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        at += 1;
        for thread in threads(id) {
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    found
}

fn threads(id: u32) -> impl Iterator<Item = std::path::PathBuf> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    threads.filter_map(Result::ok).map(|thread| thread.path())
}

/// Nanoseconds that these processes have run.
pub(crate) fn cpu(ids: &[u32]) -> u64 {
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    ids.iter().flat_map(|id| threads(*id)).filter_map(of).sum()
}

/// Kilobytes of memory that these processes hold, shared pages in proportion.
pub(crate) fn memory(ids: &[u32]) -> u64 {
    let of = |id: &u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    ids.iter().filter_map(of).sum()
}

/// A port that is free now.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Waits until something listens.
pub(crate) fn wait_for(
    address: SocketAddr,
    process: &mut Process,
    most: Duration,
) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(50);
    let tries = most.as_millis() / PAUSE.as_millis();
    for _ in 0..tries {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        if process.has_ended() {
            return Err("it ended at once; its log says why".into());
        }
        sleep(PAUSE);
    }
    Err(format!("nothing listened on {address} after {most:?}").into())
}

/// Who listens on a port of this machine; empty when that is not to be seen.
pub(crate) fn listeners(port: u16) -> Vec<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(|line| socket_on(line, port)).collect::<Vec<_>>())
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| holds(*id, &sockets)).collect()
}

/// A line of `/proc/net/tcp`, as `socket:[…]`, if it listens on the port.
fn socket_on(line: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, own) = fields.get(1)?.rsplit_once(':')?;
    let listens =
        fields.get(3) == Some(&LISTENS) && u16::from_str_radix(own, 16).ok() == Some(port);
    listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
}

fn holds(id: u32, sockets: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().filter_map(Result::ok);
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| sockets.iter().any(|socket| socket == link)))
}

/// Takes as many descriptors as may be taken; children inherit the limit.
pub(crate) fn take_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = setrlimit(Resource::Nofile, most).is_ok();
    let taken = if raised { limit.maximum } else { limit.current };
    taken.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_the_port_that_it_listens_on() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listeners(port), [std::process::id()]);
    }

    #[test]
    fn this_process_has_run_and_holds_memory() {
        let own = tree(std::process::id());
        assert!(cpu(&own) > 0 && memory(&own) > 0);
    }
}
