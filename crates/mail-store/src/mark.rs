//! What a mailbox is known by in file names.

use std::fmt;
use std::str::FromStr;

use mail_types::UidValidity;

/// What a mailbox is known by in the names of its files: the UIDVALIDITY, and four random digits since two accounts made
/// in the same second have the same. `1766000000-4f1c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) uid_validity: UidValidity,
    pub(crate) id: MailboxId,
}

/// Random, and the same for the life of a mailbox, whatever its name. Four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MailboxId(u16);

/// Not a mark, or not an id.
#[derive(Debug)]
pub(crate) struct NotAMark;

impl MailboxId {
    pub(crate) fn random() -> Self {
        let [high, low, ..] = getrandom::u32().unwrap_or_default().to_be_bytes();
        Self(u16::from_be_bytes([high, low]))
    }
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl FromStr for MailboxId {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let is_hex = text.len() == 4 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let id = u16::from_str_radix(text, 16).ok().filter(|_| is_hex);
        id.map(Self).ok_or(NotAMark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.uid_validity, self.id)
    }
}

impl FromStr for Mark {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let (uid_validity, id) = text.split_once('-').ok_or(NotAMark)?;
        let uid_validity: u32 = uid_validity.parse().map_err(|_| NotAMark)?;
        let uid_validity = UidValidity::try_from(uid_validity).map_err(|_| NotAMark)?;
        Ok(Self { uid_validity, id: id.parse()? })
    }
}
