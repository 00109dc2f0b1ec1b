//! One `ModelRoute` with its credentials to one [`Route`].

use std::{sync::Arc, time::Duration};

use super::{
    ability, access, choosing, pricing,
    report::Problem,
    resolve::Known,
    value::{duration, header_name, header_value, label, model_pattern, upstream_model},
};
use crate::{
    api::{
        ApiName, FailoverReason, FailoverSpec, HeaderSpec, HeaderType, MatchSpec, ModelRouteSpec,
        OverridesSpec, TargetSpec, TargetTimeouts, TimeoutsSpec,
    },
    dialect::Api,
    provider::models,
    table::{
        Failover, FailoverOn, HeaderMatch, HeaderTest, Match, ObjectId, Overrides, Pattern, Route,
        Target, Timeouts,
    },
};

/// The longest value of one override, as JSON text.
const LONGEST_OVERRIDE: usize = 16 * 1024;

/// The fields that no override may touch: one belongs to the route, the other to the client.
const OWNED_FIELDS: [&str; 2] = ["model", "stream"];

/// Builds a route. A target that cannot be had is left out and told; the rest serves.
///
/// Everything that is wrong is told. None when the specification itself is.
pub(super) fn build(
    id: &ObjectId,
    spec: &ModelRouteSpec,
    created: u64,
    known: Known<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Route> {
    let models = patterns(&spec.models, problems);
    let matches = matches(&spec.matches, problems);
    let timeouts = timeouts(&spec.timeouts, problems);
    let failover = failover(&spec.failover, problems);
    let choosing = choosing::build(spec, problems);
    let access = access::build(id, spec.access.as_ref(), known, problems);
    if !spec.targets.iter().any(|target| target.weight > 0) {
        let message = "at least one target needs a weight above 0";
        problems.push(Problem::invalid("spec.targets", message));
    }
    let mut targets = Vec::new();
    for (at, target) in spec.targets.iter().enumerate() {
        let field = format!("spec.targets[{at}]");
        let found = known
            .credential(&id.namespace, &target.name, &target.credential_ref, &field)
            .map_err(|problem| problems.push(problem))
            .ok();
        let shape = shape(target, &field, timeouts, problems);
        let own = target.pricing.as_ref();
        let own = own.map(|spec| pricing::read(spec, &format!("{field}.pricing"), problems));
        if let (Some((credential, listed)), Some(shape)) = (found, shape) {
            let ability = ability::known(&target.model, &credential, listed);
            let named = (target.name.as_str(), target.model.as_str(), field.as_str());
            if let Err(problem) = ability::suffices(ability, &spec.requirements, named) {
                problems.push(problem);
                continue;
            }
            let dialect = credential.provider.dialect;
            let pricing = match own {
                Some(own) => own.map(Arc::new),
                None => pricing::known(&target.model, &credential, listed),
            };
            let mut traits = models::traits(dialect, &target.model);
            if let Some(most) = ability.max_output_tokens {
                traits.max_output_tokens = most;
            }
            targets.push(Arc::new(Target {
                name: target.name.as_str().into(),
                credential,
                model: target.model.as_str().into(),
                traits,
                ability,
                pricing,
                tier: shape.tier,
                weight: shape.weight,
                quality: shape.quality,
                timeouts: shape.timeouts,
                overrides: shape.overrides,
            }));
        }
    }
    Some(Route {
        id: id.clone(),
        created,
        models,
        matches: matches?,
        precedence: spec.precedence,
        access: access?,
        targets,
        choosing: choosing?,
        failover: failover?,
        paused: spec.paused,
    })
}

fn patterns(models: &[String], problems: &mut Vec<Problem>) -> Vec<Pattern> {
    for (at, name) in models.iter().enumerate() {
        if let Err(message) = model_pattern(name) {
            problems.push(Problem::invalid(&format!("spec.models[{at}]"), message));
        }
    }
    models.iter().map(|name| Pattern::parse(name)).collect()
}

fn matches(spec: &MatchSpec, problems: &mut Vec<Problem>) -> Option<Match> {
    let mut apis: Vec<Api> = spec
        .apis
        .iter()
        .map(|api| match api {
            ApiName::ChatCompletions => Api::ChatCompletions,
            ApiName::Messages => Api::Messages,
        })
        .collect();
    apis.sort_unstable();
    let mut headers = Vec::new();
    for (at, header) in spec.headers.iter().enumerate() {
        let field = format!("spec.match.headers[{at}]");
        match header_match(header, &field) {
            Ok(header) => headers.push(header),
            Err(problem) => problems.push(problem),
        }
    }
    headers.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    (headers.len() == spec.headers.len()).then_some(Match { apis, headers })
}

fn header_match(header: &HeaderSpec, field: &str) -> Result<HeaderMatch, Problem> {
    let name = header_name(&header.name)
        .map_err(|message| Problem::invalid(&format!("{field}.name"), message))?;
    if let Some(Err(message)) = header.value.as_deref().map(header_value) {
        return Err(Problem::invalid(&format!("{field}.value"), message));
    }
    let test = match (header.kind, &header.value) {
        (HeaderType::Exact, Some(value)) => HeaderTest::Exact(value.as_str().into()),
        (HeaderType::Prefix, Some(value)) => HeaderTest::Prefix(value.as_str().into()),
        (HeaderType::Present, None) => HeaderTest::Present,
        (HeaderType::Exact | HeaderType::Prefix, None) | (HeaderType::Present, Some(_)) => {
            let message = "`Exact` and `Prefix` need a `value`, `Present` takes none";
            return Err(Problem::invalid(field, message));
        }
    };
    Ok(HeaderMatch { name, test })
}

fn read(text: &str, field: &str, problems: &mut Vec<Problem>) -> Option<Duration> {
    duration(text).map_err(|message| problems.push(Problem::invalid(field, message))).ok()
}

fn timeouts(spec: &TimeoutsSpec, problems: &mut Vec<Problem>) -> Option<Timeouts> {
    let TimeoutsSpec { connect, headers, first_token, stream_idle, total } = spec;
    let mut of = |text: &str, name: &str| read(text, &format!("spec.timeouts.{name}"), problems);
    let (connect, headers) = (of(connect, "connect"), of(headers, "headers"));
    let (first_token, stream_idle) = (of(first_token, "firstToken"), of(stream_idle, "streamIdle"));
    Some(Timeouts {
        total: of(total, "total")?,
        connect: connect?,
        headers: headers?,
        first_token: first_token?,
        stream_idle: stream_idle?,
    })
}

/// A target's timeouts: its own, and the route's where it has none.
fn of_target(
    spec: &TargetTimeouts,
    route: Timeouts,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Option<Timeouts> {
    let TargetTimeouts { connect, headers, first_token, stream_idle, total } = spec;
    let mut or = |text: &Option<String>, name: &str, route: Duration| match text {
        Some(text) => read(text, &format!("{field}.timeouts.{name}"), problems),
        None => Some(route),
    };
    let (connect, headers) =
        (or(connect, "connect", route.connect), or(headers, "headers", route.headers));
    let first_token = or(first_token, "firstToken", route.first_token);
    let stream_idle = or(stream_idle, "streamIdle", route.stream_idle);
    Some(Timeouts {
        total: or(total, "total", route.total)?,
        connect: connect?,
        headers: headers?,
        first_token: first_token?,
        stream_idle: stream_idle?,
    })
}

fn failover(spec: &FailoverSpec, problems: &mut Vec<Problem>) -> Option<Failover> {
    let on = spec.retry_on.iter().map(|reason| match reason {
        FailoverReason::Connect => FailoverOn::Connect,
        FailoverReason::ContextExceeded => FailoverOn::ContextExceeded,
        FailoverReason::CredentialRejected => FailoverOn::CredentialRejected,
        FailoverReason::ModelNotFound => FailoverOn::ModelNotFound,
        FailoverReason::Overloaded => FailoverOn::Overloaded,
        FailoverReason::RateLimited => FailoverOn::RateLimited,
        FailoverReason::ServerError => FailoverOn::ServerError,
        FailoverReason::Timeout => FailoverOn::Timeout,
    });
    let max_attempts = u32::try_from(spec.max_attempts).ok().filter(|n| (1..=8).contains(n));
    if max_attempts.is_none() {
        problems.push(Problem::invalid("spec.failover.maxAttempts", "must be from 1 to 8"));
    }
    let total_budget = read(&spec.total_budget, "spec.failover.totalBudget", problems);
    Some(Failover { max_attempts: max_attempts?, total_budget: total_budget?, on: on.collect() })
}

/// What a target is besides its credential and names.
struct Shape {
    tier: u8,
    weight: u32,
    quality: Option<u32>,
    timeouts: Timeouts,
    overrides: Overrides,
}

fn shape(
    spec: &TargetSpec,
    field: &str,
    route: Option<Timeouts>,
    problems: &mut Vec<Problem>,
) -> Option<Shape> {
    let tier = u8::try_from(spec.tier).ok().filter(|tier| *tier <= 15);
    let weight = u32::try_from(spec.weight).ok().filter(|weight| *weight <= 1000);
    let quality = spec.quality.map(|of| u32::try_from(of).ok().filter(|of| *of <= 100));
    let checks = [
        ("name", label(&spec.name).err()),
        ("model", upstream_model(&spec.model).err()),
        ("tier", tier.is_none().then(|| "must be from 0 to 15".to_owned())),
        ("weight", weight.is_none().then(|| "must be from 0 to 1000".to_owned())),
        ("quality", (quality == Some(None)).then(|| "must be from 0 to 100".to_owned())),
    ];
    for (name, message) in checks {
        problems
            .extend(message.map(|message| Problem::invalid(&format!("{field}.{name}"), message)));
    }
    let overrides = overrides(&spec.overrides, &format!("{field}.overrides"), problems);
    let timeouts = of_target(&spec.timeouts, route?, field, problems);
    let quality = quality.flatten();
    Some(Shape { tier: tier?, weight: weight?, quality, timeouts: timeouts?, overrides })
}

fn overrides(spec: &OverridesSpec, field: &str, problems: &mut Vec<Problem>) -> Overrides {
    let OverridesSpec { set, remove } = spec;
    let mut wrong = |field: &str, message: &str| problems.push(Problem::invalid(field, message));
    for (at, name) in remove.iter().enumerate() {
        if OWNED_FIELDS.contains(&name.as_str()) {
            wrong(&format!("{field}.remove[{at}]"), "`model` and `stream` cannot be left out");
        }
    }
    let mut texts = Vec::new();
    for (name, value) in set {
        let field = format!("{field}.set.{name}");
        if OWNED_FIELDS.contains(&name.as_str()) {
            wrong(&field, "`model` belongs to the target and `stream` to the client");
        }
        if remove.contains(name) {
            wrong(&field, "stands in `remove` too");
        }
        if name.is_empty() || name.len() > 64 {
            wrong(&field, "a field's name has 1 to 64 characters");
        }
        let text = value.to_string();
        if text.len() > LONGEST_OVERRIDE {
            wrong(&field, "must be at most 16 KiB of JSON");
        }
        texts.push((name.clone(), text));
    }
    Overrides { set: texts, remove: remove.clone() }
}
