use std::fmt;
use std::str::FromStr;

use crate::{Address, AddressError, Domain};

/// One address, or every address of a domain, written `@example.org`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressPattern {
    /// One address.
    Address(Address),
    /// Every address of this domain.
    Domain(Domain),
}

impl AddressPattern {
    /// The domain that it speaks of.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        match self {
            Self::Address(address) => address.domain(),
            Self::Domain(domain) => domain,
        }
    }

    /// True for the address, or for every one of its domain. The case of local parts does not matter if the pattern is in lower case.
    #[must_use]
    pub fn fits(&self, address: &Address) -> bool {
        match self {
            Self::Address(known) => *known == address.to_lowercase(),
            Self::Domain(domain) => domain == address.domain(),
        }
    }

    /// With the local part in lower case: the form under which it is looked up.
    #[must_use]
    pub fn to_lowercase(&self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.to_lowercase()),
            Self::Domain(domain) => Self::Domain(domain.clone()),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

impl FromStr for AddressPattern {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => domain.parse().map(Self::Domain),
            None => text.parse().map(Self::Address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_first_means_the_whole_domain() {
        let shown = |text: &str| text.parse::<AddressPattern>().map(|it| it.to_string());
        assert_eq!(shown("@Example.ORG").as_deref(), Ok("@example.org"));
        assert_eq!(shown("Bob@Example.ORG").as_deref(), Ok("Bob@example.org"));
        assert_eq!(shown("\"@\"@example.org").as_deref(), Ok("\"@\"@example.org"));
        for text in ["example.org", "@", "@a@b.c", ""] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
