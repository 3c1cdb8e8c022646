//! The dates that messages and mbox files carry.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The moment in the line before a message in an mbox, `From <sender> Thu Jan  1 00:00:00 1970`. Without a zone it is UTC,
/// as RFC 4155 has it; what programs put around the year is understood.
pub(super) fn in_from_line(line: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(line.get(..line.len().min(1024))?).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().skip(1).collect();
    let at = words.iter().position(|word| clock(word).is_some())?;
    let (hour, minute, second) = clock(words.get(at)?)?;
    let day: i8 = words.get(at.checked_sub(1)?)?.parse().ok()?;
    let month = words.get(at.checked_sub(2)?)?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
    let behind = words.get(at + 1..)?;
    let year: i16 = behind.iter().find(|word| word.len() == 4)?.parse().ok()?;
    let time = DateTime::new(year, i8::try_from(month).ok()?, day, hour, minute, second, 0).ok()?;
    let zone = behind.iter().find_map(|word| zone(word)).unwrap_or_default();
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() - zone)
}

/// The line before a message in an mbox. RFC 4155 wants the sender and UTC; the sender's address is in the message.
pub(super) fn from_line(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("From MAILER-DAEMON {}\n", time.strftime("%a %b %e %H:%M:%S %Y"))
}

/// `00:00:00` or `00:00`
fn clock(word: &str) -> Option<(i8, i8, i8)> {
    let mut parts = word.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some((hour, minute, second.min(59)))
}

/// `+0100`, in seconds east of UTC.
fn zone(word: &str) -> Option<i64> {
    let digits = word.strip_prefix(['+', '-'])?;
    let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    let seconds = number / 100 * 3600 + number % 100 * 60;
    Some(if word.starts_with('-') { -seconds } else { seconds })
}

/// The moment in a Date field. RFC 5322 §3.3.
pub(super) fn in_date_field(value: &[u8]) -> Option<i64> {
    let parser = DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(value.trim_ascii()).ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_lines_of_every_program_are_dated() {
        for line in [
            "From alice@example.org Fri Jul 14 02:40:00 2017\n",
            "From - Fri Jul 14 02:40:00 2017\r\n",
            "From 1573@xxx Fri Jul 14 02:40:00 +0000 2017\n",
            "From a b Fri Jul 14 04:40:00 2017 +0200\n",
            "From bob Fri Jul 14 02:40:00 UTC 2017\n",
        ] {
            assert_eq!(in_from_line(line.as_bytes()), Some(1_500_000_000), "{line}");
        }
        for line in ["From \n", "From here on it was 10:30 in the year 2017\n", "From May 4 on, at 10:30\n"] {
            assert_eq!(in_from_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_from_line_comes_back() {
        assert_eq!(from_line(1_499_000_000), "From MAILER-DAEMON Sun Jul  2 12:53:20 2017\n");
        for seconds in [-86_400 * 365, -1, 0, 1_499_000_000, 4_102_444_800] {
            assert_eq!(in_from_line(from_line(seconds).as_bytes()), Some(seconds));
        }
    }

    #[test]
    fn date_fields_are_read_with_comments_and_wrong_weekdays() {
        for value in ["Fri, 14 Jul 2017 02:40:00 +0000", "Mon, 14 Jul 2017 04:40:00 +0200 (CEST)\r\n"] {
            assert_eq!(in_date_field(value.as_bytes()), Some(1_500_000_000), "{value}");
        }
    }
}
