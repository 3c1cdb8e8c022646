use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

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
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    line(&mut stream).await?;
    for command in dialogue.before {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        // The last line of an answer has no hyphen behind its code.
        while line(&mut stream).await?.get(3..4) == Some("-") {}
    }
    let bare = format!("n={name},r={NONCE}");
    let first = format!("{} SCRAM-SHA-256 {}\r\n", dialogue.command, STANDARD.encode(format!("n,,{bare}")));
    let server_first = exchange(&mut stream, &first, dialogue.challenge).await?;
    let (last, expected) = answer(&bare, &server_first, password)?;
    let last = format!("{}\r\n", STANDARD.encode(last));
    stream.write_all(last.as_bytes()).await?;
    let answered = line(&mut stream).await?;
    let Some(proof) = answered.strip_prefix(dialogue.challenge) else { return Ok(answered) };
    ensure!(STANDARD.decode(proof)? == expected.as_bytes(), "the server does not know the password");
    stream.write_all(b"\r\n").await?;
    line(&mut stream).await
}

async fn exchange(stream: &mut BufReader<TcpStream>, say: &str, challenge: &str) -> Result<String> {
    stream.write_all(say.as_bytes()).await?;
    let line = line(stream).await?;
    let text = line.strip_prefix(challenge).with_context(|| format!("no challenge: {line}"))?;
    Ok(String::from_utf8(STANDARD.decode(text)?)?)
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).await? > 0, "the server closed the connection");
    Ok(line.trim_end().to_owned())
}

/// The client's last message, and what the server must answer. RFC 5802 §3.
fn answer(bare: &str, server_first: &str, password: &str) -> Result<(String, String)> {
    let value =
        |name: &str| server_first.split(',').find_map(|it| it.strip_prefix(name)).context("an attribute");
    let (nonce, salt) = (value("r=")?, STANDARD.decode(value("s=")?)?);
    ensure!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "the server's part of the nonce");
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, value("i=")?.parse()?);
    let unproven = format!("c=biws,r={nonce}");
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
