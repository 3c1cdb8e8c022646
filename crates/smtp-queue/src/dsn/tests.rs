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
    Returned::read(&MessageFile::new(Content::File(file)).unwrap(), None).unwrap()
}

fn reported(action: Action, recipient: &str, host: Option<&str>, text: &str) -> Reported {
    let status = if action.is_trouble() { Status::new(5, 1, 1) } else { Status::new(2, 1, 5) };
    let diagnosis = Diagnosis { status, host: host.map(str::to_owned), text: text.to_owned() };
    let (recipient, last_attempt) =
        (recipient.parse().unwrap(), Timestamp::from_second(1_700_000_060).unwrap());
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
