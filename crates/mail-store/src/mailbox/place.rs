//! Where a mailbox lies, and the signs by which a change there shows without a lock.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mail_types::MailboxName;

use crate::account::Account;
use crate::error::{IoContext as _, StoreError};
use crate::index::Index;
use crate::mailbox_file::MailboxFile;
use crate::mark::Mark;

/// Where a mailbox lies.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) account: Arc<Account>,
    pub(super) name: MailboxName,
    /// Its name in the index: that of the folder.
    pub(super) key: String,
    pub(super) folder: PathBuf,
    /// The mailbox's file as last read, as long as its stamp can be relied on.
    file: Mutex<Option<(Stamp, Arc<MailboxFile>)>>,
}

/// What tells one version of a small file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    time: i64,
}

/// The signs by which a change shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs {
    /// The modification times of the folders, in nanoseconds.
    pub(super) cur: i64,
    pub(super) new: i64,
    pub(super) file: Option<Stamp>,
}

impl Place {
    pub(super) fn new(account: &Arc<Account>, name: &MailboxName) -> Self {
        let (key, folder) = (name.to_maildir(), account.folder(name));
        Self { account: Arc::clone(account), name: name.clone(), key, folder, file: Mutex::default() }
    }

    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// The modification time of `cur` or `new`; a mailbox without them is none.
    pub(super) fn time(&self, part: &str) -> Result<i64, StoreError> {
        let path = self.path(part);
        let time = modified_at(&path);
        time.map_err(|error| if error.is_not_found() { self.missing() } else { error })
    }

    pub(super) fn missing(&self) -> StoreError {
        StoreError::NoSuchMailbox(self.name.clone())
    }

    pub(super) fn signs(&self) -> Result<Signs, StoreError> {
        Signs::of(&self.folder).map_err(|error| if error.is_not_found() { self.missing() } else { error })
    }

    /// The mailbox's file, read again only when it may have changed.
    pub(super) fn file(&self, signs: &Signs, now: i64) -> Result<Option<Arc<MailboxFile>>, StoreError> {
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamp, file)) = &*kept
            && signs.file == Some(*stamp)
        {
            return Ok(Some(Arc::clone(file)));
        }
        let file = MailboxFile::read(&self.folder)?.map(Arc::new);
        let stamp = signs.file.filter(|stamp| is_settled(stamp.time, now));
        *kept = stamp.zip(file.clone());
        Ok(file)
    }
}

impl Place {
    /// Makes the mailbox's file anew where it is lost or damaged: see [`MailboxFile::salvage`].
    pub(super) fn salvage(&self, index: &Index) -> Result<bool, StoreError> {
        let known = index.mailbox(&self.key)?;
        MailboxFile::salvage(&self.folder, known.as_ref(), |mark| self.is_of_another(mark))
    }

    /// True if another mailbox of the account has this mark: then the files here were copied from there.
    fn is_of_another(&self, mark: Mark) -> Result<bool, StoreError> {
        let others = self.account.names()?.into_iter().filter(|name| *name != self.name);
        let files = others.map(|name| MailboxFile::read(&self.account.folder(&name)));
        Ok(files.flatten().flatten().any(|file| file.mark() == mark))
    }
}

impl Signs {
    pub(crate) fn of(folder: &Path) -> Result<Self, StoreError> {
        let path = MailboxFile::path(folder);
        let file = match std::fs::metadata(&path) {
            Ok(data) => Some(Stamp { inode: data.ino(), size: data.size(), time: nanos(&data) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("looking at", &path),
        };
        Ok(Self { cur: modified_at(&folder.join("cur"))?, new: modified_at(&folder.join("new"))?, file })
    }

    /// True if the folders have these times.
    pub(crate) fn agree(&self, cur: i64, new: i64) -> bool {
        (self.cur, self.new) == (cur, new)
    }

    /// True if every change after `now` gives other signs.
    pub(crate) fn are_settled(&self, now: i64) -> bool {
        is_settled(self.cur, now) && self.are_settled_but_for_cur(now)
    }

    /// True if every change after `now` gives other signs, except perhaps one in `cur/`.
    pub(super) fn are_settled_but_for_cur(&self, now: i64) -> bool {
        let times = [Some(self.new), self.file.map(|it| it.time)];
        times.into_iter().all(|time| time.is_some_and(|time| is_settled(time, now)))
    }
}

pub(crate) fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or_default()
}

/// The modification time, in nanoseconds since 1970.
pub(crate) fn modified_at(path: &Path) -> Result<i64, StoreError> {
    Ok(nanos(&std::fs::metadata(path).context("looking at", path)?))
}

fn nanos(data: &std::fs::Metadata) -> i64 {
    data.mtime() * 1_000_000_000 + data.mtime_nsec()
}

/// How long a time stays the same while changes go on: a tick of the clock is 10 ms at most, and two seconds on file
/// systems that keep whole seconds.
pub(super) const fn tick(time: i64) -> i64 {
    if time % 1_000_000_000 == 0 { 2_000_000_000 } else { 20_000_000 }
}

/// True if a change after `now` gives a folder another time than `time`, so that the time can be relied on.
pub(crate) const fn is_settled(time: i64, now: i64) -> bool {
    now - time > tick(time)
}
