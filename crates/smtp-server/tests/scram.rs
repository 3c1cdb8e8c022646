//! AUTH SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Bound, Fixture, ScramDialogue, TLS12, TLS13, scram, scram_over_tls};

const SMTP: ScramDialogue<'_> =
    ScramDialogue { before: &["EHLO client.example"], command: "AUTH", challenge: "334 " };

#[tokio::test]
async fn who_knows_the_password_logs_in_without_sending_it() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.set_smtp("role", "submission")?;
    let server = fixture.start(smtp_server::run)?;
    let answer = scram(server.plain, SMTP, "alice", "alice-secret").await?;
    assert!(answer.starts_with("235 "), "{answer}");
    let answer = scram(server.plain, SMTP, "alice", "bob-secret").await?;
    assert!(answer.starts_with("535 "), "{answer}");
    Ok(())
}

/// RFC 5802 §6, RFC 9266 §3, RFC 5929 §4.
#[tokio::test]
async fn plus_takes_who_sees_the_same_tls_connection_and_nobody_else() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    fixture.set_smtp("role", "submission")?;
    let server = fixture.start(smtp_server::run)?;
    for (bound, expected) in [
        (Bound::Exporter, "235 "),
        (Bound::EndPoint, "235 "),
        (Bound::Not("n"), "235 "),
        (Bound::Not("y"), "535 5.7.8 SCRAM-SHA-256-PLUS is offered here"),
        (Bound::To("tls-exporter", &[0; 32]), "535 5.7.8 The client's end of this connection is not ours"),
        (Bound::To("tls-server-end-point", &[0; 32]), "535 5.7.8 The client's end of this connection"),
        (Bound::To("tls-unique", &[0; 12]), "535 5.7.8 Channel bindings here are tls-exporter"),
    ] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), SMTP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// There is no binding there that clients would know, so one that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_under_tls_1_2() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    fixture.set_smtp("role", "submission")?;
    let server = fixture.start(smtp_server::run)?;
    for (bound, expected) in [(Bound::Not("n"), "235 "), (Bound::Not("y"), "235 "), (Bound::Exporter, "504 ")]
    {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS12), SMTP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// The operator did not ask for it, so a client that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_by_default() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.set_smtp("role", "submission")?;
    let server = fixture.start(smtp_server::run)?;
    for (bound, expected) in [(Bound::Not("y"), "235 "), (Bound::Exporter, "504 ")] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), SMTP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}
