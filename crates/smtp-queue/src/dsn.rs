//! Bounces: delivery status notifications, RFC 3464, in a multipart/report, RFC 6522. Pure.

use std::fmt::Write as _;
use std::io::{self, Read as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_types::{Address, Domain};
use smtp_proto::{OriginalRecipient, Return};

use crate::message_file::MessageFile;
use crate::{Diagnosis, Envelope, QueueId, Requests};

/// Messages up to this size are returned whole, of longer ones the header.
const MAX_WHOLE: u64 = 50 * 1024;
/// Where lines are folded: RFC 5322 §2.1.1.
const WIDTH: usize = 78;
/// The most of one word: a line has at most 998 octets.
const MAX_WORD: usize = 900;

/// What a bounce reports.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Ours.
    pub(crate) hostname: &'a Domain,
    /// Whom it tells.
    pub(crate) sender: &'a Address,
    pub(crate) queue_id: &'a QueueId,
    /// By which the sender knows the message.
    pub(crate) envelope_id: Option<&'a str>,
    pub(crate) arrived: Timestamp,
    pub(crate) now: Timestamp,
    /// At least one.
    pub(crate) failures: &'a [Failure],
    /// `None` if the message can't be read any more.
    pub(crate) returned: Option<&'a Returned>,
    /// A name never used before: boundary and Message-ID.
    pub(crate) unique: &'a str,
}

/// A recipient that will not get the message.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) recipient: Address,
    /// Whom the sender has named.
    pub(crate) original: Option<OriginalRecipient>,
    pub(crate) diagnosis: Diagnosis,
    /// It was tried for too long, not refused.
    pub(crate) expired: bool,
}

/// What is returned of the message.
#[derive(Debug)]
pub(crate) struct Returned {
    octets: Vec<u8>,
    header: usize,
    whole: bool,
}

impl Returned {
    /// Reads the message, or only its header if it is long or the sender wants no more. Blocks.
    pub(crate) fn read(message: &MessageFile, ret: Option<Return>) -> io::Result<Self> {
        let mut octets = Vec::new();
        message.rewound()?.take(MAX_WHOLE).read_to_end(&mut octets)?;
        let header = header_length(&octets);
        let whole = message.size() <= MAX_WHOLE && ret != Some(Return::Headers);
        if !whole {
            octets.truncate(header);
        }
        Ok(Self { octets, header, whole })
    }

    fn header(&self) -> &[u8] {
        self.octets.get(..self.header).unwrap_or_default()
    }

    /// RFC 6522 §4 and, where the header is not ASCII, RFC 6533 §4.
    fn media_type(&self) -> &'static str {
        match (self.whole, self.header().is_ascii()) {
            (true, true) => "message/rfc822",
            (true, false) => "message/global",
            (false, true) => "text/rfc822-headers",
            (false, false) => "message/global-headers",
        }
    }

    fn message_id(&self) -> Option<&str> {
        let header = std::str::from_utf8(self.header()).ok()?;
        let field = header.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("Message-ID").then_some(value.trim())
        })?;
        (field.starts_with('<') && field.ends_with('>') && field.is_ascii() && field.len() <= 250)
            .then_some(field)
    }
}

/// The header with the last field's line end, without the empty line.
fn header_length(message: &[u8]) -> usize {
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |end| end.saturating_add(2))
}

impl Report<'_> {
    /// The bounce's own envelope: from nobody, so that it is never bounced. RFC 5321 §6.1.
    pub(crate) fn envelope(&self, message: &[u8]) -> Envelope {
        Envelope {
            sender: None,
            recipients: vec![self.sender.clone()],
            smtputf8: !self.sender.local_part().is_ascii(),
            eight_bit: !message.is_ascii(),
            requests: Requests::default(),
        }
    }

    /// The whole message.
    pub(crate) fn compose(&self) -> Vec<u8> {
        let boundary = format!("={}=", self.unique);
        let mut body = Vec::new();
        part(&mut body, &boundary, "text/plain; charset=utf-8", self.text().as_bytes());
        part(&mut body, &boundary, "message/delivery-status", self.status().as_bytes());
        if let Some(returned) = self.returned {
            part(&mut body, &boundary, returned.media_type(), &returned.octets);
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let mut message = self.header(&boundary, encoding(&body));
        message.append(&mut body);
        message
    }

    fn header(&self, boundary: &str, encoding: &str) -> Vec<u8> {
        let host = self.hostname.to_ascii();
        let mut header = String::new();
        field(&mut header, "Date", &date(self.now));
        field(&mut header, "From", &format!("Mail Delivery System <MAILER-DAEMON@{host}>"));
        field(&mut header, "To", &format!("<{}>", crate::message::with_ascii_domain(self.sender)));
        field(&mut header, "Subject", "Undelivered: your message could not be delivered");
        field(&mut header, "Message-ID", &format!("<{}@{host}>", self.unique));
        if let Some(id) = self.returned.and_then(Returned::message_id) {
            field(&mut header, "In-Reply-To", id);
            field(&mut header, "References", id);
        }
        // RFC 3834 §5: nobody's vacation program is to answer.
        field(&mut header, "Auto-Submitted", "auto-replied");
        field(&mut header, "MIME-Version", "1.0");
        let media_type = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
        field(&mut header, "Content-Type", &media_type);
        field(&mut header, "Content-Transfer-Encoding", encoding);
        header.push_str("\r\n");
        header.into_bytes()
    }

    /// For people.
    fn text(&self) -> String {
        let mut text = format!("This is the mail system at {}.\r\n\r\n", self.hostname);
        text.push_str("Your message could not be delivered to:\r\n");
        for Failure { recipient, original, diagnosis, expired } in self.failures {
            let named = original.as_ref().map(|original| original.address.as_str());
            let _ = match named.filter(|named| *named != recipient.to_string()) {
                Some(named) => write!(text, "\r\n  {recipient} (for {named})\r\n"),
                None => write!(text, "\r\n  {recipient}\r\n"),
            };
            let why = diagnosis_for_people(diagnosis);
            wrap(&mut text, "    ", &if *expired { format!("{}{why}", self.in_vain()) } else { why });
        }
        text.push_str("\r\nIt will not be tried again.");
        text.push_str(match self.returned {
            Some(Returned { whole: true, .. }) => " Your message is attached.\r\n",
            Some(Returned { whole: false, .. }) => " The header of your message is attached.\r\n",
            None => "\r\n",
        });
        text
    }

    /// How long it was tried.
    fn in_vain(&self) -> String {
        let hours = self.now.duration_since(self.arrived).as_hours();
        let span = match hours {
            0 => "less than an hour".to_owned(),
            1..48 => format!("{hours} hours"),
            _ => format!("{} days", hours / 24),
        };
        format!("It was tried for {span} without success. The last attempt: ")
    }

    /// For programs: RFC 3464 §2.1.
    fn status(&self) -> String {
        let mut status = String::new();
        if let Some(id) = self.envelope_id {
            field(&mut status, "Original-Envelope-Id", id);
        }
        field(&mut status, "Reporting-MTA", &format!("dns; {}", self.hostname.to_ascii()));
        field(&mut status, "X-Mailstead-Queue-ID", &self.queue_id.0);
        field(&mut status, "Arrival-Date", &date(self.arrived));
        for failure in self.failures {
            status.push_str("\r\n");
            self.recipient(&mut status, failure);
        }
        status
    }

    /// RFC 3464 §2.3
    fn recipient(&self, status: &mut String, Failure { recipient, original, diagnosis, .. }: &Failure) {
        if let Some(OriginalRecipient { kind, address }) = original {
            field(status, "Original-Recipient", &format!("{kind}; {address}"));
        }
        field(status, "Final-Recipient", &typed_address(recipient));
        field(status, "Action", "failed");
        field(status, "Status", &diagnosis.status.to_string());
        if let Some(host) = &diagnosis.host {
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            field(status, "Remote-MTA", &format!("dns; {name}"));
            field(status, "Diagnostic-Code", &format!("smtp; {}", diagnosis.text));
        }
        field(status, "Last-Attempt-Date", &date(self.now));
    }
}

fn diagnosis_for_people(diagnosis: &Diagnosis) -> String {
    match diagnosis.host {
        Some(_) => diagnosis.to_string(),
        None => diagnosis.text.clone(),
    }
}

/// A multipart has that of the parts within it: RFC 2045 §6.4.
fn encoding(content: &[u8]) -> &'static str {
    if content.is_ascii() { "7bit" } else { "8bit" }
}

fn part(message: &mut Vec<u8>, boundary: &str, media_type: &str, content: &[u8]) {
    let encoding = encoding(content);
    let head = format!(
        "--{boundary}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(content);
    message.extend_from_slice(b"\r\n");
}

/// A header field, folded. What is not ASCII is for SMTPUTF8 alone and only an address; elsewhere it is replaced.
fn field(out: &mut String, name: &str, value: &str) {
    let value: String = match name {
        "To" => value.to_owned(),
        _ => value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
    };
    let mut lines = String::new();
    wrap(&mut lines, " ", &value);
    let _ = write!(out, "{name}:{lines}");
}

/// Writes `text` in lines that begin with `indent`.
fn wrap(out: &mut String, indent: &str, text: &str) {
    let mut width = 0;
    for word in text.split_ascii_whitespace() {
        let word = word.get(..word.floor_char_boundary(MAX_WORD)).unwrap_or(word);
        if width == 0 {
            out.push_str(indent);
        } else if width + word.len() >= WIDTH - indent.len() {
            out.push_str("\r\n");
            out.push_str(indent);
            width = 0;
        } else {
            out.push(' ');
        }
        out.push_str(word);
        width += word.len() + 1;
    }
    out.push_str("\r\n");
}

/// `rfc822;` or, in the 7-bit form `utf-8-addr-xtext`, `utf-8;`. RFC 6533 §3.
fn typed_address(address: &Address) -> String {
    if address.local_part().is_ascii() {
        return format!("rfc822; {}", crate::message::with_ascii_domain(address));
    }
    let mut text = String::from("utf-8; ");
    for c in address.to_string().chars() {
        match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => text.push(c),
            other => {
                let _ = write!(text, "\\x{{{:02X}}}", u32::from(other));
            }
        }
    }
    text
}

fn date(moment: Timestamp) -> String {
    // Only years beyond 9999 can't be written.
    jiff::fmt::rfc2822::to_string(&moment.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders as _, PartType};

    use super::*;
    use crate::Status;

    const ORIGINAL: &[u8] =
        b"Return-Path: <alice@example.org>\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\nAt noon?\r\n";

    fn returned(message: &[u8]) -> Returned {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, message).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Returned::read(&MessageFile::new(file).unwrap(), None).unwrap()
    }

    fn failure(recipient: &str, host: Option<&str>, text: &str, expired: bool) -> Failure {
        let diagnosis =
            Diagnosis { status: Status::new(5, 1, 1), host: host.map(str::to_owned), text: text.to_owned() };
        Failure { recipient: recipient.parse().unwrap(), original: None, diagnosis, expired }
    }

    fn compose(sender: &str, failures: &[Failure], returned: Option<&Returned>) -> (Vec<u8>, Envelope) {
        let report = Report {
            hostname: &"mail.example.org".parse().unwrap(),
            sender: &sender.parse().unwrap(),
            queue_id: &QueueId("ABC123".to_owned()),
            envelope_id: None,
            arrived: Timestamp::from_second(1_700_000_000).unwrap(),
            now: Timestamp::from_second(1_700_000_060).unwrap(),
            failures,
            returned,
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
        assert_eq!(
            message.from().unwrap().first().unwrap().address(),
            Some("MAILER-DAEMON@mail.example.org")
        );
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
        assert!(bytes.len() < 4096 && !envelope.eight_bit);
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
        assert!(text.contains("Final-Recipient: utf-8; j\\x{FC}rg\\x{2B}x@x.org\r\n"), "{text}");
        assert!(
            text.contains("Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n"),
            "{text}"
        );
        assert!(
            text.split("\r\n\r\n").next().unwrap().contains("\r\nContent-Transfer-Encoding: 8bit"),
            "{text}"
        );
        assert!(envelope.smtputf8 && envelope.eight_bit);
    }

    #[test]
    fn hostile_text_stays_within_its_line() {
        let text = format!("550 {} {}", "é".repeat(600), "word ".repeat(300));
        let failures = [failure("b@x.org", Some("mx"), &text, false)];
        let (bytes, _) = compose("alice@example.org", &failures, None);
        assert!(bytes.split(|octet| *octet == b'\n').all(|line| line.len() <= 998));
        assert!(MessageParser::new().parse(&bytes).unwrap().parts.len() == 3);
    }
}
