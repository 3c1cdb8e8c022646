//! Whom the certification authorities that this machine trusts vouch for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::{Failure, Kind};

/// Why certificates can't be verified. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// The configured file.
    #[error("[relay.security] ca_file: {0}")]
    CaFile(#[from] CaFileError),
    /// The library.
    #[error("TLS can't be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// A file of CA certificates that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} holds no usable CA certificate: {problem}")]
pub struct CaFileError {
    path: PathBuf,
    problem: String,
}

/// The certificates of the system's authorities, and of those in `ca_file` (PEM). Blocks.
///
/// # Errors
/// The file can't be read, or holds none.
pub fn ca_certificates(ca_file: Option<&Path>) -> Result<RootCertStore, CaFileError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a CA certificate of the system can't be read");
    }
    roots.add_parsable_certificates(system.certs);
    let Some(path) = ca_file else { return Ok(roots) };
    let failed = |problem: String| CaFileError { path: path.to_owned(), problem };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("it has no BEGIN CERTIFICATE".to_owned()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    Ok(roots)
}

/// The certification authorities.
#[derive(Debug, Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// `None` if there are none.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Authorities {
    /// Those of the system and of `ca_file` (PEM). Blocks.
    ///
    /// # Errors
    /// [`AuthoritiesError`].
    pub fn load(ca_file: Option<&Path>) -> Result<Self, AuthoritiesError> {
        let roots = ca_certificates(ca_file)?;
        if roots.is_empty() {
            tracing::warn!(
                "no CA certificate is known, so no MTA-STS policy: install the package ca-certificates"
            );
        }
        let roots = Arc::new(roots);
        let verifier = if roots.is_empty() { None } else { Some(verifier(Arc::clone(&roots))?) };
        Ok(Self { roots, verifier })
    }

    /// Verifies what a server has shown: that these authorities vouch for `host`, now.
    ///
    /// # Errors
    /// Why they do not.
    pub fn verify(&self, shown: &[CertificateDer<'_>], host: &str) -> Result<(), Failure> {
        let untrusted = |why: &str| Failure::new(Kind::CertificateNotTrusted, why.to_owned());
        let Some((own, others)) = shown.split_first() else { return Err(untrusted("it has no certificate")) };
        let verifier = self.verifier.as_ref().ok_or_else(|| untrusted("no CA certificate is known here"))?;
        verify(verifier, own, others, host)
    }

    /// Connects with servers that these authorities vouch for, to speak HTTP.
    pub(crate) fn connector(&self) -> Result<TlsConnector, AuthoritiesError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

pub(crate) fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, AuthoritiesError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()).into())
}

pub(crate) fn verify(
    verifier: &WebPkiServerVerifier,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    host: &str,
) -> Result<(), Failure> {
    let name = ServerName::try_from(host)
        .map_err(|_| Failure::new(Kind::CertificateHostMismatch, format!("{host} is no name of a host")))?;
    match verifier.verify_server_cert(own, others, &name, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(kind(&error), error.to_string())),
    }
}

/// RFC 8460 §4.3.
fn kind(error: &rustls::Error) -> Kind {
    let rustls::Error::InvalidCertificate(error) = error else { return Kind::ValidationFailure };
    let is_of_others =
        matches!(error, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. });
    let is_out_of_time = matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    );
    match (is_of_others, is_out_of_time) {
        (true, _) => Kind::CertificateHostMismatch,
        (false, true) => Kind::CertificateExpired,
        (false, false) => Kind::CertificateNotTrusted,
    }
}
