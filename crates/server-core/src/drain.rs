use tokio_util::sync::CancellationToken;

/// Tells every part of a server when to stop: accept nothing more, finish what is in flight, close at the next safe moment.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
}

impl Drain {
    /// Nothing is to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain.
    pub fn begin(&self) {
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
}
