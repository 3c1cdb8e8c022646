use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    PublicKeyData as _, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256, Sha512};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// A certification authority, whose certificate lies in a file.
#[derive(Debug)]
pub struct TestAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    public_key: Vec<u8>,
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
    /// Their public keys (SubjectPublicKeyInfo).
    pub public_keys: Vec<Vec<u8>>,
}

impl TestIdentity {
    /// The data of a TLSA record for the certificate at this place of the chain, or its key, as it stands in a zone; the usage, the selector and
    /// the matching type as there. `None` if the matching type is none of the known ones.
    #[must_use]
    pub fn tlsa(&self, place: usize, kind: (u8, u8, u8)) -> Option<String> {
        let (usage, selector, matching) = kind;
        let whole = self.chain.get(place)?.as_ref();
        let selected = if selector == 0 { whole } else { self.public_keys.get(place)?.as_slice() };
        let data = match matching {
            0 => selected.to_vec(),
            1 => Sha256::digest(selected).to_vec(),
            2 => Sha512::digest(selected).to_vec(),
            _ => return None,
        };
        let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
        Some(format!("{usage} {selector} {matching} {hex}"))
    }
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
        let key = KeyPair::generate()?;
        let public_key = key.subject_public_key_info();
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, issuer.pem())?;
        Ok(Self { issuer, public_key, ca_file, _folder: folder })
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
        let public_keys = vec![key.subject_public_key_info(), self.public_key.clone()];
        let chain = vec![own.der().clone(), self.issuer.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        Ok(TestIdentity { acceptor: TlsAcceptor::from(Arc::new(config)), chain, public_keys })
    }
}
