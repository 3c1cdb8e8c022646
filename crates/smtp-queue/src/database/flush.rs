//! When a change is brought to the disk: before its commit returns, or together with the next one.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use whole_file::beside;

use super::Database;
use crate::QueueError;

/// How long a change waits for another one to share its flush with.
const LAG: Duration = Duration::from_millis(5);
/// How long after a flush that failed the next one begins.
const TROUBLE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// When a change is on the disk. A death of the process never takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// Before its commit returns.
    AtCommit,
    /// With the next change of any process, or soon, by [`Unflushed`]: until then a crash of the machine takes it back.
    Later,
}

impl Flush {
    /// What SQLite calls it, where it has a log.
    pub(super) const fn synchronous(self) -> &'static str {
        match self {
            Self::AtCommit => "FULL",
            Self::Later => "NORMAL",
        }
    }
}

impl Database {
    pub(super) fn set_flush(&self, flush: Flush) -> Result<(), QueueError> {
        if self.flush.replace(flush) != flush {
            let set = self.connection.pragma_update(None, "synchronous", flush.synchronous());
            set.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }
}

/// What this process has committed to be flushed later.
#[derive(Debug)]
pub(super) struct Unflushed {
    log: PathBuf,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are on the disk.
    flushed: watch::Sender<u64>,
    /// A flush is about to begin.
    is_due: AtomicBool,
}

impl Unflushed {
    pub(super) fn of(database: &Path) -> Arc<Self> {
        let (committed, flushed) = (AtomicU64::new(0), watch::Sender::new(0));
        Arc::new(Self { log: beside(database, "-wal"), committed, flushed, is_due: AtomicBool::new(false) })
    }

    pub(super) fn count(&self) {
        self.committed.fetch_add(1, Ordering::AcqRel);
    }

    /// Has what was committed flushed before long, by one flush for all that comes meanwhile.
    pub(super) fn flush_soon(self: &Arc<Self>) {
        if self.is_any() && !self.is_due.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).flush_later());
        }
    }

    /// Waits until all is on the disk that is committed now.
    pub(super) async fn gone(self: &Arc<Self>) {
        let committed = self.committed.load(Ordering::Acquire);
        let mut flushed = self.flushed.subscribe();
        self.flush_soon();
        // It fails only without a sender.
        let _ = flushed.wait_for(|flushed| *flushed >= committed).await;
    }

    fn is_any(&self) -> bool {
        self.committed.load(Ordering::Acquire) > *self.flushed.borrow()
    }

    async fn flush_later(self: Arc<Self>) {
        let mut wait = LAG;
        loop {
            sleep(wait).await;
            let this = Arc::clone(&self);
            let flushed = spawn_blocking(move || this.flush()).await.map_err(io::Error::other);
            let Err(error) = flushed.flatten() else { return };
            tracing::error!(%error, log = %self.log.display(), "the outcomes of deliveries can't be brought to the disk");
            if self.is_due.swap(true, Ordering::AcqRel) {
                return;
            }
            wait = TROUBLE;
        }
    }

    fn flush(&self) -> io::Result<()> {
        // In this order: what is committed from here on has the next flush.
        self.is_due.store(false, Ordering::Release);
        let committed = self.committed.load(Ordering::Acquire);
        match File::open(&self.log) {
            Ok(log) => log.sync_data()?,
            // Who closes the database last has brought all into it before the log is removed, and on the disk.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // One that began later may have ended before.
        self.flushed
            .send_if_modified(|flushed| std::mem::replace(flushed, committed.max(*flushed)) < committed);
        Ok(())
    }
}

impl Drop for Unflushed {
    fn drop(&mut self) {
        if self.is_any()
            && let Err(error) = self.flush()
        {
            tracing::error!(%error, log = %self.log.display(), "the outcomes of deliveries can't be brought to the disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_committed_is_waited_for_until_a_flush_of_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("queue");
        let database = place.join("queue.sqlite");
        let unflushed = Unflushed::of(&database);
        unflushed.gone().await;
        unflushed.count();
        std::fs::write(&place, "no folder").unwrap();
        let soon = tokio::time::timeout(TROUBLE * 3, unflushed.gone());
        soon.await.expect_err("there is no log that could be flushed");
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        std::fs::write(beside(&database, "-wal"), "").unwrap();
        unflushed.gone().await;
        assert!(!unflushed.is_any());
        unflushed.count();
        assert!(unflushed.is_any());
        unflushed.flush_soon();
        unflushed.gone().await;
    }
}
