//! AUTH SCRAM-SHA-256, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Fixture, ScramDialogue, scram};

#[tokio::test]
async fn who_knows_the_password_logs_in_without_sending_it() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.set_smtp("role", "submission")?;
    let server = fixture.start(smtp_server::run)?;
    let smtp = ScramDialogue { before: &["EHLO client.example"], command: "AUTH", challenge: "334 " };
    let answer = scram(server.plain, smtp, "alice", "alice-secret").await?;
    assert!(answer.starts_with("235 "), "{answer}");
    let answer = scram(server.plain, smtp, "alice", "bob-secret").await?;
    assert!(answer.starts_with("535 "), "{answer}");
    Ok(())
}
