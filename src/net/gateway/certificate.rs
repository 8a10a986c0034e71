//! TLS of the gateway, from PEM files that are read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Bytes of a certificate or key file: a chain has some 10 KiB. What is larger is another file.
const FILE_BYTES: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CertificateError {
    path: PathBuf,
    problem: String,
}

impl CertificateError {
    fn new(path: &Path, problem: impl ToString) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// A certificate with its key, as of the last time when the files could be used.
#[derive(Debug)]
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// By which a change of the files is noticed.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    pub(super) fn read(chain: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let current = RwLock::new(load(&chain, &key)?);
        Ok(Self { chain, key, current })
    }

    /// For a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Looks at the files again and again, for ever. A pair that cannot be used leaves the old one in place: it may be
    /// half written.
    pub(super) async fn watch(self: Arc<Self>, every: Duration) {
        let mut seen = self.stamp();
        loop {
            tokio::time::sleep(every).await;
            let stamp = self.stamp();
            if stamp == seen {
                continue;
            }
            seen = stamp;
            match load(&self.chain, &self.key) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    tracing::info!(certificate = %self.chain.display(), "the gateway's certificate was renewed");
                }
                Err(error) => {
                    tracing::warn!(%error, "the new certificate cannot be used; the old one stays");
                }
            }
        }
    }

    fn stamp(&self) -> Stamp {
        [&self.chain, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

pub(super) fn load(chain_path: &Path, key_path: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&contents(chain_path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::new(chain_path, error))?;
    if chain.is_empty() {
        return Err(CertificateError::new(chain_path, "there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents(key_path)?)
        .map_err(|error| CertificateError::new(key_path, format!("no usable private key in it: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::new(chain_path, error))?
        .with_no_client_auth()
        // Also checks that the key belongs to the certificate.
        .with_single_cert(chain, key)
        .map_err(|error| CertificateError::new(key_path, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let size = fs::metadata(path).map_err(|error| CertificateError::new(path, error))?.len();
    if size > FILE_BYTES {
        return Err(CertificateError::new(path, format!("{size} bytes are no certificate or key")));
    }
    fs::read(path).map_err(|error| CertificateError::new(path, error))
}
