use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How a protocol frames SASL.
#[derive(Debug, Clone, Copy)]
pub struct ScramDialogue<'a> {
    /// What is said before, each with its answer's last line.
    pub before: &'a [&'a str],
    /// The command up to the mechanism's name, `AUTH`.
    pub command: &'a str,
    /// What stands before a challenge.
    pub challenge: &'a str,
}

/// What a client binds its login to. RFC 5802 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<'a> {
    /// SCRAM-SHA-256, with this `gs2-cbind-flag`: `n`, or `y` of a client that was not told of PLUS.
    Not(&'a str),
    /// SCRAM-SHA-256-PLUS: `tls-exporter`, RFC 9266.
    Exporter,
    /// SCRAM-SHA-256-PLUS: `tls-server-end-point`, RFC 5929. The fixture's certificate has SHA-256.
    EndPoint,
    /// SCRAM-SHA-256-PLUS with a binding of this type and this content.
    To(&'a str, &'a [u8]),
}

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// Logs in by SCRAM-SHA-256 as `name` (RFC 7677 §3), and gives the server's last line.
///
/// # Errors
/// A server that does not know the password, or breaks the dialogue.
pub async fn scram(
    address: SocketAddr,
    dialogue: ScramDialogue<'_>,
    name: &str,
    password: &str,
) -> Result<String> {
    let stream = BufReader::new(TcpStream::connect(address).await?);
    log_in(stream, dialogue, name, password, "n,,", &[]).await
}

/// As [`scram`] as alice of a [`Fixture`](crate::Fixture), under TLS of this version.
///
/// # Errors
/// As [`scram`], and what the handshake fails for.
pub async fn scram_over_tls(
    address: SocketAddr,
    (ca, version): (&CertificateDer<'static>, &'static SupportedProtocolVersion),
    dialogue: ScramDialogue<'_>,
    bound: Bound<'_>,
) -> Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?;
    let connection = stream.get_ref().1;
    let exporter = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))?;
    let shown = connection.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
    let end_point = Sha256::digest(shown);
    let (header, data): (String, &[u8]) = match bound {
        Bound::Not(flag) => (format!("{flag},,"), &[]),
        Bound::Exporter => ("p=tls-exporter,,".to_owned(), &exporter),
        Bound::EndPoint => ("p=tls-server-end-point,,".to_owned(), &end_point),
        Bound::To(kind, data) => (format!("p={kind},,"), data),
    };
    log_in(BufReader::new(stream), dialogue, "alice", "alice-secret", &header, data).await
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    dialogue: ScramDialogue<'_>,
    name: &str,
    password: &str,
    header: &str,
    data: &[u8],
) -> Result<String> {
    line(&mut stream).await?;
    for command in dialogue.before {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        // The last line of an answer has no hyphen behind its code.
        while line(&mut stream).await?.get(3..4) == Some("-") {}
    }
    let bare = format!("n={name},r={NONCE}");
    let plus = if header.starts_with('p') { "-PLUS" } else { "" };
    let first = STANDARD.encode(format!("{header}{bare}"));
    let first = format!("{} SCRAM-SHA-256{plus} {first}\r\n", dialogue.command);
    stream.write_all(first.as_bytes()).await?;
    let answered = line(&mut stream).await?;
    let Some(challenge) = answered.strip_prefix(dialogue.challenge) else { return Ok(answered) };
    let server_first = String::from_utf8(STANDARD.decode(challenge)?)?;
    let bound = STANDARD.encode([header.as_bytes(), data].concat());
    let (last, expected) = answer(&bare, &server_first, &bound, password)?;
    let last = format!("{}\r\n", STANDARD.encode(last));
    stream.write_all(last.as_bytes()).await?;
    let answered = line(&mut stream).await?;
    let Some(proof) = answered.strip_prefix(dialogue.challenge) else { return Ok(answered) };
    ensure!(STANDARD.decode(proof)? == expected.as_bytes(), "the server does not know the password");
    stream.write_all(b"\r\n").await?;
    line(&mut stream).await
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).await? > 0, "the server closed the connection");
    Ok(line.trim_end().to_owned())
}

/// The client's last message, and what the server must answer. RFC 5802 §3.
fn answer(bare: &str, server_first: &str, bound: &str, password: &str) -> Result<(String, String)> {
    let value =
        |name: &str| server_first.split(',').find_map(|it| it.strip_prefix(name)).context("an attribute");
    let (nonce, salt) = (value("r=")?, STANDARD.decode(value("s=")?)?);
    ensure!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "the server's part of the nonce");
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, value("i=")?.parse()?);
    let unproven = format!("c={bound},r={nonce}");
    let said = format!("{bare},{server_first},{unproven}");
    let client_key = hmac(&salted, b"Client Key")?;
    let signature = hmac(&Sha256::digest(client_key), said.as_bytes())?;
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
    let server = hmac(&hmac(&salted, b"Server Key")?, said.as_bytes())?;
    Ok((format!("{unproven},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(server))))
}

fn hmac(key: &[u8], text: &[u8]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().into())
}
