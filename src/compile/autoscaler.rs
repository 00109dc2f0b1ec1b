//! A `ModelAutoscaler` as a policy, with what is wrong with it.

use super::{report::Problem, value::duration};
use crate::{
    api::{DemandQuery, DemandSpec, ModelAutoscalerSpec},
    autoscale::Policy,
};

/// Reads the policy; none when something is wrong, and everything that is, is told.
pub fn autoscaler(spec: &ModelAutoscalerSpec, problems: &mut Vec<Problem>) -> Option<Policy> {
    let before = problems.len();
    let mut number = |value: i32, least: i32, most: i32, field: &str| {
        let found = u32::try_from(value).ok().filter(|_| (least..=most).contains(&value));
        if found.is_none() {
            problems.push(Problem::invalid(field, format!("must be from {least} to {most}")));
        }
        found.unwrap_or_default()
    };
    let least = number(spec.min_replicas, 0, 10_000, "spec.minReplicas");
    let most = number(spec.max_replicas, 1, 10_000, "spec.maxReplicas");
    let per_replica = number(spec.in_flight_per_replica, 1, 100_000, "spec.inFlightPerReplica");
    let mut time = |text: &str, field: &str| {
        let found = duration(text);
        found.map_err(|message| problems.push(Problem::invalid(field, message))).ok()
    };
    let cold_start = time(&spec.cold_start, "spec.coldStart");
    let calm = time(&spec.scale_down_after, "spec.scaleDownAfter");
    let first_token = spec.first_token.as_deref().map(|text| time(text, "spec.firstToken"));
    if spec.min_replicas > spec.max_replicas {
        let message = "`minReplicas` must not be more than `maxReplicas`";
        problems.push(Problem::invalid("spec", message));
    }
    let DemandSpec { proxies, credential_ref, prometheus } = &spec.demand;
    let given = [proxies.is_some(), credential_ref.is_some(), prometheus.is_some()];
    if let Some(DemandQuery { query }) = prometheus
        && !(1..=4096).contains(&query.chars().count())
    {
        let message = "must be of 1 to 4096 characters";
        problems.push(Problem::invalid("spec.demand.prometheus.query", message));
    }
    if given.into_iter().filter(|given| *given).count() != 1 {
        let message = "give exactly one of `proxies`, `credentialRef` and `prometheus`";
        problems.push(Problem::invalid("spec.demand", message));
    } else if proxies.is_some() && spec.min_replicas == 0 {
        let message = "proxies that are at zero can count nothing: with `demand.proxies`, \
                       `minReplicas` must be at least 1";
        problems.push(Problem::invalid("spec", message));
    }
    let policy = Policy {
        least,
        most,
        in_flight_per_replica: per_replica,
        first_token: match first_token {
            Some(limit) => Some(limit?),
            None => None,
        },
        cold_start: cold_start?,
        calm: calm?,
    };
    (problems.len() == before).then_some(policy)
}
