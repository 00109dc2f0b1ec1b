//! What a pod's status says. Pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    container::{Ended, Report, State},
    network::GATEWAY,
};

/// The status of a pod with this address, or none yet, and these containers, after this one.
pub fn status(
    before: Option<&PodStatus>,
    address: Option<&str>,
    started: Timestamp,
    containers: &[(&Container, Report)],
    now: Timestamp,
) -> PodStatus {
    let ready = !containers.is_empty() && containers.iter().all(|(_, report)| report.ready);
    let condition = |kind: &str, holds: bool| condition(before, kind, holds, now);
    PodStatus {
        phase: Some(phase(containers).to_owned()),
        start_time: Some(Time(started)),
        host_ip: Some(GATEWAY.to_string()),
        host_ips: Some(vec![HostIP { ip: GATEWAY.to_string() }]),
        pod_ip: address.map(str::to_owned),
        pod_ips: address.map(|ip| vec![PodIP { ip: ip.to_owned() }]),
        conditions: Some(vec![
            condition("PodReadyToStartContainers", address.is_some()),
            condition("Initialized", true),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ]),
        container_statuses: Some(
            containers
                .iter()
                .map(|(container, report)| container_status(container, report))
                .collect(),
        ),
        ..PodStatus::default()
    }
}

fn phase(containers: &[(&Container, Report)]) -> &'static str {
    let ended = containers.iter().map(|(_, report)| match &report.state {
        State::Ended(ended) => Some(ended.code),
        State::Waiting { .. } | State::Running { .. } => None,
    });
    let started = containers
        .iter()
        .any(|(_, report)| report.last.is_some() || !matches!(report.state, State::Waiting { .. }));
    match ended.collect::<Option<Vec<i32>>>() {
        Some(codes) if !codes.is_empty() && codes.iter().all(|code| *code == 0) => "Succeeded",
        Some(codes) if !codes.is_empty() => "Failed",
        _ if started => "Running",
        _ => "Pending",
    }
}

/// A condition, with the time of its last change.
fn condition(before: Option<&PodStatus>, kind: &str, holds: bool, now: Timestamp) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let mut before = before.into_iter().flat_map(|before| &before.conditions).flatten();
    let before = before.find(|before| before.type_ == kind && before.status == status);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or(Some(Time(now))),
        ..PodCondition::default()
    }
}

fn container_status(container: &Container, report: &Report) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        image_id: format!("process://{image}"),
        image,
        ready: report.ready,
        restart_count: report.restarts,
        started: Some(matches!(report.state, State::Running { .. })),
        state: Some(state(&report.state)),
        last_state: report.last.as_ref().map(|ended| ContainerState {
            terminated: Some(terminated(ended)),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

fn state(state: &State) -> ContainerState {
    match state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: Some(message.clone()).filter(|message| !message.is_empty()),
            }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Ended(ended) => {
            ContainerState { terminated: Some(terminated(ended)), ..ContainerState::default() }
        }
    }
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        signal: ended.signal,
        reason: Some(ended.reason.to_owned()),
        started_at: Some(Time(ended.since)),
        finished_at: Some(Time(ended.at)),
        ..ContainerStateTerminated::default()
    }
}
