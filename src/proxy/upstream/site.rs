//! Where connections go: an endpoint or one pod of it, under which name, and what is trusted there.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, uri::Authority};
use rustls::{ClientConfig, pki_types::ServerName};

use super::error::SendError;
use crate::table::Endpoint;

/// Where connections go.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) endpoint: Endpoint,
    /// The pod that is connected to, where the endpoint is a Service.
    pub(super) pod: Option<SocketAddr>,
    /// What `host` and `:authority` say.
    pub(super) authority: Authority,
    pub(super) host: HeaderValue,
    /// What to trust, and the name to verify; `None` for plain text.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) allow_private: bool,
}

impl Site {
    pub(super) fn new(
        endpoint: &Endpoint,
        pod: Option<SocketAddr>,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        allow_private: bool,
    ) -> Result<Self, SendError> {
        let authority = authority(endpoint).ok_or(SendError::Resolve)?;
        let host =
            HeaderValue::from_str(authority.as_str()).map_err(|_malformed| SendError::Resolve)?;
        Ok(Self { endpoint: endpoint.clone(), pod, authority, host, tls, allow_private })
    }

    /// Whether both lead to the same connections. The path and the keys are a request's own affair.
    pub(super) fn serves(&self, other: &Endpoint, pod: Option<SocketAddr>) -> bool {
        let own = &self.endpoint;
        let same_roots = match (&own.ca, &other.ca) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.pod == pod
            && own.service == other.service
            && own.port == other.port
            && own.tls == other.tls
            && own.host == other.host
            && own.server_name == other.server_name
            && same_roots
    }
}

/// The endpoint's name as HTTP writes it: brackets around IPv6, no port where it is the usual one.
fn authority(endpoint: &Endpoint) -> Option<Authority> {
    let Endpoint { tls, host, port, .. } = endpoint;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let usual = if *tls { 443 } else { 80 };
    let text = if *port == usual { host } else { format!("{host}:{port}") };
    Authority::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(tls: bool, host: &str, port: u16) -> Endpoint {
        let (host, base_path) = (host.into(), "".into());
        Endpoint { tls, host, port, base_path, ca: None, server_name: None, service: false }
    }

    #[test]
    fn the_authority_is_written_as_http_wants_it() {
        for (tls, host, port, written) in [
            (true, "api.openai.com", 443, "api.openai.com"),
            (true, "api.openai.com", 80, "api.openai.com:80"),
            (false, "vllm", 80, "vllm"),
            (false, "vllm", 8000, "vllm:8000"),
            (false, "::1", 8000, "[::1]:8000"),
        ] {
            assert_eq!(authority(&endpoint(tls, host, port)).unwrap(), written);
        }
    }

    #[test]
    fn connections_are_shared_by_paths_but_never_by_trust() {
        let plain = endpoint(true, "a", 1);
        let site = Site::new(&plain, None, None, false).unwrap();
        assert!(site.serves(&Endpoint { base_path: "/v1".into(), ..plain.clone() }, None));
        assert!(!site.serves(&Endpoint { ca: Some((*b"x").into()), ..plain.clone() }, None));
        assert!(!site.serves(&Endpoint { server_name: Some("b".into()), ..plain.clone() }, None));
        assert!(!site.serves(&Endpoint { tls: false, ..plain.clone() }, None));
        assert!(!site.serves(&Endpoint { port: 2, ..plain }, None));
    }

    #[test]
    fn a_pods_connections_are_its_own() {
        let service = Endpoint { service: true, ..endpoint(false, "vllm.team.svc", 8000) };
        let [pod, other] = ["10.0.0.1:8000", "10.0.0.2:8000"].map(|pod| pod.parse().ok());
        let site = Site::new(&service, pod, None, false).unwrap();
        assert!(site.serves(&service, pod));
        assert!(!site.serves(&service, other) && !site.serves(&service, None));
        assert!(!site.serves(&Endpoint { service: false, ..service }, pod));
    }
}
