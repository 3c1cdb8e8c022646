/// When a message arrived, as IMAP's INTERNALDATE: seconds since the Unix epoch and the zone it is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InternalDate {
    seconds: i64,
    offset_minutes: i16,
}

impl InternalDate {
    /// The moment `seconds` after the Unix epoch, shown in UTC.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self { seconds, offset_minutes: 0 }
    }

    /// The same moment, shown in the zone `minutes` east of UTC.
    #[must_use]
    pub const fn with_offset(self, minutes: i16) -> Self {
        Self { offset_minutes: minutes, ..self }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// Minutes east of UTC.
    #[must_use]
    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// The day on the calendar of its own zone, in days since 1970-01-01: what SEARCH SINCE and ON compare.
    #[must_use]
    pub fn day(self) -> i64 {
        self.seconds.saturating_add(i64::from(self.offset_minutes).saturating_mul(60)).div_euclid(86_400)
    }
}
