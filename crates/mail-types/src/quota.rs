use std::fmt;

/// How much mail an account may hold; `None` for as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets of all messages.
    pub storage: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// How much mail there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets.
    pub storage: u64,
    /// Messages.
    pub messages: u64,
}

impl Quota {
    /// True if anything is limited.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.storage.is_some() || self.messages.is_some()
    }

    /// True if an account may hold so much.
    #[must_use]
    pub fn admits(&self, usage: Usage) -> bool {
        self.storage.is_none_or(|limit| usage.storage <= limit)
            && self.messages.is_none_or(|limit| usage.messages <= limit)
    }

    /// The quota widened by a tenth, for what was on its way when there was still room.
    #[must_use]
    pub fn with_grace(&self) -> Self {
        let wider = |limit: u64| limit.saturating_add(limit / 10);
        Self { storage: self.storage.map(wider), messages: self.messages.map(wider) }
    }
}

impl Usage {
    /// One message of so many octets.
    #[must_use]
    pub const fn message(octets: u64) -> Self {
        Self { storage: octets, messages: 1 }
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            storage: self.storage.saturating_add(other.storage),
            messages: self.messages.saturating_add(other.messages),
        }
    }
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            storage: self.storage.saturating_sub(other.storage),
            messages: self.messages.saturating_sub(other.messages),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| sum + usage)
    }
}

/// As the first line of Maildir++'s `maildirsize` has it: `5368709120S,100000C`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.storage, self.messages) {
            (Some(storage), Some(messages)) => write!(f, "{storage}S,{messages}C"),
            (Some(storage), None) => write!(f, "{storage}S"),
            (None, Some(messages)) => write!(f, "{messages}C"),
            (None, None) => write!(f, "0S"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_admits_what_reaches_it_and_no_more() {
        let quota = Quota { storage: Some(100), messages: Some(20) };
        assert!(quota.admits(Usage { storage: 100, messages: 20 }));
        assert!(!quota.admits(Usage { storage: 101, messages: 1 }));
        assert!(!quota.admits(Usage { storage: 1, messages: 21 }));
        assert!(quota.with_grace().admits(Usage { storage: 110, messages: 22 }));
        assert!(!quota.with_grace().admits(Usage { storage: 111, messages: 22 }));
        assert!(Quota::default().admits(Usage { storage: u64::MAX, messages: u64::MAX }));
        assert_eq!(quota.to_string(), "100S,20C");
    }
}
