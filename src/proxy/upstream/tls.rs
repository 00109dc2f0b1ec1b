//! TLS towards providers: always verified, TLS 1.2 or newer, HTTP/2 offered.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::error::SendError;
use crate::table::Endpoint;

/// The certificates of the system, or Mozilla's where the system has none. Reads files: load them
/// once, and let the workers share them.
pub fn load_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates are often unreadable or odd; the others serve.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Arc::new(roots)
}

/// A configuration that trusts these roots and nothing else.
pub(super) fn config(roots: Arc<RootCertStore>) -> Result<Arc<ClientConfig>, SendError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_unsupported| SendError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A configuration that trusts the certificates of a resource (PEM) and nothing else.
pub(super) fn config_of(bundle: &[u8]) -> Result<Arc<ClientConfig>, SendError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|_malformed| SendError::Tls)?;
        roots.add(certificate).map_err(|_malformed| SendError::Tls)?;
    }
    if roots.is_empty() {
        return Err(SendError::Tls);
    }
    config(Arc::new(roots))
}

/// The name that the endpoint's certificate must have.
pub(super) fn name_of(endpoint: &Endpoint) -> Result<ServerName<'static>, SendError> {
    let name = endpoint.server_name.as_ref().unwrap_or(&endpoint.host);
    ServerName::try_from(name.to_string()).map_err(|_malformed| SendError::Tls)
}
