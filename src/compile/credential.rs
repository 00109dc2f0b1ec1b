//! One `ProviderCredential` with its Secrets to one [`Credential`].

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::{
    Options, Snapshot,
    backend::{self, Found},
    endpoint, pricing, quota,
    report::{Problem, Reason},
    resolve,
    secret::{self, Place},
    spend,
    value::{host_name, label, pause, suggestion},
};
use crate::{
    api::{ApiKeysSpec, CaBundleKind, CaBundleRef, ProviderCredentialSpec, Scheme},
    provider::{self, PROVIDERS, Provider},
    table::{Credential, Endpoint, Key, ObjectId, Secret},
};

/// A credential as far as it could be made.
#[derive(Debug)]
pub(super) struct Built {
    /// None when there is nothing to connect with: no key, or no certificates to trust.
    pub(super) credential: Option<Credential>,
    /// Keys that can be used.
    pub(super) usable: usize,
    /// Keys that it names.
    pub(super) total: usize,
    /// The pods of its Service, if it names one.
    pub(super) found: Option<Found>,
}

/// Builds a credential. A key that cannot be had is left out and told; the rest serves.
///
/// None when the specification itself is wrong, which has then been told.
pub(super) fn build(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
    snapshot: &Snapshot,
    options: Options,
    problems: &mut Vec<Problem>,
) -> Option<Built> {
    let provider = find(&spec.provider, problems);
    let endpoint = provider.and_then(|row| endpoint(id, spec, row, options, problems));
    let ca = match spec.endpoint.tls.as_ref().and_then(|tls| tls.ca_bundle_ref.as_ref()) {
        Some(wanted) => bundle(id, wanted, snapshot, problems).map(Some),
        None => Some(None),
    };
    let keys = match (&spec.auth.none, &spec.auth.api_key) {
        (Some(_), None) => Some(Vec::new()),
        (None, Some(pool)) => keys(id, pool, snapshot, problems),
        (Some(_), Some(_)) | (None, None) => {
            problems.push(Problem::invalid("spec.auth", "give exactly one of `none` and `apiKey`"));
            None
        }
    };
    let allowed = &spec.allowed_routes.namespaces;
    resolve::check_grant(allowed, "spec.allowedRoutes.namespaces", problems);
    pricing::check(&spec.models, problems);
    let quota = quota::read(&spec.quota, problems);
    let tiers = spend::read(&spec.spend_tiers, problems);
    let (provider, mut endpoint, keys) = (provider?, endpoint?, keys?);
    let (quota, tiers) = (quota?, tiers?);
    let total = spec.auth.api_key.as_ref().map_or(0, |pool| pool.keys.len());
    let (usable, shown) = (keys.len(), total == 0 || !keys.is_empty());
    let credential = ca.filter(|_| shown).map(|ca| {
        endpoint.ca = ca;
        Credential { id: id.clone(), provider, endpoint, keys, quota, tiers }
    });
    let service = spec.endpoint.service.as_ref();
    let found =
        service.map(|service| backend::find(&id.namespace, service, snapshot, options, problems));
    Some(Built { credential, usable, total, found })
}

fn find(name: &str, problems: &mut Vec<Problem>) -> Option<&'static Provider> {
    let found = provider::find(name);
    if found.is_none() {
        let known = suggestion(name, PROVIDERS.iter().map(|row| row.name));
        let message = format!("`{name}` is no provider; {known}");
        problems.push(Problem::at(Reason::UnsupportedValue, "spec.provider", message));
    }
    found
}

fn endpoint(
    id: &ObjectId,
    spec: &ProviderCredentialSpec,
    provider: &Provider,
    options: Options,
    problems: &mut Vec<Problem>,
) -> Option<Endpoint> {
    let given = spec.endpoint.base_url.as_deref();
    let tls = spec.endpoint.tls.as_ref();
    let server_name = tls.and_then(|tls| tls.server_name.as_deref());
    if let Some(Err(message)) = server_name.map(host_name) {
        problems.push(Problem::invalid("spec.endpoint.tls.serverName", message));
    }
    if let Some(service) = &spec.endpoint.service {
        if given.is_some() {
            let message = "give at most one of `baseURL` and `service`";
            problems.push(Problem::invalid("spec.endpoint", message));
        }
        if tls.is_some() && service.scheme != Scheme::Https {
            let message = "`tls` means nothing for a service without `scheme: HTTPS`";
            problems.push(Problem::invalid("spec.endpoint.tls", message));
        }
        let endpoint = backend::endpoint(&id.namespace, service, provider, problems)?;
        return Some(Endpoint { server_name: server_name.map(Into::into), ..endpoint });
    }
    let Some(url) = given.or(provider.base_url) else {
        let message = "a provider `…Compatible` needs `baseURL` or `service`: nobody else knows \
                       where your server is";
        problems.push(Problem::invalid("spec.endpoint", message));
        return None;
    };
    if tls.is_some() && url.starts_with("http:") {
        let message = "`tls` means nothing for a base URL with http://";
        problems.push(Problem::invalid("spec.endpoint.tls", message));
    }
    let base =
        endpoint::judge(url, provider, options).map_err(|problem| problems.push(problem)).ok()?;
    Some(Endpoint {
        tls: base.tls,
        host: base.host.into(),
        port: base.port,
        base_path: base.path.into(),
        ca: None,
        server_name: server_name.map(Into::into),
        service: false,
    })
}

/// The certificates to trust. Without them the server is not connected to at all: the usual ones
/// would be the wrong ones.
fn bundle(
    id: &ObjectId,
    wanted: &CaBundleRef,
    snapshot: &Snapshot,
    problems: &mut Vec<Problem>,
) -> Option<Arc<[u8]>> {
    const FIELD: &str = "spec.endpoint.tls.caBundleRef";
    let CaBundleRef { kind, name, key } = wanted;
    let object = ObjectId::new(Arc::clone(&id.namespace), name.as_str());
    let mut missing = |reason, message: String| problems.push(Problem::at(reason, FIELD, message));
    let found: Option<Arc<[u8]>> = match kind {
        CaBundleKind::ConfigMap => {
            let Some(map) = snapshot.config_maps.get(&object) else {
                let (reason, message) = secret::absent(snapshot, "ConfigMap", &object);
                missing(reason, message);
                return None;
            };
            map.get(key).map(|text| text.as_bytes().into())
        }
        CaBundleKind::Secret => {
            let Some(secret) = snapshot.secrets.get(&object) else {
                let (reason, message) = secret::absent(snapshot, "Secret", &object);
                missing(reason, message);
                return None;
            };
            secret.get(key).map(|bytes| bytes.expose_secret().into())
        }
    };
    if found.is_none() {
        missing(Reason::KeyNotFound, format!("{object} has no key `{key}`"));
    }
    found
}

fn keys(
    id: &ObjectId,
    pool: &ApiKeysSpec,
    snapshot: &Snapshot,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Key>> {
    const FIELD: &str = "spec.auth.apiKey";
    let mut rest = |text: &str, name: &str| {
        let field = format!("{FIELD}.cooldown.{name}");
        pause(text).map_err(|message| problems.push(Problem::invalid(&field, message))).ok()
    };
    let limited = rest(&pool.cooldown.on_rate_limit, "onRateLimit");
    let rejected = rest(&pool.cooldown.on_rejected, "onRejected");
    if !pool.keys.iter().any(|key| key.weight > 0) {
        let message = "at least one key needs a weight above 0";
        problems.push(Problem::invalid(&format!("{FIELD}.keys"), message));
    }
    let mut keys = Vec::new();
    let mut sound = true;
    for (at, key) in pool.keys.iter().enumerate() {
        let field = format!("{FIELD}.keys[{at}]");
        if let Err(message) = label(&key.name) {
            problems.push(Problem::invalid(&format!("{field}.name"), message));
        }
        let (Some(limited), Some(rejected)) = (limited, rejected) else { continue };
        let weight = u32::try_from(key.weight).ok().filter(|weight| *weight <= 1000);
        let Some(weight) = weight else {
            problems.push(Problem::invalid(&format!("{field}.weight"), "must be from 0 to 1000"));
            continue;
        };
        let place = Place { id, secret_ref: key.secret_ref.as_ref(), env: key.env.as_deref() };
        let read = secret::read(place, &field, snapshot).and_then(|text| {
            Secret::new(text.expose_secret())
                .map_err(|unusable| Problem::at(Reason::KeyUnusable, &field, unusable))
        });
        match read {
            Ok(secret) => keys.push(Key {
                name: key.name.as_str().into(),
                secret,
                weight,
                cooldown_rate_limited: limited,
                cooldown_rejected: rejected,
            }),
            Err(problem) => {
                sound &= !problem.rejects();
                problems.push(problem);
            }
        }
    }
    (sound && limited.is_some() && rejected.is_some()).then_some(keys)
}
