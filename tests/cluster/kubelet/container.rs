//! The life of one container: start, probe, restart with back-off, stop.

use std::{net::Ipv4Addr, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    probe::Probed,
    process::{Launch, Process},
};

/// The wait before a crashed container starts again; it doubles. A kubelet begins at 10 s.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// What a container does now.
#[derive(Clone, Debug)]
pub enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Ended(Ended),
}

/// How a run of a container ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: &'static str,
    pub since: Timestamp,
    pub at: Timestamp,
}

/// What the pod's status says of a container.
#[derive(Clone, Debug)]
pub struct Report {
    pub state: State,
    pub last: Option<Ended>,
    pub ready: bool,
    pub restarts: i32,
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What makes a container.
#[derive(Debug)]
pub struct Plan {
    pub container: Container,
    pub launch: Launch,
    pub address: Ipv4Addr,
    pub restart: Restart,
    /// What the pod allows, for ends that nobody asked for.
    pub grace: Duration,
}

/// The order to stop: until when.
pub type Stop = watch::Receiver<Option<Instant>>;

impl Report {
    pub fn starting() -> Self {
        let state = State::Waiting { reason: "ContainerCreating", message: String::new() };
        Self { state, last: None, ready: false, restarts: 0 }
    }

    /// After the end of a run, with the wait before the next one.
    fn ended(&mut self, ended: Ended, next: Option<Duration>) {
        self.ready = false;
        self.last = Some(ended.clone());
        self.state = match next {
            Some(wait) => {
                let message = format!("back-off {wait:?} restarting failed container");
                State::Waiting { reason: "CrashLoopBackOff", message }
            }
            None => State::Ended(ended),
        };
    }
}

impl Restart {
    fn applies(self, ended: &Ended) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => ended.code != 0,
            Self::Never => false,
        }
    }
}

impl Plan {
    /// Runs the container until it may not start again or has been stopped.
    pub async fn run(self, mut stop: Stop, report: watch::Sender<Report>) {
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let ended = match self.launch.start() {
                Ok(process) => Some(self.run_once(&process, &mut stop, &report).await),
                Err(error) => {
                    report.send_modify(|report| {
                        let message = error.to_string();
                        report.state = State::Waiting { reason: "RunContainerError", message };
                    });
                    None
                }
            };
            let stopped = stop.borrow().is_some();
            if let Some(ended) = ended {
                let again = !stopped && self.restart.applies(&ended);
                report.send_modify(|report| report.ended(ended, again.then_some(back_off)));
                if !again {
                    return;
                }
            }
            tokio::select! {
                () = sleep(back_off) => {}
                _ = stop.wait_for(Option::is_some) => return,
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
            report.send_modify(|report| report.restarts += 1);
        }
    }

    async fn run_once(
        &self,
        process: &Process,
        stop: &mut Stop,
        report: &watch::Sender<Report>,
    ) -> Ended {
        let since = Timestamp::now();
        report.send_modify(|report| report.state = State::Running { since });
        let probed = Probed { container: &self.container, process, address: self.address };
        let ready = |ready| report.send_modify(|report| report.ready = ready);
        let stopped = async {
            let until = stop.wait_for(Option::is_some).await.ok().and_then(|until| *until);
            until.unwrap_or_else(Instant::now)
        };
        let ending = tokio::select! {
            status = process.ended() => Ending::Itself(status),
            until = stopped => Ending::Asked(until),
            reason = probed.watch(ready) => Ending::Unhealthy(reason),
        };
        let (status, reason) = match ending {
            Ending::Itself(status) => (status, usual(status)),
            Ending::Unhealthy(reason) => (process.end(self.grace).await, reason),
            Ending::Asked(until) => {
                // Readiness is probed on: a proxy that drains says so, and the status must tell.
                let end = self.stop(process, until);
                tokio::pin!(end);
                let status = tokio::select! {
                    status = &mut end => status,
                    _ = probed.watch(ready) => end.await,
                };
                (status, usual(status))
            }
        };
        Ended {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            signal: status.signal(),
            reason,
            since,
            at: Timestamp::now(),
        }
    }

    /// preStop, SIGTERM, SIGKILL: all of it before `until`.
    async fn stop(&self, process: &Process, until: Instant) -> ExitStatus {
        let hook = self.container.lifecycle.as_ref().and_then(|it| it.pre_stop.as_ref());
        if let Some(hook) = hook {
            tokio::select! {
                _late = timeout_at(until, self.hook(hook, process)) => {}
                status = process.ended() => return status,
            }
        }
        // A kubelet gives two seconds when the hook has used up all.
        let left = until.saturating_duration_since(Instant::now());
        process.end(left.max(Duration::from_secs(if hook.is_some() { 2 } else { 0 }))).await
    }

    async fn hook(&self, hook: &LifecycleHandler, process: &Process) {
        let limit = Duration::from_hours(1);
        if let Some(pause) = &hook.sleep {
            sleep_until(Instant::now() + Duration::from_secs(pause.seconds.unsigned_abs())).await;
        } else if let Some(command) = hook.exec.as_ref().and_then(|exec| exec.command.as_ref()) {
            process.succeeds(command, limit).await;
        } else if let Some(action) = &hook.http_get {
            let address = self.address;
            Probed { container: &self.container, process, address }.answers(action, limit).await;
        }
    }
}

/// The reason that a kubelet gives for an end that nothing else explains.
fn usual(status: ExitStatus) -> &'static str {
    if status.success() { "Completed" } else { "Error" }
}

/// Why a run comes to its end.
enum Ending {
    Itself(ExitStatus),
    Asked(Instant),
    Unhealthy(&'static str),
}
