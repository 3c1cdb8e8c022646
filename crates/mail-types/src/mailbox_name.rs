use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What a mailbox is for. RFC 6154 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important`. RFC 8457 §4.
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every special use.
    pub const ALL: [Self; 8] = [
        Self::All,
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Important,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// As LIST shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SpecialUse {
    type Err = MailboxNameError;

    fn from_str(text: &str) -> Result<Self, MailboxNameError> {
        Self::ALL
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
            .ok_or(MailboxNameError::Encoding)
    }
}

/// Why a text is no name for a mailbox. The text of the error is meant for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxNameError {
    /// No name, or a level of the hierarchy without one.
    #[error("a mailbox name must not have an empty part")]
    Empty,
    /// The name on disk would pass 255 octets.
    #[error("the mailbox name is too long")]
    TooLong,
    /// More levels than [`MailboxName::MAX_DEPTH`].
    #[error("the mailbox name has too many levels")]
    TooDeep,
    /// A control character.
    #[error("a mailbox name must not hold control characters")]
    ControlCharacter,
    /// Not UTF-8, or not modified UTF-7.
    #[error("the mailbox name is not valid modified UTF-7 or UTF-8")]
    Encoding,
}

/// An IMAP mailbox's name: levels divided by `/`, in Unicode; the first level INBOX is written in capitals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

impl MailboxName {
    /// The hierarchy delimiter that clients see.
    pub const DELIMITER: char = '/';
    /// The deepest name accepted.
    pub const MAX_DEPTH: usize = 32;

    /// `INBOX`
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// True for `INBOX` itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// In Unicode.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of its levels, topmost first.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split(Self::DELIMITER)
    }

    /// The mailbox one level up.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(Self::DELIMITER).map(|(parent, _)| Self(parent.into()))
    }

    /// True if `self` lies below `ancestor`, at any depth.
    #[must_use]
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.starts_with(Self::DELIMITER))
    }

    /// The name that `self`, which is `from` or lies below it, gets when `from` is renamed to `to`.
    #[must_use]
    pub fn renamed(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*from.0)?;
        (rest.is_empty() || rest.starts_with(Self::DELIMITER)).then(|| Self(format!("{}{rest}", to.0).into()))
    }

    /// Reads a name as IMAP4rev1 clients send it, in modified UTF-7 (RFC 3501 §5.1.3).
    ///
    /// Lenient where clients are: UTF-8 and a stray `&` stand for themselves, a delimiter at the end is dropped. What is not encoded
    /// as it must be stands for itself, too, so that no mailbox has two names.
    ///
    /// # Errors
    /// [`MailboxNameError`] if what is decoded is no name.
    pub fn from_imap(name: &[u8]) -> Result<Self, MailboxNameError> {
        Self::decode_imap(name)?.parse()
    }

    /// Reads a name as IMAP4rev2 clients send it, in UTF-8 (RFC 9051 §5.1).
    ///
    /// # Errors
    /// [`MailboxNameError`] if it is no name.
    pub fn from_utf8(name: &[u8]) -> Result<Self, MailboxNameError> {
        std::str::from_utf8(name).map_err(|_| MailboxNameError::Encoding)?.parse()
    }

    /// Reads a part of a name in modified UTF-7 as [`Self::from_imap`] does; it need not be a name itself.
    ///
    /// # Errors
    /// [`MailboxNameError::Encoding`].
    pub fn decode_imap(part: &[u8]) -> Result<String, MailboxNameError> {
        let text = std::str::from_utf8(part).map_err(|_| MailboxNameError::Encoding)?;
        let decoded = if text.is_ascii() { decode_mutf7(text) } else { None };
        let decoded = decoded.filter(|decoded| encode_mutf7(decoded, false) == text);
        Ok(decoded.unwrap_or_else(|| text.to_owned()))
    }

    /// In modified UTF-7, as IMAP4rev1 clients read it.
    #[must_use]
    pub fn to_mutf7(&self) -> String {
        encode_mutf7(&self.0, false)
    }

    /// The name of its Maildir++ folder, `.Archive.2026`; the empty string for INBOX, which is the Maildir itself.
    ///
    /// Modified UTF-7, the levels divided by dots. A dot within a level is written `&AC4-`.
    #[must_use]
    pub fn to_maildir(&self) -> String {
        if self.is_inbox() {
            return String::new();
        }
        self.levels().flat_map(|level| [".".to_owned(), encode_mutf7(level, true)]).collect()
    }

    /// The inverse of [`Self::to_maildir`] for the name of a folder, `.Archive.2026`.
    ///
    /// # Errors
    /// [`MailboxNameError`] if it is no Maildir++ folder, or holds no valid name.
    pub fn from_maildir(folder: &str) -> Result<Self, MailboxNameError> {
        let levels = folder.strip_prefix('.').ok_or(MailboxNameError::Empty)?;
        let levels: Vec<String> =
            levels.split('.').map(|level| decode_mutf7(level).unwrap_or_else(|| level.to_owned())).collect();
        if levels.iter().any(|level| level.contains(Self::DELIMITER)) {
            return Err(MailboxNameError::Encoding);
        }
        levels.join("/").parse()
    }
}

impl FromStr for MailboxName {
    type Err = MailboxNameError;

    fn from_str(text: &str) -> Result<Self, MailboxNameError> {
        let text = text.strip_suffix(Self::DELIMITER).unwrap_or(text);
        if text.split(Self::DELIMITER).any(str::is_empty) {
            return Err(MailboxNameError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(MailboxNameError::ControlCharacter);
        }
        if text.split(Self::DELIMITER).count() > Self::MAX_DEPTH {
            return Err(MailboxNameError::TooDeep);
        }
        let (first, rest) = text.split_at(text.find(Self::DELIMITER).unwrap_or(text.len()));
        let name = if first.eq_ignore_ascii_case("INBOX") {
            Self(format!("INBOX{rest}").into())
        } else {
            Self(text.into())
        };
        if name.to_maildir().len() > 255 { Err(MailboxNameError::TooLong) } else { Ok(name) }
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MUTF7_BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Modified UTF-7, RFC 3501 §5.1.3. `dots` says that dots are to be encoded too.
fn encode_mutf7(text: &str, dots: bool) -> String {
    let plain = |c: char| matches!(c, ' '..='~') && !(dots && c == '.');
    let mut encoded = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (direct, behind) = rest.split_at(rest.find(|c| !plain(c)).unwrap_or(rest.len()));
        encoded.push_str(&direct.replace('&', "&-"));
        let (shifted, behind) = behind.split_at(behind.find(plain).unwrap_or(behind.len()));
        if !shifted.is_empty() {
            let utf16: Vec<u8> = shifted.encode_utf16().flat_map(u16::to_be_bytes).collect();
            encoded.push('&');
            MUTF7_BASE64.encode_string(utf16, &mut encoded);
            encoded.push('-');
        }
        rest = behind;
    }
    encoded
}

/// `None` if `text` is not modified UTF-7.
fn decode_mutf7(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((direct, behind)) = rest.split_once('&') {
        decoded.push_str(direct);
        let (shifted, behind) = behind.split_once('-')?;
        if shifted.is_empty() {
            decoded.push('&');
        } else {
            let utf16 = MUTF7_BASE64.decode(shifted).ok().filter(|bytes| bytes.len() % 2 == 0)?;
            let units = utf16.chunks_exact(2).filter_map(|unit| unit.try_into().ok()).map(u16::from_be_bytes);
            decoded.extend(char::decode_utf16(units).collect::<Result<Vec<_>, _>>().ok()?);
        }
        rest = behind;
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, mutf7: &str, folder: &str) {
        let name: MailboxName = name.parse().unwrap();
        assert_eq!(name.to_mutf7(), mutf7);
        assert_eq!(name.to_maildir(), folder);
        assert_eq!(MailboxName::from_imap(mutf7.as_bytes()).as_ref(), Ok(&name));
        if !folder.is_empty() {
            assert_eq!(MailboxName::from_maildir(folder).as_ref(), Ok(&name));
        }
    }

    #[test]
    fn a_name_has_one_form_for_imap_and_one_for_the_disk() {
        check("INBOX", "INBOX", "");
        check("Archive/2026", "Archive/2026", ".Archive.2026");
        check("example.org & friends", "example.org &- friends", ".example&AC4-org &- friends");
        check(
            "~peter/mail/台北/日本語",
            "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
            ".~peter.mail.&U,BTFw-.&ZeVnLIqe-",
        );
        check("Größe.ß", "Gr&APYA3w-e.&AN8-", ".Gr&APYA3w-e&AC4A3w-");
    }

    #[test]
    fn clients_may_be_sloppy() {
        let name = |text: &str| MailboxName::from_imap(text.as_bytes()).map(|name| name.to_string());
        assert_eq!(name("inbox"), Ok("INBOX".to_owned()));
        assert_eq!(name("inbox/Sub"), Ok("INBOX/Sub".to_owned()));
        assert_eq!(name("Tom & Jerry"), Ok("Tom & Jerry".to_owned()));
        assert_eq!(name("Größe"), Ok("Größe".to_owned()));
        assert_eq!(name("Lists/"), Ok("Lists".to_owned()));
    }

    #[test]
    fn no_name_leaves_the_maildir_or_breaks_the_line() {
        for refused in ["", "/", "a//b", "/etc/passwd", "a\r\nb", "a\0b", "&AA0ACg-"] {
            assert!(MailboxName::from_imap(refused.as_bytes()).is_err(), "{refused}");
        }
        assert_eq!("../x".parse::<MailboxName>().unwrap().to_maildir(), ".&AC4ALg-.x");
        assert_eq!("x".repeat(300).parse::<MailboxName>(), Err(MailboxNameError::TooLong));
    }

    #[test]
    fn a_rename_carries_what_lies_below() {
        let [a, below, similar, to] =
            ["A", "A/b/c", "Ab", "X/Y"].map(|name| name.parse::<MailboxName>().unwrap());
        assert_eq!(below.renamed(&a, &to).unwrap().as_str(), "X/Y/b/c");
        assert_eq!(similar.renamed(&a, &to), None);
        assert!(below.is_below(&a) && !similar.is_below(&a));
    }
}
