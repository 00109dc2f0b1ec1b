//! Linux namespaces around the whole test binary: network, mounts and processes of its own.
//!
//! The kernel is the only one that cleans up in every case. When this process ends, however it
//! ends, everything that was started in its process namespace is killed, and the network and the
//! tmpfs mounts vanish with their last user. No list of children has to be kept, and two runs at
//! once cannot meet.

use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// Set inside, to the folder with the tools: they are fetched outside, where the network is.
const INSIDE: &str = "TRUNKLINE_CLUSTER_TOOLS";

/// A tmpfs of this sandbox: certificates, etcd's data, the pods' volumes.
pub const DATA: &str = "/mnt";

/// The folder with the tools, if this process is in its sandbox already.
pub fn inside() -> Option<PathBuf> {
    env::var_os(INSIDE).map(PathBuf::from)
}

/// Becomes this same program inside a new sandbox. Returns only when that fails.
///
/// Who is not root becomes root of a user namespace, where the kernel permits it.
pub fn enter(tools: &Path, sdks: &Path) -> io::Error {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let program = env::current_exe().expect("a process has a program");
    unshare
        .arg("--")
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, tools)
        .env("PYTHONPATH", sdks)
        .exec()
}

/// Mounts what must not outlive the sandbox. `/run` is where `ip netns` keeps its names.
pub fn furnish() {
    for folder in [DATA, "/run"] {
        run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", folder]).expect("a tmpfs");
    }
    run("ip", &["link", "set", "lo", "up"]).expect("a loopback interface");
}

/// Ends on Ctrl-C: the first process of a process namespace has no default reaction to a signal.
pub fn end_on_interrupt() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tokio::signal::ctrl_c()).unwrap();
        #[expect(clippy::exit, clippy::disallowed_methods, reason = "the sandbox ends with it")]
        std::process::exit(130);
    });
}

/// Whether processes here can take this user's id: not in the user namespace of a single user.
pub fn knows_user(id: i64) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse::<i64>().ok());
    count.is_some_and(|count| id < count)
}

/// Runs a program to its end; what it wrote to stderr is the error.
pub fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}
