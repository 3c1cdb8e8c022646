//! The parameters by which a sender asks for delivery status notifications: RFC 3461 §4.

use std::fmt::{self, Write as _};
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

    /// True if a delivery is to be reported.
    #[must_use]
    pub const fn of_success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }

    /// True if a delay is to be reported.
    #[must_use]
    pub const fn of_delay(self) -> bool {
        matches!(self, Self::On { delay: true, .. })
    }

    /// The same without reports of deliveries.
    #[must_use]
    pub const fn without_success(self) -> Self {
        match self {
            Self::On { failure, delay, .. } if failure || delay => {
                Self::On { success: false, failure, delay }
            }
            Self::On { .. } | Self::Never => Self::Never,
        }
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
    /// The address, decoded: printable ASCII, of the kind `utf-8` any address. One of that kind that is malformed is as it came.
    pub address: String,
    /// It says that it is of the kind `utf-8` and is not as RFC 6533 §3 has that: it goes on, and is reported, without alteration.
    pub is_malformed: bool,
}

/// The kind of addresses that are not ASCII. RFC 6533 §3.
const UTF8: &str = "utf-8";

impl OriginalRecipient {
    /// An address of the internet.
    #[must_use]
    pub fn of(address: &Address) -> Self {
        let address = address.to_string();
        let kind = if address.is_ascii() { "rfc822" } else { UTF8 };
        Self { kind: kind.to_owned(), address, is_malformed: false }
    }

    /// That of an address that the sender knows, where no parameter of his names it; `None` if it would be longer than a parameter may be.
    /// RFC 3461 §4.2.
    #[must_use]
    pub fn standing_for(address: &Address) -> Option<Self> {
        Some(Self::of(address)).filter(|it| is_short(&it.to_string()) && is_short(&it.in_utf8()))
    }

    /// As a server gets it that takes UTF-8 in commands (`utf-8-addr-unitext`); all others get what [`Self`] shows. RFC 6533 §3.
    #[must_use]
    pub fn in_utf8(&self) -> String {
        if self.is_malformed {
            format!("{};{}", self.kind, self.address)
        } else if self.is_utf8() {
            format!("{};{}", self.kind, unitext(&self.address, false))
        } else {
            self.to_string()
        }
    }

    /// As a field of a report has it, which may hold UTF-8 or not. RFC 3464 §2.3.1, RFC 6533 §4.1.
    #[must_use]
    pub fn in_report(&self, utf8: bool) -> String {
        let address = match (self.is_utf8(), utf8) {
            (true, false) => self.in_ascii(),
            (true, true) | (false, _) => self.address.clone(),
        };
        format!("{}; {address}", self.kind)
    }

    fn is_utf8(&self) -> bool {
        self.kind.eq_ignore_ascii_case(UTF8)
    }

    /// Of the kind `utf-8`.
    fn in_ascii(&self) -> String {
        if self.is_malformed { with_points(&self.address) } else { unitext(&self.address, true) }
    }

    fn of_utf8(kind: &str, encoded: &str) -> Option<Self> {
        let decoded = of_unitext(encoded).filter(|text| text.parse::<Address>().is_ok());
        let is_malformed = decoded.is_none();
        let address = decoded.or_else(|| is_esmtp_value(encoded).then(|| encoded.to_owned()))?;
        Some(Self { kind: kind.to_owned(), address, is_malformed })
    }
}

/// RFC 3461 §4.2
const fn is_short(original: &str) -> bool {
    "ORCPT=".len() + original.len() <= MAX_ORCPT
}

impl FromStr for OriginalRecipient {
    type Err = ParseError;

    /// `addr-type ";" xtext`, or behind `utf-8` the `utf-8-enc-addr` of RFC 6533 §3 or any other value of a parameter, since the report is to
    /// show that too.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (kind, address) = text.split_once(';').ok_or(ParseError::Arguments)?;
        let is_atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        if kind.is_empty() || !kind.bytes().all(is_atom) || !is_short(text) {
            return Err(ParseError::Arguments);
        }
        let of_any_kind =
            || printable(address).map(|address| Self { kind: kind.to_owned(), address, is_malformed: false });
        let is_utf8 = kind.eq_ignore_ascii_case(UTF8);
        let found = if is_utf8 { Self::of_utf8(kind, address) } else { of_any_kind() };
        found.ok_or(ParseError::Arguments)
    }
}

impl fmt::Display for OriginalRecipient {
    /// In ASCII, as any server takes it.
    ///
    /// Deviates: RFC 3461 §5.2.1 (d) has the value go on as it came. Octets that came encoded without need go on plain, and hexadecimal digits
    /// in upper case: it is the same address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.is_utf8() { self.in_ascii() } else { xtext::encode(&self.address) };
        write!(f, "{};{address}", self.kind)
    }
}

/// What stands in no unitext itself. RFC 6533 §3.
const ENCODED: [char; 4] = ['\\', '+', '=', ' '];

/// `utf-8-addr-xtext`, which is ASCII, or `utf-8-addr-unitext`. RFC 6533 §3.
fn unitext(address: &str, ascii: bool) -> String {
    let mut text = String::with_capacity(address.len());
    for c in address.chars() {
        match c {
            other if ENCODED.contains(&other) => {
                // Writing to a String can't fail.
                let _ = write!(text, "\\x{{{:02X}}}", u32::from(c));
            }
            other if ascii && !other.is_ascii() => {
                let _ = write!(text, "\\x{{{:02X}}}", u32::from(other));
            }
            other => text.push(other),
        }
    }
    text
}

/// What is no unitext, where only ASCII goes through.
fn with_points(malformed: &str) -> String {
    let mut text = String::with_capacity(malformed.len());
    for c in malformed.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            // Writing to a String can't fail.
            let _ = write!(text, "\\x{{{:02X}}}", u32::from(c));
        }
    }
    text
}

/// `esmtp-value`, with what RFC 6531 §3.3 adds to it, or nothing, as xtext may be: RFC 5321 §4.1.2, RFC 3461 §4.
fn is_esmtp_value(text: &str) -> bool {
    !text.chars().any(|c| c == '=' || c == ' ' || c.is_control())
}

/// What `utf-8-enc-addr` stands for, if it is one. RFC 6533 §3.
fn of_unitext(encoded: &str) -> Option<String> {
    let (mut text, mut rest) = (String::with_capacity(encoded.len()), encoded);
    while let Some((plain, escape)) = rest.split_once('\\') {
        let (digits, behind) = escape.strip_prefix("x{")?.split_once('}')?;
        text.push_str(plain);
        text.push(hex_point(digits)?);
        rest = behind;
    }
    text.push_str(rest);
    let is_plain = !encoded.contains(['+', '=', ' ']);
    (is_plain && !text.chars().any(char::is_control)).then_some(text)
}

/// `HEXPOINT`: two to six digits, no zero before them, of what is not ASCII or must not stand there itself. The control characters that it has
/// besides stand in no address.
fn hex_point(digits: &str) -> Option<char> {
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    let is_shortest = format!("{:02X}", u32::from(c)).eq_ignore_ascii_case(digits);
    (is_shortest && (!c.is_ascii() || ENCODED.contains(&c))).then_some(c)
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

/// `envid-parameter = "ENVID=" xtext`, its value decoded. An `esmtp-value` has at least one character: RFC 5321 §4.1.2.
///
/// Deviates: RFC 3461 §5.2.1 (a) has the value go on as it came. It is encoded anew, and stands for the same.
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

    #[test]
    fn without_deliveries_the_rest_is_wanted_or_nothing() {
        for (text, expected) in [("SUCCESS", "NEVER"), ("SUCCESS,DELAY", "DELAY"), ("NEVER", "NEVER")] {
            assert_eq!(text.parse::<Notify>().unwrap().without_success().to_string(), expected);
        }
    }

    /// RFC 6533 §3: what is sent to others, with UTF-8 and without, and what a report shows.
    #[test]
    fn an_address_that_is_not_ascii_has_a_form_in_ascii() {
        for text in ["utf-8;j\\x{FC}rg\\x{2B}x@b\\x{FC}cher.example", "UTF-8;jürg\\x{2B}x@bücher.example"] {
            let original = text.parse::<OriginalRecipient>().unwrap();
            assert_eq!(original.address, "jürg+x@bücher.example");
            let ascii = "j\\x{FC}rg\\x{2B}x@b\\x{FC}cher.example";
            assert_eq!(original.to_string(), format!("{};{ascii}", original.kind));
            assert_eq!(original.in_utf8(), format!("{};jürg\\x{{2B}}x@bücher.example", original.kind));
            assert_eq!(original.in_report(false), format!("{}; {ascii}", original.kind));
            assert_eq!(original.in_report(true), format!("{}; jürg+x@bücher.example", original.kind));
        }
    }

    /// RFC 6533 §3: what says that it is of the kind and is none is taken, and goes on and is reported as it came.
    #[test]
    fn a_malformed_address_of_the_kind_utf_8_is_kept_as_it_came() {
        for value in [
            "",
            "no-address",
            "a+2Bb@x.org",
            "a\\b@x.org",
            "a\\x{41}@x.org",
            "a\\x{0A}@x.org",
            "\\x{D800}@x.org",
            "\\x{A}@x.org",
            "\\x{0FC}@x.org",
            "\\x{110000}@x.org",
            "\\x{+FC}@x.org",
            "\\x{FC@x.org",
            "\\x{20}@x.org",
        ] {
            let text = format!("utf-8;{value}");
            let original = text.parse::<OriginalRecipient>().unwrap();
            assert!(original.is_malformed, "{text}");
            assert_eq!(original.in_utf8().parse().as_ref(), Ok(&original), "as the queue keeps it");
            assert_eq!((original.to_string(), original.in_utf8()), (text.clone(), text.clone()));
            let shown = format!("utf-8; {value}");
            assert_eq!((original.in_report(true), original.in_report(false)), (shown.clone(), shown));
        }
        let original = "UTF-8;jürg+2B".parse::<OriginalRecipient>().unwrap();
        assert_eq!(
            (original.in_utf8().as_str(), original.to_string().as_str()),
            ("UTF-8;jürg+2B", "UTF-8;j\\x{FC}rg+2B")
        );
        assert_eq!(original.in_report(false), "UTF-8; j\\x{FC}rg+2B", "where only ASCII goes through");
        for wrong in ["utf-8;a=b", "utf-8;a b", "utf-8;a\u{7}", "utf-8;a\u{85}"] {
            assert!(wrong.parse::<OriginalRecipient>().is_err(), "{wrong}");
        }
    }

    /// RFC 6533 §3
    #[test]
    fn what_must_not_stand_in_a_parameter_is_encoded_and_nothing_else() {
        let original = "utf-8;\"a\\x{20}\\x{2B}\\x{3d}\\x{5C}\\x{5C}\\x{1F600}\"@x.org"
            .parse::<OriginalRecipient>()
            .unwrap();
        assert!(!original.is_malformed);
        assert_eq!(original.address, "\"a +=\\\\\u{1F600}\"@x.org");
        assert_eq!(original.in_utf8(), "utf-8;\"a\\x{20}\\x{2B}\\x{3D}\\x{5C}\\x{5C}\u{1F600}\"@x.org");
    }

    /// RFC 3461 §4, §4.2: `xtext` may be empty.
    #[test]
    fn an_original_recipient_may_have_a_type_and_nothing_else() {
        let original = "rfc822;".parse::<OriginalRecipient>().unwrap();
        assert_eq!((original.kind.as_str(), original.address.as_str()), ("rfc822", ""));
        assert_eq!(original.to_string(), "rfc822;");
    }

    /// RFC 3461 §4.2, §4.4
    #[test]
    fn identifiers_are_printable_ascii_within_their_lengths() {
        let original = "rfc822;Bob+2Btag@Example.org".parse::<OriginalRecipient>().unwrap();
        assert_eq!((original.kind.as_str(), original.address.as_str()), ("rfc822", "Bob+tag@Example.org"));
        assert_eq!(original.to_string(), "rfc822;Bob+2Btag@Example.org");
        for plusses in 1..=248 {
            let name = "+".repeat(plusses);
            let address: Address = format!("{name}@x.org").parse().unwrap();
            let made = OriginalRecipient::standing_for(&address);
            assert_eq!(made.is_some(), plusses * 3 + "ORCPT=rfc822;@x.org".len() <= MAX_ORCPT, "{plusses}");
            made.into_iter().for_each(|made| assert_eq!(made.to_string().parse(), Ok(made)));
        }
        let long = format!("rfc822;{}", "x".repeat(MAX_ORCPT));
        for wrong in [
            "",
            "rfc822",
            ";",
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
