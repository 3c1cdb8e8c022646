//! AUTH SCRAM-SHA-256, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Fixture, ScramDialogue, scram};

#[tokio::test]
async fn who_knows_the_password_logs_in_without_sending_it() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(pop3_server::run)?;
    let pop3 = ScramDialogue { before: &[], command: "AUTH", challenge: "+ " };
    let answer = scram(server.plain, pop3, "alice", "alice-secret").await?;
    assert!(answer.starts_with("+OK maildrop has "), "{answer}");
    let answer = scram(server.plain, pop3, "alice", "bob-secret").await?;
    assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    Ok(())
}
