//! An open mailbox: flags, expunge, copy, move, opening messages.

mod append;
mod scan;
mod work;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mail_types::{Flags, InternalDate, MailboxName, Uid, UidValidity};
use tokio::sync::watch;

use crate::account::Account;
use crate::delivery::TmpFile;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::message_file::MessageFile;
use crate::names::{self, FileName};
use crate::snapshot::Snapshot;
use crate::watch::{Changes, Watcher};

pub use append::Append;
use scan::{is_settled, modified, now_nanos};
use work::Work;

/// An open mailbox, shared by all sessions of the process that have it open.
#[derive(Debug)]
pub struct Mailbox {
    id: u64,
    account: Arc<Account>,
    name: MailboxName,
    key: String,
    folder: PathBuf,
    uid_validity: UidValidity,
    shown: watch::Sender<Arc<Snapshot>>,
}

/// How STORE changes flags. RFC 3501 §6.4.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// `+FLAGS`
    Add(Flags),
    /// `-FLAGS`
    Remove(Flags),
    /// `FLAGS`
    Replace(Flags),
}

impl Mailbox {
    pub(crate) fn open(account: &Arc<Account>, name: &MailboxName) -> Result<Arc<Self>, StoreError> {
        let (key, folder) = (name.to_maildir(), account.folder(name));
        let (uid_validity, snapshot) = account.locked(|index| {
            let mut work = Work::open(account, index, name, &key, &folder)?;
            work.save()?;
            Ok((work.file.uid_validity, work.snapshot()?))
        })?;
        let shown = watch::Sender::new(Arc::new(snapshot));
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        let account = Arc::clone(account);
        Ok(Arc::new(Self { id, account, name: name.clone(), key, folder, uid_validity, shown }))
    }

    /// Works under the account's lock, in step with the folder, and shows the outcome to all sessions.
    fn change<T>(
        &self,
        act: impl Fn(&mut Work<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Arc<Snapshot>), StoreError> {
        self.account.locked(|index| {
            let mut work = Work::open(&self.account, index, &self.name, &self.key, &self.folder)?;
            if work.file.uid_validity != self.uid_validity {
                return Err(StoreError::NoSuchMailbox(self.name.clone()));
            }
            let outcome = act(&mut work)?;
            work.save()?;
            Ok((outcome, self.show(&work)?))
        })
    }

    fn show(&self, work: &Work<'_>) -> Result<Arc<Snapshot>, StoreError> {
        let last = self.snapshot();
        let (mod_seq, uid_next) = (last.highest_mod_seq.value(), last.uid_next.value());
        let same = mod_seq == work.row.mod_seq && uid_next == work.row.uid_next;
        if same && last.first_recent.value() == work.row.first_recent {
            return Ok(last);
        }
        let snapshot = Arc::new(work.snapshot()?);
        self.shown.send_replace(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The generation of its UIDs.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// What is known now, without looking at the disk.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shown.borrow())
    }

    /// Looks for changes on disk, cheap when there are none, and tells what is known then.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] once it was deleted, [`StoreError::Io`], [`StoreError::Index`].
    pub fn sync(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.change(|_| Ok(())).map(|(_, snapshot)| snapshot)
    }

    /// Wakes whenever the snapshot changes, whoever changes it. As long as one waits so, changes by other processes and
    /// programs are found within some tens of milliseconds (a quarter of a second where the system has no inotify).
    /// Doesn't block.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Changes {
        Changes::new(self, self.shown.subscribe(), Watcher::of_process())
    }

    #[cfg(test)]
    pub(crate) fn watch_by(self: &Arc<Self>, watcher: &Watcher) -> Changes {
        Changes::new(self, self.shown.subscribe(), Some(watcher))
    }

    /// Which one of the process it is.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Wakes all who wait, although the snapshot is as it was: they find the mailbox gone.
    pub(crate) fn wake_all(&self) {
        self.shown.send_modify(|_| ());
    }

    /// The times of `cur` and `new`, 0 for one that can't be relied on; `None` if they are gone.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        let now = now_nanos();
        let settled = |time: i64| if is_settled(time, now) { time } else { 0 };
        let time = |part| modified(&self.folder, part).ok().map(settled);
        time("cur").zip(time("new"))
    }

    /// Takes the recent messages for this session: `\Recent` is what it returns, lowest and highest UID, and nobody gets again.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn claim_recent(&self) -> Result<Option<(Uid, Uid)>, StoreError> {
        let ((first, next), _) = self.change(|work| {
            let first = std::mem::replace(&mut work.row.first_recent, work.row.uid_next);
            Ok((first, work.row.uid_next))
        })?;
        let last = Uid::try_from(next.saturating_sub(1)).ok();
        Ok(Uid::try_from(first).ok().zip(last).filter(|(first, last)| first <= last))
    }

    /// Starts to add a message. The date is now when `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn append(self: &Arc<Self>, flags: Flags, date: Option<InternalDate>) -> Result<Append, StoreError> {
        let tmp = TmpFile::create(&self.folder)?;
        let date = date.unwrap_or_else(|| InternalDate::from_unix(now_nanos() / 1_000_000_000));
        Ok(Append { mailbox: Arc::clone(self), flags, date, tmp })
    }

    /// Changes the flags of the messages named; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let mut mod_seq = None;
            for uid in uids {
                let Some(mut row) = work.index.message(work.key, uid.value())? else { continue };
                let old = work.path(&row);
                let before = work.flags(&row);
                let after = changed(&before, change);
                let (info, extra) = work.encode(&FileName::of_info(&row.info), row.uid, &after);
                if (&info, &extra) == (&row.info, &row.extra) {
                    continue;
                }
                (row.info, row.extra) = (info, extra);
                let new = work.path(&row);
                work.write_file()?;
                if new != old {
                    match disk::rename_new(&old, &new) {
                        Err(error) if error.is_not_found() => {
                            work.row.cur = 0; // renamed or removed by another program this instant
                            continue;
                        }
                        result => result?,
                    }
                }
                row.mod_seq = work.change(&mut mod_seq)?;
                work.index.put_message(work.key, &row)?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }

    /// Removes the messages named, whatever their flags; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn expunge(&self, uids: &[Uid]) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let mut mod_seq = None;
            for uid in uids {
                let Some(row) = work.index.message(work.key, uid.value())? else { continue };
                if !disk::remove(&work.path(&row))? {
                    work.row.cur = 0; // the next comparison tells whether it was renamed or removed
                    continue;
                }
                let mod_seq = work.change(&mut mod_seq)?;
                work.file.extra.remove(&row.uid);
                work.index.expunge(work.key, row.uid, mod_seq)?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }

    /// Copies messages with flags and dates, all or none, and pairs each UID here with its UID there (ascending).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] for the target, [`StoreError::Io`], [`StoreError::Index`].
    pub fn copy(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let (sources, _) = self.change(|work| {
            let rows = uids.iter().filter_map(|uid| work.index.message(work.key, uid.value()).transpose());
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.into_iter().map(|row| (work.path(&row), work.flags(&row), row)).collect::<Vec<_>>())
        })?;
        let placed = std::cell::RefCell::new(Vec::new());
        let result = target.change(|work| {
            let mut pairs = Vec::with_capacity(sources.len());
            let mod_seq = work.next_mod_seq()?;
            for (path, flags, row) in &sources {
                let uid = work.next_uid()?;
                let wire = FileName::parse(&row.base).size.filter(|size| *size != row.wire).map(|_| row.wire);
                let size = FileName::parse(&row.base).size.unwrap_or(row.wire);
                let base = names::with_sizes(&names::unique(), size, wire.unwrap_or(size));
                let (info, extra) = work.encode(&FileName::of_info(&row.info), uid.value(), flags);
                let copy = MessageRow { uid: uid.value(), base, info, extra, mod_seq, ..row.clone() };
                let to = work.path(&copy);
                disk::link_or_copy(path, &work.folder.join("tmp").join(&copy.base), &to)?;
                placed.borrow_mut().push(to);
                work.index.put_message(work.key, &copy)?;
                pairs.extend(Uid::try_from(row.uid).ok().map(|from| (from, uid)));
            }
            disk::sync_dir(&work.folder.join("cur"))?;
            Ok(pairs)
        });
        match result {
            Ok((pairs, _)) => Ok(pairs),
            Err(error) => {
                placed.borrow().iter().for_each(|path| disk::discard(path));
                Err(error)
            }
        }
    }

    /// Moves messages: links them there, durably, and only then removes them here. RFC 6851.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn move_to(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let pairs = self.copy(uids, target)?;
        self.expunge(&pairs.iter().map(|(from, _)| *from).collect::<Vec<_>>())?;
        disk::sync_dir(&self.folder.join("cur"))?;
        Ok(pairs)
    }

    /// Opens a message's file, also when another program has just renamed it.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`], [`StoreError::Io`].
    pub fn open_message(&self, uid: Uid) -> Result<MessageFile, StoreError> {
        for _ in 0..3 {
            let (found, _) = self.change(|work| {
                let row = work.index.message(work.key, uid.value())?;
                Ok(row.map(|row| (work.path(&row), row.wire)))
            })?;
            let (path, wire_size) = found.ok_or(StoreError::MessageGone(uid))?;
            match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.change(|work| {
                        (work.row.cur, work.row.new) = (0, 0);
                        Ok(())
                    })?;
                }
                result => {
                    let file = result.context("opening", &path)?;
                    let file_size = file.metadata().context("looking at", &path)?.len();
                    return Ok(MessageFile { file, file_size, wire_size });
                }
            }
        }
        Err(StoreError::MessageGone(uid))
    }
}

fn changed(before: &Flags, change: &FlagChange) -> Flags {
    match change {
        FlagChange::Replace(flags) => flags.clone(),
        FlagChange::Add(flags) => Flags::from_parts(
            before.system_bits() | flags.system_bits(),
            before.keywords().iter().chain(flags.keywords()).cloned(),
        ),
        FlagChange::Remove(flags) => Flags::from_parts(
            before.system_bits() & !flags.system_bits(),
            before.keywords().iter().filter(|it| !flags.keywords().contains(it)).cloned(),
        ),
    }
}
