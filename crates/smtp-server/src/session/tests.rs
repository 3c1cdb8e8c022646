use mail_config::RelayOrigin;

use super::*;

fn session(role: SmtpRole, may_login: bool) -> Session {
    Session::new(policy(role, may_login))
}

fn policy(role: SmtpRole, may_login: bool) -> Policy {
    Policy {
        hostname: "mail.example.org".to_owned(),
        role,
        max_message_size: 1000,
        max_recipients: 2,
        is_tls: false,
        may_start_tls: true,
        may_login,
        can_bind: false,
        speaks_for: None,
        relay: None,
        future_release: None,
    }
}

/// Of machines that may send as whoever is in example.org.
fn relaying(role: SmtpRole, may_login: bool, allow_plaintext: bool) -> Session {
    let senders = vec!["@example.org".parse().unwrap()];
    let client = RelayClient {
        name: "printers".to_owned(),
        from: RelayOrigin::Networks {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            senders,
            allow_plaintext,
        },
        max_message_size: Some(500),
        recipients_per_message: Some(1),
        recipients_per_hour: None,
        messages_per_hour: None,
    };
    Session::new(Policy { relay: Some(Arc::new(client)), ..policy(role, may_login) })
}

#[track_caller]
fn reply(session: &mut Session, line: &str) -> String {
    let (Step::Reply(reply) | Step::Begin(reply)) =
        session.handle(Command::parse(line.as_bytes()).unwrap(), Timestamp::UNIX_EPOCH)
    else {
        panic!("{line} is not answered at once")
    };
    let mut output = String::new();
    reply.encode(&mut output);
    output
}

/// RFC 4954 §4, promise 5: from afar, in the clear.
#[test]
fn before_tls_auth_is_neither_offered_nor_taken() {
    let mut session = session(SmtpRole::Submission, false);
    assert!(!reply(&mut session, "EHLO x").contains("AUTH"));
    assert!(reply(&mut session, "AUTH PLAIN AGJvYgBzZWNyZXQ=").starts_with("538 5.7.11 "));
    assert!(reply(&mut session, "MAIL FROM:<bob@example.org>").contains("530 5.7.0 Encryption required"));
    assert!(reply(&mut session, "AUTH SCRAM-SHA-256-PLUS").starts_with("538 5.7.11 "));
    session.secured(false);
    assert!(reply(&mut session, "EHLO x").contains("250 AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"));
    assert!(reply(&mut session, "AUTH SCRAM-SHA-256-PLUS").starts_with("504 5.5.4 "));
    session.secured(true);
    assert!(
        reply(&mut session, "EHLO x").contains("250 AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n")
    );
    assert!(matches!(
        session.handle(Command::parse(b"AUTH PLAIN AGJvYgBzZWNyZXQ=").unwrap(), Timestamp::UNIX_EPOCH),
        Step::Authenticate { mechanism: Mechanism::Plain, initial: Some(_) }
    ));
}

#[test]
fn a_directory_that_cannot_be_asked_is_a_temporary_failure() {
    let mut session = session(SmtpRole::Mx, true);
    reply(&mut session, "EHLO x");
    reply(&mut session, "MAIL FROM:<>");
    let bob: Address = "bob@example.org".parse().unwrap();
    assert_eq!(session.recipient_checked(bob, &RcptParameters::default(), None).code(), 451);
    assert_eq!(session.sender_checked(None).code(), 451);
}

#[test]
fn aliases_do_not_lead_to_more_than_memory_holds() {
    let mut session = session(SmtpRole::Mx, true);
    reply(&mut session, "EHLO x");
    reply(&mut session, "MAIL FROM:<>");
    let members = (0..20_000).map(|n| format!("m{n}@example.net").parse().unwrap()).collect();
    let resolution = Resolution::Ours(Reached { remote: members, ..Reached::default() });
    let list: Address = "list@example.org".parse().unwrap();
    assert_eq!(session.recipient_checked(list, &RcptParameters::default(), Some(resolution)).code(), 452);
}

fn rcpt_elsewhere(session: &mut Session) -> u16 {
    let elsewhere: Address = "c@d.org".parse().unwrap();
    session.recipient_checked(elsewhere, &RcptParameters::default(), Some(Resolution::Foreign)).code()
}

/// Promise 5: what an account may not do without TLS, a machine that is known by its address may not either, unless the config says so.
#[test]
fn a_relay_client_needs_tls_where_an_account_does() {
    for role in [SmtpRole::Mx, SmtpRole::Submission] {
        let mut afar = relaying(role, false, false);
        reply(&mut afar, "EHLO x");
        assert!(!afar.is_ours());
        let mail = reply(&mut afar, "MAIL FROM:<a@example.org>");
        if role == SmtpRole::Submission {
            assert!(mail.starts_with("530 5.7.0 Encryption required"), "{mail}");
        } else {
            assert!(mail.starts_with("250 "), "as a stranger to those who are here: {mail}");
            assert_eq!(rcpt_elsewhere(&mut afar), 530);
        }
        afar.secured(true);
        let mut allowed = relaying(role, false, true);
        let mut near = relaying(role, true, false);
        for session in [&mut afar, &mut allowed, &mut near] {
            reply(session, "EHLO x");
            assert!(reply(session, "MAIL FROM:<a@example.org>").starts_with("250 "));
            assert_eq!(rcpt_elsewhere(session), 250);
        }
    }
}

#[test]
fn a_relay_client_has_its_limits_and_senders_until_it_logs_in() {
    let mut session = relaying(SmtpRole::Submission, true, false);
    let extensions = reply(&mut session, "EHLO x");
    assert!(extensions.contains("SIZE 500\r\n") && extensions.contains("RCPTMAX=1\r\n"), "{extensions}");
    assert!(reply(&mut session, "MAIL FROM:<a@example.net>").starts_with("553 5.7.1 "));
    assert!(reply(&mut session, "MAIL FROM:<a@example.org> SIZE=501").starts_with("552 5.3.4 "));
    assert!(reply(&mut session, "MAIL FROM:<>").starts_with("250 "), "as reports are");
    assert_eq!(session.user().as_deref(), Some("printers"));
    assert_eq!(rcpt_elsewhere(&mut session), 250);
    assert!(reply(&mut session, "RCPT TO:<e@d.org>").starts_with("452 4.5.3 "));
    session.reset();
    session.logged_in("bob@example.org".parse().unwrap(), None);
    assert_eq!((session.max_message_size(), session.user().as_deref()), (1000, Some("bob@example.org")));
    assert!(session.relay_client().is_none(), "the account's rights count");
}
