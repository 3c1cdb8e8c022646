//! The parameters of MAIL that say when and how a message is to go on its way.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::ParseError;

/// `BY`: within which time a message is to be delivered. RFC 2852 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// From MAIL on; past already where it is negative.
    pub seconds: i32,
    /// What is to be done then.
    pub mode: ByMode,
    /// The sender wants to hear of each host that it is handed to.
    pub trace: bool,
}

/// What is to be done with a message that was not delivered in time. RFC 2852 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByMode {
    /// N: tell its sender, and go on.
    Notify,
    /// R: return it, and deliver it no more.
    Return,
}

impl ByMode {
    /// As it is sent.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Notify => 'N',
            Self::Return => 'R',
        }
    }
}

impl FromStr for DeliverBy {
    type Err = ParseError;

    /// `by-time ";" by-mode [by-trace]`, with `by-time = ["-" / "+"] 1*9DIGIT`. One that is to be returned needs some time.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (time, mode) = text.split_once(';').ok_or(ParseError::Arguments)?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        let is_time = (1..=9).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
        let seconds: i32 = time.parse().ok().filter(|_| is_time).ok_or(ParseError::Arguments)?;
        let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
            "N" => (ByMode::Notify, false),
            "NT" => (ByMode::Notify, true),
            "R" => (ByMode::Return, false),
            "RT" => (ByMode::Return, true),
            _ => return Err(ParseError::Arguments),
        };
        if mode == ByMode::Return && seconds <= 0 {
            return Err(ParseError::Arguments);
        }
        Ok(Self { seconds, mode, trace })
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = if self.trace { "T" } else { "" };
        write!(f, "{};{}{trace}", self.seconds, self.mode.letter())
    }
}

/// `HOLDFOR` or `HOLDUNTIL`: how long a message is to wait before it goes on its way. RFC 4865 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Seconds from now on.
    For(u32),
    /// Until then.
    Until(Timestamp),
}

impl Hold {
    /// `future-release-integer = %x31-39 *8DIGIT`
    pub(crate) fn seconds(text: &str) -> Result<Self, ParseError> {
        let is_integer = (1..=9).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_digit())
            && !text.starts_with('0');
        text.parse().ok().filter(|_| is_integer).map(Self::For).ok_or(ParseError::Arguments)
    }

    /// `date-time` of RFC 3339, to the second.
    pub(crate) fn moment(text: &str) -> Result<Self, ParseError> {
        let is_date_time = text.get(10..11).is_some_and(|t| t.eq_ignore_ascii_case("T"));
        text.parse().ok().filter(|_| is_date_time).map(Self::Until).ok_or(ParseError::Arguments)
    }

    /// When the message is released that comes `now`.
    #[must_use]
    pub fn release(self, now: Timestamp) -> Timestamp {
        match self {
            Self::For(seconds) => {
                let wait = Duration::from_secs(seconds.into());
                now.checked_add(wait).unwrap_or(Timestamp::MAX)
            }
            Self::Until(moment) => moment,
        }
    }
}

impl fmt::Display for Hold {
    /// With its keyword.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(seconds) => write!(f, "HOLDFOR={seconds}"),
            Self::Until(moment) => write!(f, "HOLDUNTIL={moment}"),
        }
    }
}

/// `MT-PRIORITY`: how much a message matters beside others, from -9 to 9. RFC 6710 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(i8);

impl Priority {
    /// What a message has that says nothing.
    pub const NORMAL: Self = Self(0);
    /// Of mail that waits for all that nothing is said of.
    pub const BULK: Self = Self(-1);

    /// As a number.
    #[must_use]
    pub const fn get(self) -> i8 {
        self.0
    }
}

impl TryFrom<i64> for Priority {
    type Error = ParseError;

    fn try_from(number: i64) -> Result<Self, ParseError> {
        let number = i8::try_from(number).map_err(|_| ParseError::Arguments)?;
        if (-9..=9).contains(&number) { Ok(Self(number)) } else { Err(ParseError::Arguments) }
    }
}

impl FromStr for Priority {
    type Err = ParseError;

    /// `priority-value = (["-"] NZDIGIT) / "0"`
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digit = text.strip_prefix('-').unwrap_or(text);
        let is_value = digit.len() == 1 && text != "-0" && digit.bytes().all(|c| c.is_ascii_digit());
        text.parse().ok().filter(|_| is_value).map(Self).ok_or(ParseError::Arguments)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2852 §4
    #[test]
    fn a_time_for_delivery_says_what_is_done_when_it_is_over() {
        for (text, seconds, mode, trace) in [
            ("120;R", 120, ByMode::Return, false),
            ("+999999999;nt", 999_999_999, ByMode::Notify, true),
            ("-5;N", -5, ByMode::Notify, false),
            ("1;RT", 1, ByMode::Return, true),
        ] {
            assert_eq!(text.parse(), Ok(DeliverBy { seconds, mode, trace }), "{text}");
        }
        for wrong in
            ["", "60", "60;", "60;X", "60;T", "60;RN", ";R", "0;R", "-1;R", "1000000000;N", "+-1;N", "1.5;N"]
        {
            assert_eq!(wrong.parse::<DeliverBy>(), Err(ParseError::Arguments), "{wrong}");
        }
        let by = DeliverBy { seconds: -5, mode: ByMode::Notify, trace: true };
        assert_eq!(by.to_string(), "-5;NT");
    }

    /// RFC 4865 §3, RFC 3339 §5.6
    #[test]
    fn a_message_is_held_for_a_time_or_until_a_moment() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(Hold::seconds("86400").unwrap().release(now).to_string(), "1970-01-02T00:00:00Z");
        for (text, expected) in [
            ("2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"),
            ("2026-12-01t08:00:00.5+01:00", "2026-12-01T07:00:00.5Z"),
        ] {
            assert_eq!(Hold::moment(text).unwrap().release(now).to_string(), expected, "{text}");
        }
        for wrong in ["", "0", "01", "-1", "+1", "1234567890", "1m"] {
            assert!(Hold::seconds(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "2026-12-01",
            "2026-12-01 08:00:00Z",
            "2026-12-01T08:00:00",
            "tomorrow",
            "2026-13-01T08:00:00Z",
        ] {
            assert!(Hold::moment(wrong).is_err(), "{wrong}");
        }
    }

    /// RFC 6710 §3
    #[test]
    fn a_priority_is_one_digit() {
        for number in -9_i8..=9 {
            assert_eq!(number.to_string().parse(), Ok(Priority(number)));
            assert_eq!(Priority::try_from(i64::from(number)), Ok(Priority(number)));
        }
        for wrong in ["", "-", "10", "-10", "+1", "-0", "01", "1.0"] {
            assert!(wrong.parse::<Priority>().is_err(), "{wrong}");
        }
        assert!(Priority::try_from(10).is_err() && Priority::try_from(-300).is_err());
    }
}
