use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization as _;

/// Why a text is no address or domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `@`.
    #[error("an address has the form local-part@domain")]
    NoAt,
    /// The local part is empty, too long or holds what it must not.
    #[error("the local part is not valid (RFC 5321 §4.1.2)")]
    LocalPart,
    /// The domain is empty, too long or holds what it must not.
    #[error("the domain is not valid (RFC 5321 §4.1.2)")]
    Domain,
}

/// A domain name in lower case, non-ASCII labels as U-labels; or an address literal such as `[192.0.2.1]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// As shown to people: lower case, U-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As asked of the DNS: A-labels.
    #[must_use]
    pub fn to_ascii(&self) -> String {
        idna::domain_to_ascii(&self.0).unwrap_or_else(|_| self.0.to_string())
    }

    /// True for `[192.0.2.1]` and `[IPv6:2001:db8::1]`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return if is_address_literal(inner) {
                Ok(Self(text.to_ascii_lowercase().into()))
            } else {
                Err(AddressError::Domain)
            };
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let (unicode, valid) = idna::domain_to_unicode(text);
        valid.map_err(|_| AddressError::Domain)?;
        let ascii = idna::domain_to_ascii(&unicode).map_err(|_| AddressError::Domain)?;
        if ascii.len() <= 253 && ascii.split('.').all(is_label) {
            Ok(Self(unicode.into()))
        } else {
            Err(AddressError::Domain)
        }
    }
}

/// `sub-domain`, with the underscore that some real hosts have. RFC 5321 §4.1.2.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_address_literal(inner: &str) -> bool {
    let tag = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match tag {
        Some(_) => inner.get(5..).is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An SMTP mailbox, `local-part@domain`. RFC 5321 §4.1.2, RFC 6531 §3.3.
///
/// The local part is held without quotes and with the case it came in; equality is exact. The directory compares
/// its own accounts without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local_part: Box<str>,
    domain: Domain,
}

impl Address {
    /// The octets that a path leaves to an address: RFC 5321 §4.5.3.1.3.
    const MAX_LENGTH: usize = 254;
    /// The octets of a local part of ours: RFC 5321 §4.5.3.1.1.
    pub const MAX_LOCAL_PART: usize = 64;

    /// From a local part without quotes, and a domain.
    ///
    /// Deviates: a local part may be longer than RFC 5321 §4.5.3.1.1 has it, since those of return addresses that forwarders and bulk
    /// senders make are.
    ///
    /// # Errors
    /// [`AddressError::LocalPart`] if it is empty, makes the address longer than 254 octets, or holds a control character.
    pub fn new(local_part: &str, domain: Domain) -> Result<Self, AddressError> {
        let room = Self::MAX_LENGTH.saturating_sub(domain.0.len() + 1).max(Self::MAX_LOCAL_PART);
        let valid = (1..=room).contains(&local_part.len()) && !local_part.chars().any(char::is_control);
        if valid { Ok(Self { local_part: local_part.into(), domain }) } else { Err(AddressError::LocalPart) }
    }

    /// What stands before the `@`, without quotes.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// What stands behind the `@`.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The address with its local part in lower case, and composed (NFC): the form under which a local account is known, whichever way
    /// a program writes it. RFC 6532 §3.1.
    #[must_use]
    pub fn to_lowercase(&self) -> Self {
        let mut local_part = self.local_part.to_lowercase();
        if !local_part.is_ascii() {
            local_part = local_part.nfc().collect();
        }
        Self { local_part: local_part.into(), domain: self.domain.clone() }
    }

    /// As SMTP writes it, the domain in A-labels: as a server takes it that knows nothing of SMTPUTF8, if the local part is ASCII.
    #[must_use]
    pub fn with_ascii_domain(&self) -> String {
        let Self { local_part, domain } = self;
        Self { local_part: local_part.clone(), domain: Domain(domain.to_ascii().into()) }.to_string()
    }

    /// True if it can be written without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain.0.is_ascii()
    }
}

/// `Dot-string`, with RFC 6531's non-ASCII characters.
fn is_dot_string(local_part: &str) -> bool {
    let atom_char = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    local_part.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atom_char))
}

impl fmt::Display for Address {
    /// As SMTP writes it, the local part quoted where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            return write!(f, "{}@{}", self.local_part, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local_part.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local_part, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        let domain = domain.parse()?;
        match local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => Self::new(&unquote(quoted)?, domain),
            None if is_dot_string(local_part) => Self::new(local_part, domain),
            None => Err(AddressError::LocalPart),
        }
    }
}

/// The content of a `Quoted-string`.
fn unquote(quoted: &str) -> Result<String, AddressError> {
    let mut content = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(AddressError::LocalPart),
            '\\' => content.push(chars.next().ok_or(AddressError::LocalPart)?),
            other => content.push(other),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(shown));
    }

    #[test]
    fn an_address_shows_as_smtp_writes_it() {
        check("Bob.Smith+tag@Example.ORG", "Bob.Smith+tag@example.org");
        check("\"bob smith\"@example.org", "\"bob smith\"@example.org");
        check("\"bob\"@example.org", "bob@example.org");
        check("\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org");
        check("josé@xn--bcher-kva.example", "josé@bücher.example");
        check("bob@[192.0.2.1]", "bob@[192.0.2.1]");
        check("bob@[IPv6:2001:db8::1]", "bob@[ipv6:2001:db8::1]");
    }

    /// RFC 6532 §3.1
    #[test]
    fn an_account_is_known_however_its_accents_and_capitals_are_written() {
        for text in ["jos\u{e9}@x.org", "JOS\u{c9}@x.org", "jose\u{301}@x.org", "JOSE\u{301}@x.org"] {
            assert_eq!(
                text.parse::<Address>().unwrap().to_lowercase().to_string(),
                "jos\u{e9}@x.org",
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "bob",
            "@example.org",
            "bob@",
            "b ob@example.org",
            ".bob@x.org",
            "bob@-x.org",
            "bob@x..org",
            "bob@[1.2.3]",
            "bob\r\n@x.org",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert!(format!("{}@x.org", "a".repeat(248)).parse::<Address>().is_ok());
        assert!(format!("{}@x.org", "a".repeat(249)).parse::<Address>().is_err());
    }
}
