use super::*;
use mail_types::UidValidity;

const OPEN: Security = Security { may_login: true, may_start_tls: true, bindings: None };
const CLEAR: Security = Security { may_login: false, may_start_tls: true, bindings: None };

fn maildrop() -> Maildrop {
    let messages = [(3, 120), (7, 200), (9, 40)].map(|(uid, size)| (Uid::try_from(uid).unwrap(), size));
    Maildrop::new(UidValidity::try_from(0x6000_0001).unwrap(), messages)
}

fn logged_in() -> Session {
    let mut session = Session::new(OPEN, 3);
    assert!(matches!(session.logged_in(Ok(maildrop())), Step::Reply(Response::Ok(_))));
    session
}

/// What goes back to the client, as text.
#[track_caller]
fn answer(session: &mut Session, line: &str) -> String {
    match session.handle(line.as_bytes()) {
        Step::Reply(response) | Step::Close(response) | Step::StartTls(response) => {
            String::from_utf8(response.encode()).unwrap()
        }
        step @ (Step::LogIn(_) | Step::LookUp(_) | Step::Send(_) | Step::Update(_)) => {
            panic!("{line}: {step:?}")
        }
    }
}

#[test]
fn no_password_is_taken_in_the_clear() {
    let mut session = Session::new(CLEAR, 3);
    for line in ["USER bob", "AUTH PLAIN", "AUTH PLAIN AGJvYgBib2I="] {
        assert!(answer(&mut session, line).starts_with("-ERR [SYS/PERM]"), "{line}");
    }
    let capabilities = answer(&mut session, "CAPA");
    assert!(!capabilities.contains("SASL") && !capabilities.contains("\r\nUSER"), "{capabilities}");
    assert!(capabilities.contains("STLS"));
    assert_eq!(answer(&mut session, "AUTH"), "+OK mechanisms follow\r\n.\r\n");
}

#[test]
fn sasl_goes_in_steps_at_once_or_is_cancelled() {
    let mut session = Session::new(OPEN, 3);
    assert_eq!(answer(&mut session, "AUTH LOGIN"), "+ VXNlcm5hbWU6\r\n");
    assert_eq!(answer(&mut session, "Ym9i"), "+ UGFzc3dvcmQ6\r\n");
    assert!(
        matches!(session.handle(b"c2VjcmV0"), Step::LogIn(Credentials::Password { username, .. }) if username == "bob")
    );
    assert_eq!(answer(&mut session, "AUTH PLAIN"), "+ \r\n");
    assert!(answer(&mut session, "*").starts_with("-ERR"));
    assert!(matches!(session.handle(b"AUTH PLAIN AGJvYgBib2I="), Step::LogIn(_)));
    assert_eq!(
        answer(&mut session, "AUTH"),
        "+OK mechanisms follow\r\nSCRAM-SHA-256\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    );
    assert!(answer(&mut session, "AUTH CRAM-MD5").starts_with("-ERR"));
}

#[test]
fn too_many_wrong_passwords_close_the_connection() {
    let mut session = Session::new(OPEN, 2);
    assert!(matches!(session.logged_in(Err(LoginError::Credentials(WRONG))), Step::Reply(_)));
    assert!(matches!(session.logged_in(Err(LoginError::InUse)), Step::Reply(_)));
    assert!(matches!(session.logged_in(Err(LoginError::Credentials(WRONG))), Step::Close(_)));
}

#[test]
fn deleted_messages_are_gone_from_every_answer_until_rset() {
    let mut session = logged_in();
    assert_eq!(answer(&mut session, "STAT"), "+OK 3 360\r\n");
    assert!(answer(&mut session, "DELE 2").starts_with("+OK"));
    assert!(answer(&mut session, "DELE 2").starts_with("-ERR"));
    assert_eq!(answer(&mut session, "STAT"), "+OK 2 160\r\n");
    assert_eq!(answer(&mut session, "LIST"), "+OK messages follow\r\n1 120\r\n3 40\r\n.\r\n");
    for line in ["LIST 2", "UIDL 2", "RETR 2", "TOP 2 0", "RETR 4"] {
        assert!(answer(&mut session, line).starts_with("-ERR"), "{line}");
    }
    assert!(answer(&mut session, "RSET").starts_with("+OK"));
    assert_eq!(answer(&mut session, "UIDL 2"), "+OK 2 0000000760000001\r\n");
}

#[test]
fn only_quit_after_login_removes_messages() {
    let mut session = logged_in();
    answer(&mut session, "DELE 1");
    answer(&mut session, "DELE 3");
    let expected = [3, 9].map(|uid| Uid::try_from(uid).unwrap());
    assert!(matches!(session.handle(b"QUIT"), Step::Update(uids) if uids == expected));
    assert!(matches!(Session::new(OPEN, 3).handle(b"QUIT"), Step::Close(Response::Ok(_))));
}

#[test]
fn commands_out_of_their_state_are_refused() {
    let mut session = Session::new(OPEN, 3);
    for line in ["STAT", "LIST", "UIDL", "RETR 1", "TOP 1 1", "DELE 1", "RSET", "NOOP", "PASS x", "APOP a b"]
    {
        assert!(answer(&mut session, line).starts_with("-ERR"), "{line}");
    }
    let mut session = logged_in();
    for line in ["USER bob", "PASS x", "AUTH PLAIN", "AUTH", "STLS", "UTF8"] {
        assert!(answer(&mut session, line).starts_with("-ERR"), "{line}");
    }
}

#[test]
fn tls_forgets_what_was_said_before_it() {
    let mut session = Session::new(OPEN, 3);
    answer(&mut session, "USER bob");
    assert!(matches!(session.handle(b"STLS"), Step::StartTls(_)));
    session.secured(Security { may_login: true, may_start_tls: false, bindings: None });
    assert!(answer(&mut session, "PASS secret").starts_with("-ERR"));
    assert!(!answer(&mut session, "CAPA").contains("STLS"));
}

#[test]
fn utf8_and_lang_are_those_of_rfc_6856() {
    let mut session = Session::new(OPEN, 3);
    assert!(answer(&mut session, "UTF8").starts_with("+OK"));
    assert!(answer(&mut session, "STLS").starts_with("-ERR"), "not after UTF8");
    assert_eq!(answer(&mut session, "LANG"), "+OK languages follow\r\nen English\r\n.\r\n");
    assert!(answer(&mut session, "LANG *").starts_with("+OK en "));
    assert!(answer(&mut session, "LANG MUL").starts_with("-ERR"));
}

#[test]
fn who_speaks_no_pop3_is_sent_away() {
    let mut session = Session::new(OPEN, 3);
    for _ in 1..MAX_BAD_LINES {
        assert!(matches!(session.handle(b"GET / HTTP/1.1"), Step::Reply(_)));
    }
    assert!(matches!(session.handle(b"CAPA"), Step::Reply(_)), "a command forgives what came before");
    for _ in 1..MAX_BAD_LINES {
        assert!(matches!(session.refuse_line("the line is too long"), Step::Reply(_)));
    }
    assert!(matches!(session.handle(b"RETR x"), Step::Close(Response::Failed { .. })));
}

#[test]
fn a_line_that_is_none_ends_auth() {
    let mut session = Session::new(OPEN, 3);
    answer(&mut session, "AUTH LOGIN");
    assert!(matches!(session.refuse_line("the line is too long"), Step::Reply(_)));
    assert!(answer(&mut session, "CAPA").starts_with("+OK"));
    answer(&mut session, "AUTH LOGIN");
    assert!(answer(&mut session, "no base64!").starts_with("-ERR"));
    assert!(answer(&mut session, "CAPA").starts_with("+OK"));
}
