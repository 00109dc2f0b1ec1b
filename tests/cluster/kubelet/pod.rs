//! The life of one pod on the node, from the moment it is bound until its object is gone.

use std::{cell::RefCell, fs, path::PathBuf, rc::Rc, time::Duration};

use futures_util::future::{join_all, select_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Image, Node,
    container::{Plan, Report, Restart, State},
    environment::{environment, expand, namespace},
    network::Place,
    process::{Launch, Mount},
    status::status,
    volumes::Volumes,
};
use crate::{sandbox::knows_user, services};

/// Between two tries of whatever the API server or a missing object held up.
const RETRY: Duration = Duration::from_millis(300);

/// The user of Trunkline's image, for a pod that names none.
const IMAGE_USER: i64 = 65532;

/// What the API server says of the pod.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The object, which may be marked for deletion.
    Present(Box<Pod>),
    /// The object is gone, and nobody waits for an end in good order.
    Gone,
}

/// Runs a pod to its end.
pub async fn run(node: Rc<Node>, mut wanted: watch::Receiver<Wanted>) {
    let Wanted::Present(pod) = wanted.borrow().clone() else { return };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let folder = node.folder.join(&uid);
    let (said, statuses) = watch::channel(None);
    let telling = tokio::task::spawn_local(write(Rc::clone(&node), pod.clone(), statuses));
    let place = RefCell::new(None);
    let life = Life { node: &node, pod: &pod, folder: &folder, said, started: Timestamp::now() };
    let mut orders = wanted.clone();
    tokio::select! {
        () = life.lead(&mut orders, &place) => {}
        () = gone(&mut wanted) => {}
    }
    // Dropping the future has dropped the containers' tasks, and these kill what they started.
    drop(life);
    let place = place.into_inner();
    let Ok(()) = telling.await else { return };
    if let Some(place) = place {
        place.detach().expect("a namespace that nobody is in can be deleted");
    }
    drop(fs::remove_dir_all(&folder));
    release(&node, &pod, &mut wanted).await;
}

/// What the life of a pod's containers is made of.
enum Event {
    Change,
    Deletion(Instant),
    Ended,
    Refresh,
}

struct Life<'a> {
    node: &'a Node,
    pod: &'a Pod,
    folder: &'a PathBuf,
    said: watch::Sender<Option<PodStatus>>,
    started: Timestamp,
}

impl Life<'_> {
    async fn lead(&self, wanted: &mut watch::Receiver<Wanted>, place: &RefCell<Option<Place>>) {
        let Some(spec) = &self.pod.spec else { return };
        let prepared = tokio::select! {
            prepared = self.prepare(spec, place) => Some(prepared),
            _ = deletion(wanted) => None,
        };
        let Some((mut volumes, address, plans)) = prepared else { return };

        let (stop, stopped) = watch::channel(None);
        let mut reports = Vec::new();
        let mut running = Vec::new();
        for (container, plan) in plans {
            let (report, reported) = watch::channel(Report::starting());
            running.push(plan.run(stopped.clone(), report));
            reports.push((container, reported));
        }
        let running = join_all(running);
        tokio::pin!(running);
        let mut stopping = false;
        loop {
            self.say(&address, &reports);
            let event = {
                let changes = reports.iter_mut().map(|(_, reported)| Box::pin(reported.changed()));
                tokio::select! {
                    biased;
                    until = deletion(wanted), if !stopping => Event::Deletion(until),
                    _ = &mut running => Event::Ended,
                    _ = select_all(changes) => Event::Change,
                    () = sleep(self.node.mount_delay()) => Event::Refresh,
                }
            };
            match event {
                Event::Deletion(until) => {
                    stopping = true;
                    stop.send_replace(Some(until));
                }
                Event::Ended => break,
                Event::Change => {}
                // An API server that is away leaves the volumes as they are.
                Event::Refresh => drop(volumes.refresh(self.node, self.pod, &address).await),
            }
        }
        self.say(&address, &reports);
        if !stopping {
            deletion(wanted).await;
        }
    }

    /// Network, volumes, environment: waits for what is missing, as long as it is.
    async fn prepare<'b>(
        &self,
        spec: &'b PodSpec,
        place: &RefCell<Option<Place>>,
    ) -> (Volumes, String, Vec<(&'b Container, Plan)>) {
        let attached = loop {
            match self.node.network.attach() {
                Ok(attached) => break attached,
                Err(error) => self.wait(spec, "ContainerCreating", &error.to_string()).await,
            }
        };
        *place.borrow_mut() = Some(attached.clone());
        let address = attached.address.to_string();
        let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
        let mut volumes = Volumes::new(self.folder.join("volumes"), group);
        while let Err(message) = volumes.refresh(self.node, self.pod, &address).await {
            self.wait(spec, "ContainerCreating", &message).await;
        }
        loop {
            let mut plans = Vec::new();
            let mut wrong = None;
            for container in &spec.containers {
                match self.plan(spec, container, &volumes, &attached).await {
                    Ok(plan) => plans.push((container, plan)),
                    Err(found) => wrong = Some(found),
                }
            }
            let Some((reason, message)) = wrong else { return (volumes, address, plans) };
            self.wait(spec, reason, &message).await;
        }
    }

    async fn plan(
        &self,
        spec: &PodSpec,
        container: &Container,
        volumes: &Volumes,
        place: &Place,
    ) -> Result<Plan, (&'static str, String)> {
        let image = container.image.clone().unwrap_or_default();
        let Image { source, target, entry } =
            super::image(&image).ok_or_else(|| ("ErrImagePull", image.clone()))?;
        let address = place.address.to_string();
        let environment = environment(self.node, self.pod, container, &address)
            .await
            .map_err(|message| ("CreateContainerConfigError", message))?;
        let known = environment.iter().cloned().collect();
        let command = container.command.clone().filter(|command| !command.is_empty());
        let arguments = command.unwrap_or_else(|| vec![entry.to_owned()]);
        let arguments = arguments.iter().chain(container.args.iter().flatten());
        let arguments = arguments.map(|argument| expand(argument, &known)).collect();
        let mut mounts = vec![Mount { source, target: target.to_owned(), read_only: true }];
        mounts.push(Mount {
            source: services::hosts(),
            target: "/etc/hosts".to_owned(),
            read_only: true,
        });
        for mount in container.volume_mounts.iter().flatten() {
            let source = volumes.path(&mount.name);
            let source = mount.sub_path.as_ref().map_or_else(|| source.clone(), |p| source.join(p));
            let target = mount.mount_path.clone();
            mounts.push(Mount { source, target, read_only: mount.read_only == Some(true) });
        }
        let of_pod = spec.security_context.clone().unwrap_or_default();
        let own = container.security_context.clone().unwrap_or_default();
        let user = own.run_as_user.or(of_pod.run_as_user).unwrap_or(IMAGE_USER);
        let group = own.run_as_group.or(of_pod.run_as_group).unwrap_or(user);
        if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) && user == 0 {
            let message = "container has runAsNonRoot and image will run as root".to_owned();
            return Err(("CreateContainerConfigError", message));
        }
        let (user, group) = if knows_user(user) { (user, group) } else { (0, 0) };
        Ok(Plan {
            container: container.clone(),
            launch: Launch {
                arguments,
                environment,
                namespace: place.namespace(),
                root: self.folder.join("roots").join(&container.name),
                user,
                group,
                extra_group: of_pod.fs_group.filter(|group| knows_user(*group)),
                read_only: own.read_only_root_filesystem == Some(true),
                mounts,
                log: self.node.log(self.pod, &container.name),
            },
            address: place.address,
            restart: match spec.restart_policy.as_deref() {
                Some("Never") => Restart::Never,
                Some("OnFailure") => Restart::OnFailure,
                _ => Restart::Always,
            },
            grace: Duration::from_secs(
                spec.termination_grace_period_seconds.unwrap_or(30).unsigned_abs(),
            ),
        })
    }

    /// Tells why the containers do not run yet, and lets some time pass.
    async fn wait(&self, spec: &PodSpec, reason: &'static str, message: &str) {
        let waiting = |container| {
            let state = State::Waiting { reason, message: message.to_owned() };
            (container, Report { state, ..Report::starting() })
        };
        self.tell(None, &spec.containers.iter().map(waiting).collect::<Vec<_>>());
        sleep(RETRY).await;
    }

    fn say(&self, address: &str, reports: &[(&Container, watch::Receiver<Report>)]) {
        let now = |(container, report): &(_, watch::Receiver<Report>)| {
            (*container, report.borrow().clone())
        };
        self.tell(Some(address), &reports.iter().map(now).collect::<Vec<_>>());
    }

    fn tell(&self, address: Option<&str>, reports: &[(&Container, Report)]) {
        self.said.send_if_modified(|said| {
            let new = status(said.as_ref(), address, self.started, reports, Timestamp::now());
            let changed = said.as_ref() != Some(&new);
            *said = Some(new);
            changed
        });
    }
}

/// Writes the newest status, until nobody has a new one.
async fn write(node: Rc<Node>, pod: Box<Pod>, mut statuses: watch::Receiver<Option<PodStatus>>) {
    let api = Api::<Pod>::namespaced(node.client.clone(), &namespace(&pod));
    let name = pod.metadata.name.clone().unwrap_or_default();
    while statuses.changed().await.is_ok() {
        let newest = statuses.borrow_and_update().clone();
        let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": newest });
        let patch = Patch::Strategic(patch);
        match api.patch_status(&name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // Gone, or another pod by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(_) => {
                sleep(RETRY).await;
                statuses.mark_changed();
            }
        }
    }
}

/// Waits until the pod is to be deleted; says until when it has time.
async fn deletion(wanted: &mut watch::Receiver<Wanted>) -> Instant {
    let marked = |wanted: &Wanted| match wanted {
        Wanted::Present(pod) => pod.metadata.deletion_timestamp.is_some(),
        Wanted::Gone => true,
    };
    let grace = match wanted.wait_for(marked).await.as_deref() {
        Ok(Wanted::Present(pod)) => pod.metadata.deletion_grace_period_seconds.unwrap_or(30),
        Ok(Wanted::Gone) | Err(_) => 0,
    };
    Instant::now() + Duration::from_secs(grace.unsigned_abs())
}

async fn gone(wanted: &mut watch::Receiver<Wanted>) {
    let _closed = wanted.wait_for(|wanted| matches!(wanted, Wanted::Gone)).await;
}

/// Deletes the object, which was only marked until its processes had ended.
async fn release(node: &Node, pod: &Pod, wanted: &mut watch::Receiver<Wanted>) {
    let api = Api::<Pod>::namespaced(node.client.clone(), &namespace(pod));
    let name = pod.metadata.name.clone().unwrap_or_default();
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    while matches!(*wanted.borrow(), Wanted::Present(_)) {
        match api.delete(&name, &now).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(_) => sleep(RETRY).await,
        }
    }
}
