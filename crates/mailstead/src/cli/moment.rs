use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mail_config::parse_duration;

use crate::output::UsageError;

/// A moment as operators write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `2026-11-28`, on the operator's calendar.
    Day(Date),
    /// `2026-11-28T07:00:00Z`
    At(Timestamp),
    /// `24h`: so long ago.
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = || text.parse().ok().filter(|_| text.len() == "2026-11-28".len()).map(Self::Day);
        let at = || text.parse().ok().map(Self::At);
        let ago = || parse_duration(text).map(Self::Ago);
        day().or_else(at).or_else(ago).ok_or_else(|| {
            "expected a day such as 2026-11-28, a moment such as 2026-11-28T07:00:00Z, or a time such as 24h"
                .to_owned()
        })
    }
}

impl Moment {
    /// Of a day, its beginning.
    pub(crate) fn begin(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(day) => midnight(day).unwrap_or(now),
            Self::At(at) => at,
            Self::Ago(time) => now.checked_sub(time).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// Of a day, the beginning of the next one.
    pub(crate) fn end(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(day) => day.tomorrow().ok().and_then(midnight).unwrap_or(now),
            Self::At(_) | Self::Ago(_) => self.begin(now),
        }
    }
}

fn midnight(day: Date) -> Option<Timestamp> {
    day.to_zoned(TimeZone::system()).ok().map(|midnight| midnight.timestamp())
}

/// From when to when is meant.
pub(crate) fn span(
    since: Option<Moment>,
    until: Option<Moment>,
    now: Timestamp,
) -> Result<[Option<Timestamp>; 2], UsageError> {
    let (since, until) = (since.map(|moment| moment.begin(now)), until.map(|moment| moment.end(now)));
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err(UsageError("--until lies before --since".to_owned()));
    }
    Ok([since, until])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_day_a_time_or_a_while_ago() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let begin = |text: &str| text.parse::<Moment>().map(|moment| moment.begin(now).to_string());
        assert_eq!(begin("2026-11-28T07:00:00Z").as_deref(), Ok("2026-11-28T07:00:00Z"));
        assert_eq!(begin("24h").as_deref(), Ok("2026-11-27T12:00:00Z"));
        let day: Moment = "2026-11-28".parse().unwrap();
        assert_eq!(day.end(now).duration_since(day.begin(now)).as_hours(), 24);
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-28T07:00", "24"] {
            assert!(begin(wrong).is_err(), "{wrong}");
        }
    }
}
