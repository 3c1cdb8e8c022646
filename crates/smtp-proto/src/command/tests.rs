use super::*;
use crate::{Notify, OriginalRecipient};

#[track_caller]
fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn commands_are_read_in_every_form_that_clients_send() {
    let mail = |from: Option<&str>, parameters| Command::Mail { from: from.map(address), parameters };
    let plain = MailParameters::default;
    let rcpt = |to, parameters| Command::Rcpt { to, parameters };
    for (line, expected) in [
        ("EHLO [127.0.0.1]", Command::Ehlo("[127.0.0.1]".to_owned())),
        ("EHLO [192.0.2.1] my computer", Command::Ehlo("[192.0.2.1]".to_owned())),
        ("helo two words", Command::Helo("two".to_owned())),
        ("mail from:<bob@x.org>", mail(Some("bob@x.org"), plain())),
        ("MAIL FROM: <bob@x.org> ", mail(Some("bob@x.org"), plain())),
        ("MAIL FROM:<>", mail(None, plain())),
        ("MAIL FROM:<@a.org,@b.org:bob@x.org>", mail(Some("bob@x.org"), plain())),
        (
            "MAIL FROM:<\"a b>\"@x.org> SIZE=12 body=8bitmime SMTPUTF8 AUTH=<>",
            mail(
                Some("\"a b>\"@x.org"),
                MailParameters { size: Some(12), body: Body::EightBit, smtputf8: true, ..plain() },
            ),
        ),
        (
            "MAIL FROM:<bob@x.org> SIZE=99999999999999999999",
            mail(Some("bob@x.org"), MailParameters { size: Some(u64::MAX), ..plain() }),
        ),
        (
            "MAIL FROM:<bob@x.org> BODY=BinaryMime",
            mail(Some("bob@x.org"), MailParameters { body: Body::Binary, ..plain() }),
        ),
        ("MAIL FROM:<bob@[192.0.2.1]>", mail(Some("bob@[192.0.2.1]"), plain())),
        ("MAIL FROM:<bob@[IPv6:2001:db8::1]>", mail(Some("bob@[IPv6:2001:db8::1]"), plain())),
        ("MAIL FROM:<\"a\\\"@\"@x.org>", mail(Some("\"a\\\"@\"@x.org"), plain())),
        (
            "MAIL FROM:<> ret=hdrs ENVID=a+2Bb",
            mail(
                None,
                MailParameters { ret: Some(Return::Headers), envelope_id: Some("a+b".to_owned()), ..plain() },
            ),
        ),
        ("RCPT TO:<Postmaster>", rcpt(Recipient::Postmaster, RcptParameters::default())),
        ("RCPT TO:<é@x.org>", rcpt(Recipient::Address(address("é@x.org")), RcptParameters::default())),
        (
            "RCPT TO:<bob@x.org> notify=Never ORCPT=rfc822;Bob@x.org",
            rcpt(
                Recipient::Address(address("bob@x.org")),
                RcptParameters {
                    notify: Some(Notify::Never),
                    original: Some(OriginalRecipient::of(&address("Bob@x.org"))),
                },
            ),
        ),
        ("BDAT 86 LAST", Command::Bdat { size: 86, last: true }),
        ("BDAT 0", Command::Bdat { size: 0, last: false }),
        (
            "AUTH PLAIN  AA==",
            Command::Auth { mechanism: "PLAIN".to_owned(), initial: Some(b"AA==".to_vec()) },
        ),
        ("NOOP x", Command::Noop),
        ("quit", Command::Quit),
        ("ETRN example.org", Command::NotOffered("ETRN")),
        ("turn", Command::NotOffered("TURN")),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Ok(expected), "{line}");
    }
}

/// RFC 8689 §2, RFC 2852 §4, RFC 6710 §3, RFC 4865 §3
#[test]
fn mail_says_when_and_how_a_message_is_to_go() {
    let parameters = MailParameters {
        require_tls: true,
        deliver_by: "120;R".parse().ok(),
        priority: "-3".parse().ok(),
        hold: Some(Hold::For(60)),
        ..MailParameters::default()
    };
    let line = "MAIL FROM:<> RequireTLS by=120;r MT-PRIORITY=-3 HOLDFOR=60";
    assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Mail { from: None, parameters }));
}

#[test]
fn what_neither_begins_nor_brings_a_message_leads_nowhere() {
    let leads_nowhere = |line: &str| Command::parse(line.as_bytes()).unwrap().leads_nowhere();
    for line in ["EHLO x", "HELO x", "LHLO x", "RSET", "NOOP", "VRFY x", "EXPN x", "HELP", "ETRN x", "BDAT 0"]
    {
        assert!(leads_nowhere(line), "{line}");
    }
    for line in [
        "MAIL FROM:<>",
        "RCPT TO:<a@x.org>",
        "DATA",
        "BDAT 0 LAST",
        "BDAT 1",
        "QUIT",
        "STARTTLS",
        "AUTH PLAIN",
    ] {
        assert!(!leads_nowhere(line), "{line}");
    }
}

/// RFC 3030 §2
#[test]
fn bdat_that_does_not_say_how_long_its_chunk_is_is_told_from_other_mistakes() {
    for line in [
        &b"BDAT"[..],
        b"bdat x",
        b"BDAT\t4",
        b"BDAT -1",
        b"BDAT LAST",
        b"BDAT 99999999999999999999",
        b"BDAT 4 FIRST",
        b"BDAT 1 LAST x",
        b"BDAT \xff",
        b"BDATA 4",
    ] {
        assert_eq!(Command::parse(line), Err(ParseError::ChunkSize), "{}", line.escape_ascii());
    }
}

/// RFC 2920 §3.1
#[test]
fn only_mail_rcpt_rset_and_bdat_go_on_in_a_group() {
    let inside = |line: &str| !Command::parse(line.as_bytes()).map(|it| it.ends_group()).unwrap_or_default();
    for line in ["MAIL FROM:<>", "RCPT TO:<postmaster>", "RSET", "BDAT 1 LAST"] {
        assert!(inside(line), "{line}");
    }
    for line in
        ["EHLO x", "HELO x", "DATA", "VRFY x", "EXPN x", "TURN", "QUIT", "NOOP", "AUTH X", "STARTTLS", "HELP"]
    {
        assert!(!inside(line), "{line}");
    }
}

/// RFC 3461 §4.5, RFC 4865 §4.2; of others no standard says which of two would count.
#[test]
fn no_parameter_is_given_twice() {
    for twice in [
        "SIZE=1 SIZE=1",
        "BODY=7BIT body=8BITMIME",
        "SMTPUTF8 SMTPUTF8",
        "AUTH=<> AUTH=<>",
        "RET=FULL RET=FULL",
        "ENVID=a ENVID=b",
        "REQUIRETLS requiretls",
        "BY=60;R BY=60;R",
        "MT-PRIORITY=1 MT-PRIORITY=1",
        "HOLDFOR=60 HOLDFOR=60",
        "HOLDUNTIL=2026-12-01T08:00:00Z HOLDUNTIL=2026-12-01T08:00:00Z",
        "HOLDFOR=60 HOLDUNTIL=2026-12-01T08:00:00Z",
    ] {
        let line = format!("MAIL FROM:<bob@x.org> {twice}");
        assert_eq!(Command::parse(line.as_bytes()), Err(ParseError::Arguments), "{line}");
    }
    for twice in ["NOTIFY=DELAY NOTIFY=DELAY", "ORCPT=rfc822;a@x.org orcpt=rfc822;b@x.org"] {
        let line = format!("RCPT TO:<bob@x.org> {twice}");
        assert!(Command::parse(line.as_bytes()).is_err(), "{line}");
    }
    let unknown = Command::parse(b"MAIL FROM:<bob@x.org> X=1 X=1");
    assert_eq!(unknown, Err(ParseError::Parameter), "what is not known is told first");
}

#[test]
fn what_is_wrong_decides_between_500_501_and_555() {
    for (line, expected) in [
        ("GET / HTTP/1.1", ParseError::Http),
        ("POST /x HTTP/1.1", ParseError::Http),
        ("", ParseError::UnknownCommand),
        ("XYZZY", ParseError::UnknownCommand),
        ("EHLO", ParseError::Arguments),
        ("DATA now", ParseError::Arguments),
        ("MAIL FROM:bob@x.org", ParseError::ReversePath),
        ("MAIL FROM:<bob@x.org>SIZE=1", ParseError::ReversePath),
        ("MAIL FROM:<bob@x.org> SIZE=big", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> SIZE=", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> SIZE=+1", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> SIZE=123456789012345678901", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> SIZE", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> SMTPUTF8=1", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> BODY", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> AUTH", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> AUTH=e=3Dmc2@x.org", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> =1", ParseError::Parameter),
        ("MAIL", ParseError::Arguments),
        ("MAIL FROM", ParseError::Arguments),
        ("MAIL TO:<bob@x.org>", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org", ParseError::ReversePath),
        ("MAIL FROM:<bob@x.org>>", ParseError::ReversePath),
        ("MAIL FROM:<bob@x.org><eve@x.org>", ParseError::ReversePath),
        ("MAIL FROM:<bob @x.org>", ParseError::ReversePath),
        ("MAIL FROM:<bob@x.org@y.org>", ParseError::ReversePath),
        ("MAIL FROM:<\"bob@x.org>", ParseError::ReversePath),
        ("MAIL FROM:<bob@[1.2.3.4>", ParseError::ReversePath),
        ("MAIL FROM:<bob@[1.2.3.400]>", ParseError::ReversePath),
        ("MAIL FROM:<@a.org:>", ParseError::ReversePath),
        ("RCPT", ParseError::Arguments),
        ("RCPT FROM:<bob@x.org>", ParseError::Arguments),
        ("HELO", ParseError::Arguments),
        ("LHLO", ParseError::Arguments),
        ("RSET now", ParseError::Arguments),
        ("QUIT now", ParseError::Arguments),
        ("STARTTLS now", ParseError::Arguments),
        ("AUTH", ParseError::Arguments),
        ("AUTH PLAIN AAAA AAAA", ParseError::Arguments),
        ("EXPN", ParseError::Arguments),
        ("MAILFROM:<bob@x.org>", ParseError::UnknownCommand),
        (" NOOP", ParseError::UnknownCommand),
        ("DATA\0", ParseError::UnknownCommand),
        ("MAIL FROM:<bob@x.org> BODY=BINARY", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> RET=HALF", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> RET", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> ENVID=+00", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> REQUIRETLS=1", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> BY=0;R", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> MT-PRIORITY=10", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> HOLDFOR=60 HOLDUNTIL=2026-12-01T08:00:00Z", ParseError::Arguments),
        ("MAIL FROM:<bob@x.org> NOTIFY=NEVER", ParseError::Parameter),
        ("RCPT TO:<bob>", ParseError::ForwardPath),
        ("RCPT TO:<>", ParseError::ForwardPath),
        ("RCPT TO:<bob@x.org> NOTIFY=NEVER,DELAY", ParseError::Arguments),
        ("RCPT TO:<bob@x.org> ORCPT=bob@x.org", ParseError::Arguments),
        ("RCPT TO:<bob@x.org> RET=FULL", ParseError::Parameter),
        ("VRFY", ParseError::Arguments),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(expected), "{line}");
    }
}
