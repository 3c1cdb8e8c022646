//! SCRAM-SHA-256, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Fixture, ScramDialogue, scram};

const IMAP: ScramDialogue<'_> = ScramDialogue { before: &[], command: "a AUTHENTICATE", challenge: "+ " };

#[tokio::test]
async fn who_knows_the_password_logs_in_without_sending_it() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(imap_server::run)?;
    for name in ["alice", "Alice@Example.org"] {
        let answer = scram(server.plain, IMAP, name, "alice-secret").await?;
        assert!(answer.starts_with("a OK [CAPABILITY IMAP4rev1 "), "{answer}");
    }
    for (name, password) in
        [("alice", "bob-secret"), ("nobody", "alice-secret"), ("nobody@elsewhere.org", "x")]
    {
        let answer = scram(server.plain, IMAP, name, password).await?;
        assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{name}: {answer}");
    }
    // A new password makes new keys.
    fixture
        .directory
        .set_password(&"alice@example.org".parse()?, &mail_types::Secret::new("another".to_owned()))?;
    assert!(scram(server.plain, IMAP, "alice", "another").await?.starts_with("a OK "));
    assert!(scram(server.plain, IMAP, "alice", "alice-secret").await?.starts_with("a NO "));
    Ok(())
}
