use std::io::{Seek as _, Write as _};

use mail_parser::{MessageParser, MimeHeaders as _, PartType};

use super::*;
use crate::Content;
use crate::Status;
use crate::message_file::MessageFile;

const ORIGINAL: &[u8] =
    b"Return-Path: <alice@example.org>\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\nAt noon?\r\n";

fn returned(message: &[u8]) -> Returned {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(message).unwrap();
    file.rewind().unwrap();
    Returned::read(&MessageFile::new(Content::File(file), None).unwrap(), None).unwrap()
}

fn reported(action: Action, recipient: &str, host: Option<&str>, text: &str) -> Reported {
    let status = if action.is_trouble() { Status::new(5, 1, 1) } else { Status::new(2, 1, 5) };
    let diagnosis = Diagnosis { status, host: host.map(str::to_owned), tried: None, text: text.to_owned() };
    let (recipient, last_attempt) = (recipient.parse().unwrap(), Timestamp::from_second(1_700_000_060).ok());
    Reported { recipient, original: None, action, diagnosis, last_attempt, expired: false }
}

fn failure(recipient: &str, host: Option<&str>, text: &str, expired: bool) -> Reported {
    Reported { expired, ..reported(Action::Failed, recipient, host, text) }
}

fn compose(sender: &str, recipients: &[Reported], returned: Option<&Returned>) -> (Vec<u8>, Envelope) {
    let sender: Address = sender.parse().unwrap();
    let report = Report {
        hostname: &"mail.example.org".parse().unwrap(),
        sender: &sender,
        queue_id: Some(&QueueId("ABC123".to_owned())),
        envelope_id: None,
        arrived: Timestamp::from_second(1_700_000_000).unwrap(),
        now: Timestamp::from_second(1_700_000_060).unwrap(),
        until: Timestamp::from_second(1_700_432_000).ok(),
        recipients,
        returned,
        handling: &Handling::default(),
        utf8: !sender.local_part().is_ascii(),
        language: Language::Unchosen,
        unique: "unique",
    };
    let message = report.compose();
    let envelope = report.envelope(&message);
    (message, envelope)
}

#[test]
fn a_bounce_reads_as_a_delivery_status_notification() {
    let failures = [
        failure(
            "bob@example.net",
            Some("mx.example.net:25"),
            "550 5.1.1 <bob@example.net> who is that?",
            false,
        ),
        failure("eve@bücher.example", None, "mx: can't connect", true),
    ];
    let (bytes, envelope) = compose("alice@example.org", &failures, Some(&returned(ORIGINAL)));
    let message = MessageParser::new().parse(&bytes).unwrap();
    assert_eq!(message.from().unwrap().first().unwrap().address(), Some("MAILER-DAEMON@mail.example.org"));
    assert_eq!(message.to().unwrap().first().unwrap().address(), Some("alice@example.org"));
    assert_eq!(message.header_raw("Auto-Submitted").unwrap().trim(), "auto-replied");
    assert_eq!(message.in_reply_to().as_text(), Some("1@example.org"));
    let media_type = message.content_type().unwrap();
    assert_eq!((media_type.ctype(), media_type.subtype()), ("multipart", Some("report")));
    assert_eq!(media_type.attribute("report-type"), Some("delivery-status"));

    let text = message.body_text(0).unwrap();
    assert!(text.contains("bob@example.net") && text.contains("who is that?"), "{text}");
    assert!(text.contains("It was tried for less than an hour without success."), "{text}");
    let status = String::from_utf8(message.parts[2].contents().to_vec()).unwrap();
    assert!(status.starts_with("Reporting-MTA: dns; mail.example.org\r\n"), "{status}");
    for line in [
        "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "\r\n\r\nFinal-Recipient: rfc822; bob@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.example.net",
        "Diagnostic-Code: smtp; 550 5.1.1 <bob@example.net> who is that?",
        "\r\n\r\nFinal-Recipient: rfc822; eve@xn--bcher-kva.example",
    ] {
        assert!(status.contains(&format!("{line}\r\n")), "{line} is not in {status}");
    }
    let PartType::Message(original) = &message.parts[3].body else { panic!() };
    assert_eq!(original.subject(), Some("lunch"));
    assert!(original.header_raw("Return-Path").is_none());
    assert_eq!(envelope.sender, None);
    assert!(!envelope.smtputf8);
}

#[test]
fn of_a_long_message_only_the_header_is_returned() {
    let long = [ORIGINAL, &b"x".repeat(80 * 1024)].concat();
    let (bytes, envelope) =
        compose("alice@example.org", &[failure("b@x.org", None, "no", false)], Some(&returned(&long)));
    assert!(bytes.len() < 4096 && envelope.body == Body::SevenBit);
    let message = MessageParser::new().parse(&bytes).unwrap();
    assert_eq!(message.parts[3].content_type().unwrap().subtype(), Some("rfc822-headers"));
    assert!(message.parts[3].text_contents().unwrap().contains("Subject: lunch"));
}

#[test]
fn internationalized_mail_bounces_in_its_own_types() {
    let original = returned("Subject: Grüße\r\n\r\nhallo\r\n".as_bytes());
    let (bytes, envelope) =
        compose("josé@example.org", &[failure("jürg+x@x.org", None, "no", false)], Some(&original));
    let text = String::from_utf8(bytes).unwrap();
    // RFC 6533 §4.1: native to who takes it, in a part that is ASCII on its way.
    let quoted =
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n";
    assert!(
        text.contains(quoted) && text.contains("Final-Recipient: utf-8; j=C3=BCrg+x@x.org\r\n"),
        "{text}"
    );
    let returned = "Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n";
    assert!(text.contains(returned) && text.contains("Subject: Gr=C3=BC=C3=9Fe\r\n"), "{text}");
    assert!(text.contains("\r\nTo: <josé@example.org>\r\n"), "{text}");
    assert!(envelope.smtputf8);
    // To others only in its form in ASCII: RFC 6533 §3.
    let (bytes, envelope) = compose("alice@example.org", &[failure("jürg+x@x.org", None, "no", false)], None);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("Final-Recipient: utf-8; j\\x{FC}rg\\x{2B}x@x.org\r\n"), "{text}");
    assert!(text.is_ascii() && !envelope.smtputf8 && envelope.body == Body::SevenBit, "{text}");
}

/// RFC 3461 §6.3 (h), §9.3; RFC 3464 §2.3.5, §2.3.6; RFC 5321 §4.1.3
#[test]
fn the_remote_mta_is_named_or_shown_as_an_address_literal_whether_or_not_it_replied() {
    for (server, shown) in [
        ("mx.example.net", "dns; mx.example.net"),
        ("mx.example.net:2525", "dns; mx.example.net"),
        ("bücher.example:25", "dns; xn--bcher-kva.example"),
        ("192.0.2.1", "dns; [192.0.2.1]"),
        ("192.0.2.1:2525", "dns; [192.0.2.1]"),
        ("2001:db8::1", "dns; [IPv6:2001:db8::1]"),
        ("[2001:db8::1]", "dns; [IPv6:2001:db8::1]"),
        ("[2001:db8::1]:2525", "dns; [IPv6:2001:db8::1]"),
        ("/run/dovecot/lmtp", "x-local-hostname; /run/dovecot/lmtp"),
    ] {
        let replied = failure("b@x.org", Some(server), "550 5.1.1 who?", false);
        let silent = Reported {
            diagnosis: Diagnosis::ours(Status::new(5, 4, 7), format!("{server}: can't connect")).at(server),
            ..failure("b@x.org", None, "", true)
        };
        for (reported, code) in [(replied, "Diagnostic-Code: smtp; 550 5.1.1 who?\r\n"), (silent, "")] {
            let (bytes, _) = compose("alice@example.org", &[reported], None);
            let status =
                String::from_utf8(MessageParser::new().parse(&bytes).unwrap().parts[2].contents().to_vec())
                    .unwrap();
            assert!(
                status.contains(&format!("\r\nRemote-MTA: {shown}\r\n{code}Last-Attempt-Date: ")),
                "{status}"
            );
        }
    }
    let (bytes, _) = compose("alice@example.org", &[failure("b@x.org", None, "no host to try", false)], None);
    assert!(!String::from_utf8(bytes).unwrap().contains("Remote-MTA"), "nobody was tried");
}

/// RFC 3461 §6.3 (a), (d): the values are those of the parameters, every blank of them.
#[test]
fn what_the_sender_gave_comes_back_with_every_blank() {
    let id = format!("QQ  3 {} {}  end", "long".repeat(15), "word ".repeat(12).trim_end());
    for value in [id.as_str(), "a", "a  b"] {
        let mut out = String::new();
        exact_field(&mut out, "Original-Envelope-Id", value);
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with(' ')), "{out}");
        assert_eq!(out.replace("\r\n", ""), format!("Original-Envelope-Id: {value}"));
    }
    let original = Some(OriginalRecipient {
        kind: "x400".to_owned(),
        address: "/S=Bob /O=a  b/".to_owned(),
        is_malformed: false,
    });
    let reported = Reported { original, ..failure("\"a  b\"@x.org", Some("mx"), "550 no", false) };
    let (bytes, _) = compose("\"c  d\"@example.org", &[reported], None);
    let text = String::from_utf8(bytes).unwrap();
    for line in [
        "To: <\"c  d\"@example.org>",
        "Original-Recipient: x400; /S=Bob /O=a  b/",
        "Final-Recipient: rfc822; \"a  b\"@x.org",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{text}");
    }
}

/// RFC 6533 §4.2, §4.3: of UTF-8 in a part's header too; what is in another charset is none.
#[test]
fn what_is_returned_has_the_type_of_what_its_headers_hold() {
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
    let in_part = format!("{head}Content-Disposition: inline; filename=\"Grüße\"\r\n\r\nx\r\n--b--\r\n");
    for (message, whole, header) in [
        (&b"Subject: x\r\n\r\nx\r\n"[..], "message/rfc822", "text/rfc822-headers"),
        ("Subject: x\r\n\r\né\r\n".as_bytes(), "message/rfc822", "text/rfc822-headers"),
        ("Subject: é\r\n\r\nx\r\n".as_bytes(), "message/global", "message/global-headers"),
        (in_part.as_bytes(), "message/global", "text/rfc822-headers"),
        (b"Subject: \xe9\r\n\r\nx\r\n", "message/global", "text/rfc822-headers"),
    ] {
        assert_eq!(returned(message).media_type(), whole, "{}", message.escape_ascii());
        assert_eq!(Returned::header_of(message).media_type(), header, "{}", message.escape_ascii());
    }
}

/// RFC 2045 §2.7: what no line may hold is encoded.
#[test]
fn a_nul_in_a_header_does_not_come_back_as_such() {
    let header = Returned::header_of(b"Subject: a\0b\r\n\r\nx\r\n");
    let (bytes, envelope) =
        compose("alice@example.org", &[failure("b@x.org", None, "no", false)], Some(&header));
    assert!(!bytes.contains(&0) && String::from_utf8(bytes).unwrap().contains("Subject: a=00b\r\n"));
    assert_eq!(envelope.body, Body::SevenBit);
}

#[test]
fn hostile_text_stays_within_its_line() {
    let text = format!("550 {} {}", "é".repeat(600), "word ".repeat(300));
    let failures = [failure("b@x.org", Some("mx"), &text, false)];
    let (bytes, _) = compose("alice@example.org", &failures, None);
    assert!(bytes.split(|octet| *octet == b'\n').all(|line| line.len() <= 998));
    assert!(MessageParser::new().parse(&bytes).unwrap().parts.len() == 3);
}

/// RFC 3464 §2.3.3, §2.3.9
#[test]
fn each_action_has_its_words() {
    for (action, subject, words) in [
        (Action::Delayed, "Delayed:", "it is tried until Sun, 19 Nov 2023 22:13:20 +0000"),
        (Action::Delivered, "Delivered:", "is in the mailbox of: b@x.org The header"),
        (Action::Relayed, "Passed on:", "that does not report deliveries"),
        (Action::Expanded, "Passed on:", "everybody behind this address"),
    ] {
        let recipients = [reported(action, "b@x.org", Some("mx"), "250 ok")];
        let header = Returned::header_of(ORIGINAL);
        let (bytes, envelope) = compose("alice@example.org", &recipients, Some(&header));
        let message = MessageParser::new().parse(&bytes).unwrap();
        assert!(message.subject().unwrap().starts_with(subject), "{:?}", message.subject());
        let text = message.body_text(0).unwrap();
        let in_one_line = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        assert!(in_one_line.contains(words), "{text}");
        let status = String::from_utf8(message.parts[2].contents().to_vec()).unwrap();
        assert!(status.contains(&format!("\r\nAction: {}\r\n", action.as_str())), "{status}");
        assert_eq!(status.contains("Will-Retry-Until: "), action == Action::Delayed, "{status}");
        assert!(!String::from_utf8(bytes).unwrap().contains("At noon?"));
        // RFC 3461 §6.1
        assert_eq!(envelope.requests.recipients.values().next().unwrap().notify, Some(Notify::Never));
    }
}

#[test]
fn a_report_is_in_the_language_of_the_message() {
    let original = returned(b"Subject: x\r\nContent-Language: pt-PT\r\n\r\nx\r\n");
    let failures = [failure("bob@example.net", Some("mx"), "550 5.1.1 who?", false)];
    let (bytes, _) = compose("alice@example.org", &failures, Some(&original));
    assert!(bytes.is_ascii(), "it passes any host");
    let message = MessageParser::new().parse(&bytes).unwrap();
    assert_eq!(message.subject(), Some("Não entregue: não foi possível entregar a sua mensagem"));
    let text = message.body_text(0).unwrap();
    assert!(
        text.contains("Este endereço não existe.") && text.contains("mx respondeu: 550 5.1.1 who?"),
        "{text}"
    );
    assert!(text.contains("Não se tentará de novo. A sua mensagem segue em anexo."), "{text}");
}

/// RFC 3461 §5.2.3, §5.2.7
#[test]
fn an_address_that_leads_to_several_is_expanded_and_says_nothing_more() {
    let wanted: Option<Notify> = Some("SUCCESS,FAILURE".parse().unwrap());
    let failure: Option<Notify> = Some("FAILURE".parse().unwrap());
    for (accounts, elsewhere, action, left) in [
        (1, 0, Some(Action::Delivered), wanted),
        (0, 1, None, wanted),
        (1, 1, Some(Action::Expanded), failure),
        (0, 2, Some(Action::Expanded), failure),
    ] {
        assert_eq!(Action::of_recipient(accounts, elsewhere, wanted), (action, left));
    }
}
