use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use mail_types::Address;
use smtp_proto::{Body, RcptParameters, Reply, Return, Status};

use crate::{Handling, NextHop};

/// How much of a reply's text is kept.
const MAX_TEXT: usize = 1024;

/// Where a message goes and whom a bounce tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `None` for `<>`: never bounced.
    pub sender: Option<Address>,
    /// Whose mail it is, for schedules and for turns: the account that sent it, in lower case, or the name of a relay client; empty for what
    /// comes of others' mail and for reports.
    pub origin: String,
    /// At least one.
    pub recipients: Vec<Address>,
    /// The message needs SMTPUTF8 (RFC 6531) on its way.
    pub smtputf8: bool,
    /// What octets the message holds.
    pub body: Body,
    /// What the sender wants to hear of it.
    pub requests: Requests,
    /// When and how it is to go on its way.
    pub handling: Handling,
}

#[cfg(test)]
impl Envelope {
    /// Of a report to bob@example.net.
    pub(crate) fn plain() -> Self {
        Self {
            sender: None,
            origin: String::new(),
            recipients: vec!["bob@example.net".parse().unwrap()],
            smtputf8: false,
            body: Body::SevenBit,
            requests: Requests::default(),
            handling: Handling::default(),
        }
    }
}

/// What a sender wants to hear of a message: RFC 3461 §4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// How much comes back with the report of a failure.
    pub ret: Option<Return>,
    /// By which the sender knows it.
    pub envelope_id: Option<String>,
    /// Of recipients; who is not named has asked for nothing.
    pub recipients: BTreeMap<Address, RcptParameters>,
}

/// The name of a queued message, as the operator sees it: the moment it was added and a random part, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub String);

impl QueueId {
    /// A name not used before; names sort by age.
    pub(crate) fn new(now: Timestamp) -> Result<Self, getrandom::Error> {
        let random = getrandom::u32()? & 0x00ff_ffff;
        Ok(Self(format!("{:013X}{random:06X}", now.as_microsecond())))
    }

    /// When it was given; `None` for a text that is no such name.
    pub(crate) fn moment(&self) -> Option<Timestamp> {
        let is_name = self.0.len() == 19 && self.0.bytes().all(|c| c.is_ascii_hexdigit());
        let microseconds = i64::from_str_radix(self.0.get(..13).filter(|_| is_name)?, 16).ok()?;
        Timestamp::from_microsecond(microseconds).ok()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last word on a recipient: what a server said, or what we found ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// For the DSN and for programs.
    pub status: Status,
    /// The server that said `text`; `None` where `text` is ours.
    pub host: Option<String>,
    /// The server that was tried where `text` is ours; `None` where none was.
    pub tried: Option<String>,
    /// One line. From a server: its reply, code and enhanced status included.
    pub text: String,
}

impl Diagnosis {
    /// In our own words, of no server.
    pub(crate) fn ours(status: Status, text: impl Into<String>) -> Self {
        Self { status, host: None, tried: None, text: text.into() }
    }

    /// The same, known to be of this server.
    pub(crate) fn at(self, host: &str) -> Self {
        let tried = self.host.is_none().then(|| host.to_owned());
        Self { tried, ..self }
    }

    /// As it was stored, of `server` alone: that has said what begins with a reply's code, as none of our own texts does.
    pub(crate) fn stored(status: Status, server: Option<String>, text: String) -> Self {
        let code = text.split(' ').next().unwrap_or_default();
        let is_reply = code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit());
        let (host, tried) = if is_reply { (server, None) } else { (None, server) };
        Self { status, host, tried, text }
    }

    /// The server that it is of, if it is of one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.host.as_deref().or(self.tried.as_deref())
    }

    /// What `host` replied, in one line.
    pub(crate) fn said(host: &str, reply: &Reply) -> Self {
        let class = u8::try_from(reply.class()).unwrap_or(4);
        let status = reply.status();
        let words = std::iter::once(reply.code().to_string()).chain(status.map(|it| it.to_string()));
        let mut text = words.chain(reply.text().iter().cloned()).collect::<Vec<_>>().join(" ");
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        Self {
            status: status.unwrap_or(Status::new(class, 0, 0)),
            host: Some(host.to_owned()),
            tried: None,
            text,
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host} said: {}", self.text),
            None => write!(f, "{} {}", self.status, self.text),
        }
    }
}

/// How far the delivery to one recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientState {
    /// To be tried at [`QueuedRecipient::next_attempt`].
    Pending,
    /// Done; kept until the message's other recipients are done too.
    Delivered,
    /// Given up, the sender told.
    Failed,
}

impl RecipientState {
    /// One word, for lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRecipient {
    /// To whom.
    pub address: Address,
    /// How far it is.
    pub state: RecipientState,
    /// Attempts made.
    pub attempts: u32,
    /// When it was tried last.
    pub last_attempt: Option<Timestamp>,
    /// When it is tried next; `None` while the message is held, and when it is done.
    pub next_attempt: Option<Timestamp>,
    /// What came of the last attempt.
    pub diagnosis: Option<Diagnosis>,
    /// What its sender wants to hear of it.
    pub parameters: RcptParameters,
    /// It was late already at an attempt, which its sender was told if it wants to hear that.
    pub warned: bool,
    /// Where it goes instead of where the config says: an operator chose that.
    pub next_hop: Option<NextHop>,
}

/// A queued message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its name.
    pub id: QueueId,
    /// `None` for `<>`.
    pub sender: Option<Address>,
    /// See [`Envelope::origin`].
    pub origin: String,
    /// Octets in the file.
    pub size: u64,
    /// CRC-32 of these; `None` of what was queued by an older version, or of which only a part is known.
    pub checksum: Option<u32>,
    /// When it was added.
    pub arrived: Timestamp,
    /// Not tried until released.
    pub held: bool,
    /// The message needs SMTPUTF8.
    pub smtputf8: bool,
    /// What octets the message holds.
    pub body: Body,
    /// How much comes back with the report of a failure.
    pub ret: Option<Return>,
    /// By which the sender knows it.
    pub envelope_id: Option<String>,
    /// When and how it is to go on its way.
    pub handling: Handling,
    /// In the order they were given.
    pub recipients: Vec<QueuedRecipient>,
}

/// The queue in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Messages in it.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Those that are held.
    pub held: u64,
    /// When the oldest one was added.
    pub oldest: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_one_short_line() {
        let said = |lines: &[&str]| Diagnosis::said("mx", &Reply::parse(lines).unwrap());
        let diagnosis = said(&["550-5.1.1 no such", "550 5.1.1 user"]);
        assert_eq!(diagnosis.status, Status::new(5, 1, 1));
        assert_eq!(diagnosis.to_string(), "mx said: 550 5.1.1 no such user");
        assert_eq!(said(&["450 later"]).status, Status::new(4, 0, 0));
        assert_eq!(said(&["450 "]).text.trim_end(), "450");
        assert!(said(&[&format!("550 {}", "é".repeat(2000))]).text.len() <= MAX_TEXT + 3);
    }

    #[test]
    fn who_has_said_it_is_told_from_who_was_tried_when_it_was_stored() {
        let again =
            |it: &Diagnosis| Diagnosis::stored(it.status, it.server().map(str::to_owned), it.text.clone());
        let said = |line: &str| Diagnosis::said("mx", &Reply::parse(&[line]).unwrap());
        let silent = Diagnosis::ours(Status::new(4, 4, 1), "192.0.2.1: can't connect");
        for diagnosis in
            [said("550 5.1.1 who?"), said("450"), said("250 ok"), silent.clone().at("192.0.2.1"), silent]
        {
            assert_eq!(again(&diagnosis), diagnosis);
        }
        let reply = said("550 who?");
        assert_eq!((reply.clone().at("other").host, reply.at("other").tried), (Some("mx".to_owned()), None));
    }

    #[test]
    fn names_sort_by_age() {
        let name = |second| QueueId::new(Timestamp::from_second(second).unwrap()).unwrap();
        assert!(name(1_700_000_000) < name(1_900_000_000));
        assert_eq!(name(1_700_000_000).0.len(), 19);
        assert_eq!(name(1_700_000_000).moment(), Timestamp::from_second(1_700_000_000).ok());
        assert_eq!(QueueId("notes.txt".to_owned()).moment(), None);
    }
}
