//! Which of the queue an operator means. Pure.

use std::time::Duration;

use jiff::Timestamp;
use mail_types::{Address, AddressPattern, Domain};

use crate::{Diagnosis, Priority, QueuedMessage, QueuedRecipient, RecipientState};

/// Which messages are meant, and of them which recipients. What is `None` says nothing, so that the default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The reverse path.
    pub sender: Option<SenderFilter>,
    /// Recipients that wait.
    pub recipient: Option<AddressPattern>,
    /// Recipients that wait, by their domain.
    pub domain: Option<Domain>,
    /// Queued at least so long ago.
    pub older_than: Option<Duration>,
    /// Queued at most so long ago.
    pub newer_than: Option<Duration>,
    /// Recipients of which the last attempt failed so: a part of what was said, in any case, or the beginning of its status, `4.4`.
    pub reason: Option<String>,
    /// How far recipients are.
    pub state: Option<WaitState>,
    /// Octets, at least.
    pub min_size: Option<u64>,
    /// Octets, at most.
    pub max_size: Option<u64>,
    /// From the least to the greatest.
    pub priority: Option<(Priority, Priority)>,
}

/// A reverse path that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderFilter {
    /// `<>`: reports.
    Nobody,
    /// An address, or all of a domain.
    Somebody(AddressPattern),
}

/// Why a recipient waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitState {
    /// It was not tried yet.
    New,
    /// It was tried, and is tried again.
    Deferred,
    /// Its sender holds it back until later. RFC 4865.
    Scheduled,
    /// An operator holds it.
    Held,
}

impl WaitState {
    /// Why this recipient waits at `now`.
    #[must_use]
    pub fn of(message: &QueuedMessage, recipient: &QueuedRecipient, now: Timestamp) -> Self {
        if message.held {
            Self::Held
        } else if message.handling.release.is_some_and(|release| release > now) {
            Self::Scheduled
        } else if recipient.attempts == 0 {
            Self::New
        } else {
            Self::Deferred
        }
    }

    /// One word, for lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Deferred => "deferred",
            Self::Scheduled => "scheduled",
            Self::Held => "held",
        }
    }
}

impl Filter {
    /// The places of the recipients that are meant of a message; none where it isn't meant.
    #[must_use]
    pub fn meant(&self, message: &QueuedMessage, now: Timestamp) -> Vec<usize> {
        if !self.means(message, now) {
            return Vec::new();
        }
        let recipients = message.recipients.iter().enumerate();
        let waiting = recipients.filter(|(_, it)| it.state == RecipientState::Pending);
        let meant = waiting.filter(|(_, it)| self.means_recipient(message, it, now));
        meant.map(|(position, _)| position).collect()
    }

    fn means(&self, message: &QueuedMessage, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(message.arrived)).unwrap_or_default();
        let priority = message.handling.priority.unwrap_or_default();
        self.older_than.is_none_or(|least| age >= least)
            && self.newer_than.is_none_or(|most| age <= most)
            && self.min_size.is_none_or(|least| message.size >= least)
            && self.max_size.is_none_or(|most| message.size <= most)
            && self.priority.is_none_or(|(least, most)| (least..=most).contains(&priority))
            && self.sender.as_ref().is_none_or(|sender| sender.means(message.sender.as_ref()))
    }

    fn means_recipient(&self, message: &QueuedMessage, recipient: &QueuedRecipient, now: Timestamp) -> bool {
        let diagnosis = recipient.diagnosis.as_ref();
        let failed_so = |wanted: &String| diagnosis.is_some_and(|diagnosis| is_so(diagnosis, wanted));
        self.recipient.as_ref().is_none_or(|wanted| is_of(wanted, &recipient.address))
            && self.domain.as_ref().is_none_or(|wanted| recipient.address.domain() == wanted)
            && self.state.is_none_or(|wanted| WaitState::of(message, recipient, now) == wanted)
            && self.reason.as_ref().is_none_or(failed_so)
    }
}

impl SenderFilter {
    fn means(&self, sender: Option<&Address>) -> bool {
        match (self, sender) {
            (Self::Nobody, sender) => sender.is_none(),
            (Self::Somebody(_), None) => false,
            (Self::Somebody(wanted), Some(sender)) => is_of(wanted, sender),
        }
    }
}

fn is_of(wanted: &AddressPattern, address: &Address) -> bool {
    match wanted {
        AddressPattern::Address(wanted) => wanted.to_lowercase() == address.to_lowercase(),
        AddressPattern::Domain(wanted) => wanted == address.domain(),
    }
}

/// `wanted` is a status or its first numbers, or else a part of what was said.
fn is_so(diagnosis: &Diagnosis, wanted: &str) -> bool {
    let is_status = wanted.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    if is_status && (wanted.len() == 1 || wanted.contains('.')) {
        let status = diagnosis.status.to_string();
        let rest = status.strip_prefix(wanted.trim_end_matches('.'));
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    }
    diagnosis.to_string().to_lowercase().contains(&wanted.to_lowercase())
}
