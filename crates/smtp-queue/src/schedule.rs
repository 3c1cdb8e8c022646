//! When to try again: pure, the time and the chance are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_config::QueueConfig;
use smtp_proto::ByMode;

use crate::{Deadline, Handling};

/// Exponential back-off between bounds, and the age at which a message is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    retry_min: Duration,
    retry_max: Duration,
    expire_after: Duration,
    /// `None` for never.
    warn_after: Option<Duration>,
}

impl Schedule {
    pub(crate) fn new(config: &QueueConfig) -> Self {
        let retry_max = config.retry_max.max(config.retry_min);
        let warn_after = (!config.warn_after.is_zero()).then_some(config.warn_after);
        Self { retry_min: config.retry_min, retry_max, expire_after: config.expire_after, warn_after }
    }

    /// What is to be done when with a message that `arrived` then. Its time begins when its sender lets it go (RFC 4865 §3), and may
    /// have an end of its own (RFC 2852 §4).
    pub(crate) fn times(&self, arrived: Timestamp, handling: &Handling) -> Times {
        let begin = handling.release.unwrap_or(arrived).max(arrived);
        let expiry = later(begin, self.expire_after);
        let warning = self.warn_after.map(|wait| later(begin, wait));
        match handling.deadline {
            Some(Deadline { at, mode: ByMode::Return, .. }) => Times { expiry: expiry.min(at), warning },
            Some(Deadline { at, mode: ByMode::Notify, .. }) => Times { expiry, warning: Some(at) },
            None => Times { expiry, warning },
        }
    }

    /// When to try again after `attempts` failed ones (at least 1). `chance`, any number, spreads the attempts of many
    /// messages by a fifth of the wait to either side. An attempt falls on the warning, the last one on the expiry, so that no report is
    /// late.
    pub(crate) fn next_attempt(
        &self,
        attempts: u32,
        times: &Times,
        now: Timestamp,
        chance: u32,
    ) -> Timestamp {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let wait = self.retry_min.saturating_mul(doubled).min(self.retry_max);
        let factor = 0.8 + 0.4 * f64::from(chance) / f64::from(u32::MAX);
        let spread = Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(self.retry_max);
        let spread = spread.clamp(self.retry_min, self.retry_max);
        let warning = times.warning.filter(|moment| *moment > now).unwrap_or(Timestamp::MAX);
        later(now, spread).min(times.expiry).min(warning).max(now)
    }
}

/// What becomes of a message that is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// When it is given up.
    pub(crate) expiry: Timestamp,
    /// When its sender is to hear that it is late.
    warning: Option<Timestamp>,
}

impl Times {
    /// True if it is not to be tried again after `now`.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expiry
    }

    /// True if its sender is to know at `now` that it is late.
    pub(crate) fn is_late(&self, now: Timestamp) -> bool {
        self.warning.is_some_and(|moment| now >= moment)
    }
}

fn later(moment: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    moment.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn schedule() -> Schedule {
        Schedule {
            retry_min: MINUTE,
            retry_max: 60 * MINUTE,
            expire_after: 5 * 24 * 60 * MINUTE,
            warn_after: Some(4 * 60 * MINUTE),
        }
    }

    fn waits(chance: u32) -> Vec<i64> {
        let now = Timestamp::UNIX_EPOCH;
        let times = schedule().times(now, &Handling::default());
        (1..=9).map(|attempt| schedule().next_attempt(attempt, &times, now, chance).as_second()).collect()
    }

    #[test]
    fn waits_double_between_the_bounds() {
        assert_eq!(waits(u32::MAX / 2), [60, 119, 239, 479, 959, 1919, 3599, 3599, 3599]);
    }

    #[test]
    fn chance_spreads_the_waits_but_never_past_the_bounds() {
        assert_eq!(waits(0), [60, 96, 192, 384, 768, 1536, 2880, 2880, 2880]);
        assert_eq!(waits(u32::MAX), [72, 144, 288, 576, 1152, 2304, 3600, 3600, 3600]);
    }

    /// When attempts are made at a message that arrives at the epoch and is never delivered, in seconds, and which of them is the first
    /// one at which it is late.
    fn attempts(handling: &Handling) -> (Vec<i64>, Option<i64>) {
        let arrived = Timestamp::UNIX_EPOCH;
        let times = schedule().times(arrived, handling);
        let (mut now, mut attempts) = (handling.release.unwrap_or(arrived), Vec::new());
        let mut late = None;
        while !times.is_expired(now) {
            attempts.push(now.as_second());
            late = late.or_else(|| times.is_late(now).then_some(now.as_second()));
            let count = u32::try_from(attempts.len()).unwrap();
            now = schedule().next_attempt(count, &times, now, count.wrapping_mul(2_654_435_761));
        }
        attempts.push(now.as_second());
        (attempts, late)
    }

    const HOUR: i64 = 3600;

    #[test]
    fn weeks_of_retries_end_at_the_expiry_and_one_falls_on_the_warning() {
        let (attempts, late) = attempts(&Handling::default());
        assert_eq!((attempts.last(), late), (Some(&(120 * HOUR)), Some(4 * HOUR)));
        assert!((120..160).contains(&attempts.len()), "{}", attempts.len());
    }

    /// RFC 4865 §3, RFC 2852 §4
    #[test]
    fn a_sender_sets_when_attempts_begin_and_end() {
        let moment = |seconds| Timestamp::from_second(seconds).unwrap();
        let (held, late) = attempts(&Handling { release: Some(moment(10 * HOUR)), ..Handling::default() });
        assert_eq!((held.first(), held.last()), (Some(&(10 * HOUR)), Some(&(130 * HOUR))));
        assert_eq!(late, Some(14 * HOUR));
        let by = |mode| Handling {
            deadline: Some(Deadline { at: moment(HOUR), mode, trace: false }),
            ..Handling::default()
        };
        assert_eq!(attempts(&by(ByMode::Return)).0.last(), Some(&HOUR));
        let (noted, late) = attempts(&by(ByMode::Notify));
        assert_eq!((noted.last(), late), (Some(&(120 * HOUR)), Some(HOUR)));
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        const MAX: Duration = Duration::MAX;
        let schedule = Schedule { retry_min: MAX, retry_max: MAX, expire_after: MAX, warn_after: Some(MAX) };
        let times = schedule.times(Timestamp::MAX, &Handling::default());
        assert_eq!(schedule.next_attempt(u32::MAX, &times, Timestamp::MAX, 0), Timestamp::MAX);
    }
}
