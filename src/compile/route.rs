//! One `ModelRoute` with its credentials to one [`Route`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Usable,
    report::{Condition, Reason, Report},
    value::{duration, invalid, meant},
};
use crate::{
    api::{
        ApiName, FailoverReason, FailoverSpec, From, HeaderType, MatchSpec, ModelRouteSpec,
        TargetSpec, TargetTimeouts, TimeoutsSpec,
    },
    dialect::Api,
    provider::models,
    table::{
        Failover, FailoverOn, HeaderMatch, HeaderTest, Match, ObjectId, Overrides, Pattern, Route,
        Target, Timeouts,
    },
};

/// Builds a route. A target that cannot be had is left out and reported; the rest serves.
pub(super) fn build(
    id: &ObjectId,
    spec: &ModelRouteSpec,
    credentials: &BTreeMap<ObjectId, Usable>,
    report: &mut Report,
) -> Result<Route, Vec<Condition>> {
    let one = |condition| vec![condition];
    let models = patterns(&spec.models).map_err(one)?;
    let matches = matches(&spec.matches).map_err(one)?;
    let timeouts = timeouts(&spec.timeouts).map_err(one)?;
    let failover = failover(&spec.failover).map_err(one)?;
    if spec.targets.is_empty() {
        return Err(one(invalid("spec.targets", "a route needs at least one target")));
    }
    let mut targets: Vec<Arc<Target>> = Vec::new();
    for (at, target) in spec.targets.iter().enumerate() {
        let field = format!("spec.targets[{at}]");
        if spec.targets.iter().take(at).any(|other| other.name == target.name) {
            let message = format!("the name `{}` stands twice", target.name);
            return Err(one(invalid(&field, message)));
        }
        match build_target(id, target, &field, timeouts, credentials)? {
            Ok(target) => targets.push(Arc::new(target)),
            Err(condition) => report.push(condition),
        }
    }
    Ok(Route {
        id: id.clone(),
        created: 0,
        models,
        matches,
        precedence: spec.precedence,
        targets,
        failover,
        paused: spec.paused,
    })
}

fn patterns(models: &[String]) -> Result<Vec<Pattern>, Condition> {
    if models.is_empty() {
        return Err(invalid("spec.models", "a route needs at least one model name"));
    }
    let check = |(at, name): (usize, &String)| {
        let field = format!("spec.models[{at}]");
        let stars = name.matches('*').count();
        let good = |c: char| c.is_ascii_alphanumeric() || "._:/@+*-".contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
            let message = format!("`{name}` may hold letters, digits and . _ : / @ + - only");
            return Err(invalid(&field, message));
        }
        if stars > 1 || (stars == 1 && !name.starts_with('*') && !name.ends_with('*')) {
            let message = format!("`{name}` may have one `*`, at its beginning or end");
            return Err(invalid(&field, message));
        }
        Ok(Pattern::parse(name))
    };
    models.iter().enumerate().map(check).collect()
}

fn matches(spec: &MatchSpec) -> Result<Match, Condition> {
    let mut apis: Vec<Api> = spec
        .apis
        .iter()
        .map(|api| match api {
            ApiName::ChatCompletions => Api::ChatCompletions,
            ApiName::Messages => Api::Messages,
        })
        .collect();
    apis.sort_unstable();
    apis.dedup();
    let header = |(at, header): (usize, &crate::api::HeaderSpec)| {
        let field = format!("spec.match.headers[{at}]");
        let name = header.name.to_lowercase();
        let name =
            name.parse().map_err(|_bad| invalid(&field, format!("`{name}` is no header name")))?;
        let value = header.value.as_str().into();
        let test = match header.kind {
            HeaderType::Exact => HeaderTest::Exact(value),
            HeaderType::Prefix => HeaderTest::Prefix(value),
            HeaderType::Present => HeaderTest::Present,
        };
        Ok(HeaderMatch { name, test })
    };
    let headers: Result<Vec<_>, _> = spec.headers.iter().enumerate().map(header).collect();
    let mut headers = headers?;
    headers.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(Match { apis, headers })
}

fn timeouts(spec: &TimeoutsSpec) -> Result<Timeouts, Condition> {
    Ok(Timeouts {
        connect: duration(&spec.connect, "spec.timeouts.connect")?,
        headers: duration(&spec.headers, "spec.timeouts.headers")?,
        first_token: duration(&spec.first_token, "spec.timeouts.firstToken")?,
        stream_idle: duration(&spec.stream_idle, "spec.timeouts.streamIdle")?,
        total: duration(&spec.total, "spec.timeouts.total")?,
    })
}

fn of_target(spec: &TargetTimeouts, route: Timeouts, field: &str) -> Result<Timeouts, Condition> {
    let read = |text: &str, name: &str, route: Duration| {
        if text.is_empty() {
            Ok(route)
        } else {
            duration(text, &format!("{field}.timeouts.{name}"))
        }
    };
    Ok(Timeouts {
        connect: read(&spec.connect, "connect", route.connect)?,
        headers: read(&spec.headers, "headers", route.headers)?,
        first_token: read(&spec.first_token, "firstToken", route.first_token)?,
        stream_idle: read(&spec.stream_idle, "streamIdle", route.stream_idle)?,
        total: read(&spec.total, "total", route.total)?,
    })
}

fn failover(spec: &FailoverSpec) -> Result<Failover, Condition> {
    let max_attempts = u32::try_from(spec.max_attempts)
        .ok()
        .filter(|attempts| (1..=8).contains(attempts))
        .ok_or_else(|| invalid("spec.failover.maxAttempts", "must be between 1 and 8"))?;
    let on = spec.on.iter().map(|reason| match reason {
        FailoverReason::Connect => FailoverOn::Connect,
        FailoverReason::ContextExceeded => FailoverOn::ContextExceeded,
        FailoverReason::CredentialRejected => FailoverOn::CredentialRejected,
        FailoverReason::ModelNotFound => FailoverOn::ModelNotFound,
        FailoverReason::Overloaded => FailoverOn::Overloaded,
        FailoverReason::RateLimited => FailoverOn::RateLimited,
        FailoverReason::ServerError => FailoverOn::ServerError,
        FailoverReason::Timeout => FailoverOn::Timeout,
    });
    let total_budget = duration(&spec.total_budget, "spec.failover.totalBudget")?;
    Ok(Failover { max_attempts, total_budget, on: on.collect() })
}

/// A target, or why it is left out; the outer error makes the whole route invalid.
fn build_target(
    route: &ObjectId,
    spec: &TargetSpec,
    field: &str,
    timeouts: Timeouts,
    credentials: &BTreeMap<ObjectId, Usable>,
) -> Result<Result<Target, Condition>, Vec<Condition>> {
    let one = |condition| vec![condition];
    let ranged = |value: i32, most: i32, name: &str| {
        let good = (0..=most).contains(&value);
        let message = format!("`{name}` must be between 0 and {most}");
        if good { Ok(value.unsigned_abs()) } else { Err(one(invalid(field, message))) }
    };
    let label = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if spec.name.is_empty() || spec.name.len() > 63 || !spec.name.chars().all(label) {
        let message = "`name` may hold letters, digits and . _ - only";
        return Err(one(invalid(field, message)));
    }
    let tier = u8::try_from(ranged(spec.tier, 15, "tier")?).unwrap_or(u8::MAX);
    let weight = ranged(spec.weight, 1000, "weight")?;
    // The name goes into paths and JSON of the upstream's as it stands.
    let good = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if spec.model.is_empty() || !spec.model.chars().all(good) || spec.model.contains("..") {
        let message = format!("`{}` is no model name", spec.model);
        return Err(one(invalid(&format!("{field}.model"), message)));
    }
    let timeouts = of_target(&spec.timeouts, timeouts, field).map_err(one)?;
    let wanted = &spec.credential_ref;
    let namespace =
        if wanted.namespace.is_empty() { &*route.namespace } else { wanted.namespace.as_str() };
    let id = ObjectId::new(namespace, wanted.name.as_str());
    let own = namespace == &*route.namespace;
    let usable =
        credentials.get(&id).filter(|usable| own || usable.allowed.namespaces.from == From::All);
    let Some(usable) = usable else {
        return Ok(Err(missing(spec, &id, own, credentials)));
    };
    let credential = Arc::clone(&usable.credential);
    let traits = models::traits(credential.provider.dialect, &spec.model);
    let set = spec.overrides.set.iter().map(|(key, value)| (key.clone(), value.to_string()));
    let overrides = Overrides { set: set.collect(), remove: spec.overrides.remove.clone() };
    Ok(Ok(Target {
        name: spec.name.as_str().into(),
        credential,
        model: spec.model.as_str().into(),
        traits,
        tier,
        weight,
        timeouts,
        overrides,
    }))
}

/// Of another namespace nothing is told, not even whether the credential exists.
fn missing(
    spec: &TargetSpec,
    id: &ObjectId,
    own: bool,
    credentials: &BTreeMap<ObjectId, Usable>,
) -> Condition {
    let target = &spec.name;
    if !own {
        let message = format!(
            "target `{target}` may not use ProviderCredential {id}, or there is none; its owner \
             can allow it in spec.allowedRoutes"
        );
        return Condition::unresolved(Reason::RefNotPermitted, message);
    }
    let usable = || credentials.keys().filter(|o| o.namespace == id.namespace).map(|o| &*o.name);
    let hint = meant(&id.name, usable())
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    let have = usable().collect::<Vec<_>>().join(", ");
    let have = if have.is_empty() { "none".to_owned() } else { have };
    let message = format!(
        "target `{target}` names ProviderCredential {id}, which is missing or unusable; usable \
         ones: {have}{hint}"
    );
    Condition::unresolved(Reason::CredentialNotFound, message)
}
