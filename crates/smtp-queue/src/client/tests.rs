//! The client against a scripted server, over real sockets and TLS.

mod limits;
mod mail_hosts;
mod pipelining;
mod replies;
mod signing;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_config::{Config, RelayTls, Smarthost};
use mail_types::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use smtp_proto::{Body, ByMode};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream,
};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::relay::Relay;
use super::{Outcome, Outgoing};
use crate::message_file::MessageFile;
use crate::routes::{Destination, Way};
use crate::{Content, Deadline};

const MESSAGE: &[u8] = b"Return-Path: <alice@example.org>\r\nSubject: x\r\n\r\n.dot\r\n";
const STUFFED: &str = "Subject: x\r\n\r\n..dot\r\n.\r\n";
const BARE: &str = "Subject: x\r\n\r\n.dot\r\n";

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A server that plays one script for each connection, then closes it. `> text` sends a line, `< text` awaits one, `~ text` one that begins so, `= text`
/// awaits exactly these octets, `# text` one chunk of a message with two signatures that ends so, `TLS` is a handshake.
struct Server {
    port: u16,
    scripts: JoinHandle<()>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>, scripts: Vec<Vec<String>>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, scripts)
    }

    fn on(listener: TcpListener, tls: Option<TlsAcceptor>, scripts: Vec<Vec<String>>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let scripts = tokio::spawn(async move {
            let mut playing = JoinSet::new();
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                playing.spawn(async move { play(Box::new(stream), tls.as_ref(), &script).await });
            }
            playing.join_all().await;
        });
        Self { port, scripts }
    }

    async fn end(self) {
        self.scripts.await.unwrap();
    }
}

async fn play(stream: Box<dyn Io>, tls: Option<&TlsAcceptor>, script: &[String]) {
    let mut stream = BufStream::new(stream);
    for step in script {
        let (kind, text) = step.split_at_checked(2).unwrap_or((step, ""));
        match kind {
            "> " => {
                stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
            "< " => {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert_eq!(line, format!("{text}\r\n"));
            }
            "~ " => {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert!(line.starts_with(text), "{line:?} does not begin with {text:?}");
            }
            "= " => {
                let mut octets = vec![0; text.len()];
                stream.read_exact(&mut octets).await.unwrap();
                assert_eq!(String::from_utf8(octets).unwrap(), text);
            }
            "# " => {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let size = line.strip_prefix("BDAT ").and_then(|it| it.strip_suffix(" LAST\r\n")).unwrap();
                let mut octets = vec![0; size.parse().unwrap()];
                stream.read_exact(&mut octets).await.unwrap();
                let chunk = String::from_utf8(octets).unwrap();
                assert!(chunk.starts_with("DKIM-Signature: ") && chunk.ends_with(text), "{chunk}");
                assert_eq!(chunk.matches("DKIM-Signature: ").count(), 2, "{chunk}");
            }
            _ => {
                let plain: Box<dyn Io> = stream.into_inner();
                // A client that does not trust us ends the handshake.
                let Ok(secured) = tls.unwrap().accept(plain).await else { return };
                stream = BufStream::new(Box::new(secured));
            }
        }
    }
}

fn script(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn smarthost(port: u16, tls: RelayTls) -> Smarthost {
    let host = "localhost".to_owned();
    Smarthost { host, port, socket: None, lmtp: false, tls, ca_file: None, credentials: None }
}

fn message(content: &[u8]) -> MessageFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    MessageFile::new(Content::File(std::fs::File::open(file.path()).unwrap()), None).unwrap()
}

async fn send(relay: &Relay, recipients: &[&str]) -> Vec<String> {
    send_message(relay, &message(MESSAGE), recipients).await
}

async fn send_message(relay: &Relay, message: &MessageFile, recipients: &[&str]) -> Vec<String> {
    send_body(relay, message, recipients, Body::SevenBit).await
}

async fn send_body(relay: &Relay, message: &MessageFile, recipients: &[&str], body: Body) -> Vec<String> {
    let outgoing = Outgoing { body, ..Outgoing::plain("alice@example.org", recipients, message.size()) };
    send_to(relay, &Way::Smarthost(0).into(), &outgoing, message).await
}

async fn send_to(
    relay: &Relay,
    destination: &Destination,
    outgoing: &Outgoing,
    message: &MessageFile,
) -> Vec<String> {
    let sent = relay.send(destination, outgoing, message, Timestamp::now()).await;
    let shown = |outcome| match outcome {
        Outcome::Delivered(diagnosis, _) => format!("+ {}", diagnosis.text),
        Outcome::Deferred(diagnosis) => format!("~ {} {}", diagnosis.status, diagnosis.text),
        Outcome::Failed(diagnosis) => format!("- {} {}", diagnosis.status, diagnosis.text),
    };
    sent.outcomes.into_iter().map(shown).collect()
}

fn relay(smarthost: Smarthost) -> Relay {
    Relay::new(&config(smarthost)).unwrap()
}

fn config(smarthost: Smarthost) -> Config {
    let mut config = Config::new("us.example.org".parse().unwrap(), "/nowhere".into());
    config.relay.smarthost = Some(smarthost);
    config
}

/// A server's certificate for localhost, and the file of the CA that signed it.
fn certificate() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let mut ca_file = tempfile::NamedTempFile::new().unwrap();
    ca_file.write_all(ca.pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca_file)
}

const GREETING: [&str; 3] = ["> 220 mx", "< EHLO us.example.org", "> 250 mx"];

#[tokio::test]
async fn one_connection_carries_several_messages() {
    let data = ["> 250 ok", "< RCPT TO:<bob@x.org>", "> 250 ok", "< DATA", "> 354 go"];
    let one = [&["< MAIL FROM:<alice@example.org>"][..], &data].concat();
    let body = format!("= {STUFFED}");
    let mut whole = script(&[&GREETING[..], &one].concat());
    whole.extend([body.clone(), "> 250 first".to_owned()]);
    whole.extend(script(&one));
    whole.extend([body, "> 250 second".to_owned(), "< QUIT".to_owned(), "> 221 bye".to_owned()]);
    let server = Server::start(None, vec![whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    assert_eq!(send(&relay, &["bob@x.org"]).await, ["+ 250 first"]);
    assert_eq!(send(&relay, &["bob@x.org"]).await, ["+ 250 second"]);
    relay.close_idle(true).await;
    server.end().await;
}

/// Else the death of this process would have it sent again though its reply had long been read.
#[tokio::test]
async fn a_connection_carries_the_next_message_when_the_last_one_is_recorded() {
    let one = [
        "< MAIL FROM:<alice@example.org>",
        "> 250 ok",
        "< RCPT TO:<bob@x.org>",
        "> 250 ok",
        "< DATA",
        "> 354 go",
    ];
    let body = format!("= {STUFFED}");
    let mut first = script(&[&GREETING[..], &one].concat());
    first.extend([body.clone(), "> 250 first".to_owned()]);
    let second = [first.clone(), script(&["< QUIT", "> 221 bye"])].concat();
    first.extend(script(&one));
    first.extend([body, "> 250 third".to_owned(), "< QUIT".to_owned(), "> 221 bye".to_owned()]);
    let server = Server::start(None, vec![first, second]).await;
    let (relay, message) = (relay(smarthost(server.port, RelayTls::None)), message(MESSAGE));
    let outgoing = || Outgoing::plain("alice@example.org", &["bob@x.org"], message.size());
    let (unrecorded, other) = (outgoing(), outgoing());
    let way = Way::Smarthost(0).into();
    assert_eq!(send_to(&relay, &way, &unrecorded, &message).await, ["+ 250 first"]);
    assert_eq!(send_to(&relay, &way, &other, &message).await, ["+ 250 first"]);
    drop(unrecorded);
    assert_eq!(send_to(&relay, &way, &outgoing(), &message).await, ["+ 250 third"]);
    relay.close_idle(true).await;
    server.end().await;
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let mut whole = script(&GREETING);
    whole.extend(script(&[
        "< MAIL FROM:<alice@example.org>",
        "> 250 ok",
        "< RCPT TO:<bob@x.org>",
        "> 250 ok",
    ]));
    whole.extend([
        "< DATA".to_owned(),
        "> 354 go".to_owned(),
        format!("= {STUFFED}"),
        "> 250 done".to_owned(),
    ]);
    let server = Server::start(None, vec![whole.clone(), whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    assert_eq!(send(&relay, &["bob@x.org"]).await, ["+ 250 done"]);
    assert_eq!(send(&relay, &["bob@x.org"]).await, ["+ 250 done"]);
    server.end().await;
}

/// RFC 4954 §5: and the server is told that who has submitted the message is not known.
#[tokio::test]
async fn mail_goes_in_pipelined_chunks_under_verified_tls_after_login() {
    let (acceptor, ca_file) = certificate();
    let mut whole = script(&[
        "> 220 mx",
        "< EHLO us.example.org",
        "> 250-mx",
        "> 250 STARTTLS",
        "< STARTTLS",
        "> 220 go",
        "TLS",
    ]);
    whole.extend(script(&[
        "< EHLO us.example.org",
        "> 250-mx",
        "> 250-PIPELINING",
        "> 250-CHUNKING",
        "> 250-SIZE 1000",
    ]));
    whole.extend(script(&["> 250 AUTH PLAIN", "< AUTH PLAIN AGJvYgBodW50ZXIy", "> 235 ok"]));
    whole.extend(script(&[&format!("< MAIL FROM:<alice@example.org> SIZE={} AUTH=<>", BARE.len())]));
    whole.extend(script(&[
        "< RCPT TO:<a@x.org>",
        "< RCPT TO:<b@x.org>",
        "> 250 ok",
        "> 550 5.1.1 who?",
        "> 250 ok",
    ]));
    whole.extend([format!("< BDAT {} LAST", BARE.len()), format!("= {BARE}"), "> 250 done".to_owned()]);
    let server = Server::start(Some(acceptor), vec![whole]).await;
    let relay = relay(Smarthost {
        ca_file: Some(ca_file.path().to_owned()),
        credentials: Some(("bob".to_owned(), Secret::new("hunter2".to_owned()))),
        ..smarthost(server.port, RelayTls::Required)
    });
    assert_eq!(send(&relay, &["a@x.org", "b@x.org"]).await, ["- 5.1.1 550 5.1.1 who?", "+ 250 done"]);
    server.end().await;
}

/// RFC 2852 §4.1.4
#[tokio::test]
async fn the_time_that_is_left_is_reckoned_when_mail_is_said() {
    let mut whole = script(&["> 220 mx", "< EHLO us.example.org", "> 250-mx\r\n250 DELIVERBY"]);
    whole.extend(script(&["~ MAIL FROM:<alice@example.org> BY=49999", "> 550 no"]));
    let server = Server::start(None, vec![whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    let message = message(MESSAGE);
    // So long that no machine is too slow for the first five digits.
    let at = Timestamp::now() + Duration::from_secs(5_000_000);
    let outgoing = Outgoing {
        deadline: Some(Deadline { at, mode: ByMode::Notify, trace: false }),
        deliver_by: "1;N".parse().ok(),
        ..Outgoing::plain("alice@example.org", &["bob@x.org"], message.size())
    };
    let sent = send_to(&relay, &Way::Smarthost(0).into(), &outgoing, &message).await;
    assert_eq!(sent, ["- 5.0.0 550 no"]);
    server.end().await;
}

/// RFC 3030 §3, RFC 6152 §3
#[tokio::test]
async fn what_a_host_does_not_take_is_converted_or_fails() {
    let binary = "MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.";
    let encoded = "MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAou";
    let eight_bit = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\né\r\n";
    let quoted = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n";
    let signed =
        "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\né\r\n--b--\r\n";
    let plain = "> 250 mx";
    let all = "> 250-mx\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 SIZE";
    let chunk = |text: &str| [format!("< BDAT {} LAST", text.len()), format!("= {text}")];
    let dotted =
        |text: &str| ["< DATA".to_owned(), "> 354 go".to_owned(), format!("= {text}{}.\r\n", ending(text))];
    for (message, body, offered, mail, content) in [
        (
            binary,
            Body::Binary,
            all,
            format!(" SIZE={} BODY=BINARYMIME", binary.len()),
            chunk(binary).to_vec(),
        ),
        (
            eight_bit,
            Body::EightBit,
            all,
            format!(" SIZE={} BODY=8BITMIME", eight_bit.len()),
            chunk(eight_bit).to_vec(),
        ),
        (binary, Body::Binary, plain, String::new(), dotted(encoded).to_vec()),
        (eight_bit, Body::EightBit, plain, String::new(), dotted(quoted).to_vec()),
    ] {
        let mut whole = script(&["> 220 mx", "< EHLO us.example.org", offered]);
        whole.push(format!("< MAIL FROM:<alice@example.org>{mail}"));
        whole.extend(script(&["> 250 ok", "< RCPT TO:<bob@x.org>", "> 250 ok"]));
        whole.extend(content);
        whole.push("> 250 done".to_owned());
        let server = Server::start(None, vec![whole]).await;
        let relay = relay(smarthost(server.port, RelayTls::None));
        assert_eq!(
            send_body(&relay, &self::message(message.as_bytes()), &["bob@x.org"], body).await,
            ["+ 250 done"]
        );
        server.end().await;
    }
    let server = Server::start(None, vec![script(&["> 220 mx", "< EHLO us.example.org", plain])]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    let outcomes = send_body(&relay, &message(signed.as_bytes()), &["bob@x.org"], Body::EightBit).await;
    assert!(outcomes[0].starts_with("- 5.6.3 "), "{outcomes:?}");
    server.end().await;
}

/// What a text lacks to end in a line end.
fn ending(text: &str) -> &'static str {
    if text.ends_with("\r\n") { "" } else { "\r\n" }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_stops_the_mail() {
    let (acceptor, _) = certificate();
    let server = Server::start(Some(acceptor), vec![script(&["TLS"])]).await;
    let relay = relay(smarthost(server.port, RelayTls::Implicit));
    let outcomes = send(&relay, &["bob@x.org"]).await;
    assert!(outcomes[0].starts_with("~ 4.7.5 localhost:"), "{outcomes:?}");
    server.end().await;
}

#[tokio::test]
async fn opportunistic_tls_takes_any_certificate() {
    let (acceptor, _) = certificate();
    let mut whole = script(&[
        "> 220 mx",
        "< EHLO us.example.org",
        "> 250-mx",
        "> 250 STARTTLS",
        "< STARTTLS",
        "> 220 go",
        "TLS",
    ]);
    whole.extend(script(&[
        "< EHLO us.example.org",
        "> 250 mx",
        "< MAIL FROM:<alice@example.org>",
        "> 550 no",
    ]));
    let server = Server::start(Some(acceptor), vec![whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::Opportunistic));
    assert_eq!(send(&relay, &["bob@x.org"]).await, ["- 5.0.0 550 no"]);
    server.end().await;
}

#[tokio::test]
async fn a_password_is_not_sent_to_who_can_not_prove_its_name() {
    let (acceptor, _) = certificate();
    let starttls =
        ["> 220 mx", "< EHLO us.example.org", "> 250-mx", "> 250-AUTH PLAIN", "> 250 STARTTLS", "< STARTTLS"];
    let whole = script(&[&starttls[..], &["> 220 go", "TLS"]].concat());
    let server = Server::start(Some(acceptor), vec![whole]).await;
    let relay = relay(Smarthost {
        credentials: Some(("bob".to_owned(), Secret::new("hunter2".to_owned()))),
        ..smarthost(server.port, RelayTls::Opportunistic)
    });
    let outcomes = send(&relay, &["bob@x.org"]).await;
    assert!(outcomes[0].starts_with("~ 4.7.5 localhost:"), "{outcomes:?}");
    server.end().await;
}

#[tokio::test]
async fn a_reply_without_an_end_and_one_that_is_none_are_given_up() {
    let endless = std::iter::repeat_n("> 250-x", 128);
    let talk = [&["> 220 mx", "< EHLO us.example.org"][..], &endless.collect::<Vec<_>>()].concat();
    let strange = ["> HTTP/1.1 400 Bad Request"];
    let server = Server::start(None, vec![script(&talk), script(&strange)]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    let outcomes = send(&relay, &["bob@x.org"]).await;
    assert!(outcomes[0].starts_with("~ 4.5.0") && outcomes[0].contains("endless"), "{outcomes:?}");
    let outcomes = send(&relay, &["bob@x.org"]).await;
    assert!(outcomes[0].contains("something else than a reply"), "{outcomes:?}");
    server.end().await;
}

#[tokio::test]
async fn what_was_slipped_in_before_tls_is_not_obeyed() {
    let (acceptor, ca_file) = certificate();
    let whole = script(&[
        "> 220 mx",
        "< EHLO us.example.org",
        "> 250-mx",
        "> 250 STARTTLS",
        "< STARTTLS",
        "> 220 go\r\n250 evil",
    ]);
    let server = Server::start(Some(acceptor), vec![whole]).await;
    let relay = relay(Smarthost {
        ca_file: Some(ca_file.path().to_owned()),
        ..smarthost(server.port, RelayTls::Required)
    });
    let outcomes = send(&relay, &["bob@x.org"]).await;
    assert!(outcomes[0].contains("spoke before the TLS handshake"), "{outcomes:?}");
    server.end().await;
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_of_a_message_is_heard() {
    let mut whole = script(&GREETING);
    whole.extend(script(&[
        "< MAIL FROM:<alice@example.org>",
        "> 250 ok",
        "< RCPT TO:<bob@x.org>",
        "> 250 ok",
    ]));
    whole.extend(script(&["< DATA", "> 354 go", "= Subject: x", "> 552 5.3.4 that is too much"]));
    let server = Server::start(None, vec![whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    // More than the sockets hold, so that sending it fails.
    let large = message(&[b"Subject: x\r\n\r\n".as_slice(), &b"x\r\n".repeat(8 << 20)].concat());
    let outcomes = send_message(&relay, &large, &["bob@x.org"]).await;
    assert_eq!(outcomes, ["- 5.3.4 552 5.3.4 that is too much"]);
    server.end().await;
}

#[tokio::test]
async fn a_dead_server_defers_and_says_why() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let outcomes = send(&relay(smarthost(port, RelayTls::None)), &["bob@x.org"]).await;
    assert!(outcomes[0].starts_with("~ 4.4.1") && outcomes[0].contains("can't connect"), "{outcomes:?}");
    let server = Server::start(None, vec![script(&["> 220 mx", "< EHLO us.example.org"])]).await;
    let outcomes = send(&relay(smarthost(server.port, RelayTls::None)), &["bob@x.org"]).await;
    assert!(outcomes[0].starts_with("~ 4.4.2") && outcomes[0].contains("closed"), "{outcomes:?}");
}

#[test]
fn a_ca_file_that_is_none_is_said_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = Smarthost { ca_file: Some(file.path().to_owned()), ..smarthost(25, RelayTls::Required) };
    let error = Relay::new(&config(host)).unwrap_err().to_string();
    assert!(error.starts_with("[relay] ca_file: "), "{error}");
}

/// Addresses at a port at which nothing answers: who wants to connect waits for ever, since as many as the listeners hold wait already.
async fn silent_port(addresses: &[&str]) -> (u16, Vec<tokio::net::TcpStream>) {
    let (mut port, mut waiting) = (0, Vec::new());
    for address in addresses {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:{port}").parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        port = listener.local_addr().unwrap().port();
        let mut refused = 0;
        // On a busy machine one connection may merely be late.
        while refused < 3 {
            let connect = tokio::net::TcpStream::connect((*address, port));
            match tokio::time::timeout(Duration::from_millis(300), connect).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_) => refused += 1,
            }
        }
        // Never accepted from, and never closed.
        std::mem::forget(listener);
    }
    (port, waiting)
}

#[tokio::test]
async fn where_no_host_in_any_network_answers_the_port_is_said_to_be_blocked() {
    let addresses = ["127.0.0.1", "127.1.0.1", "127.2.0.1", "127.3.0.1", "127.4.0.1"];
    let (port, _waiting) = silent_port(&addresses).await;
    let domains = ["a", "b", "c", "d", "e"].map(|name| format!("{name}.test"));
    let zone: Vec<_> = domains.iter().zip(addresses).map(|(name, it)| format!("{name}. A {it}")).collect();
    let dns = tokio::task::spawn_blocking(move || testkit::TestDns::start(&zone.join("\n")));
    let dns = dns.await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new("us.example.org".parse().unwrap(), folder.path().to_owned());
    (config.dns, config.relay.port) = (dns.config(), port);
    let mut relay = Relay::new(&config).unwrap();
    relay.timeouts.connect = Duration::from_millis(200);
    let message = message(MESSAGE);
    let mut whys = Vec::new();
    for domain in domains {
        let outgoing = Outgoing::plain("", &[&format!("x@{domain}")], message.size());
        let destination = Way::MailHosts(domain.parse().unwrap()).into();
        let sent = relay.send(&destination, &outgoing, &message, Timestamp::now()).await;
        assert!(!sent.reached);
        let Some(Outcome::Deferred(why)) = sent.outcomes.into_iter().next() else { panic!("not deferred") };
        whys.push(why.text);
    }
    let advice = relay.trouble().unwrap();
    assert!(advice.contains(&format!("may block outgoing port {port}")), "{advice}");
    assert!(whys[4].contains("timed out") && whys[4].ends_with(&advice), "{whys:?}");
    assert!(!whys[..4].iter().any(|why| why.contains("block")), "{whys:?}");
}
