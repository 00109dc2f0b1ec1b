//! One `ProviderCredential` with its Secrets to one [`Credential`].

use std::net::IpAddr;

use http::Uri;

use super::{
    Options, Snapshot,
    report::{Condition, Reason, Report},
    value::{duration, invalid, meant},
};
use crate::{
    api::{ApiKey, ApiKeys, ProviderCredentialSpec},
    provider::{self, PROVIDERS, Provider},
    table::{Credential, Endpoint, Key, ObjectId, Secret, address::is_public},
};

/// Builds a credential. A key that cannot be had is left out and reported; the rest serves.
pub(super) fn build(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
    snapshot: &Snapshot,
    options: Options,
    report: &mut Report,
) -> Result<Credential, Vec<Condition>> {
    let provider = provider::find(&spec.provider).ok_or_else(|| {
        let known = || PROVIDERS.iter().map(|row| row.name);
        let hint = meant(&spec.provider, known())
            .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        let known = known().collect::<Vec<_>>().join(", ");
        let message = format!("`{}` is none of {known}{hint}", spec.provider);
        vec![invalid("spec.provider", message)]
    })?;
    let endpoint = endpoint(id, spec, provider, snapshot, options)?;
    let keys = match (&spec.auth.none, &spec.auth.api_key) {
        (Some(_), None) => Vec::new(),
        (None, Some(pool)) => keys(id, pool, snapshot, report)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(vec![invalid("spec.auth", "give exactly one of `none` and `apiKey`")]);
        }
    };
    Ok(Credential { id: id.clone(), provider, endpoint, keys })
}

fn endpoint(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
    provider: &Provider,
    snapshot: &Snapshot,
    options: Options,
) -> Result<Endpoint, Vec<Condition>> {
    const FIELD: &str = "spec.endpoint.baseURL";
    let wrong = |message: String| vec![invalid(FIELD, message)];
    let given = Some(spec.endpoint.base_url.as_str()).filter(|url| !url.is_empty());
    let Some(url) = given.or(provider.base_url) else {
        return Err(wrong(format!("`{}` needs the base URL of your server", provider.name)));
    };
    let uri: Uri = url.parse().map_err(|_bad| wrong(format!("`{url}` is no URL")))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong(format!("`{url}` needs a scheme and a host, as in https://host/v1")));
    };
    if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
        return Err(wrong("a base URL has no user, query or fragment".to_owned()));
    }
    let tls = match scheme {
        "https" => true,
        "http" => false,
        other => return Err(wrong(format!("`{other}` is no scheme for an API; use https"))),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_lowercase();
    if !provider.owns(&host) {
        let message = format!(
            "`{host}` is not {0}'s own host, and a key of {0} goes nowhere else; for a server of \
             your own use provider `{1}`",
            provider.name,
            compatible(provider)
        );
        return Err(wrong(message));
    }
    // Digits and dots, or hexadecimal, that are no address in the usual way are one in unusual ways.
    let odd = host.rsplit('.').next().is_some_and(|last| {
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
    });
    let address: Option<IpAddr> = host.parse().ok();
    let private = host == "localhost"
        || host.ends_with(".localhost")
        || address.map_or(odd, |address| !is_public(address));
    if !options.allow_private_endpoints && (private || !tls) {
        let what = if tls { "is a private address" } else { "is not encrypted" };
        let message = format!(
            "{FIELD}: `{url}` {what}; start the process with --allow-private-endpoints to allow it"
        );
        return Err(vec![Condition::not_accepted(Reason::PrivateEndpoint, message)]);
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let server_name = Some(spec.endpoint.tls.server_name.as_str()).filter(|name| !name.is_empty());
    Ok(Endpoint {
        tls,
        host: host.into(),
        port,
        base_path: uri.path().trim_end_matches('/').into(),
        ca: bundle(id, spec, snapshot)?,
        server_name: server_name.map(Into::into),
    })
}

/// The row for servers that speak a provider's API.
fn compatible(provider: &Provider) -> &'static str {
    let row = PROVIDERS.iter().find(|row| row.dialect == provider.dialect && row.hosts.is_empty());
    row.map_or("", |row| row.name)
}

fn bundle(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
    snapshot: &Snapshot,
) -> Result<Option<std::sync::Arc<[u8]>>, Vec<Condition>> {
    let wanted = &spec.endpoint.tls.ca_bundle_ref;
    if wanted.name.is_empty() {
        return Ok(None);
    }
    let map = snapshot.config_maps.get(&ObjectId::new(&*id.namespace, wanted.name.as_str()));
    let pem = map.and_then(|map| map.get(&wanted.key)).ok_or_else(|| {
        let message = format!(
            "spec.endpoint.tls.caBundleRef: there is no key `{}` in ConfigMap {}/{}",
            wanted.key, id.namespace, wanted.name
        );
        vec![Condition::unresolved(Reason::RefNotFound, message)]
    })?;
    Ok(Some(pem.as_bytes().into()))
}

fn keys(
    id: &ObjectId,
    pool: &ApiKeys,
    snapshot: &Snapshot,
    report: &mut Report,
) -> Result<Vec<Key>, Vec<Condition>> {
    let cooldown = &pool.cooldown;
    let limited = duration(&cooldown.on_rate_limit, "spec.auth.apiKey.cooldown.onRateLimit");
    let rejected = duration(&cooldown.on_rejected, "spec.auth.apiKey.cooldown.onRejected");
    let (limited, rejected) =
        limited.and_then(|limited| Ok((limited, rejected?))).map_err(|c| vec![c])?;
    let mut keys: Vec<Key> = Vec::new();
    let mut missing = Vec::new();
    for (at, key) in pool.keys.iter().enumerate() {
        let field = format!("spec.auth.apiKey.keys[{at}]");
        if keys.iter().any(|other| *other.name == *key.name) {
            return Err(vec![invalid(&field, format!("the name `{}` stands twice", key.name))]);
        }
        let weight = u32::try_from(key.weight)
            .map_err(|_negative| vec![invalid(&field, "`weight` must not be negative")])?;
        match secret(id, key, &field, snapshot) {
            Ok(secret) => keys.push(Key {
                name: key.name.as_str().into(),
                secret,
                weight,
                cooldown_rate_limited: limited,
                cooldown_rejected: rejected,
            }),
            Err(condition) => missing.push(condition),
        }
    }
    if keys.is_empty() {
        return Err(missing);
    }
    for condition in missing {
        report.push(condition);
    }
    Ok(keys)
}

fn secret(
    id: &ObjectId,
    key: &ApiKey,
    field: &str,
    snapshot: &Snapshot,
) -> Result<Secret, Condition> {
    let text = match (key.secret_ref.name.is_empty(), key.env.is_empty()) {
        (false, true) => {
            let name = ObjectId::new(&*id.namespace, key.secret_ref.name.as_str());
            let secret = snapshot.secrets.get(&name).ok_or_else(|| {
                let message = format!("{field}.secretRef: there is no Secret {name}");
                Condition::unresolved(Reason::RefNotFound, message)
            })?;
            secret.get(&key.secret_ref.key).ok_or_else(|| {
                let have = secret.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let message = format!(
                    "{field}.secretRef: Secret {name} has no key `{}`; it has: {have}",
                    key.secret_ref.key
                );
                Condition::unresolved(Reason::KeyNotFound, message)
            })?
        }
        (true, false) => snapshot.environment.get(&key.env).ok_or_else(|| {
            let message = format!("{field}.env: the variable {} is not set", key.env);
            Condition::unresolved(Reason::RefNotFound, message)
        })?,
        (false, false) | (true, true) => {
            return Err(invalid(field, "give exactly one of `secretRef` and `env`"));
        }
    };
    Secret::new(text)
        .map_err(|error| Condition::unresolved(Reason::KeyNotFound, format!("{field}: {error}")))
}
