//! One account's mailboxes: list, create, delete, rename.

mod acl;
mod locked;
mod metadata;
mod note;
mod rebuild;
mod special;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use disk_room::Room;
use mail_types::{MailboxName, ModSeq, Quota, SpecialUse, Uid, UidValidity, Usage};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

use crate::acl::Acl;
use crate::disk;
use crate::error::{IoContext as _, Refusal, StoreError};
use crate::housekeeping::{self, Chore, DELETED};
use crate::index::Index;
use crate::mailbox::Mailbox;
use crate::mailbox_file::MailboxFile;
use crate::mark::Mark;
use crate::object_id::MailboxObjectId;
use crate::quota::{self, Count};
use crate::recent::Recent;
use crate::search::Search;
use crate::shares;
use crate::snapshot::Snapshot;
use crate::summary::Summarizer;
use crate::watch::{Notices, Watcher};

#[cfg(test)]
pub(crate) use locked::TIMES_LOCKED;
pub use metadata::{MetadataChange, MetadataChanges};
pub(crate) use special::{folder_for, folder_named};
pub(crate) use subscriptions::subscriptions_of;

/// One account's mailboxes.
#[derive(Debug)]
pub struct Account {
    /// `<domain>/<local-part>`
    home: PathBuf,
    /// Orders the processes that change this account, even when the index is lost.
    lock: File,
    index: Mutex<Index>,
    /// For looking up names while another thread has the index; opened at first use.
    reader: Mutex<Option<Index>>,
    /// Who read the index without the lock found it damaged.
    is_doubted: AtomicBool,
    /// The number of the index's last transaction that changed something, as this process has last seen it.
    commits: AtomicU64,
    recent: Weak<Recent>,
    /// What mail may take of the disk.
    room: Arc<Room>,
    open: Mutex<HashMap<MailboxName, Weak<Mailbox>>>,
    search: Search,
    summarizer: Option<Arc<dyn Summarizer>>,
    quota: Mutex<Quota>,
    /// Wakes who wants to be told of annotations.
    metadata_changed: watch::Sender<()>,
}

/// A line of LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxEntry {
    /// Its name.
    pub name: MailboxName,
    /// False for a name that exists only because something lies below it.
    pub selectable: bool,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whose UIDs it gives; `None` until it is opened for the first time.
    mark: Option<Mark>,
}

impl MailboxEntry {
    /// True if both are the same mailbox, whatever its name.
    #[must_use]
    pub fn is_same_mailbox(&self, other: &Self) -> bool {
        self.mark.is_some() && self.mark == other.mark
    }
}

/// What STATUS asks for. RFC 3501 §6.3.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxStatus {
    /// Messages in it.
    pub messages: u32,
    /// Messages no read-write session has been told of.
    pub recent: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// The next UID to be given.
    pub uid_next: Uid,
    /// The generation of its UIDs.
    pub uid_validity: UidValidity,
    /// The id that it keeps when it is renamed. RFC 8474.
    pub mailbox_id: MailboxObjectId,
    /// The highest mod-sequence in it.
    pub highest_mod_seq: ModSeq,
    /// Octets of all messages.
    pub size: u64,
    /// What has `\\Deleted`, in octets on the wire.
    pub deleted: Usage,
}

/// Makes `cur`, `new` and `tmp`; `cur`, by which a mailbox is known, last.
pub(crate) fn create_maildir(folder: &Path) -> Result<(), StoreError> {
    for part in ["tmp", "new", "cur"] {
        disk::create_dir(&folder.join(part))?;
    }
    disk::sync_dir(folder)?;
    folder.parent().map_or(Ok(()), disk::sync_dir)
}

/// Makes an account's home, with INBOX in it, somewhere below the folder of all mail.
pub(crate) fn create_home(mail_dir: &Path, home: &Path) -> Result<(), StoreError> {
    create_maildir(&home.join("Maildir"))?;
    [home, mail_dir].into_iter().chain(home.parent()).try_for_each(disk::sync_dir)
}

impl Account {
    pub(crate) fn open_home(
        home: &Path,
        recent: Weak<Recent>,
        summarizer: Option<Arc<dyn Summarizer>>,
        room: Arc<Room>,
    ) -> Result<Self, StoreError> {
        let path = home.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .context("opening", &path)?;
        housekeeping::later(Chore::Account(home.to_owned()));
        // Closing the file, on an error, unlocks it as well.
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(std::io::Error::from)
            .context("locking", &path)?;
        let index = Index::open(&home.join("index.sqlite"))?;
        flock(&lock, FlockOperation::Unlock).map_err(std::io::Error::from).context("unlocking", &path)?;
        Ok(Self {
            home: home.to_owned(),
            lock,
            index: Mutex::new(index),
            reader: Mutex::default(),
            is_doubted: AtomicBool::new(false),
            commits: AtomicU64::default(),
            recent,
            room,
            open: Mutex::default(),
            search: Search::new(home),
            summarizer,
            quota: Mutex::default(),
            metadata_changed: watch::Sender::new(()),
        })
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The mailbox that has this special use.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn special(&self, wanted: SpecialUse) -> Result<Option<MailboxName>, StoreError> {
        let mailboxes = self.mailboxes()?.into_iter();
        Ok(mailboxes.filter(|it| it.selectable).find(|it| it.special_use == Some(wanted)).map(|it| it.name))
    }

    pub(crate) fn maildir(&self) -> PathBuf {
        self.home.join("Maildir")
    }

    pub(crate) fn folder(&self, name: &MailboxName) -> PathBuf {
        if name.is_inbox() { self.maildir() } else { self.maildir().join(name.to_maildir()) }
    }

    /// The folder that the index knows by this name.
    pub(crate) fn folder_of(&self, key: &str) -> PathBuf {
        self.maildir().join(key)
    }

    pub(crate) const fn summarizer(&self) -> Option<&Arc<dyn Summarizer>> {
        self.summarizer.as_ref()
    }

    /// The mailboxes that somebody in this process has open.
    pub(crate) fn open_mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) const fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) const fn search(&self) -> &Search {
        &self.search
    }

    /// From now on APPEND and COPY are refused beyond this.
    pub fn set_quota(&self, quota: Quota) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    fn quota(&self) -> Quota {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much mail it holds.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn usage(&self) -> Result<Usage, StoreError> {
        quota::usage(&self.maildir(), self.quota())
    }

    /// Sees to it that there is room.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`], [`StoreError::Io`].
    pub fn check_room(&self, more: Usage) -> Result<(), StoreError> {
        let has_room = quota::has_room(&self.maildir(), self.quota(), more)?;
        if has_room { Ok(()) } else { Err(StoreError::OverQuota) }
    }

    /// Sees to it that a message of so many octets leaves of the disk what mail leaves free.
    ///
    /// # Errors
    /// [`StoreError::Io`], of which [`StoreError::is_full`] is true.
    pub fn check_disk(&self, octets: u64) -> Result<(), StoreError> {
        self.room.admit_mail(octets).context("making room in", &self.home)
    }

    /// Sees to it that a copy, which is another name for the file, doesn't take the last of the disk by its row in the index.
    pub(crate) fn check_disk_for_copy(&self) -> Result<(), StoreError> {
        let scarce = std::io::ErrorKind::StorageFull.into();
        if self.room.is_scarce() { Err(scarce).context("copying in", &self.home) } else { Ok(()) }
    }

    /// Counts what is about to be added, after [`Self::check_room`]: another session may have been faster.
    pub(crate) fn count_more(&self, more: Usage) -> Result<Count, StoreError> {
        let mut count = self.count();
        count.add(more);
        if count.is_within(self.quota()) { Ok(count) } else { Err(StoreError::OverQuota) }
    }

    /// As [`Self::check_room`] where `less` is to go at once.
    ///
    /// # Errors
    /// As [`Self::check_room`].
    pub fn check_exchange(&self, more: Usage, less: Usage) -> Result<(), StoreError> {
        if more.storage <= less.storage && more.messages <= less.messages {
            return Ok(());
        }
        self.check_room(more - less)
    }

    /// As [`Self::count_more`] where `less` goes at once.
    pub(crate) fn count_exchange(&self, more: Usage, less: Usage) -> Result<Count, StoreError> {
        let mut count = self.count();
        count.exchange(more, less);
        let is_smaller = more.storage <= less.storage && more.messages <= less.messages;
        if is_smaller || count.is_within(self.quota()) { Ok(count) } else { Err(StoreError::OverQuota) }
    }

    pub(crate) fn count(&self) -> Count {
        Count::begin(&self.maildir())
    }

    /// Another program added or removed messages.
    pub(crate) fn doubt_usage(&self) {
        quota::doubt(&self.maildir());
    }

    /// True as long as the account's folder is the one that was opened.
    pub(crate) fn is_current(&self) -> bool {
        let of_path = std::fs::metadata(self.home.join("lock"));
        of_path.is_ok_and(|path| self.lock.metadata().is_ok_and(|open| open.ino() == path.ino()))
    }

    /// Reads the index beside those who change it. What it gives may be old, but for an index that was replaced.
    pub(crate) fn read<T>(&self, act: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match reader.take().filter(Index::is_current) {
            Some(index) => index,
            None => Index::open_to_read(&self.home.join("index.sqlite"))?,
        };
        let result = act(&index);
        if let Err(StoreError::Index { source, .. }) = &result
            && index.is_lost(source)
        {
            self.is_doubted.store(true, Ordering::Relaxed);
        }
        *reader = result.is_ok().then_some(index);
        result
    }

    /// After the index was found to be behind: it may be another file by now.
    pub(crate) fn close_reader(&self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A UIDVALIDITY greater than every one given before in this account. Call it under the lock.
    pub(crate) fn new_uid_validity(&self) -> Result<UidValidity, StoreError> {
        let path = self.maildir().join("mailstead-uidvalidity");
        let last = disk::read_optional(&path)?.unwrap_or_default();
        let last: u32 = String::from_utf8_lossy(&last).trim().parse().unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let next = u32::try_from(now.as_secs()).unwrap_or(u32::MAX).max(last.saturating_add(1));
        disk::replace(&path, format!("{next}\n").as_bytes())?;
        UidValidity::try_from(next).map_err(|_| StoreError::NumbersExhausted(MailboxName::inbox()))
    }

    /// [`Self::mailboxes`] and [`Self::subscriptions`] while nobody is changing them.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn names_at_rest(&self) -> Result<(Vec<MailboxEntry>, Vec<MailboxName>), StoreError> {
        self.locked(|_| Ok((self.mailboxes()?, self.subscriptions()?)))
    }

    fn exists(&self, name: &MailboxName) -> Result<bool, StoreError> {
        let cur = self.folder(name).join("cur");
        cur.try_exists().context("looking at", &cur)
    }

    /// The names of the folders there are.
    pub(crate) fn names(&self) -> Result<BTreeSet<MailboxName>, StoreError> {
        let maildir = self.maildir();
        let mut names = BTreeSet::from([MailboxName::inbox()]);
        for entry in std::fs::read_dir(&maildir).context("reading the folder", &maildir)? {
            let entry = entry.context("reading the folder", &maildir)?;
            let folder = entry.file_name();
            if !folder.as_encoded_bytes().starts_with(b".") || !entry.path().join("cur").is_dir() {
                continue;
            }
            let name = folder.to_str().and_then(|it| Some((MailboxName::from_maildir(it).ok()?, it)));
            match name.filter(|(name, folder)| name.to_maildir() == *folder) {
                Some((name, _)) => drop(names.insert(name)),
                None => {
                    tracing::warn!(folder = %entry.path().display(), "passed over: not the name of a mailbox");
                }
            }
        }
        Ok(names)
    }

    /// Every mailbox, sorted by name, and the names above them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn mailboxes(&self) -> Result<Vec<MailboxEntry>, StoreError> {
        let mut all: BTreeMap<MailboxName, MailboxEntry> = BTreeMap::new();
        for name in self.names()? {
            let mut above = name.parent();
            while let Some(parent) = above {
                let entry =
                    MailboxEntry { name: parent.clone(), selectable: false, special_use: None, mark: None };
                all.entry(parent.clone()).or_insert(entry);
                above = parent.parent();
            }
            // A damaged file is that of one mailbox, and hides no other: opening this one says what is wrong.
            let file = MailboxFile::read(&self.folder(&name))
                .inspect_err(|error| tracing::error!(%error, "what a mailbox is for is not known"));
            let file = file.ok().flatten();
            let special_use = file.as_ref().and_then(|file| file.special_use);
            let mark = file.map(|file| file.mark());
            all.insert(name.clone(), MailboxEntry { name, selectable: true, special_use, mark });
        }
        Ok(all.into_values().collect())
    }

    /// Makes a mailbox, and those above it (RFC 3501 §6.3.3).
    ///
    /// # Errors
    /// [`StoreError::MailboxExists`], [`StoreError::Io`].
    pub fn create(&self, name: &MailboxName, special_use: Option<SpecialUse>) -> Result<(), StoreError> {
        self.locked(|index| {
            if self.exists(name)? {
                return Err(StoreError::MailboxExists(name.clone()));
            }
            let mut above = name.parent();
            while let Some(parent) = above {
                if !self.exists(&parent)? {
                    self.make(index, &parent, None)?;
                }
                above = parent.parent();
            }
            self.make(index, name, special_use)?;
            if self.acl(name)? == Acl::default() { Ok(()) } else { shares::note_change(&self.home) }
        })
    }

    fn make(
        &self,
        index: &Index,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<(), StoreError> {
        let folder = self.folder(name);
        disk::create_dir(&folder)?;
        // A file left by an attempt that was cut short is replaced: its UIDs were never shown.
        MailboxFile::new(self.new_uid_validity()?, special_use).write(&folder)?;
        self.discard_metadata(name)?;
        index.forget(&name.to_maildir())?;
        self.inherit_acl(name)?;
        create_maildir(&folder)
    }

    /// Deletes a mailbox with its messages; what lies below it stays (RFC 3501 §6.3.4).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Refused`], [`StoreError::Io`].
    pub fn delete(&self, name: &MailboxName) -> Result<(), StoreError> {
        if name.is_inbox() {
            return Err(StoreError::Refused(Refusal::Inbox));
        }
        let trash = self.home.join(format!("{DELETED}{}", crate::names::unique()));
        self.locked(|index| {
            if !self.exists(name)? {
                return Err(StoreError::NoSuchMailbox(name.clone()));
            }
            let mut count = self.count();
            let usage = quota::count_folder(&self.folder(name))?;
            disk::rename_new(&self.folder(name), &trash)?;
            count.removed(usage);
            disk::sync_dir(&self.maildir())?;
            index.forget(&name.to_maildir())
        })?;
        self.forget_open(name);
        housekeeping::later(Chore::Remove(trash));
        Ok(())
    }

    fn forget_open(&self, name: &MailboxName) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Renames a mailbox and all below it; renaming INBOX moves its messages (RFC 3501 §6.3.5).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::MailboxExists`], [`StoreError::Name`], [`StoreError::Refused`], [`StoreError::Io`].
    pub fn rename(self: &Arc<Self>, from: &MailboxName, to: &MailboxName) -> Result<(), StoreError> {
        if from.is_inbox() {
            return self.rename_inbox(to);
        }
        if to.is_below(from) || to == from || to.is_inbox() {
            return Err(StoreError::Refused(Refusal::Name));
        }
        let moves = self.locked(|index| {
            let moves = self.moves(from, to)?;
            for (position, (old, new)) in moves.iter().enumerate() {
                disk::rename_new(&self.folder(old), &self.folder(new))
                    .and_then(|()| index.rename(&old.to_maildir(), &new.to_maildir()))
                    .inspect_err(|_| self.rename_back(moves.get(..position).unwrap_or_default()))?;
            }
            disk::sync_dir(&self.maildir())?;
            Ok(moves)
        })?;
        moves.iter().for_each(|(old, _)| self.forget_open(old));
        Ok(())
    }

    /// Old and new names of a mailbox and all below it.
    fn moves(
        &self,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<Vec<(MailboxName, MailboxName)>, StoreError> {
        let names = self.names()?.into_iter();
        let moves: Vec<_> = names.filter_map(|it| it.renamed(from, to).map(|new| (it, new))).collect();
        if moves.is_empty() {
            return Err(StoreError::NoSuchMailbox(from.clone()));
        }
        for (_, new) in &moves {
            // What lies below may get a name that none can have.
            new.as_str().parse::<MailboxName>().map_err(StoreError::Name)?;
            if self.exists(new)? {
                return Err(StoreError::MailboxExists(new.clone()));
            }
        }
        Ok(moves)
    }

    fn rename_back(&self, moves: &[(MailboxName, MailboxName)]) {
        for (old, new) in moves.iter().rev() {
            if let Err(error) = disk::rename_new(&self.folder(new), &self.folder(old)) {
                tracing::warn!(%error, "a mailbox keeps its new name although the renaming failed");
            }
        }
    }

    /// INBOX stays, empty; its messages move to a new mailbox. RFC 3501 §6.3.5.
    fn rename_inbox(self: &Arc<Self>, to: &MailboxName) -> Result<(), StoreError> {
        self.create(to, None)?;
        self.copy_metadata(&MailboxName::inbox(), to)?;
        let (inbox, target) = (self.open(&MailboxName::inbox())?, self.open(to)?);
        let moved = inbox.move_to(&inbox.snapshot().uids().to_vec(), &target);
        if moved.is_err() && target.sync().is_ok_and(|it| it.is_empty()) {
            self.delete(to)?; // so that the client can try again
        }
        moved.map(|_| ())
    }

    /// Opens a mailbox, in step with its folder. One [`Mailbox`] per process and name.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn open(self: &Arc<Self>, name: &MailboxName) -> Result<Arc<Mailbox>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = open.get(name).and_then(Weak::upgrade) {
            match mailbox.sync() {
                Ok(_) => return Ok(self.used(mailbox)),
                Err(StoreError::NoSuchMailbox(_)) => {} // perhaps made anew
                Err(error) => return Err(error),
            }
        }
        open.retain(|_, mailbox| mailbox.strong_count() > 0);
        let mailbox = Mailbox::open(self, name)?;
        open.insert(name.clone(), Arc::downgrade(&mailbox));
        self.search.begin(self);
        Ok(self.used(mailbox))
    }

    fn used(&self, mailbox: Arc<Mailbox>) -> Arc<Mailbox> {
        if let Some(recent) = self.recent.upgrade() {
            recent.keep(&mailbox);
        }
        mailbox
    }

    /// Begins to listen to what happens in the account, by whoever does it: first to its names only.
    #[must_use]
    pub fn listen(self: &Arc<Self>) -> Notices {
        Notices::new(self, Watcher::of_process())
    }

    #[cfg(test)]
    pub(crate) fn listen_by(self: &Arc<Self>, watcher: &Watcher) -> Notices {
        Notices::new(self, Some(watcher))
    }

    /// The figures of a mailbox, without keeping it open.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn status(self: &Arc<Self>, name: &MailboxName) -> Result<MailboxStatus, StoreError> {
        let mailbox = self.open(name)?;
        Ok(MailboxStatus::of(&mailbox, &mailbox.snapshot()))
    }
}

impl MailboxStatus {
    pub(crate) fn of(mailbox: &Mailbox, snapshot: &Snapshot) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let recent = snapshot.uids().partition_point(|uid| uid < snapshot.first_recent());
        Self {
            messages: count(snapshot.len()),
            recent: count(snapshot.len() - recent),
            unseen: count(snapshot.rows.unseen()),
            uid_next: snapshot.uid_next(),
            uid_validity: mailbox.uid_validity(),
            mailbox_id: mailbox.mailbox_id(),
            highest_mod_seq: snapshot.highest_mod_seq(),
            size: snapshot.rows.octets(),
            deleted: snapshot.rows.deleted(),
        }
    }
}
