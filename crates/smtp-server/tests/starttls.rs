//! STARTTLS: what was sent before the handshake is not obeyed after it. RFC 3207 §4.2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use mail_config::{CertificateFiles, Config, Listener, SmtpRole, TlsMode};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use server_core::{Drain, Limits, ServerContext, TlsContext, bind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads up to the end of a reply.
async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.lines().any(|line| line.get(3..4) == Some(" ")) || !text.ends_with("\r\n") {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    text
}

#[tokio::test]
async fn commands_sent_before_the_handshake_are_not_obeyed_and_the_session_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let files =
        CertificateFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let mut config = Config::new("mail.example.org".parse().unwrap(), folder.path().to_owned());
    config.tls.certificates = vec![files];
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let role = SmtpRole::Submission;
    config.smtp.listeners =
        vec![Listener { name: "submission".to_owned(), addresses, tls: TlsMode::StartTls, role }];
    let sockets = bind(&config.smtp.listeners).unwrap();
    let address = sockets.first().unwrap().socket.local_addr().unwrap();
    let context = ServerContext {
        tls: TlsContext::load(&config.tls).unwrap(),
        limits: Limits::new(&config.limits),
        config: Arc::new(config),
        drain: Drain::new(),
    };
    tokio::spawn(smtp_server::run(context, sockets));

    let mut plain = TcpStream::connect(address).await.unwrap();
    assert!(reply(&mut plain).await.starts_with("220 "));
    plain.write_all(b"EHLO x\r\n").await.unwrap();
    assert!(reply(&mut plain).await.contains("250-STARTTLS\r\n"));
    plain.write_all(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\nNOOP\r\n").await.unwrap();
    assert!(reply(&mut plain).await.starts_with("220 "));

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut secure = connector.connect(ServerName::try_from("localhost").unwrap(), plain).await.unwrap();
    secure.write_all(b"MAIL FROM:<a@example.org>\r\n").await.unwrap();
    assert!(reply(&mut secure).await.starts_with("503 "), "the greeting is forgotten");
    secure.write_all(b"EHLO x\r\n").await.unwrap();
    let capabilities = reply(&mut secure).await;
    assert!(
        !capabilities.contains("STARTTLS") && capabilities.contains("250 AUTH PLAIN LOGIN"),
        "{capabilities}"
    );
}
