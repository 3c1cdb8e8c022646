use std::io;
use std::sync::Arc;

use mail_config::{RelayTls, Smarthost};
use mail_trust::{Authorities, CaFileError, Demand, Failure, ca_certificates};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

/// Why connections to a smarthost can't be secured. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("[relay] ca_file: {0}")]
    CaFile(#[from] CaFileError),
    #[error("[relay] host: {0} is no name or address that a certificate could be for")]
    Name(String),
    #[error("TLS can't be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// How to secure connections.
#[derive(Clone)]
pub(crate) struct Trust {
    connector: TlsConnector,
    /// The server's, where it is always the same one.
    name: Option<ServerName<'static>>,
    /// Who vouches for the others', where that is asked for.
    authorities: Option<Authorities>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts the system's CAs and those in `ca_file`; with [`RelayTls::Opportunistic`] anyone, unless a password is to be
    /// sent. Blocks.
    pub(crate) fn load(smarthost: &Smarthost) -> Result<Self, TrustError> {
        let config = match smarthost.tls {
            RelayTls::None | RelayTls::Opportunistic if smarthost.credentials.is_none() => of_anyone()?,
            RelayTls::None | RelayTls::Opportunistic | RelayTls::Required | RelayTls::Implicit => {
                let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()?;
                builder.with_root_certificates(roots(smarthost)?).with_no_client_auth()
            }
        };
        let host = smarthost.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| TrustError::Name(host))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: Some(name), authorities: None })
    }

    /// Connects with any server, whatever its name; [`Self::judge`] says what it has proved then.
    pub(crate) fn anyone(authorities: Option<Authorities>) -> Result<Self, TrustError> {
        Ok(Self { connector: TlsConnector::from(Arc::new(of_anyone()?)), name: None, authorities })
    }

    /// See [`Demand::judge`].
    pub(crate) fn judge<S>(
        &self,
        demand: &Demand,
        host: &str,
        stream: &tokio_rustls::client::TlsStream<S>,
    ) -> Result<bool, Failure> {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match &self.authorities {
            Some(authorities) => demand.judge(authorities, host, shown),
            None => Ok(false),
        }
    }

    /// `host` is the server's name or address.
    pub(crate) async fn connect<S>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<tokio_rustls::client::TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        self.connector.connect(name, stream).await
    }
}

fn of_anyone() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous();
    let verifier = Arc::new(TrustAnyone(provider));
    Ok(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn roots(smarthost: &Smarthost) -> Result<RootCertStore, TrustError> {
    let roots = ca_certificates(smarthost.ca_file.as_deref())?;
    if roots.is_empty() {
        tracing::warn!(
            "no CA certificate is known: install the package ca-certificates or set [relay] ca_file"
        );
    }
    Ok(roots)
}

/// Opportunistic TLS keeps listeners out, not impostors: RFC 7435 §1.2. Signatures are still checked.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
