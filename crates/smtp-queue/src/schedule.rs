//! When to try again: pure, the time and the chance are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_config::QueueConfig;

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

    /// True if a message that `arrived` then is not to be tried again after `now`.
    pub(crate) fn is_expired(&self, arrived: Timestamp, now: Timestamp) -> bool {
        now >= self.expiry(arrived)
    }

    /// True if the sender of a message that `arrived` then is to know at `now` that it is late.
    pub(crate) fn is_late(&self, arrived: Timestamp, now: Timestamp) -> bool {
        self.warning(arrived).is_some_and(|moment| now >= moment)
    }

    /// When to try again after `attempts` failed ones (at least 1). `chance`, any number, spreads the attempts of many
    /// messages by a fifth of the wait to either side. An attempt falls on the warning, the last one on the expiry, so that no report is late.
    pub(crate) fn next_attempt(
        &self,
        attempts: u32,
        arrived: Timestamp,
        now: Timestamp,
        chance: u32,
    ) -> Timestamp {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let wait = self.retry_min.saturating_mul(doubled).min(self.retry_max);
        let factor = 0.8 + 0.4 * f64::from(chance) / f64::from(u32::MAX);
        let spread = Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(self.retry_max);
        let spread = spread.clamp(self.retry_min, self.retry_max);
        let warning = self.warning(arrived).filter(|moment| *moment > now).unwrap_or(Timestamp::MAX);
        later(now, spread).min(self.expiry(arrived)).min(warning).max(now)
    }

    /// When a message is given up.
    pub(crate) fn expiry(&self, arrived: Timestamp) -> Timestamp {
        later(arrived, self.expire_after)
    }

    fn warning(&self, arrived: Timestamp) -> Option<Timestamp> {
        self.warn_after.map(|wait| later(arrived, wait))
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
        (1..=9).map(|attempt| schedule().next_attempt(attempt, now, now, chance).as_second()).collect()
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

    #[test]
    fn weeks_of_retries_end_at_the_expiry() {
        let arrived = Timestamp::UNIX_EPOCH;
        let (mut now, mut attempts, mut late) = (arrived, 0, Vec::new());
        while !schedule().is_expired(arrived, now) {
            attempts += 1;
            if schedule().is_late(arrived, now) && late.is_empty() {
                late.push(now.as_second());
            }
            now = schedule().next_attempt(attempts, arrived, now, attempts.wrapping_mul(2_654_435_761));
        }
        assert_eq!(now.as_second(), 5 * 24 * 3600);
        assert_eq!(late, [4 * 3600], "an attempt falls on the warning");
        assert!((120..160).contains(&attempts), "{attempts}");
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        const MAX: Duration = Duration::MAX;
        let schedule = Schedule { retry_min: MAX, retry_max: MAX, expire_after: MAX, warn_after: Some(MAX) };
        assert_eq!(schedule.next_attempt(u32::MAX, Timestamp::MAX, Timestamp::MAX, 0), Timestamp::MAX);
    }
}
