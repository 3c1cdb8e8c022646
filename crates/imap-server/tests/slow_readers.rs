//! A client that takes nothing of what it is sent is not read any further, and dropped after the deadline.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use testkit::Fixture;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

const MEBIBYTE: usize = 1 << 20;

fn fixture(messages: usize) -> anyhow::Result<Fixture> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.write_timeout = Duration::from_millis(200);
    fixture.config.limits.max_connections_per_account = 2;
    for _ in 0..messages {
        fixture.add_message("alice", "INBOX", b"Subject: s\r\n\r\n")?;
    }
    Ok(fixture)
}

/// A client whose system takes little before it does.
async fn connect(server: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    Ok(BufReader::new(socket.connect(server).await?))
}

/// Sends a command, and gives back the first line of its answer that begins so.
async fn say(client: &mut BufReader<TcpStream>, command: &str, until: &str) -> anyhow::Result<String> {
    client.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut line = String::new();
    while !line.starts_with(until) {
        line.clear();
        anyhow::ensure!(client.read_line(&mut line).await? > 0, "closed before {until}");
    }
    Ok(line)
}

async fn select(server: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let mut client = connect(server).await?;
    say(&mut client, "a LOGIN alice alice-secret", "a OK").await?;
    say(&mut client, "b SELECT INBOX", "b OK").await?;
    Ok(client)
}

/// Sends octets for ever, and never reads, until the server has dropped the connection.
async fn flood(client: &mut BufReader<TcpStream>, mut octets: impl FnMut() -> Vec<u8>) {
    let mut sent = 0;
    loop {
        let octets = octets();
        if client.write_all(&octets).await.is_err() {
            return;
        }
        sent += octets.len();
        assert!(sent < 64 * MEBIBYTE, "the server goes on reading");
    }
}

/// Waits until the account may have a session again.
async fn one_is_gone(server: SocketAddr) -> anyhow::Result<()> {
    tokio::time::timeout(Duration::from_secs(60), log_in_at_last(server)).await?
}

async fn log_in_at_last(server: SocketAddr) -> anyhow::Result<()> {
    loop {
        let mut client = connect(server).await?;
        let answer = say(&mut client, "a LOGIN alice alice-secret", "a ").await?;
        if answer.starts_with("a OK") {
            return Ok(());
        }
        anyhow::ensure!(answer.starts_with("a NO [LIMIT]"), "{answer}");
    }
}

#[tokio::test]
async fn commands_sent_ahead_wait_in_the_connection() -> anyhow::Result<()> {
    let fixture = fixture(300)?;
    let server = fixture.start(imap_server::run)?;
    for command in [
        "c FETCH 1:* (ENVELOPE BODYSTRUCTURE)",
        "c FETCH 1:* BODY[HEADER.FIELDS ({7+}\r\nSubject)]",
        "c SEARCH ALL",
        "c LIST \"\" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE APPENDLIMIT MAILBOXID))",
    ] {
        let mut client = select(server.plain).await?;
        let many = format!("{command}\r\n").repeat(1000).into_bytes();
        flood(&mut client, || many.clone()).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_that_stops_under_compression_is_dropped() -> anyhow::Result<()> {
    let mut fixture = fixture(0)?;
    fixture.config.limits.max_connections_per_account = 1;
    // Noise is not compressed.
    let mut noise = 1_u32;
    let mut octet = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b' ' + u8::try_from(noise >> 24).map_or(0, |it| it % 90)
    };
    let text: Vec<u8> = (0..16 * MEBIBYTE).map(|_| octet()).collect();
    fixture.add_message("alice", "INBOX", &text)?;
    let server = fixture.start(imap_server::run)?;
    let mut client = select(server.plain).await?;
    say(&mut client, "b COMPRESS DEFLATE", "b OK").await?;
    let mut deflate = Compress::new(Compression::none(), false);
    let mut deflated = Vec::with_capacity(100);
    deflate.compress_vec(b"c FETCH 1 BODY[]\r\n", &mut deflated, FlushCompress::Sync)?;
    client.write_all(&deflated).await?;
    one_is_gone(server.plain).await
}

#[tokio::test]
async fn a_reader_that_stops_in_the_midst_of_a_message_is_dropped() -> anyhow::Result<()> {
    let mut fixture = fixture(0)?;
    fixture.config.limits.max_connections_per_account = 1;
    fixture.add_message("alice", "INBOX", &vec![b'x'; 16 * MEBIBYTE])?;
    let server = fixture.start(imap_server::run)?;
    let mut client = select(server.plain).await?;
    client.write_all(b"c FETCH 1 BODY[]\r\n").await?;
    one_is_gone(server.plain).await
}

/// RFC 2177: IDLE tells of changes that the client did not ask for.
#[tokio::test]
async fn an_idle_client_that_takes_no_news_is_dropped() -> anyhow::Result<()> {
    let fixture = fixture(500)?;
    let server = fixture.start(imap_server::run)?;
    let mut idle = select(server.plain).await?;
    say(&mut idle, "c IDLE", "+").await?;
    let mut other = select(server.plain).await?;
    let keywords: Vec<String> = (0..20).map(|number| format!("{number}{}", "k".repeat(200))).collect();
    let keywords = keywords.join(" ");
    // Each time 2 MB of news.
    for number in 0..8 {
        let add = format!("d{number} STORE 1:* +FLAGS.SILENT ({keywords})");
        say(&mut other, &add, &format!("d{number} OK")).await?;
        say(&mut other, &format!("e{number} STORE 1:* -FLAGS.SILENT ({number}x)"), &format!("e{number} OK"))
            .await?;
        say(&mut other, &format!("f{number} STORE 1:* +FLAGS.SILENT (x{number})"), &format!("f{number} OK"))
            .await?;
    }
    one_is_gone(server.plain).await
}
