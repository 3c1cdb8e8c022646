//! The mail store: Maildir++ folders of plain files, with an SQLite index that is only a cache.
//!
//! All calls block; servers make them off the async threads (`tokio::task::spawn_blocking`).

#![expect(
    clippy::todo,
    reason = "the interface that its callers are written against; the implementation is being built"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::{Address, Flags, InternalDate, MailboxName, ModSeq, SpecialUse, Uid, UidValidity};

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed. Nothing was acknowledged, nothing was deleted; a later try may succeed.
    #[error("{context} {path}: {source}")]
    Io {
        /// What was being done, "renaming" for one.
        context: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index failed; it is rebuilt at the next open.
    #[error("the index {path} failed: {source}")]
    Index {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// There is no such mailbox.
    #[error("the mailbox {0} does not exist")]
    NoSuchMailbox(MailboxName),
    /// The mailbox is there already.
    #[error("the mailbox {0} exists already")]
    MailboxExists(MailboxName),
    /// INBOX can't be deleted, a mailbox can't be moved below itself: the text is meant for the user.
    #[error("{0}")]
    Refused(&'static str),
    /// The message was expunged, by us or by another program.
    #[error("the message with UID {0} is gone")]
    MessageGone(Uid),
    /// UIDs or mod-sequences have run out.
    #[error("the mailbox {0} has no numbers left")]
    NumbersExhausted(MailboxName),
}

/// All accounts' mail, below one folder.
#[derive(Debug)]
pub struct Store {
    // STORE
}

impl Store {
    /// Opens the store at `mail_dir`, making the folder when it does not exist. Touches no account.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder can't be made or written.
    pub fn open(mail_dir: &Path) -> Result<Arc<Self>, StoreError> {
        let _ = mail_dir;
        todo!("STORE")
    }

    /// Makes an account's folders: INBOX, Drafts, Sent, Junk, Trash and Archive, subscribed, each with its special use.
    /// What is there already stays.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn create_account(&self, owner: &Address) -> Result<(), StoreError> {
        let _ = owner;
        todo!("STORE")
    }

    /// The mail of `owner`, whose folders are made at first use. One [`Account`] per process and owner.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn account(self: &Arc<Self>, owner: &Address) -> Result<Arc<Account>, StoreError> {
        let _ = owner;
        todo!("STORE")
    }

    /// Starts to deliver one message to the INBOXes of `recipients` (at least one). Never opens an index.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn deliver(&self, recipients: &[Address]) -> Result<Delivery, StoreError> {
        let _ = recipients;
        todo!("STORE")
    }
}

/// A message on its way into one or more INBOXes: a file in the first one's `tmp/`. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Delivery {
    // STORE
}

impl std::io::Write for Delivery {
    fn write(&mut self, _data: &[u8]) -> std::io::Result<usize> {
        todo!("STORE")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Delivery {
    /// The file in `tmp/`, for the queue to link to or copy. Complete after a flush.
    #[must_use]
    pub fn path(&self) -> &Path {
        todo!("STORE")
    }

    /// Makes the message durable and visible: fsync, link or rename into each `new/`, fsync of each directory.
    /// The results stand in the order of the recipients; where one is `Ok` the message is there for good.
    #[must_use]
    pub fn commit(self) -> Vec<Result<(), StoreError>> {
        todo!("STORE")
    }
}

/// One account's mailboxes.
#[derive(Debug)]
pub struct Account {
    // STORE
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
    /// The highest mod-sequence in it.
    pub highest_mod_seq: ModSeq,
    /// Octets of all messages.
    pub size: u64,
}

impl Account {
    /// Every mailbox, sorted by name, and the names above them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn mailboxes(&self) -> Result<Vec<MailboxEntry>, StoreError> {
        todo!("STORE")
    }

    /// The subscribed names, sorted; they need not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>, StoreError> {
        todo!("STORE")
    }

    /// Subscribes to `name` (`true`) or ends that (`false`).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn subscribe(&self, name: &MailboxName, subscribed: bool) -> Result<(), StoreError> {
        let _ = (name, subscribed);
        todo!("STORE")
    }

    /// Makes a mailbox, and those above it (RFC 3501 §6.3.3).
    ///
    /// # Errors
    /// [`StoreError::MailboxExists`], [`StoreError::Io`].
    pub fn create(&self, name: &MailboxName, special_use: Option<SpecialUse>) -> Result<(), StoreError> {
        let _ = (name, special_use);
        todo!("STORE")
    }

    /// Deletes a mailbox with its messages; what lies below it stays (RFC 3501 §6.3.4).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Refused`], [`StoreError::Io`].
    pub fn delete(&self, name: &MailboxName) -> Result<(), StoreError> {
        let _ = name;
        todo!("STORE")
    }

    /// Renames a mailbox and all below it; renaming INBOX moves its messages (RFC 3501 §6.3.5).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::MailboxExists`], [`StoreError::Refused`], [`StoreError::Io`].
    pub fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<(), StoreError> {
        let _ = (from, to);
        todo!("STORE")
    }

    /// Opens a mailbox, in step with its folder. One [`Mailbox`] per process and name.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn open(self: &Arc<Self>, name: &MailboxName) -> Result<Arc<Mailbox>, StoreError> {
        let _ = name;
        todo!("STORE")
    }

    /// The figures of a mailbox, without keeping it open.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn status(self: &Arc<Self>, name: &MailboxName) -> Result<MailboxStatus, StoreError> {
        let _ = name;
        todo!("STORE")
    }
}

/// An open mailbox, shared by all sessions of the process that have it open.
#[derive(Debug)]
pub struct Mailbox {
    // STORE
}

/// What a mailbox held at one moment; it never changes. Messages ascend by UID.
#[derive(Debug)]
pub struct Snapshot {
    // STORE: compact rows
}

/// One message of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: Uid,
    /// Its flags and keywords.
    pub flags: Flags,
    /// When it arrived.
    pub internal_date: InternalDate,
    /// Octets on the wire, each line ended by CRLF: RFC822.SIZE.
    pub size: u64,
    /// Its last change.
    pub mod_seq: ModSeq,
}

impl Snapshot {
    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!("STORE")
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The UIDs, ascending.
    #[must_use]
    pub fn uids(&self) -> &[Uid] {
        todo!("STORE")
    }

    /// The position of `uid`, from 0.
    #[must_use]
    pub fn position(&self, uid: Uid) -> Option<usize> {
        self.uids().binary_search(&uid).ok()
    }

    /// The message at a position, from 0.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Message> {
        let _ = position;
        todo!("STORE")
    }

    /// The keywords known in the mailbox, for FLAGS and PERMANENTFLAGS.
    #[must_use]
    pub fn keywords(&self) -> &[mail_types::Keyword] {
        todo!("STORE")
    }

    /// The next UID to be given.
    #[must_use]
    pub fn uid_next(&self) -> Uid {
        todo!("STORE")
    }

    /// The highest mod-sequence.
    #[must_use]
    pub fn highest_mod_seq(&self) -> ModSeq {
        todo!("STORE")
    }

    /// Positions of the messages changed or added since `mod_seq`, ascending.
    #[must_use]
    pub fn changed_since(&self, mod_seq: ModSeq) -> Vec<usize> {
        let _ = mod_seq;
        todo!("STORE")
    }

    /// The lowest UID that no read-write session has claimed as recent; equal to `uid_next` when there is none.
    #[must_use]
    pub fn first_recent(&self) -> Uid {
        todo!("STORE")
    }
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
    /// The generation of its UIDs.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        todo!("STORE")
    }

    /// What is known now, without looking at the disk.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!("STORE")
    }

    /// Looks for changes on disk, cheap when there are none, and tells what is known then.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] once it was deleted, [`StoreError::Io`], [`StoreError::Index`].
    pub fn sync(&self) -> Result<Arc<Snapshot>, StoreError> {
        todo!("STORE")
    }

    /// Wakes whenever the snapshot changed, whoever changed it. While a receiver is awaited, changes by other processes and
    /// programs are found within a second.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Arc<Snapshot>> {
        todo!("STORE")
    }

    /// Takes the recent messages for this session: `\Recent` is what it returns, lowest and highest UID, and nobody gets again.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn claim_recent(&self) -> Result<Option<(Uid, Uid)>, StoreError> {
        todo!("STORE")
    }

    /// Starts to add a message. The date is now when `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn append(self: &Arc<Self>, flags: Flags, date: Option<InternalDate>) -> Result<Append, StoreError> {
        let _ = (flags, date);
        todo!("STORE")
    }

    /// Changes the flags of the messages named; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        let _ = (uids, change);
        todo!("STORE")
    }

    /// Removes the messages named, whatever their flags; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn expunge(&self, uids: &[Uid]) -> Result<Arc<Snapshot>, StoreError> {
        let _ = uids;
        todo!("STORE")
    }

    /// Copies messages with flags and dates, all or none, and pairs each UID here with its UID there (ascending).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] for the target, [`StoreError::Io`], [`StoreError::Index`].
    pub fn copy(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let _ = (uids, target);
        todo!("STORE")
    }

    /// Moves messages, by rename; otherwise as [`Self::copy`]. RFC 6851.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn move_to(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let _ = (uids, target);
        todo!("STORE")
    }

    /// Opens a message's file, also when another program has just renamed it.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`], [`StoreError::Io`].
    pub fn open_message(&self, uid: Uid) -> Result<MessageFile, StoreError> {
        let _ = uid;
        todo!("STORE")
    }
}

/// A message's file, open for reading.
#[derive(Debug)]
pub struct MessageFile {
    /// At its start.
    pub file: File,
    /// Octets in the file.
    pub file_size: u64,
    /// Octets on the wire; greater than `file_size` when a foreign program wrote bare LFs.
    pub wire_size: u64,
}

impl MessageFile {
    /// The whole message as it goes over the wire, each line ended by CRLF.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn read(self) -> std::io::Result<Vec<u8>> {
        todo!("STORE")
    }
}

/// A message on its way into a mailbox by APPEND. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Append {
    // STORE
}

impl std::io::Write for Append {
    fn write(&mut self, _data: &[u8]) -> std::io::Result<usize> {
        todo!("STORE")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Append {
    /// Makes the message durable and visible.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] if it was deleted meanwhile, [`StoreError::Io`], [`StoreError::Index`].
    pub fn commit(self) -> Result<Uid, StoreError> {
        todo!("STORE")
    }
}
