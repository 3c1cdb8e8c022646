//! What the log tells of a connection. Alone in its process, whose log it reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

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

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{text}"));
    let accepted = line("message accepted");
    for part in [" INFO ", "peer=127.0.0.1:", "id=", "sender=\"bob@example.org\"", "recipients=1", "size=23"]
    {
        assert!(accepted.contains(part), "{part} is not in {accepted}");
    }
    let refused = line("command=\"RCPT TO:<nobody@example.org>\"");
    assert!(
        refused.contains("peer=127.0.0.1:") && refused.contains("550 5.1.1 No such user here"),
        "{refused}"
    );
    assert!(line("account=bob@example.org").contains("logged in"));
    for secret in ["secret", "AGJvYg", "confidential"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}
