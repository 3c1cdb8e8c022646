//! Certificates: chosen by name, read again when they change, refused when they don't fit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use mail_config::{CertificateFiles, TlsConfig};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use server_core::TlsContext;
use tokio::net::{TcpListener, TcpStream};

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    /// Writes a certificate for `name` to `folder` and returns its DER form too.
    fn issue(&self, folder: &Path, name: &str) -> (CertificateFiles, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let stem = name.replace('*', "any");
        let files = CertificateFiles {
            certificate: folder.join(format!("{stem}.pem")),
            key: folder.join(format!("{stem}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        (files, certificate.der().clone())
    }
}

/// The certificate that the server shows to a client which asks for `name`.
async fn shown(context: &Arc<TlsContext>, authority: &Authority, name: &str) -> CertificateDer<'static> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let context = Arc::clone(context);
    let server =
        tokio::spawn(async move { context.accept(listener.accept().await.unwrap().0).await.map(drop) });
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
    server.await.unwrap().unwrap();
    certificate
}

#[tokio::test]
async fn the_name_that_the_client_asks_for_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (first, first_der) = authority.issue(folder.path(), "mail.example.org");
    let (second, second_der) = authority.issue(folder.path(), "*.example.net");
    let context = TlsContext::load(&TlsConfig { certificates: vec![first, second] }).unwrap().unwrap();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, first_der);
    assert_eq!(shown(&context, &authority, "imap.example.net").await, second_der);
}

#[tokio::test]
async fn a_changed_certificate_is_picked_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (files, old) = authority.issue(folder.path(), "mail.example.org");
    let context = TlsContext::load(&TlsConfig { certificates: vec![files.clone()] }).unwrap().unwrap();
    std::fs::write(&files.certificate, "broken").unwrap();
    context.refresh();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, old);
    let (_, new) = authority.issue(folder.path(), "mail.example.org");
    context.refresh();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, new);
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (first, _) = authority.issue(folder.path(), "a.example.org");
    let (second, _) = authority.issue(folder.path(), "b.example.org");
    let problem = |certificate: &Path, key: &Path| {
        let pair = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        TlsContext::load(&TlsConfig { certificates: vec![pair] }).expect_err("must be refused").to_string()
    };
    assert!(problem(&folder.path().join("none.pem"), &first.key).contains("none.pem"));
    assert!(problem(&first.key, &first.key).contains("holds no certificate"));
    assert!(problem(&first.certificate, &first.certificate).contains("no PEM private key"));
    assert!(problem(&first.certificate, &second.key).contains("can't be used with the key"));
}
