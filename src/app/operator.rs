//! `trunkline operator`: the API server in, the published table and the statuses out.

use std::net::TcpListener;

use rustls::crypto::ring;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::{
    Failure,
    args::{LogFormat, OperatorArgs},
    environment,
};
use crate::{
    compile::Options,
    control::{self, Settings, client},
    observe::{Metrics, Readiness, admin, operator::Operator, telemetry},
};

pub(super) fn operator(args: &OperatorArgs) -> Result<(), Failure> {
    let format = match args.log_format {
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Text => telemetry::Format::Text,
    };
    telemetry::start(format, &environment("RUST_LOG").unwrap_or_else(|| "info".to_owned()))?;
    let metrics = Metrics::new()?;
    let meter = Operator::new(&metrics)?;
    let readiness = Readiness::default();
    let waiting = readiness.wait_for("the objects and the published table");
    let settings = settings(args)?;
    let socket = TcpListener::bind(args.admin_listen)
        .map_err(|error| format!("{} cannot be listened on: {error}", args.admin_listen))?;
    admin::serve(socket, metrics, readiness.clone(), admin::More::default())?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let config = kube::Config::infer().await?;
        let server = config.cluster_url.to_string();
        let client = client::connect(config)?;
        let Settings { namespace, identity, .. } = &settings;
        tracing::info!(server, namespace, identity, "the operator starts");
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            readiness.drain();
        };
        Box::pin(control::run(client, settings, meter, waiting, stop)).await;
        Ok(())
    })
}

fn settings(args: &OperatorArgs) -> Result<Settings, Failure> {
    let given = |flag: &Option<String>, variable| flag.clone().or_else(|| environment(variable));
    let namespace = given(&args.namespace, "POD_NAMESPACE")
        .ok_or("give --namespace, or set POD_NAMESPACE: where the routing table lives")?;
    let identity = given(&args.identity, "POD_NAME")
        .ok_or("give --identity, or set POD_NAME: a name that no other operator has")?;
    let watched = (!args.watch_all).then(|| {
        let named = args.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned();
        named.chain([namespace.clone()]).collect()
    });
    let mut random = [0; 32];
    let provider = ring::default_provider();
    provider
        .secure_random
        .fill(&mut random)
        .map_err(|_error| "the system gives no random bytes")?;
    Ok(Settings {
        namespace,
        watched,
        proxies: args.proxy_selector.clone(),
        admin_port: args.proxy_admin_port,
        options: Options { allow_private_endpoints: args.allow_private_endpoints },
        identity,
        autoscale: args.autoscale,
        prometheus: args.prometheus_url.clone(),
        random,
    })
}
