//! AUTH SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Bound, Fixture, ScramDialogue, TLS12, TLS13, scram, scram_over_tls};

const POP3: ScramDialogue<'_> = ScramDialogue { before: &[], command: "AUTH", challenge: "+ " };

#[tokio::test]
async fn who_knows_the_password_logs_in_without_sending_it() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(pop3_server::run)?;
    let answer = scram(server.plain, POP3, "alice", "alice-secret").await?;
    assert!(answer.starts_with("+OK maildrop has "), "{answer}");
    let answer = scram(server.plain, POP3, "alice", "bob-secret").await?;
    assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    Ok(())
}

/// RFC 5802 §6, RFC 9266 §3, RFC 5929 §4.
#[tokio::test]
async fn plus_takes_who_sees_the_same_tls_connection_and_nobody_else() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    let server = fixture.start(pop3_server::run)?;
    for (bound, expected) in [
        (Bound::Exporter, "+OK maildrop has "),
        (Bound::EndPoint, "+OK maildrop has "),
        (Bound::Not("n"), "+OK maildrop has "),
        (Bound::Not("y"), "-ERR [AUTH] SCRAM-SHA-256-PLUS is offered here"),
        (Bound::To("tls-exporter", &[0; 32]), "-ERR [AUTH] The client's end of this connection is not ours"),
        (Bound::To("tls-server-end-point", &[0; 32]), "-ERR [AUTH] The client's end of this connection"),
        (Bound::To("tls-unique", &[0; 12]), "-ERR [AUTH] Channel bindings here are tls-exporter"),
    ] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), POP3, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// There is no binding there that clients would know, so one that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_under_tls_1_2() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    let server = fixture.start(pop3_server::run)?;
    for (bound, expected) in [
        (Bound::Not("n"), "+OK maildrop has "),
        (Bound::Not("y"), "+OK maildrop has "),
        (Bound::Exporter, "-ERR unknown mechanism"),
    ] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS12), POP3, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// The operator did not ask for it, so a client that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_by_default() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(pop3_server::run)?;
    for (bound, expected) in
        [(Bound::Not("y"), "+OK maildrop has "), (Bound::Exporter, "-ERR unknown mechanism")]
    {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), POP3, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}
