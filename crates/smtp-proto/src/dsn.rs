//! The parameters by which a sender asks for delivery status notifications: RFC 3461 §4.

use std::fmt;
use std::str::FromStr;

use mail_types::Address;

use crate::{ParseError, xtext};

/// `ENVID=` and its value: RFC 3461 §4.4.
const MAX_ENVID: usize = 100 + "ENVID=".len();
/// `ORCPT=` and its value: RFC 3461 §4.2.
const MAX_ORCPT: usize = 500;

/// What may stand behind the path in RCPT. RFC 3461 §4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParameters {
    /// `None` for who has not said: failures.
    pub notify: Option<Notify>,
    /// Whom the sender has named.
    pub original: Option<OriginalRecipient>,
}

impl fmt::Display for RcptParameters {
    /// Each behind a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        self.original.as_ref().map_or(Ok(()), |original| write!(f, " ORCPT={original}"))
    }
}

/// How much of a message comes back with the report of its failure: `RET`. RFC 3461 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// FULL: all of it.
    Full,
    /// HDRS: its header.
    Headers,
}

/// What the sender wants to hear about a recipient: `NOTIFY`. RFC 3461 §4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Nothing at all.
    Never,
    /// At least one of these.
    On {
        /// That it was delivered.
        success: bool,
        /// That it can't be.
        failure: bool,
        /// That it takes longer than usual.
        delay: bool,
    },
}

impl Notify {
    /// True if a failure is to be reported.
    #[must_use]
    pub const fn of_failure(self) -> bool {
        matches!(self, Self::On { failure: true, .. })
    }

    /// What two of them want together; `None` for who has not said, and wants to hear of failures.
    #[must_use]
    pub fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let flags = |it: Option<Self>| match it {
            Some(Self::Never) => (false, false, false),
            Some(Self::On { success, failure, delay }) => (success, failure, delay),
            None => (false, true, false),
        };
        if one == other {
            return one;
        }
        let (one, other) = (flags(one), flags(other));
        Some(Self::On { success: one.0 || other.0, failure: one.1 || other.1, delay: one.2 || other.2 })
    }
}

impl FromStr for Notify {
    type Err = ParseError;

    /// `"NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )`
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => success = true,
                "FAILURE" => failure = true,
                "DELAY" => delay = true,
                _ => return Err(ParseError::Arguments),
            }
        }
        Ok(Self::On { success, failure, delay })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On { success, failure, delay } = *self else { return f.write_str("NEVER") };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<&str> =
            words.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, word)| word).collect();
        f.write_str(&words.join(","))
    }
}

/// Whom the sender has named, whatever became of it on the way: `ORCPT`. RFC 3461 §4.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `addr-type`, such as `rfc822` or `utf-8` (RFC 6533 §3).
    pub kind: String,
    /// The address, decoded; printable ASCII.
    pub address: String,
}

impl OriginalRecipient {
    /// An address of the internet; `None` for one that has no form in ASCII.
    #[must_use]
    pub fn of(address: &Address) -> Option<Self> {
        let address = address.to_string();
        address.is_ascii().then(|| Self { kind: "rfc822".to_owned(), address })
    }
}

impl FromStr for OriginalRecipient {
    type Err = ParseError;

    /// `addr-type ";" xtext`
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (kind, address) = text.split_once(';').ok_or(ParseError::Arguments)?;
        let is_atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        if kind.is_empty() || !kind.bytes().all(is_atom) || "ORCPT=".len() + text.len() > MAX_ORCPT {
            return Err(ParseError::Arguments);
        }
        let address = printable(address).filter(|address| !address.is_empty());
        Ok(Self { kind: kind.to_owned(), address: address.ok_or(ParseError::Arguments)? })
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, xtext::encode(&self.address))
    }
}

/// What xtext stands for, if that is printable ASCII, as a notification has no other.
fn printable(text: &str) -> Option<String> {
    xtext::decode(text).filter(|text| text.bytes().all(|octet| matches!(octet, b' '..=b'~')))
}

impl FromStr for Return {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Self::Full),
            "HDRS" => Ok(Self::Headers),
            _ => Err(ParseError::Arguments),
        }
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// `envid-parameter = "ENVID=" xtext`, its value decoded.
pub(crate) fn envelope_id(text: &str) -> Result<String, ParseError> {
    let is_short = "ENVID=".len() + text.len() <= MAX_ENVID;
    printable(text).filter(|id| is_short && !id.is_empty()).ok_or(ParseError::Arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3461 §4.1
    #[test]
    fn never_stands_alone() {
        let wants = |success, failure, delay| Ok(Notify::On { success, failure, delay });
        for (text, expected) in [
            ("never", Ok(Notify::Never)),
            ("Failure", wants(false, true, false)),
            ("SUCCESS,DELAY", wants(true, false, true)),
            ("NEVER,FAILURE", Err(ParseError::Arguments)),
            ("FAILURE,NEVER", Err(ParseError::Arguments)),
            ("SUCCESS,", Err(ParseError::Arguments)),
            ("", Err(ParseError::Arguments)),
            ("ALWAYS", Err(ParseError::Arguments)),
        ] {
            assert_eq!(text.parse::<Notify>(), expected, "{text}");
        }
    }

    #[test]
    fn two_that_lead_to_one_hear_what_either_wants() {
        let wants = |text: &str| Some(text.parse::<Notify>().unwrap());
        assert_eq!(Notify::both(wants("NEVER"), wants("NEVER")), wants("NEVER"));
        assert_eq!(Notify::both(wants("NEVER"), wants("SUCCESS")), wants("SUCCESS"));
        assert_eq!(Notify::both(None, wants("NEVER")), wants("FAILURE"));
        assert_eq!(Notify::both(wants("SUCCESS"), wants("DELAY")), wants("SUCCESS,DELAY"));
        assert_eq!(Notify::both(None, None), None);
    }

    /// RFC 3461 §4.2, §4.4
    #[test]
    fn identifiers_are_printable_ascii_within_their_lengths() {
        let original = "rfc822;Bob+2Btag@Example.org".parse::<OriginalRecipient>().unwrap();
        assert_eq!((original.kind.as_str(), original.address.as_str()), ("rfc822", "Bob+tag@Example.org"));
        assert_eq!(original.to_string(), "rfc822;Bob+2Btag@Example.org");
        let long = format!("rfc822;{}", "x".repeat(MAX_ORCPT));
        for wrong in [
            "",
            "rfc822",
            "rfc822;",
            ";bob@x.org",
            "rfc 822;bob",
            "rfc822;a+00b",
            "rfc822;+C3+A9",
            "rfc822;a=b",
            &long,
        ] {
            assert!(wrong.parse::<OriginalRecipient>().is_err(), "{wrong}");
        }
        assert_eq!(envelope_id("QQ+20314159").as_deref(), Ok("QQ 314159"));
        assert!(envelope_id(&"x".repeat(100)).is_ok());
        for wrong in ["", "+0D+0A", "a=b", &"x".repeat(101)] {
            assert!(envelope_id(wrong).is_err(), "{wrong}");
        }
    }
}
