use std::fmt;
use std::str::FromStr;

/// A system flag. RFC 3501 §2.3.2. `\Recent` is no property of a message and is kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flag {
    /// `\Answered`, Maildir `R`.
    Answered = 1,
    /// `\Flagged`, Maildir `F`.
    Flagged = 2,
    /// `\Deleted`, Maildir `T`.
    Deleted = 4,
    /// `\Seen`, Maildir `S`.
    Seen = 8,
    /// `\Draft`, Maildir `D`.
    Draft = 16,
}

impl Flag {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Flagged, Self::Deleted, Self::Seen, Self::Draft];

    /// As IMAP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Seen => "\\Seen",
            Self::Draft => "\\Draft",
        }
    }

    /// The letter for it in a Maildir file name.
    #[must_use]
    pub const fn maildir_letter(self) -> char {
        match self {
            Self::Answered => 'R',
            Self::Flagged => 'F',
            Self::Deleted => 'T',
            Self::Seen => 'S',
            Self::Draft => 'D',
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Flag {
    type Err = KeywordError;

    fn from_str(text: &str) -> Result<Self, KeywordError> {
        Self::ALL.into_iter().find(|flag| flag.as_str().eq_ignore_ascii_case(text)).ok_or(KeywordError)
    }
}

/// Not an atom that may stand as a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a keyword is an atom of at most 255 visible ASCII characters")]
pub struct KeywordError;

/// A flag that clients made up, `$Forwarded` for one. Compared without regard to case, shown as first written.
#[derive(Debug, Clone)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// As first written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl FromStr for Keyword {
    type Err = KeywordError;

    fn from_str(text: &str) -> Result<Self, KeywordError> {
        let atom_char = |c: u8| c.is_ascii_graphic() && !b"(){%*\"\\]".contains(&c);
        if (1..=255).contains(&text.len()) && text.bytes().all(atom_char) {
            Ok(Self(text.into()))
        } else {
            Err(KeywordError)
        }
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The flags of one message: the system flags as a bit set, and its keywords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    system: u8,
    keywords: Vec<Keyword>,
}

impl Flags {
    /// No flag at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { system: 0, keywords: Vec::new() }
    }

    /// From the bit set of [`Flag`] values and the keywords.
    #[must_use]
    pub fn from_parts(system: u8, keywords: impl IntoIterator<Item = Keyword>) -> Self {
        let mut flags = Self { system, keywords: Vec::new() };
        keywords.into_iter().for_each(|keyword| flags.insert_keyword(keyword));
        flags
    }

    /// The system flags as a bit set of [`Flag`] values.
    #[must_use]
    pub const fn system_bits(&self) -> u8 {
        self.system
    }

    /// True if `flag` is set.
    #[must_use]
    pub const fn contains(&self, flag: Flag) -> bool {
        self.system & flag as u8 != 0
    }

    /// Sets `flag`.
    pub const fn insert(&mut self, flag: Flag) {
        self.system |= flag as u8;
    }

    /// Clears `flag`.
    pub const fn remove(&mut self, flag: Flag) {
        self.system &= !(flag as u8);
    }

    /// The system flags that are set.
    pub fn system(&self) -> impl Iterator<Item = Flag> + '_ {
        Flag::ALL.into_iter().filter(|flag| self.contains(*flag))
    }

    /// The keywords that are set.
    #[must_use]
    pub fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// Sets `keyword`.
    pub fn insert_keyword(&mut self, keyword: Keyword) {
        if !self.keywords.contains(&keyword) {
            self.keywords.push(keyword);
        }
    }

    /// True if nothing is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_empty()
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        flags.into_iter().fold(Self::new(), |mut all, flag| {
            all.insert(flag);
            all
        })
    }
}

impl fmt::Display for Flags {
    /// As in a FETCH response, without the parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .system()
            .map(|flag| flag.as_str())
            .chain(self.keywords.iter().map(|keyword| keyword.as_str()));
        for (position, name) in names.enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_show_as_in_a_fetch_response() {
        let mut flags: Flags = [Flag::Seen, Flag::Answered].into_iter().collect();
        flags.insert_keyword("$Forwarded".parse().unwrap());
        flags.insert_keyword("$forwarded".parse().unwrap());
        assert_eq!(flags.to_string(), "\\Answered \\Seen $Forwarded");
    }

    #[test]
    fn a_keyword_is_an_atom() {
        for refused in ["", "a b", "\\Seen", "a\"b", "é", "x]"] {
            assert!(refused.parse::<Keyword>().is_err(), "{refused}");
        }
        assert_eq!("\\seen".parse::<Flag>(), Ok(Flag::Seen));
    }
}
