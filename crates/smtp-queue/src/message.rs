use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use mail_types::Address;

/// Where a message goes and whom a bounce tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `None` for `<>`: never bounced.
    pub sender: Option<Address>,
    /// At least one.
    pub recipients: Vec<Address>,
    /// The message needs SMTPUTF8 (RFC 6531) on its way.
    pub smtputf8: bool,
    /// The message holds octets above 127 (BODY=8BITMIME).
    pub eight_bit: bool,
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
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `class.subject.detail`. RFC 3463 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl Status {
    /// Shorthand for constants.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// The same matter in another class: what was tried too long becomes permanent.
    #[must_use]
    pub const fn with_class(self, class: u8) -> Self {
        Self { class, ..self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let number = |part: &&str| matches!(part.len(), 1..=3) && part.bytes().all(|c| c.is_ascii_digit());
        let mut part = || parts.next().filter(number)?.parse::<u16>().ok();
        let (class, subject, detail) = (part().ok_or(())?, part().ok_or(())?, part().ok_or(())?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(());
        }
        Ok(Self::new(u8::try_from(class).map_err(|_| ())?, subject, detail))
    }
}

/// The last word on a recipient: what a server said, or what we found ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// For the DSN and for programs.
    pub status: Status,
    /// The server that said `text`; `None` where `text` is ours.
    pub host: Option<String>,
    /// One line. From a server: its reply, code and enhanced status included.
    pub text: String,
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
}

/// A queued message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its name.
    pub id: QueueId,
    /// `None` for `<>`.
    pub sender: Option<Address>,
    /// Octets in the file.
    pub size: u64,
    /// When it was added.
    pub arrived: Timestamp,
    /// Not tried until released.
    pub held: bool,
    /// The message needs SMTPUTF8.
    pub smtputf8: bool,
    /// The message holds octets above 127.
    pub eight_bit: bool,
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
}

/// The address as every server understands it, the domain in A-labels.
pub(crate) fn with_ascii_domain(address: &Address) -> String {
    let shown = address.to_string();
    let local_part = shown.rsplit_once('@').map_or(shown.as_str(), |(local_part, _)| local_part);
    format!("{local_part}@{}", address.domain().to_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_numbers() {
        assert_eq!("5.7.26".parse(), Ok(Status::new(5, 7, 26)));
        for wrong in ["", "5", "5.1", "3.1.1", "5.1.1.1", "5..1", "5.1.1000", "+5.1.1", "5.1.x"] {
            assert_eq!(wrong.parse::<Status>(), Err(()), "{wrong}");
        }
        assert_eq!(Status::new(4, 4, 1).with_class(5).to_string(), "5.4.1");
    }

    #[test]
    fn names_sort_by_age() {
        let name = |second| QueueId::new(Timestamp::from_second(second).unwrap()).unwrap();
        assert!(name(1_700_000_000) < name(1_900_000_000));
        assert_eq!(name(1_700_000_000).0.len(), 19);
    }
}
