//! The server's own certificate: read from files, taken anew when they change.
//!
//! The files are looked at once a second instead of being watched: Kubernetes swaps a mounted Secret
//! by renaming a link two folders up, which a watch on the file does not see. Content decides, not
//! the time of change, so a file that is half written or wrong leaves the old certificate in place
//! and is tried again when it changes.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{self, CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// No certificates in the certificate's file.
    #[error("no PEM certificate in {}", .0.display())]
    Certificate(PathBuf),
    /// No key in the key's file.
    #[error("no PEM private key in {}", .0.display())]
    Key(PathBuf, #[source] pki_types::pem::Error),
    /// Both were read, but do not serve.
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// The server's certificate.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
    /// The hash of what was read last, good or bad.
    seen: AtomicU64,
}

impl ServerTls {
    /// Reads a certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Arc<Self>, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let files = Files::read(&certificate, &key)?;
        let config = ArcSwap::new(files.config(&certificate, &key)?);
        let seen = AtomicU64::new(files.hash());
        Ok(Arc::new(Self { certificate, key, config, seen }))
    }

    /// Reads the files again. Returns whether they have changed and are in use now.
    ///
    /// # Errors
    /// When they have changed and cannot be used, once for each change. The old certificate stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.certificate, &self.key)?;
        let hash = files.hash();
        if self.seen.swap(hash, Ordering::Relaxed) == hash {
            return Ok(false);
        }
        self.config.store(files.config(&self.certificate, &self.key)?);
        Ok(true)
    }

    /// Reloads from a thread of its own whenever the files change, until the last handle is gone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let watched = Arc::downgrade(self);
        let look = move || {
            let mut unreadable = false;
            loop {
                thread::sleep(LOOK);
                let Some(tls) = watched.upgrade() else { return };
                let result = tls.reload();
                // A file that is away is told once, not every second.
                let again = unreadable && matches!(result, Err(TlsError::Read(..)));
                unreadable = matches!(result, Err(TlsError::Read(..)));
                match result {
                    Ok(true) => tracing::info!("a new certificate is in use"),
                    Ok(false) => {}
                    Err(_) if again => {}
                    Err(error) => {
                        tracing::error!(%error, "the new certificate cannot be used, the old one stays");
                    }
                }
            }
        };
        thread::Builder::new().name("tls-reload".to_owned()).spawn(look)?;
        Ok(())
    }

    /// What shakes hands with the certificate in use.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

/// What the two files hold.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read =
            |path: &Path| fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error));
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key).hash(&mut hasher);
        hasher.finish()
    }

    fn config(&self, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| TlsError::Certificate(certificate.to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::Key(key.to_owned(), error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        write(&folder, "first");
        let tls = ServerTls::load(&certificate, &key).unwrap();
        let first = tls.config.load_full();
        assert!(!tls.reload().unwrap());

        fs::write(&certificate, "no certificate").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Certificate(_))));
        assert!(!tls.reload().unwrap(), "a broken file is told once");
        assert!(Arc::ptr_eq(&first, &tls.config.load_full()));

        write(&folder, "second");
        assert!(tls.reload().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.config.load_full()));

        fs::remove_file(&key).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Read(..))));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "first");
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        let key = folder.path().join("tls.key");
        fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        let loaded = ServerTls::load(folder.path().join("tls.crt"), key);
        assert!(matches!(loaded, Err(TlsError::Unusable(_))));
    }
}
