//! Work under the account's lock.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};

use rustix::fs::{FlockOperation, flock};

use super::Account;
use super::note::Note;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::Index;
use crate::mailbox_file::MailboxFile;
use crate::names::FileName;
use crate::shares;

/// An account that no other thread or process changes as long as this lives.
struct Held<'a> {
    account: &'a Account,
    index: MutexGuard<'a, Index>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.account.unlock() {
            tracing::error!(%error, "an account stays locked");
        }
    }
}

impl Account {
    /// Acts in one transaction while no other process changes the account. A damaged index is rebuilt, once.
    pub(crate) fn locked<T>(&self, act: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.locked_then(act, |value| value)
    }

    /// As [`Self::locked`]; once it is committed, `then` tells of it before another thread changes the account.
    pub(crate) fn locked_then<T, R>(
        &self,
        act: impl Fn(&Index) -> Result<T, StoreError>,
        then: impl FnOnce(T) -> R,
    ) -> Result<R, StoreError> {
        #[cfg(test)]
        TIMES_LOCKED.set(TIMES_LOCKED.get() + 1);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.flock(FlockOperation::LockExclusive).context("locking", &self.home.join("lock"))?;
        let outcome = self.in_transaction(&mut index, &act);
        self.unlock()?;
        let outcome = outcome.map(then);
        self.search.wake();
        outcome
    }

    fn hold(&self) -> Result<Held<'_>, StoreError> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.flock(FlockOperation::LockExclusive).context("locking", &self.home.join("lock"))?;
        Ok(Held { account: self, index })
    }

    /// Acts while no other process changes this account or the `other`, in one transaction of each; that of the other is committed
    /// first. Where it fails, `undo` mends the disk before others see it; once both are committed, `then` tells of it.
    pub(crate) fn locked_with<T, R>(
        &self,
        other: &Self,
        act: impl Fn(&Index, &Index) -> Result<T, StoreError>,
        undo: impl Fn(),
        then: impl FnOnce(T) -> R,
    ) -> Result<R, StoreError> {
        // In the order of their folders, so that two who do this never wait for each other.
        let is_first = self.home < other.home;
        let mut first = if is_first { self.hold()? } else { other.hold()? };
        let mut second = if is_first { other.hold()? } else { self.hold()? };
        let (mine, others) = if is_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
        let (others, is_committed) = (RefCell::new(others), Cell::new(false));
        let attempt = |index: &Index| {
            undo(); // what an attempt on a damaged index has left
            let act = |there: &Index| {
                if is_committed.get() {
                    there.distrust()?;
                }
                act(index, there).inspect_err(|_| undo())
            };
            let done = other.in_transaction(&mut others.borrow_mut().index, &act)?;
            is_committed.set(true);
            Ok(done)
        };
        let outcome = self.in_transaction(&mut mine.index, &attempt);
        if outcome.is_err() {
            undo();
            if is_committed.get() {
                // What is committed there was taken back: the folders decide.
                let _ = other.in_transaction(&mut others.borrow_mut().index, &Index::distrust);
            }
        }
        let outcome = outcome.map(then);
        self.search.wake();
        other.search.wake();
        outcome
    }

    /// As [`Self::locked`], for what is not worth waiting: `None` if another thread or process is at work.
    pub(crate) fn locked_if_free<T>(
        &self,
        act: impl Fn(&Index) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut index = match self.index.try_lock() {
            Ok(index) => index,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        match self.flock(FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            result => result.context("locking", &self.home.join("lock"))?,
        }
        let outcome = self.in_transaction(&mut index, &act);
        self.unlock()?;
        outcome.map(Some)
    }

    /// The number of the index's last transaction, in what is done once that is committed.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// True if nobody, in any process, has changed or removed the index since its transaction of this number, nor is at it.
    /// Waits for nobody: what is under way has not been acknowledged.
    pub(crate) fn is_at_rest_since(&self, commits: u64) -> bool {
        self.index.try_lock().is_ok_and(|index| index.is_current())
            && Note::read(&self.lock).is_ok_and(|note| note.commits == commits && !note.is_half_done())
    }

    fn flock(&self, operation: FlockOperation) -> std::io::Result<()> {
        flock(&self.lock, operation).map_err(std::io::Error::from)
    }

    fn unlock(&self) -> Result<(), StoreError> {
        self.flock(FlockOperation::Unlock).context("unlocking", &self.home.join("lock"))
    }

    fn in_transaction<T>(
        &self,
        index: &mut Index,
        act: &impl Fn(&Index) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        index.refresh()?;
        let note = self.begin_work()?;
        let is_doubted = self.is_doubted.swap(false, Ordering::Relaxed);
        let attempt = |index: &Index| {
            index.begin()?;
            let ground = if is_doubted { index.verify() } else { Ok(()) };
            let outcome = ground.and_then(|()| self.prepare(index, &note)).and_then(|commits| {
                let value = act(index)?;
                Ok((value, self.commit(index, &note, commits)?))
            });
            index.roll_back();
            outcome
        };
        let outcome = match attempt(index) {
            Err(StoreError::Index { path, source }) if index.is_at(&path) && index.is_lost(&source) => {
                index.recover(&source)?;
                attempt(index)
            }
            outcome => outcome,
        };
        match outcome {
            Ok((value, commits)) => {
                self.commits.store(commits, Ordering::Relaxed);
                self.tell(note.end(&self.lock, commits));
                Ok(value)
            }
            Err(error) => {
                let failed = matches!(error, StoreError::Io { .. } | StoreError::Index { .. });
                if !failed && !note.is_half_done() {
                    self.tell(note.end(&self.lock, note.commits));
                }
                Err(error)
            }
        }
    }

    /// Reads the note of who had the lock before, and notes that work is under way.
    fn begin_work(&self) -> Result<Note, StoreError> {
        let note = Note::read(&self.lock).context("reading", &self.home.join("lock"))?;
        if !note.is_half_done() {
            self.tell(Note::begin(&self.lock));
        }
        Ok(note)
    }

    fn tell(&self, noted: std::io::Result<()>) {
        // A full disk keeps nobody from reading mail.
        if let Err(error) = noted {
            tracing::debug!(home = %self.home.display(), %error, "it can't be noted how far the work is");
        }
    }

    /// Mends what the note tells of, before anybody relies on the index: the number of its last transaction.
    fn prepare(&self, index: &Index, note: &Note) -> Result<u64, StoreError> {
        let commits = index.commits()?;
        if commits < note.commits {
            if commits > 0 {
                tracing::warn!(home = %self.home.display(), "the index is an old one; every mailbox is compared as a whole");
            }
            index.outdate()?;
            return Ok(note.commits);
        }
        let boot = disk::boot_id();
        if let Some(before) = note.settled.as_deref().filter(|it| *it != boot && commits == note.commits) {
            index.carry_over(before, boot)?;
        }
        if note.is_half_done() {
            index.distrust()?;
        }
        if note.is_placing() {
            self.take_back(index)?;
        }
        Ok(commits)
    }

    /// Commits; the number of the index's last transaction then.
    fn commit(&self, index: &Index, note: &Note, commits: u64) -> Result<u64, StoreError> {
        if !index.has_changed() {
            index.commit()?;
            return Ok(commits);
        }
        if note.settled.is_some() {
            // Before the change: after a crash of the machine it may be lost.
            note.settle(&self.lock, false).context("writing", &self.home.join("lock"))?;
        }
        index.put_commits(commits + 1)?;
        index.commit()?;
        Ok(commits + 1)
    }

    /// Notes which messages are about to get files in `cur/` of a folder, by the bases of their names: should this process die
    /// before it acknowledges them, they are taken away again, so that a client that tries again doubles nothing.
    pub(crate) fn note_placing<'a>(&self, folder: &str, bases: impl Iterator<Item = &'a str>) {
        self.tell(Note::place(&self.lock, folder, bases));
    }

    /// Removes what a process that died was placing, unless its transaction was committed. After a crash of the machine that
    /// can't be known, and all stays.
    fn take_back(&self, index: &Index) -> Result<(), StoreError> {
        let (key, bases) = Note::placed(&self.lock).context("reading", &self.home.join("lock"))?;
        let folder = self.folder_of(&key);
        let row = index.mailbox(&key)?.filter(|row| row.boot == disk::boot_id());
        let file = MailboxFile::read(&folder).ok().flatten();
        let Some((row, file)) = row.zip(file) else { return Ok(()) };
        let cur = folder.join("cur");
        for entry in std::fs::read_dir(&cur).context("reading the folder", &cur)? {
            let name = entry.context("reading the folder", &cur)?.file_name();
            let Some(text) = name.to_str() else { continue };
            let name = FileName::parse(text);
            let is_uncommitted = name.uid.is_some_and(|uid| uid.value() >= row.uid_next);
            if is_uncommitted && name.mark == Some(file.mark()) && bases.contains(name.base.as_ref()) {
                disk::remove(&cur.join(text))?;
            }
        }
        Ok(())
    }

    /// Brings what the index holds to the disk and notes that it is there, so that after a restart of the machine it is known
    /// from an index that lost its last changes.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.flock(FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(()); // who has it does that
        }
        let path = self.home.join("lock");
        let note = Note::read(&self.lock).context("reading", &path)?;
        let index = self.index.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_settled = note.settled.as_deref() == Some(disk::boot_id());
        if !is_settled
            && !note.is_half_done()
            && index.is_current()
            && index.commits()? == note.commits
            && index.checkpoint()?
        {
            shares::settle(&self.home)?;
            note.settle(&self.lock, true).context("writing", &path)?;
        }
        self.unlock()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Err(error) = self.settle() {
            tracing::debug!(home = %self.home.display(), %error, "after a restart of the machine its mailboxes are compared as a whole");
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has waited for an account's lock, by which tests see what a look costs.
    pub(crate) static TIMES_LOCKED: Cell<usize> = const { Cell::new(0) };
}
