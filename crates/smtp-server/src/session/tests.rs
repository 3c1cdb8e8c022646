use super::*;

fn session(role: SmtpRole, may_login: bool) -> Session {
    Session::new(Policy {
        hostname: "mail.example.org".to_owned(),
        role,
        max_message_size: 1000,
        max_recipients: 2,
        is_tls: false,
        may_start_tls: true,
        may_login,
        can_bind: false,
        speaks_for: None,
        future_release: None,
    })
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
