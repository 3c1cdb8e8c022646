use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Tells every part of a server when to stop: accept nothing more, finish what is in flight, close at the next safe moment.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    began: Arc<OnceLock<Instant>>,
}

impl Drain {
    /// Nothing is to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain.
    pub fn begin(&self) {
        self.began.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// True once draining began.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until draining begins. Safe to drop and call again.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Waits until draining has begun and nine tenths of the `whole` time that it may take are over: who has not finished then won't, and there is
    /// time yet to say so. Safe to drop and call again.
    pub async fn nearly_over(&self, whole: Duration) {
        self.begun().await;
        let began = self.began.get().copied().unwrap_or_else(Instant::now);
        sleep_until(began + whole * 9 / 10).await;
    }
}
