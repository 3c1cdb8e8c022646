//! When a change is brought to the disk: before its commit returns, or together with the next one.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use whole_file::beside;

use super::Database;
use super::turn::Turn;
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

    /// Brings all that is committed into the database's file, and begins its log anew.
    fn checkpoint(&self) -> Result<(), QueueError> {
        let _turn = Turn::take(&self.turn)?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy = self.connection.query_row(checkpoint, [], |row| row.get(0));
        match is_busy.map_err(|source| self.failed(source))? {
            false => Ok(()),
            true => Err(QueueError::io("flushing", &self.path)(ErrorKind::ResourceBusy.into())),
        }
    }
}

/// What this process has committed to be flushed later.
#[derive(Debug)]
pub(super) struct Unflushed {
    database: PathBuf,
    /// The database's log, held open: the system tells of a write that failed once, whoever has the file open by then.
    log: Mutex<Option<File>>,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are on the disk.
    flushed: watch::Sender<u64>,
    /// A flush is about to begin.
    is_due: AtomicBool,
    /// A flush has failed. Then the system takes what it could not write for written, and a further flush of the log says nothing; what stands in the
    /// log behind that could not be read either.
    is_doubtful: AtomicBool,
}

impl Unflushed {
    /// Of a database that is open.
    pub(super) fn of(database: &Path) -> Arc<Self> {
        Arc::new(Self {
            database: database.to_owned(),
            log: Mutex::new(File::open(log_of(database)).ok()),
            committed: AtomicU64::new(0),
            flushed: watch::Sender::new(0),
            is_due: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
        })
    }

    pub(super) fn count(&self) {
        self.committed.fetch_add(1, Ordering::AcqRel);
    }

    /// Commits so far.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// A commit behind so many others was flushed, and they with it.
    pub(super) fn flushed_with(&self, committed: u64) {
        if !self.is_doubtful.load(Ordering::Acquire) {
            self.note(committed);
        }
    }

    /// A flush may have failed.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Release);
    }

    /// Has what was committed flushed before long, by one flush for all that comes meanwhile.
    pub(super) fn flush_soon(self: &Arc<Self>) {
        if self.is_any() && !self.is_due.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).flush_later());
        }
    }

    /// Waits until all is on the disk that is committed now.
    pub(super) async fn gone(self: &Arc<Self>) {
        let committed = self.committed();
        let mut flushed = self.flushed.subscribe();
        self.flush_soon();
        // It fails only without a sender.
        let _ = flushed.wait_for(|flushed| *flushed >= committed).await;
    }

    pub(super) fn is_any(&self) -> bool {
        self.committed() > *self.flushed.borrow()
    }

    async fn flush_later(self: Arc<Self>) {
        let mut wait = LAG;
        loop {
            sleep(wait).await;
            let this = Arc::clone(&self);
            let flushed = spawn_blocking(move || this.flush()).await;
            let flushed =
                flushed.map_err(|error| QueueError::io("flushing", &self.database)(io::Error::other(error)));
            let Err(error) = flushed.flatten() else { return };
            complain(&error);
            if self.is_due.swap(true, Ordering::AcqRel) {
                return;
            }
            wait = TROUBLE;
        }
    }

    /// Brings all to the disk that is committed now. Blocks.
    pub(super) fn flush(&self) -> Result<(), QueueError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: what is committed from here on has the next flush.
        self.is_due.store(false, Ordering::Release);
        let committed = self.committed();
        if self.is_any() {
            self.flush_log(&mut log).inspect_err(|_| self.doubt())?;
            self.note(committed);
        }
        Ok(())
    }

    fn flush_log(&self, log: &mut Option<File>) -> Result<(), QueueError> {
        let path = log_of(&self.database);
        let is_sound = !self.is_doubtful.load(Ordering::Acquire);
        if let Some(log) = log.as_ref().filter(|log| is_sound && is_at(log, &path)) {
            return log.sync_data().map_err(QueueError::io("flushing", path));
        }
        *log = File::open(path).ok();
        Database::open(&self.database)?.checkpoint()?;
        self.is_doubtful.store(false, Ordering::Release);
        Ok(())
    }

    fn note(&self, committed: u64) {
        self.flushed
            .send_if_modified(|flushed| std::mem::replace(flushed, committed.max(*flushed)) < committed);
    }
}

impl Drop for Unflushed {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            complain(&error);
        }
    }
}

fn complain(error: &QueueError) {
    tracing::error!(%error, "the outcomes of deliveries can't be brought to the disk");
}

fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

/// True if that is what lies there.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::{message, outcome, writer};
    use super::*;

    #[tokio::test]
    async fn what_was_committed_is_waited_for_until_a_flush_of_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let (there, away) = (folder.path().join("queue"), folder.path().join("away"));
        std::fs::create_dir(&there).unwrap();
        let database = there.join("queue.sqlite");
        // The system flushes no such file.
        std::os::unix::fs::symlink("/dev/null", log_of(&database)).unwrap();
        let unflushed = Unflushed::of(&database);
        unflushed.gone().await;
        unflushed.count();
        assert!(unflushed.flush().is_err() && unflushed.is_any());
        std::fs::rename(&there, &away).unwrap();
        let soon = tokio::time::timeout(TROUBLE * 3, unflushed.gone());
        soon.await.expect_err("there is nothing that could be flushed");
        std::fs::rename(&away, &there).unwrap();
        unflushed.gone().await;
        assert!(!unflushed.is_any());
    }

    /// The system says once that it could not write, and then takes it for written.
    #[test]
    fn behind_a_flush_that_failed_nothing_is_left_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let log = || log_of(&folder.path().join("queue.sqlite")).metadata().unwrap().len();
        writer.write(outcome("one")).unwrap();
        writer.flush().unwrap();
        assert!(log() > 0, "a flush of the log is enough");
        writer.write(outcome("one")).unwrap();
        writer.unflushed().doubt();
        writer.flush().unwrap();
        assert_eq!(log(), 0);
    }

    #[test]
    fn what_was_flushed_stays_flushed_whoever_ends_last() {
        let folder = tempfile::tempdir().unwrap();
        let unflushed = Unflushed::of(&folder.path().join("queue.sqlite"));
        unflushed.count();
        unflushed.count();
        unflushed.flushed_with(2);
        unflushed.flushed_with(1);
        assert!(!unflushed.is_any());
        unflushed.count();
        unflushed.doubt();
        unflushed.flushed_with(3);
        assert!(unflushed.is_any());
    }

    #[test]
    fn an_outcome_shares_the_flush_of_the_next_message() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        writer.write(outcome("one")).unwrap();
        assert!(!writer.is_flushed());
        writer.write(message("one")).unwrap();
        assert!(writer.is_flushed());
    }
}
