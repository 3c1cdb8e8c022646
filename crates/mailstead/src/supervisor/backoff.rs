use std::time::Duration;

/// The wait after the first death.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// A server that ran this long was well; its next death counts as the first.
const STABLE: Duration = Duration::from_secs(10);

/// How long to wait before a server is started again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The wait after a server died that had run for `ran`.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        let doubled = self.last.filter(|_| ran < STABLE).map_or(SHORTEST, |last| last.saturating_mul(2));
        let wait = doubled.min(LONGEST);
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_stable_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
        assert_eq!(backoff.next(STABLE), SHORTEST);
    }
}
