//! Bounces that come back to return addresses of one recipient each (VERP): counted, classified, and noted in the suppression list.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use jiff::Timestamp;
use mail_config::Config;
use mail_directory::{SrsError, Verp};
use mail_events::{Attempt, AttemptOutcome, Event, EventLog};
use mail_parser::{MessageParser, MimeHeaders as _, PartType};
use mail_types::Address;
use smtp_queue::{BounceClass, Diagnosis, Status, Suppression};
use tracing::{error, info, warn};

use crate::transaction::Transaction;

/// Octets of a bounce that are looked at: what is returned of the message stands behind what is said of it.
const MAX_READ: u64 = 256 << 10;
/// Octets that are kept of what was said.
const MAX_TEXT: usize = 1024;

/// Who knows the return addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounces {
    /// `None` where nobody's mail has such.
    verp: Option<Arc<Verp>>,
    /// Ours, in A-labels.
    hostname: String,
}

/// A bounce that is being stored.
#[derive(Debug)]
pub(crate) struct Bounce {
    /// From whom the message was.
    pub(crate) sender: Address,
    /// To whom.
    pub(crate) recipient: Address,
    /// The bounce, whole once it is stored.
    pub(crate) file: fs::File,
}

impl Bounces {
    /// Blocks.
    pub(crate) fn open(config: &Config) -> Result<Self, SrsError> {
        let delimiter = config.smtp.recipient_delimiter.filter(|_| !config.queue.verp.is_empty());
        let open = |delimiter| Verp::open(&config.srs_file(), &config.queue.verp, delimiter).map(Arc::new);
        Ok(Self { verp: delimiter.map(open).transpose()?, hostname: config.hostname.to_ascii() })
    }

    /// Whose mail it is, and to whom, that comes back from nobody to such an address.
    pub(crate) fn returned(&self, transaction: &Transaction) -> Option<(Address, Address)> {
        let verp = self.verp.as_ref().filter(|_| transaction.from.is_none())?;
        transaction.recipients.iter().find_map(|it| verp.returned(it))
    }

    /// Notes what a bounce says, once it is stored as the message `id`. Blocks.
    pub(crate) fn note(&self, bounce: Bounce, id: &str, list: Option<&Suppression>, events: &EventLog) {
        let mut message = Vec::new();
        if let Err(error) = (&bounce.file).take(MAX_READ).read_to_end(&mut message) {
            return warn!(id, %error, "a bounce can't be read");
        }
        let Some(said) = Said::read(&message, &self.hostname) else { return };
        let Bounce { sender, recipient, .. } = bounce;
        let class = BounceClass::of(&said.diagnosis);
        info!(id, %recipient, class = class.as_str(), said = %said.diagnosis, "mail came back");
        events.note(Event::Attempt(Box::new(Attempt {
            queue_id: said.original.unwrap_or_else(|| id.to_owned()),
            sender: sender.to_string(),
            recipient: recipient.to_string(),
            attempt: 1,
            outcome: AttemptOutcome::Bounced,
            host: said.diagnosis.host.clone(),
            status: said.diagnosis.status.to_string(),
            text: said.diagnosis.text.clone(),
            class: Some(class.as_str().to_owned()),
            next: None,
            seconds: 0,
        })));
        let Some(list) = list.filter(|_| class.is_hard(&said.diagnosis)) else { return };
        match list.bounced(&recipient, &said.diagnosis.to_string(), Timestamp::now()) {
            Ok(true) => info!(%recipient, "the address is on the suppression list now"),
            Ok(false) => {}
            Err(error) => error!(%error, "the suppression list can't be written"),
        }
    }
}

/// What a report of a failure says. RFC 3464.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    diagnosis: Diagnosis,
    /// The name that the message had in our Received field.
    original: Option<String>,
}

impl Said {
    /// `None` if it reports no failure: answers of people who are away come from nobody too.
    fn read(message: &[u8], hostname: &str) -> Option<Self> {
        let message = MessageParser::new().parse(message)?;
        let is = |part: &mail_parser::MessagePart<'_>, subtype| part.is_content_type("message", subtype);
        let report = message
            .parts
            .iter()
            .find(|part| is(part, "delivery-status") || is(part, "global-delivery-status"))?;
        let text = String::from_utf8_lossy(report.contents())
            .replace("\r\n", "\n")
            .replace("\n ", " ")
            .replace("\n\t", " ");
        let mut groups = text.trim_start().split("\n\n");
        let about = groups.next()?;
        let failed = groups
            .find(|group| field(group, "action").is_some_and(|it| it.eq_ignore_ascii_case("failed")))?;
        let host = field(failed, "remote-mta").or_else(|| field(about, "reporting-mta"));
        let host = host.map(|it| typed(it).to_owned()).filter(|it| !it.is_empty());
        let status: Status = field(failed, "status")?.split_whitespace().next()?.parse().ok()?;
        let said = field(failed, "diagnostic-code").map(typed).unwrap_or_default();
        let text: String = said.chars().filter(|c| !c.is_control()).collect();
        let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned();
        let returned = message.parts.iter().find_map(|part| {
            if let PartType::Message(returned) = &part.body {
                return Some(String::from_utf8_lossy(returned.raw_message()).into_owned());
            }
            let is_header = part.is_content_type("text", "rfc822-headers");
            is_header.then(|| String::from_utf8_lossy(part.contents()).into_owned())
        });
        // Who reports it has found it out itself, or is told of us: the other side in any case.
        let host = Some(host.unwrap_or_else(|| "a host".to_owned()));
        let diagnosis = Diagnosis { status, host, tried: None, text };
        Some(Self { diagnosis, original: returned.and_then(|it| original(&it, hostname)) })
    }
}

/// The value of a field in a group of unfolded lines.
fn field<'g>(group: &'g str, name: &str) -> Option<&'g str> {
    let value = |line: &'g str| {
        let (known, value) = line.split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    };
    group.lines().find_map(value)
}

/// What stands behind the type of a value, such as `smtp;` or `dns;`.
fn typed(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, value)| value).trim()
}

/// The name in the Received field of `hostname`, the last of whose fields is that of who took the message first. Older names have a `.` where
/// there is a `-` now.
fn original(header: &str, hostname: &str) -> Option<String> {
    let (_, behind) = header.rsplit_once(&format!("by {hostname} with "))?;
    let (_, id) = behind.split_once(" id ")?;
    let id: String = id.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounce(report: &str) -> String {
        format!(
            "From: MAILER-DAEMON@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n{report}\r\n\
             --b\r\nContent-Type: text/rfc822-headers\r\n\r\nReceived: from a by mail.example.org\r\nReceived: from x ([192.0.2.1])\r\n\tby mail.example.org with ESMTPSA id 6ab-c-1\r\n\tfor <a@b.c>;\r\n\r\n--b--\r\n"
        )
    }

    /// RFC 3464 §2.1, §2.3
    #[test]
    fn a_report_says_why_which_message_came_back() {
        let report = "Reporting-MTA: dns; mx.x.test\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\nAction: delayed\r\nStatus: 4.0.0\r\n\r\n\
            Final-Recipient: rfc822; bob@x.test\r\nACTION: Failed\r\nStatus: 5.1.1 (who?)\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n user unknown\r\n";
        let said = Said::read(bounce(report).as_bytes(), "mail.example.org").unwrap();
        assert_eq!(said.diagnosis.to_string(), "mx.x.test said: 550 5.1.1 user unknown");
        assert_eq!(said.original.as_deref(), Some("6ab-c-1"));
        let class = BounceClass::of(&said.diagnosis);
        assert!(class.as_str() == "unknown-user" && class.is_hard(&said.diagnosis));
        let other = Said::read(bounce(report).as_bytes(), "mail.example.com").unwrap();
        assert_eq!(other.original, None);
        let older = bounce(report).replace("6ab-c-1", "6ab.c.1");
        let said = Said::read(older.as_bytes(), "mail.example.org").unwrap();
        assert_eq!(said.original.as_deref(), Some("6ab.c.1"), "as they were before");
    }

    #[test]
    fn what_reports_no_failure_is_no_bounce() {
        for message in [
            "Subject: Out of office\r\n\r\nI am away.\r\n".to_owned(),
            bounce(
                "Reporting-MTA: dns; mx.x.test\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
            ),
            bounce("Reporting-MTA: dns; mx.x.test\r\n\r\nAction: failed\r\nStatus: no\r\n"),
            bounce("\r\n"),
            String::new(),
        ] {
            assert_eq!(Said::read(message.as_bytes(), "mail.example.org"), None, "{message}");
        }
    }
}
