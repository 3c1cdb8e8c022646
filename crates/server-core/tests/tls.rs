//! Certificates: chosen by name, read again when they change, refused when they don't fit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mail_config::{CertificateFiles, SmtpRole, TlsConfig};
use mail_types::ChannelBindings;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use server_core::TlsContext;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

fn config(certificates: Vec<CertificateFiles>) -> TlsConfig {
    TlsConfig { certificates, channel_binding: true }
}

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
        self.issue_until(folder, name, 4000)
    }

    fn issue_until(
        &self,
        folder: &Path,
        name: &str,
        last_year: i32,
    ) -> (CertificateFiles, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
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

/// A server that performs handshakes with every client, until the test ends.
async fn serving(context: &Arc<TlsContext>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let context = Arc::clone(context);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let context = Arc::clone(&context);
            tokio::spawn(async move {
                let mut stream = context.accept(stream).await?;
                stream.write_all(b"hello").await?;
                stream.shutdown().await
            });
        }
    });
    address
}

/// A client that trusts the authority.
fn client(authority: &Authority) -> ClientConfig {
    client_of(authority, rustls::ALL_VERSIONS)
}

fn client_of(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A whole connection, after which the client has the tickets that it was sent.
async fn connect(address: SocketAddr, client: &Arc<ClientConfig>, name: &str) -> TlsStream<TcpStream> {
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await.unwrap();
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting).await.unwrap();
    assert_eq!(greeting, b"hello");
    stream
}

/// The certificate that the server shows to a client which asks for `name`.
async fn shown(context: &Arc<TlsContext>, authority: &Authority, name: &str) -> CertificateDer<'static> {
    let stream = connect(serving(context).await, &Arc::new(client(authority)), name).await;
    stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone()
}

#[tokio::test]
async fn the_name_that_the_client_asks_for_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (first, first_der) = authority.issue(folder.path(), "mail.example.org");
    let (second, second_der) = authority.issue(folder.path(), "*.example.net");
    let context = TlsContext::load(&config(vec![first, second])).unwrap().unwrap();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, first_der);
    assert_eq!(shown(&context, &authority, "imap.example.net").await, second_der);
}

#[tokio::test]
async fn a_changed_certificate_is_picked_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (files, old) = authority.issue(folder.path(), "mail.example.org");
    let context = TlsContext::load(&config(vec![files.clone()])).unwrap().unwrap();
    std::fs::write(&files.certificate, "broken").unwrap();
    context.refresh();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, old);
    let (_, new) = authority.issue(folder.path(), "mail.example.org");
    context.refresh();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, new);
}

/// certbot's `live` folder holds symbolic links, and a renewal points them elsewhere.
#[tokio::test]
async fn a_link_that_is_switched_is_a_changed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let [old_folder, new_folder] = ["archive1", "archive2"].map(|name| folder.path().join(name));
    let live = CertificateFiles {
        certificate: folder.path().join("fullchain.pem"),
        key: folder.path().join("privkey.pem"),
    };
    let issue = |archive: &Path| {
        std::fs::create_dir(archive).unwrap();
        let (files, der) = authority.issue(archive, "mail.example.org");
        for (target, link) in [(&files.certificate, &live.certificate), (&files.key, &live.key)] {
            let _ = std::fs::remove_file(link);
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        der
    };
    let old = issue(&old_folder);
    let context = TlsContext::load(&config(vec![live.clone()])).unwrap().unwrap();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, old);
    let new = issue(&new_folder);
    context.refresh();
    assert_eq!(shown(&context, &authority, "mail.example.org").await, new);
}

fn one_certificate(folder: &Path) -> (Authority, Arc<TlsContext>) {
    let authority = Authority::new();
    let (files, _) = authority.issue(folder, "mail.example.org");
    let context = TlsContext::load(&config(vec![files])).unwrap().unwrap();
    (authority, context)
}

#[tokio::test]
async fn a_client_that_offers_a_protocol_by_alpn_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, context) = one_certificate(folder.path());
    let mut client = client(&authority);
    client.alpn_protocols = vec![b"imap".to_vec()];
    let stream = connect(serving(&context).await, &Arc::new(client), "mail.example.org").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn a_client_resumes_its_session_and_another_mail_server_is_offered_no_ticket() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, context) = one_certificate(folder.path());
    for (role, kind) in [(SmtpRole::Submission, HandshakeKind::Resumed), (SmtpRole::Mx, HandshakeKind::Full)]
    {
        let address = serving(&context.for_role(role)).await;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = Arc::new(client_of(&authority, &[version]));
            connect(address, &client, "mail.example.org").await;
            let again = connect(address, &client, "mail.example.org").await;
            assert_eq!(again.get_ref().1.handshake_kind(), Some(kind), "{role:?} {version:?}");
        }
    }
}

/// A TLS 1.2 ClientHello as RFC 5246 §7.4.1.2 has it, asking for `name` to the letter: in this version the certificate
/// comes back in clear.
fn client_hello(name: &str) -> Vec<u8> {
    let counted = |size: usize, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [length.get(4 - size..).unwrap(), content].concat()
    };
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &counted(2, content)].concat();
    let host_name = [&[0][..], &counted(2, name.as_bytes())].concat();
    let extensions = [
        extension(0, &counted(2, &host_name)),
        // supported_groups: x25519, secp256r1; signature_algorithms: ecdsa_secp256r1_sha256.
        extension(10, &counted(2, &[0, 0x1d, 0, 0x17])),
        extension(13, &counted(2, &[4, 3])),
    ];
    let hello = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
        &counted(2, &[0xc0, 0x2b]),
        &[1, 0],
        &counted(2, &extensions.concat()),
    ];
    let handshake = [&[1][..], &counted(3, &hello.concat())].concat();
    [&[22, 3, 1][..], &counted(2, &handshake)].concat()
}

/// Microsoft's discovery service asks for the name with a dot behind it.
#[tokio::test]
async fn a_name_with_a_dot_behind_it_is_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (first, _) = authority.issue(folder.path(), "other.example.org");
    let (second, wanted) = authority.issue(folder.path(), "mail.example.org");
    let context = TlsContext::load(&config(vec![first, second])).unwrap().unwrap();
    for name in ["mail.example.org", "mail.example.org.", "MAIL.example.org."] {
        let mut stream = TcpStream::connect(serving(&context).await).await.unwrap();
        stream.write_all(&client_hello(name)).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(wanted.len()).any(|part| part == &*wanted) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{name}: closed after {answer:?}");
        }
    }
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (first, _) = authority.issue(folder.path(), "a.example.org");
    let (second, _) = authority.issue(folder.path(), "b.example.org");
    let problem = |certificate: &Path, key: &Path| {
        let pair = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
        TlsContext::load(&config(vec![pair])).expect_err("must be refused").to_string()
    };
    assert!(problem(&folder.path().join("none.pem"), &first.key).contains("none.pem"));
    assert!(problem(&first.key, &first.key).contains("holds no certificate"));
    assert!(problem(&first.certificate, &first.certificate).contains("no PEM private key"));
    assert!(problem(&first.certificate, &second.key).contains("can't be used with the key"));
}

#[test]
fn certificates_that_clients_will_refuse_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (good, _) = authority.issue(folder.path(), "mail.example.org");
    let (old, _) = authority.issue_until(folder.path(), "old.example.org", 2001);
    let context = TlsContext::load(&config(vec![good, old])).unwrap().unwrap();
    let told = context.warnings("mail.example.org").join("\n");
    assert!(told.contains("old.example.org.pem") && told.contains("expired"), "{told}");
    assert!(!told.contains("mail.example.org"), "{told}");
    assert!(context.warnings("mx.example.org").join("\n").contains("no certificate is for mx.example.org"));
}

/// What the two ends of a connection say that it can be bound to: the server, and the client by its own knowledge.
async fn bindings(
    context: &Arc<TlsContext>,
    client: &Arc<ClientConfig>,
) -> (Option<ChannelBindings>, ChannelBindings, Option<HandshakeKind>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let context = Arc::clone(context);
    let server = tokio::spawn(async move {
        let mut stream = context.accept(listener.accept().await.unwrap().0).await.unwrap();
        let bindings = stream.channel_bindings();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        bindings
    });
    let stream = connect(address, client, "mail.example.org").await;
    let connection = stream.get_ref().1;
    let exporter =
        connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).unwrap();
    let shown = connection.peer_certificates().unwrap().first().unwrap();
    let end_point = Some(Sha256::digest(shown).as_slice().into());
    (server.await.unwrap(), ChannelBindings { exporter, end_point }, connection.handshake_kind())
}

/// RFC 9266 §3, RFC 5929 §4.1.
#[tokio::test]
async fn both_ends_of_a_tls_1_3_connection_know_it_by_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, context) = one_certificate(folder.path());
    let client = Arc::new(client(&authority));
    let (ours, theirs, kind) = bindings(&context, &client).await;
    assert_eq!((ours.as_ref(), kind), (Some(&theirs), Some(HandshakeKind::Full)));
    let (resumed, theirs, kind) = bindings(&context, &client).await;
    assert_eq!((resumed.as_ref(), kind), (Some(&theirs), Some(HandshakeKind::Resumed)));
    assert_ne!(ours.unwrap().exporter, resumed.unwrap().exporter);
}

/// Who resumes a session has the certificate in mind with which it began.
#[tokio::test]
async fn no_session_outlives_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, context) = one_certificate(folder.path());
    let client = Arc::new(client(&authority));
    let (before, ..) = bindings(&context, &client).await;
    authority.issue(folder.path(), "mail.example.org");
    context.refresh();
    let (ours, theirs, kind) = bindings(&context, &client).await;
    assert_eq!((ours.as_ref(), kind), (Some(&theirs), Some(HandshakeKind::Full)));
    assert_ne!(ours.unwrap().end_point, before.unwrap().end_point);
}

#[tokio::test]
async fn before_tls_1_3_and_against_the_operators_will_nothing_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, context) = one_certificate(folder.path());
    let old = Arc::new(client_of(&authority, &[&rustls::version::TLS12]));
    assert_eq!(bindings(&context, &old).await.0, None);
    let (files, _) = authority.issue(folder.path(), "mail.example.org");
    let off = TlsConfig { certificates: vec![files], channel_binding: false };
    let context = TlsContext::load(&off).unwrap().unwrap();
    assert_eq!(bindings(&context, &Arc::new(client(&authority))).await.0, None);
}
