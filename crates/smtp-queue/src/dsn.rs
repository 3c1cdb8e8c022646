//! Delivery status notifications, RFC 3464, each in a multipart/report, RFC 6522. Pure.

mod returned;
mod text;

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_message::transport::{is_lines_of_ascii, quoted_printable};
use mail_types::{Address, Domain, Language, Localised as _};
use smtp_proto::{Body, Notify, OriginalRecipient, RcptParameters};

use crate::encoding::encoded_words;
use crate::{Diagnosis, Envelope, Handling, NextHop, QueueId, Requests};

pub(crate) use returned::Returned;
use text::Text;

/// Where lines are folded: RFC 5322 §2.1.1.
const WIDTH: usize = 78;
/// The most of one word: a line has at most 998 octets.
const MAX_WORD: usize = 900;

/// What is reported of a recipient. RFC 3464 §2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It will not get the message.
    Failed,
    /// It has not got the message yet.
    Delayed,
    /// The message is in its mailbox.
    Delivered,
    /// The message went to a host that reports nothing itself.
    Relayed,
    /// The message went on to all that the address leads to.
    Expanded,
}

impl Action {
    /// What is to be told of a recipient that leads to so many accounts here and so many addresses elsewhere, and with how much of what its
    /// sender wants to hear the message goes on to those. RFC 3461 §5.2.3, §5.2.7.2, §5.2.7.3 (c).
    #[must_use]
    pub fn of_recipient(
        accounts: usize,
        elsewhere: usize,
        notify: Option<Notify>,
    ) -> (Option<Self>, Option<Notify>) {
        match (accounts, elsewhere) {
            (_, 0) => (Some(Self::Delivered), notify),
            (0, 1) => (None, notify),
            (_, _) => (Some(Self::Expanded), notify.map(Notify::without_success)),
        }
    }

    /// As the field has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    const fn subject(self) -> Text<'static> {
        match self {
            Self::Failed => Text::SubjectFailed,
            Self::Delayed => Text::SubjectDelayed,
            Self::Delivered => Text::SubjectDelivered,
            Self::Relayed | Self::Expanded => Text::SubjectRelayed,
        }
    }

    const fn heading(self) -> Text<'static> {
        match self {
            Self::Failed => Text::Failed,
            Self::Delayed => Text::Delayed,
            Self::Delivered => Text::Delivered,
            Self::Relayed => Text::Relayed,
            Self::Expanded => Text::Expanded,
        }
    }

    /// It says that something went wrong, and what.
    pub(crate) const fn is_trouble(self) -> bool {
        matches!(self, Self::Failed | Self::Delayed)
    }
}

/// What a notification reports.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Ours.
    pub(crate) hostname: &'a Domain,
    /// Whom it tells.
    pub(crate) sender: &'a Address,
    /// By which our log knows the message; `None` for one that was never queued.
    pub(crate) queue_id: Option<&'a QueueId>,
    /// By which the sender knows the message.
    pub(crate) envelope_id: Option<&'a str>,
    pub(crate) arrived: Timestamp,
    pub(crate) now: Timestamp,
    /// Until when it is tried.
    pub(crate) until: Option<Timestamp>,
    /// The same for all recipients but that deliveries and the like stand together.
    pub(crate) recipients: &'a [Reported],
    /// `None` if the message can't be read any more.
    pub(crate) returned: Option<&'a Returned>,
    /// When and how the message was to go on its way.
    pub(crate) handling: &'a Handling,
    /// Its sender takes UTF-8 in headers: RFC 6531.
    pub(crate) utf8: bool,
    /// Where the message does not say in which language its sender reads.
    pub(crate) language: Language,
    /// A name never used before: boundary and Message-ID.
    pub(crate) unique: &'a str,
}

/// What is to be told of a recipient.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) recipient: Address,
    /// Whom the sender has named.
    pub(crate) original: Option<OriginalRecipient>,
    pub(crate) action: Action,
    pub(crate) diagnosis: Diagnosis,
    /// When that was found out; `None` if it was not tried yet.
    pub(crate) last_attempt: Option<Timestamp>,
    /// It was tried for too long, not refused.
    pub(crate) expired: bool,
}

impl Report<'_> {
    /// The report's own envelope: from nobody, so that it is never reported on. RFC 5321 §6.1, RFC 3461 §6.1.
    pub(crate) fn envelope(&self, message: &[u8]) -> Envelope {
        let nothing = RcptParameters { notify: Some(Notify::Never), original: None };
        Envelope {
            sender: None,
            origin: String::new(),
            recipients: vec![self.sender.clone()],
            smtputf8: !self.sender.local_part().is_ascii(),
            body: if message.is_ascii() { Body::SevenBit } else { Body::EightBit },
            requests: Requests { recipients: [(self.sender.clone(), nothing)].into(), ..Requests::default() },
            handling: self.handling.of_report(),
        }
    }

    /// The whole message.
    pub(crate) fn compose(&self) -> Vec<u8> {
        let boundary = format!("={}=", self.unique);
        let mut body = Vec::new();
        part(&mut body, &boundary, "text/plain; charset=utf-8", self.text().as_bytes());
        let status = self.status();
        part(&mut body, &boundary, status_type(&status), status.as_bytes());
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
        // What is not ASCII in it is for SMTPUTF8 alone.
        exact_field(&mut header, "To", &format!("<{}>", self.sender.with_ascii_domain()));
        field(&mut header, "Subject", &encoded_words(&self.say(self.action().subject())));
        field(&mut header, "Message-ID", &format!("<{}@{host}>", self.unique));
        if let Some(id) = self.returned.and_then(Returned::message_id) {
            field(&mut header, "In-Reply-To", id);
            field(&mut header, "References", id);
        }
        // RFC 3834 §5: nobody's vacation program is to answer.
        field(&mut header, "Auto-Submitted", "auto-replied");
        field(&mut header, "Content-Language", self.language().tag());
        field(&mut header, "MIME-Version", "1.0");
        let media_type = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
        field(&mut header, "Content-Type", &media_type);
        field(&mut header, "Content-Transfer-Encoding", encoding);
        header.push_str("\r\n");
        header.into_bytes()
    }

    /// The action that the subject tells.
    fn action(&self) -> Action {
        self.recipients.first().map_or(Action::Failed, |it| it.action)
    }

    fn language(&self) -> Language {
        let chosen = self.returned.and_then(Returned::language).unwrap_or(self.language);
        if chosen == Language::Unchosen { Language::English } else { chosen }
    }

    fn say(&self, text: Text<'_>) -> String {
        text.within(self.language()).to_string()
    }

    /// For people.
    fn text(&self) -> String {
        let mut text = String::new();
        wrap(&mut text, "", &self.say(Text::Us { host: &self.hostname.to_string() }));
        let mut heading = None;
        for reported in self.recipients {
            if heading.replace(reported.action) != Some(reported.action) {
                text.push_str("\r\n");
                wrap(&mut text, "", &self.say(reported.action.heading()));
            }
            self.tell(&mut text, reported);
        }
        text.push_str("\r\n");
        wrap(&mut text, "", &self.prospects());
        text
    }

    fn tell(&self, text: &mut String, reported: &Reported) {
        let recipient = reported.recipient.to_string();
        let named = reported.original.as_ref().map(|original| original.address.as_str());
        let shown = match named.filter(|named| !named.is_empty() && *named != recipient) {
            Some(named) => self.say(Text::ForNamed { recipient: &recipient, named }),
            None => recipient,
        };
        let _ = write!(text, "\r\n  {shown}\r\n");
        if !reported.action.is_trouble() {
            return;
        }
        if let Some(meaning) = Text::of(reported.diagnosis.status) {
            wrap(text, "    ", &self.say(meaning));
        }
        let said = match &reported.diagnosis.host {
            Some(host) => self.say(Text::HostSaid { host, said: &reported.diagnosis.text }),
            None => reported.diagnosis.text.clone(),
        };
        wrap(text, "    ", &if reported.expired { format!("{} {said}", self.in_vain()) } else { said });
    }

    /// What comes next, and what is attached.
    fn prospects(&self) -> String {
        let until = self.until.map(date);
        let next = match (self.action(), &until) {
            (Action::Failed, _) => Some(Text::NotTriedAgain),
            (Action::Delayed, Some(until)) => Some(Text::TriedUntil { until }),
            (Action::Delayed | Action::Delivered | Action::Relayed | Action::Expanded, _) => None,
        };
        let attached = self.returned.map(|returned| match returned.whole {
            true => Text::MessageAttached,
            false => Text::HeaderAttached,
        });
        let sentences: Vec<String> = next.into_iter().chain(attached).map(|text| self.say(text)).collect();
        sentences.join(" ")
    }

    /// How long it was tried.
    fn in_vain(&self) -> String {
        let hours = u64::try_from(self.now.duration_since(self.arrived).as_hours()).unwrap_or_default();
        self.say(match hours {
            0 => Text::TriedInVain,
            1..48 => Text::HoursInVain { hours },
            _ => Text::DaysInVain { days: hours / 24 },
        })
    }

    /// For programs: RFC 3464 §2.1.
    fn status(&self) -> String {
        let mut status = String::new();
        if let Some(id) = self.envelope_id {
            exact_field(&mut status, "Original-Envelope-Id", id);
        }
        field(&mut status, "Reporting-MTA", &format!("dns; {}", self.hostname.to_ascii()));
        if let Some(id) = self.queue_id {
            field(&mut status, "X-Mailstead-Queue-ID", &id.0);
        }
        field(&mut status, "Arrival-Date", &date(self.arrived));
        if let Some(release) = self.handling.release {
            // RFC 4865 §5.1.2. Deviates: what was asked for as an interval is told as the moment of its end.
            field(&mut status, "Future-Release-Request", &format!("until;{}", rfc3339(release)));
        }
        if let Some(deadline) = self.handling.deadline {
            // RFC 2852 §5
            field(&mut status, "Deliver-By-Date", &date(deadline.at));
        }
        for reported in self.recipients {
            status.push_str("\r\n");
            self.recipient(&mut status, reported);
        }
        status
    }

    /// RFC 3464 §2.3
    ///
    /// Deviates: RFC 3461 §6.3 (d) has no Original-Recipient where ORCPT was not given. Where an alias led on, the address that the sender knows stands
    /// there all the same, as §5.2.1 (d) lets it be added for the next host: else nobody could tell whom the report is about.
    fn recipient(&self, status: &mut String, reported: &Reported) {
        let Reported { recipient, original, diagnosis, action, .. } = reported;
        if let Some(original) = original {
            exact_field(status, "Original-Recipient", &original.in_report(self.utf8));
        }
        let recipient = match recipient.local_part().is_ascii() {
            true => format!("rfc822; {}", recipient.with_ascii_domain()),
            false => OriginalRecipient::of(recipient).in_report(self.utf8),
        };
        exact_field(status, "Final-Recipient", &recipient);
        field(status, "Action", action.as_str());
        field(status, "Status", &diagnosis.status.to_string());
        if let Some(server) = diagnosis.server() {
            field(status, "Remote-MTA", &remote_mta(server));
        }
        // RFC 3464 §2.3.6: what the transport has said.
        if diagnosis.host.is_some() {
            field(status, "Diagnostic-Code", &format!("smtp; {}", diagnosis.text));
        }
        if let Some(last_attempt) = reported.last_attempt {
            field(status, "Last-Attempt-Date", &date(last_attempt));
        }
        if let (Action::Delayed, Some(until)) = (action, self.until) {
            field(status, "Will-Retry-Until", &date(until));
        }
    }
}

/// The server of a diagnosis, without its port: its name, or the literal of its address where it has none. RFC 3461 §6.3 (h), §9.3, RFC 5321 §4.1.3.
/// A socket of this machine is no name of the DNS.
fn remote_mta(server: &str) -> String {
    if server.starts_with('/') {
        return format!("x-local-hostname; {server}");
    }
    let name = server.parse::<NextHop>().map_or_else(|_| server.to_owned(), |hop| hop.host);
    match (name.parse(), name.parse::<Domain>()) {
        (Ok(IpAddr::V4(address)), _) => format!("dns; [{address}]"),
        (Ok(IpAddr::V6(address)), _) => format!("dns; [IPv6:{address}]"),
        (Err(_), Ok(domain)) => format!("dns; {}", domain.to_ascii()),
        (Err(_), Err(_)) => format!("dns; {name}"),
    }
}

/// RFC 6533 §4.1
fn status_type(status: &str) -> &'static str {
    if status.is_ascii() { "message/delivery-status" } else { "message/global-delivery-status" }
}

/// A multipart has that of the parts within it: RFC 2045 §6.4.
fn encoding(content: &[u8]) -> &'static str {
    if content.is_ascii() { "7bit" } else { "8bit" }
}

/// Writes a part, in lines of ASCII unless it is a whole message of the old kind, which must not be encoded: RFC 2046 §5.2.1, RFC 6533 §4.5.
fn part(message: &mut Vec<u8>, boundary: &str, media_type: &str, content: &[u8]) {
    let is_quoted = !is_lines_of_ascii(content) && media_type != "message/rfc822";
    let encoding = if is_quoted { "quoted-printable" } else { encoding(content) };
    let head = format!(
        "--{boundary}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    message.extend_from_slice(head.as_bytes());
    if is_quoted {
        let mut quoted = String::new();
        quoted_printable(content, &mut quoted);
        message.extend_from_slice(quoted.as_bytes());
    } else {
        message.extend_from_slice(content);
    }
    message.extend_from_slice(b"\r\n");
}

/// A field of words, folded between them. What is not ASCII is replaced.
fn field(out: &mut String, name: &str, value: &str) {
    let value: String = value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let mut lines = String::new();
    wrap(&mut lines, " ", &value);
    let _ = write!(out, "{name}:{lines}");
}

/// A field whose value is as it is to be, every blank of it: folded before blanks, which unfolding leaves there. RFC 5322 §2.2.3.
fn exact_field(out: &mut String, name: &str, value: &str) {
    let text = format!(" {value}");
    let end = |(at, pair): (usize, &[u8])| matches!(pair, [last, b' '] if *last != b' ').then_some(at + 1);
    let ends = text.as_bytes().windows(2).enumerate().filter_map(end).chain(std::iter::once(text.len()));
    let _ = write!(out, "{name}:");
    let (mut width, mut start) = (name.len() + 1, 0);
    for end in ends {
        let word = text.get(start..end).unwrap_or_default();
        if start > 0 && width + word.len() > WIDTH && !word.trim_start_matches(' ').is_empty() {
            out.push_str("\r\n");
            width = 0;
        }
        out.push_str(word);
        width += word.len();
        start = end;
    }
    out.push_str("\r\n");
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

fn rfc3339(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn date(moment: Timestamp) -> String {
    // Only years beyond 9999 can't be written.
    jiff::fmt::rfc2822::to_string(&moment.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
