use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// A certification authority, whose certificate lies in a file.
#[derive(Debug)]
pub struct TestAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// PEM.
    pub ca_file: PathBuf,
    _folder: TempDir,
}

/// What a server shows, and its acceptor.
#[derive(Clone)]
pub struct TestIdentity {
    /// Speaks TLS as this server.
    pub acceptor: TlsAcceptor,
    /// The certificates that it shows, its own first, that of the authority last.
    pub chain: Vec<CertificateDer<'static>>,
}

impl TestAuthority {
    /// A new one.
    ///
    /// # Errors
    /// The key can't be made, or the file not be written.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, issuer.pem())?;
        Ok(Self { issuer, ca_file, _folder: folder })
    }

    /// A server with a certificate for these names.
    ///
    /// # Errors
    /// A name is none.
    pub fn identity(&self, names: &[&str]) -> Result<TestIdentity> {
        self.issue(names, |_| {})
    }

    /// The same with a certificate that has expired.
    ///
    /// # Errors
    /// A name is none.
    pub fn expired(&self, names: &[&str]) -> Result<TestIdentity> {
        self.issue(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<TestIdentity> {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        change(&mut params);
        let key = KeyPair::generate()?;
        let own = params.signed_by(&key, &self.issuer)?;
        let chain = vec![own.der().clone(), self.issuer.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        Ok(TestIdentity { acceptor: TlsAcceptor::from(Arc::new(config)), chain })
    }
}
