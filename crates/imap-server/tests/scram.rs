//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, whose messages differ each time. RFC 7677.
#![allow(missing_docs)]

use testkit::{Bound, Fixture, ScramDialogue, TLS12, TLS13, scram, scram_over_tls};

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

/// RFC 5802 §6, RFC 9266 §3, RFC 5929 §4.
#[tokio::test]
async fn plus_takes_who_sees_the_same_tls_connection_and_nobody_else() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    let server = fixture.start(imap_server::run)?;
    for (bound, expected) in [
        (Bound::Exporter, "a OK [CAPABILITY "),
        (Bound::EndPoint, "a OK [CAPABILITY "),
        (Bound::Not("n"), "a OK [CAPABILITY "),
        (Bound::Not("y"), "a NO [AUTHENTICATIONFAILED] SCRAM-SHA-256-PLUS is offered here"),
        (
            Bound::To("tls-exporter", &[0; 32]),
            "a NO [AUTHENTICATIONFAILED] The client's end of this connection is not ours",
        ),
        (
            Bound::To("tls-server-end-point", &[0; 32]),
            "a NO [AUTHENTICATIONFAILED] The client's end of this connection",
        ),
        (
            Bound::To("tls-unique", &[0; 12]),
            "a NO [AUTHENTICATIONFAILED] Channel bindings here are tls-exporter",
        ),
    ] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), IMAP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// There is no binding there that clients would know, so one that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_under_tls_1_2() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.tls.channel_binding = true;
    let server = fixture.start(imap_server::run)?;
    for (bound, expected) in [
        (Bound::Not("n"), "a OK [CAPABILITY "),
        (Bound::Not("y"), "a OK [CAPABILITY "),
        (Bound::Exporter, "a NO [CANNOT] "),
    ] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS12), IMAP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}

/// The operator did not ask for it, so a client that could be bound is right to say that it isn't.
#[tokio::test]
async fn plus_is_not_offered_by_default() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(imap_server::run)?;
    for (bound, expected) in [(Bound::Not("y"), "a OK "), (Bound::Exporter, "a NO [CANNOT] ")] {
        let answer = scram_over_tls(server.tls, (&fixture.ca, &TLS13), IMAP, bound).await?;
        assert!(answer.starts_with(expected), "{bound:?}: {answer}");
    }
    Ok(())
}
