use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Addresses that one event names in a list at most.
const MAX_ADDRESSES: usize = 1000;
/// Characters of a user name that are kept; an address has less. RFC 5321 §4.5.3.1.3.
const MAX_NAME: usize = 256;

/// One line of the log: an event, and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// To the millisecond.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// The event, now.
    pub(crate) fn now(event: Event) -> Self {
        let now = Timestamp::now();
        Self { at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now), event }
    }
}

/// What can happen to a message. Which one stands under `event` in the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A client brought a whole message.
    Message(Box<Message>),
    /// A sender or a recipient was refused before there was a message.
    Refusal(Box<Refusal>),
    /// Somebody did not log in.
    LoginFailure(Box<LoginFailure>),
    /// Refusals of a client that were not noted one by one, because they were too many.
    Omitted(Omitted),
    /// The queue got a message that no client brought.
    Queued(Box<Queued>),
    /// The delivery of a queued message to one recipient was tried.
    Attempt(Box<Attempt>),
    /// An operator changed a queued message.
    Operator(Operation),
}

/// A message that a client brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// As its Received field has it.
    pub id: String,
    /// The name of the listener.
    pub listener: String,
    /// The client's IP address.
    pub peer: String,
    /// How the client called itself.
    pub helo: String,
    /// `ESMTPSA` and the like. RFC 3848.
    pub protocol: String,
    /// The TLS cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who had logged in, or the name of a relay client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The reverse path; empty for `<>`.
    pub sender: String,
    /// As the client named them.
    pub recipients: Vec<String>,
    /// The accounts here that it was for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// The addresses elsewhere that it was for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote: Vec<String>,
    /// The Message-ID field, with its angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Octets, as they came.
    pub size: u64,
    /// What was found out about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What became of it.
    pub outcome: MessageOutcome,
    /// What the client was told; empty if it had left.
    pub reply: String,
    /// Its name in the queue, for those elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// From DATA to the reply.
    pub milliseconds: u64,
}

/// What became of a message that a client brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOutcome {
    /// It is in the mailboxes, and in the queue for those elsewhere.
    Accepted,
    /// The same, but in the Junk mailboxes.
    Junk,
    /// Said to be accepted and thrown away, as a filter wanted.
    Discarded,
    /// Refused for good: 5yz.
    Refused,
    /// Refused for now: 4yz.
    Deferred,
    /// The client left, or was too slow, in the midst of it.
    Lost,
}

impl MessageOutcome {
    /// True if the client still has the message.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Deferred | Self::Lost)
    }
}

/// A sender or a recipient that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The message's, had it come.
    pub id: String,
    /// The name of the listener.
    pub listener: String,
    /// The client's IP address.
    pub peer: String,
    /// How the client called itself.
    pub helo: String,
    /// The TLS cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who had logged in, or the name of a relay client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where.
    pub stage: Stage,
    /// The reverse path; empty for `<>`.
    pub sender: String,
    /// The forward path, at RCPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// What the client was told.
    pub reply: String,
}

/// The command that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stage {
    /// The sender.
    Mail,
    /// A recipient.
    Rcpt,
}

/// A login that failed, to any of the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginFailure {
    /// The same for all of this client and this name.
    pub id: String,
    /// The name of the listener.
    pub listener: String,
    /// The client's IP address.
    pub peer: String,
    /// Who it said to be; empty where it did not come to that.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl LoginFailure {
    /// Of the client at `peer` of the listener; of a name that can't be one only the beginning is kept.
    #[must_use]
    pub fn event(listener: &str, peer: IpAddr, name: &str, reason: &str) -> Event {
        let peer = peer.to_canonical().to_string();
        let name: String = name.chars().take(MAX_NAME).collect();
        let id = format!("login/{peer}/{}", name.to_lowercase());
        let reason = reason.to_owned();
        Event::LoginFailure(Box::new(Self { id, listener: listener.to_owned(), peer, name, reason }))
    }
}

/// Refusals that were only counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// The client's IP address; `None` for many of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// How many within a minute.
    pub count: u64,
}

/// A message that the queue got from itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its name in the queue.
    pub queue_id: String,
    /// The message that it comes of, by its name in the queue or its `id`.
    pub parent: String,
    /// What it is.
    pub why: QueuedWhy,
    /// The reverse path; empty for `<>`.
    pub sender: String,
    /// To whom it goes.
    pub recipients: Vec<String>,
    /// Octets, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Why the queue got a message from itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuedWhy {
    /// A report to the sender. RFC 3464.
    Report,
    /// The message goes on to where a recipient leads.
    Forward,
}

/// One attempt to deliver a queued message to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The message's name in the queue.
    pub queue_id: String,
    /// The reverse path; empty for `<>`.
    pub sender: String,
    /// To whom.
    pub recipient: String,
    /// From 1.
    pub attempt: u32,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// The server that said `text`; `None` where `text` is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// RFC 3463.
    pub status: String,
    /// Why. From a server: its reply.
    pub text: String,
    /// The same in one word, of what was not delivered: `unknown-user`, `full`, `policy`, `content`, `reputation`, `network` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_text")]
    pub next: Option<Timestamp>,
    /// How long the message had been in the queue.
    pub seconds: u64,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The next host has it, or the mailbox.
    Delivered,
    /// It is tried again.
    Deferred,
    /// Given up.
    Bounced,
}

/// What an operator did to a queued message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The message's name in the queue; `None` for all messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// `retry`, `hold`, `release`, `remove`, `reroute` or `reroute back`.
    pub operation: String,
}

impl Event {
    /// The names of the message: what other events of it have one of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Message(it) => [Some(&it.id), it.queue_id.as_ref()],
            Self::Refusal(it) => [Some(&it.id), None],
            Self::LoginFailure(it) => [Some(&it.id), None],
            Self::Omitted(_) => [None, None],
            Self::Queued(it) => [Some(&it.queue_id), Some(&it.parent)],
            Self::Attempt(it) => [Some(&it.queue_id), None],
            Self::Operator(it) => [it.queue_id.as_ref(), None],
        };
        names.into_iter().flatten().map(String::as_str)
    }

    /// True if `wanted` is, in any case, one of its names or addresses, the IP address of its client, or its Message-ID with or without
    /// brackets.
    pub(crate) fn is_about(&self, wanted: &str) -> bool {
        let is = |text: &str| text.eq_ignore_ascii_case(wanted);
        let any = |list: &[String]| list.iter().any(|text| is(text));
        self.names().any(is)
            || match self {
                Self::Message(it) => {
                    let bare = |id: &'_ str| id.trim_matches(['<', '>']).to_owned();
                    is(&it.sender)
                        || is(&it.peer)
                        || any(&it.recipients)
                        || any(&it.accounts)
                        || any(&it.remote)
                        || it.account.as_deref().is_some_and(is)
                        || it
                            .message_id
                            .as_deref()
                            .is_some_and(|id| bare(id).eq_ignore_ascii_case(&bare(wanted)))
                }
                Self::Refusal(it) => {
                    is(&it.sender) || is(&it.peer) || it.recipient.as_deref().is_some_and(is)
                }
                Self::LoginFailure(it) => is(&it.name) || is(&it.peer),
                Self::Queued(it) => is(&it.sender) || any(&it.recipients),
                Self::Attempt(it) => is(&it.sender) || is(&it.recipient),
                Self::Omitted(_) | Self::Operator(_) => false,
            }
    }

    /// Addresses as an event lists them: of very many, the first.
    pub fn addresses<T: ToString>(addresses: impl IntoIterator<Item = T>) -> Vec<String> {
        addresses.into_iter().take(MAX_ADDRESSES).map(|address| address.to_string()).collect()
    }
}

/// A moment as RFC 3339 writes it.
mod text {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The same where there may be none.
mod optional_text {
    use jiff::Timestamp;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::text::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        super::text::deserialize(deserializer).map(Some)
    }
}
