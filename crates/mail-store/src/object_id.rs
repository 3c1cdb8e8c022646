//! By what mailboxes and messages are known whatever they are called and wherever they lie. RFC 8474.

use std::fmt;
use std::str::FromStr;

use crate::content_hash::{ContentHash, NoHash};

/// A mailbox's id, which it keeps when it is renamed. It stands in `mailstead-mailbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxObjectId([u8; 16]);

impl MailboxObjectId {
    /// One that no other mailbox has.
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(std::io::Error::other)?;
        Ok(Self(octets))
    }

    pub(crate) const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

/// As an `objectid`.
impl fmt::Display for MailboxObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("F")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoId;

impl From<NoHash> for NoId {
    fn from(_: NoHash) -> Self {
        Self
    }
}

impl FromStr for MailboxObjectId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let hash: ContentHash = text.strip_prefix('F').ok_or(NoId)?.parse()?;
        Ok(Self(*hash.octets()))
    }
}

/// A message's id, which its copies have too. It is made of all that never changes of a message: its content and its internal
/// date (RFC 3501 §2.3.1.1), so that it is the same again whatever is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailId {
    content: ContentHash,
    seconds: i64,
}

impl EmailId {
    /// That of a message with this content and internal date, in seconds since 1970.
    #[must_use]
    pub const fn new(content: ContentHash, seconds: i64) -> Self {
        Self { content, seconds }
    }

    /// The internal date of all messages with this id, in seconds since 1970.
    #[must_use]
    pub const fn seconds(&self) -> i64 {
        self.seconds
    }
}

/// As an `objectid`.
impl fmt::Display for EmailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "M{}{:x}", self.content, self.seconds)
    }
}

impl FromStr for EmailId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (content, seconds) = text.strip_prefix('M').and_then(|it| it.split_at_checked(32)).ok_or(NoId)?;
        let seconds = u64::from_str_radix(seconds, 16).map_err(|_| NoId)?;
        let id = Self { content: content.parse()?, seconds: seconds.cast_signed() };
        // There is one way to write it.
        if id.to_string() == text { Ok(id) } else { Err(NoId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_hash::Hasher;

    #[test]
    fn ids_come_back_from_how_they_are_written() {
        let mailbox = MailboxObjectId::new().unwrap();
        assert_eq!(mailbox.to_string().parse(), Ok(mailbox));
        for seconds in [0, 1_500_000_000, -1, i64::MIN] {
            let id = EmailId::new(Hasher::default().finish(), seconds);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let hash = "af1349b9f5f9a1a6a0404dea36dcc949";
        for text in [
            "",
            "M",
            hash,
            "M0",
            &format!("M{hash}"),
            &format!("M{hash}+1"),
            &format!("M{hash}01"),
            &format!("M{hash}A"),
            &format!("m{hash}1"),
        ] {
            assert_eq!(text.parse::<EmailId>(), Err(NoId), "{text}");
            assert_eq!(text.parse::<MailboxObjectId>(), Err(NoId), "{text}");
        }
    }
}
