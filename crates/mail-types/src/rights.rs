use std::fmt;
use std::str::FromStr;

use crate::{Flag, Flags};

/// What a user may do in a mailbox: a set of the rights of RFC 4314 §2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Rights(u16);

/// No access right: upper case, or a letter that means nothing. RFC 4314 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no access right")]
pub struct RightsError(pub char);

/// Each right with its letter, in the order in which they are shown.
const LETTERS: [(Rights, char); 11] = [
    (Rights::LOOKUP, 'l'),
    (Rights::READ, 'r'),
    (Rights::SEEN, 's'),
    (Rights::WRITE, 'w'),
    (Rights::INSERT, 'i'),
    (Rights::POST, 'p'),
    (Rights::CREATE, 'k'),
    (Rights::DELETE, 'x'),
    (Rights::DELETE_MESSAGES, 't'),
    (Rights::EXPUNGE, 'e'),
    (Rights::ADMINISTER, 'a'),
];

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// `l`: the mailbox is listed, and may be subscribed to.
    pub const LOOKUP: Self = Self(1);
    /// `r`: SELECT, STATUS.
    pub const READ: Self = Self(1 << 1);
    /// `s`: `\Seen` is kept.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: flags but for `\Seen` and `\Deleted`.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: APPEND, COPY into it.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: mail may be sent to it; nothing in IMAP.
    pub const POST: Self = Self(1 << 5);
    /// `k`: CREATE of mailboxes below it.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: DELETE, and RENAME to elsewhere.
    pub const DELETE: Self = Self(1 << 7);
    /// `t`: `\Deleted`.
    pub const DELETE_MESSAGES: Self = Self(1 << 8);
    /// `e`: EXPUNGE.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: who has which rights.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// What it takes to change any flag.
    pub const FLAGS: Self = Self::SEEN.union(Self::WRITE).union(Self::DELETE_MESSAGES);
    /// Every right.
    pub const ALL: Self = Self((1 << 11) - 1);

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if any of `other` is in it.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True for [`Self::NONE`].
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each by itself, in the order in which they are shown.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        LETTERS.into_iter().map(|(right, _)| right).filter(move |right| self.contains(*right))
    }

    /// The letters, without the virtual `c` and `d`.
    #[must_use]
    pub fn letters(self) -> String {
        LETTERS.into_iter().filter(|(right, _)| self.contains(*right)).map(|(_, letter)| letter).collect()
    }

    /// The right that it takes to set or clear a system flag. RFC 4314 §4.
    #[must_use]
    pub const fn to_change(flag: Flag) -> Self {
        match flag {
            Flag::Seen => Self::SEEN,
            Flag::Deleted => Self::DELETE_MESSAGES,
            Flag::Answered | Flag::Flagged | Flag::Draft => Self::WRITE,
        }
    }

    /// Those of the flags that may be changed.
    #[must_use]
    pub fn of_flags(self, flags: &Flags) -> Flags {
        let mut allowed: Flags =
            flags.system().filter(|flag| self.contains(Self::to_change(*flag))).collect();
        if self.contains(Self::WRITE) {
            flags.keywords().iter().for_each(|keyword| allowed.insert_keyword(keyword.clone()));
        }
        allowed
    }

    /// The rights that a letter stands for. `c` and `d` are those of RFC 2086: `c` is `k` and `x`, `d` is `e` and `t`
    /// (RFC 4314 §2.1.1).
    fn of_letter(letter: char) -> Option<Self> {
        match letter {
            'c' => Some(Self::OBSOLETE_CREATE),
            'd' => Some(Self::OBSOLETE_DELETE),
            _ => LETTERS.into_iter().find(|(_, it)| *it == letter).map(|(right, _)| right),
        }
    }

    const OBSOLETE_CREATE: Self = Self::CREATE.union(Self::DELETE);
    const OBSOLETE_DELETE: Self = Self::DELETE_MESSAGES.union(Self::EXPUNGE);
}

impl FromStr for Rights {
    type Err = RightsError;

    fn from_str(text: &str) -> Result<Self, RightsError> {
        text.chars().try_fold(Self::NONE, |rights, letter| {
            Self::of_letter(letter).map(|right| rights.union(right)).ok_or(RightsError(letter))
        })
    }
}

impl fmt::Display for Rights {
    /// As responses show them: with `c` and `d` where any of their members is there (RFC 4314 §2.1.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_old = [(Self::OBSOLETE_CREATE, "c"), (Self::OBSOLETE_DELETE, "d")];
        f.write_str(&self.without(Self::ADMINISTER).letters())?;
        of_old
            .into_iter()
            .filter(|(members, _)| self.intersects(*members))
            .try_for_each(|(_, it)| f.write_str(it))?;
        f.write_str(if self.contains(Self::ADMINISTER) { "a" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4314 §2.1.1, the examples.
    #[test]
    fn the_rights_of_rfc_2086_stand_for_those_of_today() {
        let rights = |text: &str| text.parse::<Rights>().unwrap();
        assert_eq!(rights("lrswida"), rights("lrswideta"));
        assert_eq!(rights("lrswikda").to_string(), "lrswiktecda");
        assert_eq!(rights("cda"), rights("akxet"));
        assert_eq!(rights("lr").to_string(), "lr");
        assert_eq!(Rights::ALL.to_string(), "lrswipkxtecda");
        assert_eq!(Rights::ALL.letters(), "lrswipkxtea");
        assert_eq!(rights(""), Rights::NONE);
    }

    /// RFC 4314 §4, the example of COPY.
    #[test]
    fn flags_take_rights_of_their_own() {
        let mut flags: Flags = Flag::ALL.into_iter().collect();
        flags.insert_keyword("$Forwarded".parse().unwrap());
        let allowed = |rights: &str| rights.parse::<Rights>().unwrap().of_flags(&flags).to_string();
        assert_eq!(allowed("rwis"), "\\Answered \\Flagged \\Seen \\Draft $Forwarded");
        assert_eq!(allowed("rsti"), "\\Deleted \\Seen");
        assert_eq!(allowed("lrik"), "");
        assert_eq!(allowed("wst"), flags.to_string());
    }

    #[test]
    fn what_is_no_right_is_refused() {
        for (text, letter) in [("lrQswicda", 'Q'), ("lrqswicda", 'q'), ("lr0", '0'), ("l r", ' ')] {
            assert_eq!(text.parse::<Rights>(), Err(RightsError(letter)));
        }
    }
}
