//! TLS towards providers: always verified, TLS 1.2 or newer, HTTP/2 offered.

use std::{cell::RefCell, sync::Arc};

use rustc_hash::FxHashMap;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::table::Endpoint;

/// The certificates of the system, or Mozilla's where the system has none.
pub fn load_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(roots)
}

/// A configuration that trusts these roots and nothing else.
pub fn tls_config(roots: Arc<RootCertStore>) -> Option<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// Configurations, one for the usual roots and one for each certificate bundle of a resource.
#[derive(Debug)]
pub(super) struct Configs {
    usual: Option<Arc<ClientConfig>>,
    own: RefCell<FxHashMap<Arc<[u8]>, Arc<ClientConfig>>>,
}

impl Configs {
    pub(super) fn new(roots: Arc<RootCertStore>) -> Self {
        Self { usual: tls_config(roots), own: RefCell::default() }
    }

    /// The configuration for an endpoint and the name to verify.
    pub(super) fn of(
        &self,
        endpoint: &Endpoint,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let name = endpoint.server_name.as_ref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(name.to_string()).ok()?;
        let Some(bundle) = &endpoint.ca else { return Some((self.usual.clone()?, name)) };
        if let Some(config) = self.own.borrow().get(bundle) {
            return Some((Arc::clone(config), name));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            roots.add(certificate.ok()?).ok()?;
        }
        let config = tls_config(Arc::new(roots))?;
        self.own.borrow_mut().insert(Arc::clone(bundle), Arc::clone(&config));
        Some((config, name))
    }
}
