//! What the log tells of a connection. Alone in its process, whose log it reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use mail_events::{Event, LoginFailure, MessageOutcome, Reader, Story};
use testkit::{Fixture, Security, Transcript};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const DIALOGUE: &str = "S: 220...
C: HELO x
S: 250...
C: AUTH PLAIN AGJvYgB3cm9uZy1zZWNyZXQ=
S: 535...
C: AUTH PLAIN AGJvYgBib2Itc2VjcmV0
S: 235...
C: MAIL FROM:<bob@example.org>
S: 250...
C: RCPT TO:<nobody@example.org>
S: 550...
C: RCPT TO:<alice@example.org>
S: 250...
C: DATA
S: 354...
C: Subject: confidential
C: .
S: 250...
C: QUIT
S: 221...
S: <close>
";

/// Begins a message and closes the connection.
async fn leave_in_the_midst(address: std::net::SocketAddr) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let commands = "EHLO x\r\nAUTH PLAIN AGJvYgBib2Itc2VjcmV0\r\nMAIL FROM:<bob@example.org>\r\nRCPT TO:<leaver@example.net>\r\nDATA\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, commands.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("\n354 ") {
        assert!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut said).await.unwrap() > 0, "closed");
    }
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"Subject: half\r\n").await.unwrap();
}

const fn login_failure(event: &Event) -> Option<&LoginFailure> {
    if let Event::LoginFailure(it) = event { Some(it) } else { None }
}

/// What the event log has of an address, once it is written.
async fn traced(fixture: &Fixture, address: &'static str) -> Vec<Story> {
    let folder = fixture.config.events_dir();
    tokio::task::spawn_blocking(move || {
        loop {
            let stories = Reader::open(&folder).unwrap().trace(address, 10).unwrap().stories;
            if !stories.is_empty() {
                return stories;
            }
            std::thread::yield_now();
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_message_is_a_line_with_its_connection_and_secrets_are_in_none() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(move || writer.clone())
        .init();
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.set_smtp("role", "submission").unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let transcript = Transcript::parse(DIALOGUE).unwrap();
    transcript.run(&fixture, &server, Security::Plain).await.unwrap();
    let stories = traced(&fixture, "alice@example.org").await;
    let [Story { entries, .. }] = stories.as_slice() else { panic!("{stories:?}") };
    let events: Vec<Event> = entries.iter().map(|entry| entry.event.clone()).collect();
    let [Event::Refusal(refused), Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(refused.recipient.as_deref(), Some("nobody@example.org"));
    assert_eq!(refused.reply, "550 5.1.1 No such user here: look for a typing error in the address");
    assert_eq!((message.outcome, message.size), (MessageOutcome::Accepted, 23));
    assert_eq!((message.peer.as_str(), message.protocol.as_str()), ("127.0.0.1", "SMTP"));
    assert!(
        message.message_id.as_ref().is_some_and(|id| id.ends_with("@mail.example.org>")),
        "the one that was added"
    );

    // By the name that the client gave, and by the client's address.
    for wanted in ["BOB", "127.0.0.1"] {
        let stories = traced(&fixture, wanted).await;
        let entries: Vec<_> = stories.iter().flat_map(|story| &story.entries).collect();
        let failure = entries.iter().find_map(|entry| login_failure(&entry.event));
        let failure = failure.unwrap_or_else(|| panic!("{entries:?}"));
        assert_eq!((failure.peer.as_str(), failure.name.as_str()), ("127.0.0.1", "bob"));
        assert_eq!(
            (failure.listener.as_str(), failure.reason.as_str()),
            ("plain", "Wrong user name or password")
        );
    }

    leave_in_the_midst(server.address(Security::Plain)).await;
    let stories = traced(&fixture, "leaver@example.net").await;
    let [Story { entries, .. }] = stories.as_slice() else { panic!("{stories:?}") };
    let lost = |event: &Event| matches!(event, Event::Message(it) if it.outcome == MessageOutcome::Lost);
    assert!(entries.iter().any(|entry| lost(&entry.event)), "{entries:?}");

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{text}"));
    let accepted = line("message accepted");
    for part in [
        " INFO ",
        "peer=127.0.0.1:",
        "id=",
        "account=bob@example.org",
        "sender=\"bob@example.org\"",
        "recipients=\"alice@example.org\"",
        "size=23",
        "verdict=\"none\"",
        "outcome=Accepted",
        "milliseconds=",
    ] {
        assert!(accepted.contains(part), "{part} is not in {accepted}");
    }
    let refused = line("command=\"RCPT TO:<nobody@example.org>\"");
    assert!(
        refused.contains("peer=127.0.0.1:")
            && refused.contains("550 5.1.1 No such user here: look for a typing error in the address"),
        "{refused}"
    );
    assert!(line("account=bob@example.org").contains("logged in"));
    for secret in ["secret", "AGJvYg", "confidential"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}
