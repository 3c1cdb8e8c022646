//! How long hosts may keep us waiting: as long as RFC 5321 §4.5.3.2 says, but for when very many do so at the same time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What each further reply gets once a delivery's time is up.
const GRACE: Duration = Duration::from_secs(1);
/// How many times as long the reply to a whole message is waited for: given up too early, the message is sent twice. RFC 1047.
const FOR_THE_LAST_WORD: u32 = 10;

/// How long the hosts of one delivery may keep us waiting in all, for all deliveries together.
#[derive(Debug, Clone)]
pub(crate) struct Haste(Arc<watch::Sender<Duration>>);

impl Haste {
    /// None: only the time-outs count.
    pub(crate) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::MAX)))
    }

    /// Counts for deliveries that wait already too.
    pub(crate) fn set(&self, most: Duration) {
        self.0.send_if_modified(|known| std::mem::replace(known, most) != most);
    }

    /// A delivery begins.
    pub(crate) fn begin(&self) -> Patience {
        Patience { haste: self.clone(), begun: Instant::now() }
    }
}

/// What is left of the time of one delivery.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    haste: Haste,
    begun: Instant,
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Overdue {
    after: Duration,
    /// Not the time-out was over, but the time that there was.
    is_hurried: bool,
}

impl Overdue {
    /// True if the time-out was not over.
    pub(crate) const fn is_hurried(self) -> bool {
        self.is_hurried
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:.0?}", self.after)?;
        if self.is_hurried {
            f.write_str(", and too many other hosts don't answer either for us to wait longer")?;
        }
        Ok(())
    }
}

impl Patience {
    /// Waits for `work`, at most for `timeout`.
    pub(crate) async fn wait<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Overdue> {
        let now = Instant::now();
        self.bounded((now, timeout), work, |most| Some(self.begun.checked_add(most)?.max(now + GRACE))).await
    }

    /// The same for what decides whether a whole message was taken.
    pub(crate) async fn wait_long<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Overdue> {
        let now = Instant::now();
        self.bounded((now, timeout), work, |most| now.checked_add(most.saturating_mul(FOR_THE_LAST_WORD)))
            .await
    }

    /// True if no other host can be tried.
    pub(crate) fn is_over(&self) -> bool {
        self.begun.elapsed() >= *self.haste.0.borrow()
    }

    async fn bounded<T>(
        &self,
        (now, timeout): (Instant, Duration),
        work: impl Future<Output = T>,
        end: impl Fn(Duration) -> Option<Instant>,
    ) -> Result<T, Overdue> {
        let mut haste = self.haste.0.subscribe();
        tokio::pin!(work);
        loop {
            let hurried = end(*haste.borrow_and_update());
            let usual = now + timeout;
            let until = hurried.map_or(usual, |it| it.min(usual));
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(until) => return Err(Overdue { after: until - now, is_hurried: until < usual }),
                // Never closed: who waits has the other end.
                _ = haste.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LONG: Duration = Duration::from_secs(300);
    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn without_haste_the_timeout_counts() {
        let patience = Haste::none().begin();
        let overdue = [
            patience.wait(SHORT, pending::<()>()).await.unwrap_err(),
            patience.wait_long(SHORT, pending::<()>()).await.unwrap_err(),
        ];
        assert!(overdue.iter().all(|it| !it.is_hurried && it.after == SHORT), "{overdue:?}");
        assert!(!patience.is_over());
        assert_eq!(patience.wait(LONG, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_delivery_has_one_time_in_all_and_haste_reaches_what_waits_already() {
        let (haste, begun) = (Haste::none(), Instant::now());
        let patience = haste.begin();
        let (overdue, ()) = tokio::join!(patience.wait(LONG, pending::<()>()), async { haste.set(SHORT) });
        assert!(overdue.unwrap_err().is_hurried && patience.is_over() && begun.elapsed() >= SHORT);
        let overdue = patience.wait(LONG, pending::<()>()).await.unwrap_err();
        assert_eq!(overdue, Overdue { after: GRACE, is_hurried: true }, "no more than its grace");
        let overdue = patience.wait_long(LONG, pending::<()>()).await.unwrap_err();
        assert_eq!(overdue, Overdue { after: SHORT * FOR_THE_LAST_WORD, is_hurried: true });
        assert!(overdue.to_string().starts_with("no answer within 500ms, and too many"), "{overdue}");
        haste.set(Duration::MAX);
        assert!(!patience.wait(SHORT, pending::<()>()).await.unwrap_err().is_hurried);
    }
}
