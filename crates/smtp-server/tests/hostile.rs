//! Promise 6: what a slow or hostile peer can make the server do is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use testkit::{Fixture, Security, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const MEBIBYTE: usize = 1 << 20;

async fn server(settings: &[(&str, &str)]) -> (Fixture, Server) {
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    settings.iter().for_each(|(key, value)| fixture.set_smtp(key, value).unwrap());
    let server = fixture.start(smtp_server::run).unwrap();
    (fixture, server)
}

async fn connect(server: &Server) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect(server.address(Security::Plain)).await.unwrap());
    assert!(line(&mut stream).await.starts_with("220 "));
    stream
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn a_client_that_sends_and_never_reads_is_not_read_for_ever() {
    let (_fixture, server) = server(&[("command_timeout", "300")]).await;
    let mut stream = connect(&server).await;
    let flood = "EHLO x\r\n".repeat(8192);
    let mut sent = 0;
    while stream.write_all(flood.as_bytes()).await.is_ok() {
        sent += flood.len();
        assert!(sent < 64 * MEBIBYTE, "the server goes on reading");
    }
}

#[tokio::test]
async fn an_endless_line_is_one_error() {
    let (_fixture, server) = server(&[]).await;
    let mut stream = connect(&server).await;
    for _ in 0..32 {
        stream.write_all(&vec![b'x'; MEBIBYTE]).await.unwrap();
    }
    stream.write_all(b"\r\nNOOP\r\n").await.unwrap();
    assert_eq!(line(&mut stream).await, "500 5.5.2 The line is too long\r\n");
    assert!(line(&mut stream).await.starts_with("250 "));
}

#[tokio::test]
async fn thousands_of_recipients_are_told_one_by_one() {
    let (_fixture, server) = server(&[("max_recipients", "100"), ("max_errors", "3000")]).await;
    let mut stream = connect(&server).await;
    let (mut input, mut output) = stream.get_mut().split();
    let recipients = "RCPT TO:<bob@example.org>\r\n".repeat(2000);
    let commands = format!("HELO x\r\nMAIL FROM:<>\r\n{recipients}QUIT\r\n");
    let mut replies = String::new();
    let (sent, read) =
        tokio::join!(output.write_all(commands.as_bytes()), input.read_to_string(&mut replies));
    sent.unwrap();
    read.unwrap();
    assert_eq!(replies.matches("250 2.1.5").count(), 100);
    assert_eq!(replies.matches("452 4.5.3").count(), 1900);
}

#[tokio::test]
async fn a_chunk_larger_than_any_message_is_not_kept() {
    let (_fixture, server) = server(&[("max_message_size", "1000")]).await;
    let mut stream = connect(&server).await;
    let start = format!("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT {}\r\n", 8 * MEBIBYTE);
    stream.write_all(start.as_bytes()).await.unwrap();
    for _ in 0..8 {
        stream.write_all(&vec![b'x'; MEBIBYTE]).await.unwrap();
    }
    for code in ["250", "250", "250", "552"] {
        assert!(line(&mut stream).await.starts_with(code));
    }
}

/// Sends `octet` again and again, faster than any wait for the next one is over, until the server has had enough; what it said.
async fn trickle(stream: &mut BufReader<TcpStream>, octet: &[u8]) -> String {
    let (mut input, mut output) = stream.get_mut().split();
    let mut replies = String::new();
    let sends = async {
        while output.write_all(octet).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = input.read_to_string(&mut replies) => drop(read),
        () = sends => {}
    }
    replies
}

#[tokio::test]
async fn what_trickles_in_gains_no_time() {
    let (_fixture, server) = server(&[("command_timeout", "300"), ("data_timeout", "300")]).await;
    let mut stream = connect(&server).await;
    let said = trickle(&mut stream, b"x").await;
    assert_eq!(said, "421 4.4.2 mail.example.org Too little came for too long; goodbye\r\n", "in a command");
    for data in ["DATA\r\n", "BDAT 100000\r\n"] {
        let mut stream = connect(&server).await;
        let start = format!("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n{data}");
        stream.write_all(start.as_bytes()).await.unwrap();
        let replies = trickle(&mut stream, b"x").await;
        assert!(
            replies.ends_with("421 4.4.2 mail.example.org Too little came for too long; goodbye\r\n"),
            "{replies}"
        );
    }
}

#[tokio::test]
async fn who_brings_no_mail_is_not_served_for_ever() {
    let (_fixture, server) = server(&[("command_timeout", "100"), ("max_junk_commands", "1000000")]).await;
    let mut stream = connect(&server).await;
    let replies = trickle(&mut stream, b"NOOP\r\n").await;
    assert!(
        replies.ends_with("421 4.4.2 mail.example.org No mail came for too long; goodbye\r\n"),
        "{replies}"
    );
}

/// Up to where mail data is to come.
const TO_DATA: &str = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n";

/// Begins a message, and stops in it.
async fn begin_data(stream: &mut BufReader<TcpStream>) {
    stream.write_all(TO_DATA.as_bytes()).await.unwrap();
    loop {
        let said = line(stream).await;
        assert!(!said.is_empty(), "the server has closed");
        if said.starts_with("354 ") {
            break;
        }
    }
    stream.write_all(b"Subject: a\r\n").await.unwrap();
}

/// What is said to each of so many idle clients, of eight that there is room for; in the midst of mail data, where that `is_data`.
async fn idle(clients: usize, is_data: bool, settings: &[(&str, &str)]) -> Vec<String> {
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.config.limits.max_connections = 8;
    settings.iter().for_each(|(key, value)| fixture.set_smtp(key, value).unwrap());
    let server = fixture.start(smtp_server::run).unwrap();
    let mut open = Vec::new();
    for _ in 0..clients {
        let mut stream = connect(&server).await;
        if is_data {
            begin_data(&mut stream).await;
        }
        open.push(stream);
    }
    let mut said = Vec::new();
    for mut stream in open {
        said.push(line(&mut stream).await);
    }
    said
}

#[tokio::test]
async fn who_does_nothing_makes_room_where_there_is_hardly_any() {
    let no_room = "421 4.3.2 mail.example.org There is hardly room";
    let in_time = "421 4.4.2 mail.example.org Too little came";
    for (is_data, timeout) in [(false, "command_timeout"), (true, "data_timeout")] {
        let said = idle(6, is_data, &[(timeout, "20000")]).await;
        assert!(said.iter().any(|it| it.starts_with(no_room)), "{said:?}");
        let few = idle(5, is_data, &[(timeout, "1000")]).await;
        assert!(few.iter().all(|it| it.starts_with(in_time)), "{few:?}");
    }
    let ours = idle(6, false, &[("command_timeout", "1000"), ("relay_client", "127.0.0.0/8")]).await;
    assert!(ours.iter().all(|it| it.starts_with(in_time)), "{ours:?}");
}

/// RFC 5321 §3.8
#[tokio::test]
async fn who_has_not_finished_when_the_server_stops_is_told_so() {
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.config.limits.drain_timeout = Duration::from_secs(1);
    let server = fixture.start(smtp_server::run).unwrap();
    let mut open = [connect(&server).await, connect(&server).await];
    open[0].write_all(b"HELO x\r\nMAIL FROM:<>\r\n").await.unwrap();
    for code in ["250", "250"] {
        assert!(line(&mut open[0]).await.starts_with(code));
    }
    begin_data(&mut open[1]).await;
    server.begin_to_drain();
    for mut stream in open {
        let said = tokio::time::timeout(Duration::from_secs(60), line(&mut stream)).await.unwrap();
        assert_eq!(said, "421 4.3.2 mail.example.org Shutting down; come back later\r\n");
    }
}
