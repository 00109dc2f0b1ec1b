//! The probes of a container, with the kubelet's counting.

use std::{future::pending, net::Ipv4Addr, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::process::Process;

/// How often a container that is not ready yet is asked, at the least.
const EAGER: Duration = Duration::from_millis(200);

/// One run of a container, as its probes see it.
#[derive(Debug)]
pub struct Probed<'a> {
    pub container: &'a Container,
    pub process: &'a Process,
    pub address: Ipv4Addr,
}

impl Probed<'_> {
    /// Tells of each change of readiness; returns why when the container has to be restarted.
    pub async fn watch(&self, ready: impl Fn(bool)) -> &'static str {
        let container = self.container;
        if let Some(probe) = &container.startup_probe {
            sleep(seconds(probe.initial_delay_seconds, 0)).await;
            if !self.verdict(probe, false, period(probe)).await {
                return "startup probe failed";
            }
        }
        let readiness = async {
            let Some(probe) = &container.readiness_probe else {
                ready(true);
                return pending().await;
            };
            sleep(seconds(probe.initial_delay_seconds, 0)).await;
            loop {
                // A kubelet probes at once when a container starts, and so does this one: more
                // often than told until it is ready, so that a test waits for the container alone.
                while !self.verdict(probe, false, period(probe).min(EAGER)).await {}
                ready(true);
                while self.verdict(probe, true, period(probe)).await {}
                ready(false);
            }
        };
        let liveness = async {
            let Some(probe) = &container.liveness_probe else { return pending().await };
            sleep(seconds(probe.initial_delay_seconds, 0)).await;
            while self.verdict(probe, true, period(probe)).await {}
            "liveness probe failed"
        };
        tokio::select! {
            reason = readiness => reason,
            reason = liveness => reason,
        }
    }

    /// Probes until it is decided what the container is from now on.
    async fn verdict(&self, probe: &Probe, now: bool, period: Duration) -> bool {
        let (mut successes, mut failures) = (0, 0);
        loop {
            if self.passes(probe, seconds(probe.timeout_seconds, 1)).await {
                (successes, failures) = (successes + 1, 0);
            } else {
                (successes, failures) = (0, failures + 1);
            }
            let good = successes >= probe.success_threshold.unwrap_or(1);
            if good && !now {
                return true;
            }
            if failures >= probe.failure_threshold.unwrap_or(3) {
                return false;
            }
            sleep(period).await;
            if good {
                return true;
            }
        }
    }

    async fn passes(&self, probe: &Probe, limit: Duration) -> bool {
        if let Some(action) = &probe.http_get {
            return self.answers(action, limit).await;
        }
        if let Some(ExecAction { command: Some(command) }) = &probe.exec {
            return self.process.succeeds(command, limit).await;
        }
        if let Some(action) = &probe.tcp_socket {
            let port = port(self.container, &action.port);
            return timeout(limit, TcpStream::connect((self.address, port)))
                .await
                .is_ok_and(|connected| connected.is_ok());
        }
        false
    }

    /// Whether a GET is answered with 200 to 399.
    pub async fn answers(&self, action: &HTTPGetAction, limit: Duration) -> bool {
        let port = port(self.container, &action.port);
        let path = action.path.as_deref().unwrap_or("/");
        let status = timeout(limit, status(self.address, port, path)).await;
        status.is_ok_and(|status| status.is_some_and(|status| (200..400).contains(&status)))
    }
}

async fn status(address: Ipv4Addr, port: u16, path: &str) -> Option<u16> {
    let stream = TcpStream::connect((address, port)).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(path)
        .header("host", format!("{address}:{port}"))
        .header("user-agent", "kube-probe/test")
        .body(Empty::<Bytes>::new())
        .ok()?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    response.into_body().collect().await.ok()?;
    Some(status)
}

fn seconds(value: Option<i32>, default: i32) -> Duration {
    Duration::from_secs(value.unwrap_or(default).max(0).unsigned_abs().into())
}

fn period(probe: &Probe) -> Duration {
    seconds(probe.period_seconds, 10).max(Duration::from_secs(1))
}

/// A port by its number or by its name in the container; 0, which nobody has, when there is none.
fn port(container: &Container, port: &IntOrString) -> u16 {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
}
