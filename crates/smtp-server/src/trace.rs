use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_types::Address;

use crate::header::{Captured, Seen};
use crate::transaction::Transaction;

/// How a message came to us: what its Received field tells.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// A name that no other message of this host has.
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) hostname: String,
    pub(crate) greeting: String,
    /// The client's address as an address literal has it.
    pub(crate) peer: String,
    /// `ESMTPSA` and the like. RFC 3848.
    pub(crate) protocol: String,
    /// The TLS cipher suite.
    pub(crate) cipher: Option<String>,
    /// The name of the listener.
    pub(crate) listener: String,
    /// Who has logged in.
    pub(crate) account: Option<Address>,
    /// The machine that has mail sent by us without having logged in, by its name in the config.
    pub(crate) machine: Option<String>,
    pub(crate) is_submission: bool,
    /// Nobody is to learn where the client is. RFC 5321 §7.6.
    pub(crate) hides_client: bool,
    /// The name in which only we may say what was found out about a message; `None` where one of ours may have said it.
    pub(crate) own_results: Option<String>,
}

impl Trace {
    /// Whose mail it is in the queue: the account's or the machine's that sent it; empty for others'.
    pub(crate) fn origin(&self) -> String {
        let account = self.account.as_ref().map(|account| account.to_lowercase().to_string());
        account.or_else(|| self.machine.clone()).unwrap_or_default()
    }

    /// Who of ours sent it, as the logs have it.
    pub(crate) fn user(&self) -> Option<String> {
        self.account.as_ref().map(ToString::to_string).or_else(|| self.machine.clone())
    }

    /// True for what was written here.
    pub(crate) const fn is_ours(&self) -> bool {
        self.account.is_some() || self.machine.is_some()
    }

    /// The Received field. RFC 5321 §4.4.
    ///
    /// Deviates: RFC 6531 §3.7.3 would have our own name in U-labels under SMTPUTF8. In A-labels it makes no message internationalized that
    /// is not so otherwise, which may go on to a host that takes no other.
    pub(crate) fn received(&self, transaction: &Transaction) -> String {
        let Self { id, hostname, greeting, peer, .. } = self;
        let from = if self.hides_client { "unknown".to_owned() } else { format!("{greeting} ([{peer}])") };
        let utf8 = transaction.parameters.smtputf8;
        // RFC 6531 §3.7.3.
        let protocol = match self.protocol.as_str() {
            smtp if utf8 && smtp.starts_with("ESMTP") => smtp.replacen("ESMTP", "UTF8SMTP", 1),
            lmtp if utf8 && lmtp.starts_with("LMTP") => lmtp.replacen("LMTP", "UTF8LMTP", 1),
            other => other.to_owned(),
        };
        let mut field = format!("Received: from {from}\r\n\tby {hostname} with {protocol} id {id}");
        // With several recipients, one would learn of the others. RFC 5321 §7.6.
        if let [only] = transaction.recipients.as_slice() {
            let _ = write!(field, "\r\n\tfor <{}>", shown(only, utf8));
        }
        // RFC 6710 §4.1 (2), §7.
        if let Some(priority) = transaction.parameters.priority {
            let _ = write!(field, "\r\n\tpriority {priority}");
        }
        // RFC 8314 §4.3.
        if let Some(cipher) = &self.cipher {
            let _ = write!(field, "\r\n\ttls {cipher}");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", self.date());
        field
    }

    /// The Return-Path field. RFC 5321 §4.4.
    pub(crate) fn return_path(transaction: &Transaction) -> String {
        let from = transaction.from.as_ref();
        let from = from.map(|from| shown(from, transaction.parameters.smtputf8)).unwrap_or_default();
        format!("Return-Path: <{from}>\r\n")
    }

    /// The fields that every message must have and this submission lacks. RFC 5322 §3.6, RFC 6409 §8.
    pub(crate) fn missing(&self, seen: &Seen, transaction: &Transaction) -> String {
        let mut fields = String::new();
        if !self.is_submission {
            return fields;
        }
        if seen.from == Captured::default()
            && let Some(from) = transaction.from.as_ref().or(self.account.as_ref())
        {
            let _ = write!(fields, "From: {}\r\n", shown(from, transaction.parameters.smtputf8));
        }
        if !seen.date {
            let _ = write!(fields, "Date: {}\r\n", self.date());
        }
        if !seen.message_id {
            let _ = write!(fields, "Message-ID: <{}@{}>\r\n", self.id, self.hostname);
        }
        fields
    }

    /// The Message-ID that it has, or that [`Self::missing`] gives it.
    pub(crate) fn message_id(&self, seen: &Seen) -> Option<String> {
        let given = || format!("<{}@{}>", self.id, self.hostname);
        seen.id().or_else(|| (self.is_submission && !seen.message_id).then(given))
    }

    /// In the time of this place. RFC 5321 §4.4.
    fn date(&self) -> String {
        date(self.at, TimeZone::system())
    }
}

/// `date-time`. RFC 5322 §3.3.
fn date(at: Timestamp, zone: TimeZone) -> String {
    at.to_zoned(zone).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// The address; without SMTPUTF8 with its domain in A-labels, so that the header stays ASCII (RFC 6531 §3.7.3).
pub(crate) fn shown(address: &Address, utf8: bool) -> String {
    if utf8 { address.to_string() } else { address.with_ascii_domain() }
}

/// A name that no other message of this host has: an `Atom`, which has no dot. RFC 5321 §4.4.
pub(crate) fn new_id(now: Timestamp) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", now.as_microsecond(), std::process::id())
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    /// RFC 5321 §4.4, §4.1.2
    #[test]
    fn the_name_of_a_message_is_an_atom() {
        let name = new_id(Timestamp::now());
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        assert_ne!(new_id(Timestamp::now()), name);
    }

    /// RFC 5321 §4.4: local time with its offset, not the name of a zone.
    #[test]
    fn a_date_has_the_offset_of_its_place() {
        let shown = |zone: TimeZone| date(Timestamp::UNIX_EPOCH, zone);
        assert_eq!(shown(TimeZone::UTC), "Thu, 01 Jan 1970 00:00:00 +0000");
        let west = Offset::from_seconds(-(3 * 3600 + 1800)).unwrap();
        assert_eq!(shown(TimeZone::fixed(west)), "Wed, 31 Dec 1969 20:30:00 -0330");
    }
}
