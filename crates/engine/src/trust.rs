//! Whose certificates are believed: the system's authorities, or one of the server's own.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::Connector;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the certificate file {path} cannot be read: {source}")]
    Unreadable { path: String, source: rustls::pki_types::pem::Error },
    #[error("the certificate file {path} holds no certificate")]
    Empty { path: String },
    #[error("the certificate file {path} holds a certificate that cannot be used: {source}")]
    Invalid { path: String, source: rustls::Error },
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Trust {
    /// None: whatever the system trusts.
    own: Option<Arc<ClientConfig>>,
}

impl Trust {
    #[must_use]
    pub fn system() -> Self {
        install_provider();
        Self { own: None }
    }

    /// Only what was signed by an authority in this PEM file.
    pub fn only(path: &Path) -> Result<Self, TrustError> {
        install_provider();
        let shown = path.display().to_string();
        let unreadable = |source| TrustError::Unreadable { path: shown.clone(), source };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            let certificate = certificate.map_err(unreadable)?;
            roots.add(certificate).map_err(|source| TrustError::Invalid { path: shown.clone(), source })?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty { path: shown });
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { own: Some(Arc::new(config)) })
    }

    pub(crate) fn connector(&self) -> Option<Connector> {
        self.own.clone().map(Connector::Rustls)
    }

    pub(crate) fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        match &self.own {
            Some(config) => builder.tls_backend_preconfigured(ClientConfig::clone(config)),
            None => builder,
        }
    }
}

/// The one cryptographic provider of the process; whoever was first has installed the same.
fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
