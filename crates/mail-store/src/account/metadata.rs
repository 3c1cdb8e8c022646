//! Annotations of an account's mailboxes, and its own ones of the server. RFC 5464.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::{Address, MailboxName, MetadataEntry, MetadataScope, SpecialUse};
use tokio::sync::watch;

use super::Account;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::Index;
use crate::mailbox::now_nanos;
use crate::mailbox_file::MailboxFile;
use crate::metadata::{Metadata, OF_MAILBOX, OF_READER, OF_SERVER};
use crate::store::file_of;

/// The folder's name in the index for annotations of the server: no mailbox's, which begins with a dot.
const SERVER: &str = "server";
/// The entry that is tied to what LIST tells. RFC 6154 §4.
const SPECIAL_USE: &str = "/private/specialuse";
/// So many changes are remembered for sessions to be told of.
const REMEMBERED: i64 = 1000;

/// An annotation that was changed, of a mailbox or the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataChange {
    /// Ascends with each change.
    pub number: i64,
    /// Of which mailbox; `None` for the server.
    pub mailbox: Option<MailboxName>,
    /// What.
    pub entry: MetadataEntry,
}

/// What SETMETADATA is to make of an account's annotations.
#[derive(Debug, Clone, Copy)]
pub struct MetadataChanges<'a> {
    /// Entries and their values; without one it is taken away.
    pub values: &'a [(MetadataEntry, Option<Vec<u8>>)],
    /// What the mailbox is to be for, if that changes.
    pub special_use: Option<Option<SpecialUse>>,
    /// How many annotations one mailbox or the server may have, and beside them one user privately in another's mailbox.
    pub most: usize,
    /// Who changes them, if not the owner: then what is private is his.
    pub reader: Option<&'a Address>,
}

/// A file of annotations as it is and as it is to be.
struct Draft {
    path: PathBuf,
    before: Metadata,
    now: Metadata,
    changed: Vec<MetadataEntry>,
}

impl Draft {
    fn of<'a>(
        path: PathBuf,
        values: impl Iterator<Item = &'a (MetadataEntry, Option<Vec<u8>>)>,
        most: usize,
    ) -> Result<Self, StoreError> {
        let before = Metadata::read(&path)?;
        let mut now = before.clone();
        let set = values.filter(|(entry, octets)| now.set(entry, octets.as_deref()));
        let changed = set.map(|(entry, _)| entry.clone()).collect();
        if now.len() > most.max(before.len()) {
            return Err(StoreError::TooManyAnnotations);
        }
        Ok(Self { path, before, now, changed })
    }

    fn write(&self) -> Result<(), StoreError> {
        if self.changed.is_empty() { Ok(()) } else { self.now.write(&self.path) }
    }

    fn take_back(&self) {
        if !self.changed.is_empty()
            && let Err(error) = self.before.write(&self.path)
        {
            tracing::warn!(%error, "annotations stay although others could not be set with them");
        }
    }
}

impl Account {
    /// The annotations of a mailbox or, without one, of the server, as the owner sees them or, with a `reader`, as another user does:
    /// what is private is his own. Doesn't wait for who changes the account.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`].
    pub fn metadata(
        &self,
        of: Option<&MailboxName>,
        reader: Option<&Address>,
    ) -> Result<Metadata, StoreError> {
        let path = self.metadata_path(of)?;
        let mut metadata = Metadata::read(&path)?;
        if let Some(reader) = reader {
            return Ok(metadata.seen_with(Metadata::read(&path_of_reader(&path, reader))?));
        }
        if let Some(name) = of
            && let Some(special_use) =
                MailboxFile::read(&self.folder(name))?.and_then(|file| file.special_use)
            && let Ok(entry) = SPECIAL_USE.parse()
        {
            metadata.set(&entry, Some(special_use.as_str().as_bytes()));
        }
        Ok(metadata)
    }

    /// Changes the annotations of a mailbox or the server durably, all as they are told or none. The numbers of these changes come
    /// back, for the session that made them not to be told of them. A special use is taken from the mailbox that had it.
    ///
    /// Of a process that dies while a reader sets private and shared ones together, only the private ones may be left.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::TooManyAnnotations`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn set_metadata(
        self: &Arc<Self>,
        of: Option<&MailboxName>,
        changes: MetadataChanges<'_>,
    ) -> Result<Range<i64>, StoreError> {
        if let Some(name) = of.filter(|_| changes.special_use.is_some()) {
            self.open(name)?; // so that it has the file in which that stands
        }
        let own = self.locked(|index| {
            let path = self.metadata_path(of)?;
            let (personal, others): (Vec<_>, Vec<_>) =
                changes.values.iter().partition(|(entry, _)| changes.is_personal(entry));
            let drafts = match changes.reader {
                Some(reader) => {
                    let of_reader = path_of_reader(&path, reader);
                    vec![
                        Draft::of(of_reader, personal.into_iter(), changes.most)?,
                        Draft::of(path, others.into_iter(), changes.most)?,
                    ]
                }
                None => vec![Draft::of(path, others.into_iter(), changes.most)?],
            };
            // All or none.
            let undo = |_: &StoreError| drafts.iter().for_each(Draft::take_back);
            drafts.iter().try_for_each(Draft::write).inspect_err(undo)?;
            let mut changed: Vec<MetadataEntry> =
                drafts.iter().flat_map(|draft| draft.changed.iter().cloned()).collect();
            if let (Some(name), Some(special_use)) = (of, changes.special_use) {
                changed.extend(self.change_special_use(index, name, special_use).inspect_err(undo)?);
            }
            let changed: Vec<String> = changed.iter().map(|entry| changes.noted(entry)).collect();
            note(index, &key(of), &changed)
        })?;
        self.metadata_changed.send_modify(|_| ());
        Ok(own)
    }

    /// Where a mailbox that exists has them.
    fn metadata_path(&self, of: Option<&MailboxName>) -> Result<PathBuf, StoreError> {
        match of {
            Some(name) if !self.exists(name)? => Err(StoreError::NoSuchMailbox(name.clone())),
            Some(name) => Ok(self.folder(name).join(OF_MAILBOX)),
            None => Ok(self.maildir().join(OF_SERVER)),
        }
    }

    /// Gives a mailbox a special use, which it takes from the one that had it; under the lock. What changed of the mailbox itself
    /// comes back.
    fn change_special_use(
        &self,
        index: &Index,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<Option<MetadataEntry>, StoreError> {
        let Ok(entry) = SPECIAL_USE.parse::<MetadataEntry>() else { return Ok(None) };
        for other in self.names()?.into_iter().filter(|other| special_use.is_some() && other != name) {
            let folder = self.folder(&other);
            if let Ok(Some(file)) = MailboxFile::read(&folder)
                && file.special_use == special_use
            {
                MailboxFile { special_use: None, ..file }.write(&folder)?;
                note(index, &other.to_maildir(), &[entry.to_string()])?;
            }
        }
        let folder = self.folder(name);
        let file = MailboxFile::read(&folder)?.filter(|file| file.special_use != special_use);
        let Some(file) = file else { return Ok(None) };
        MailboxFile { special_use, ..file }.write(&folder)?;
        Ok(Some(entry))
    }

    /// The annotations of the INBOX stay, and the mailbox to which its messages went has them too, those of other users as well.
    /// RFC 5464 §4.1.
    pub(super) fn copy_metadata(&self, from: &MailboxName, to: &MailboxName) -> Result<(), StoreError> {
        self.locked(|_| {
            for path in metadata_files(&self.folder(from))? {
                let target = self.folder(to).join(path.file_name().unwrap_or_default());
                Metadata::read(&path)?.write(&target)?;
            }
            Ok(())
        })
    }

    /// Takes away what an earlier mailbox of this name has left in its folder.
    pub(super) fn discard_metadata(&self, name: &MailboxName) -> Result<(), StoreError> {
        metadata_files(&self.folder(name))?.iter().for_each(|path| disk::discard(path));
        Ok(())
    }

    /// The number of the last change of an annotation.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn last_metadata_change(&self) -> Result<i64, StoreError> {
        self.read(Index::last_metadata_change)
    }

    /// Which annotations were changed since the change of a number, whichever process did it, each once, that the owner sees or, with a
    /// `reader`, another user. An index that was lost has lost them.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn metadata_changes_since(
        &self,
        number: i64,
        reader: Option<&Address>,
    ) -> Result<Vec<MetadataChange>, StoreError> {
        let rows = self.read(|index| index.metadata_changes_since(number))?;
        let of_reader = reader.map(of_reader);
        let mut changes = BTreeMap::new();
        for (number, folder, noted) in rows {
            let mailbox = match folder.as_str() {
                SERVER => None,
                "" => Some(MailboxName::inbox()),
                folder => match MailboxName::from_maildir(folder) {
                    Ok(name) => Some(name),
                    Err(_) => continue,
                },
            };
            if let Some(entry) = seen_by(of_reader.as_deref(), &noted) {
                changes.insert((mailbox.clone(), entry.clone()), MetadataChange { number, mailbox, entry });
            }
        }
        Ok(changes.into_values().collect())
    }

    /// Wakes when a session of this process has changed annotations.
    #[must_use]
    pub fn watch_metadata(&self) -> watch::Receiver<()> {
        self.metadata_changed.subscribe()
    }
}

impl MetadataChanges<'_> {
    /// True for what only the user sees who changes it, and the owner does not.
    fn is_personal(&self, entry: &MetadataEntry) -> bool {
        self.reader.is_some() && entry.scope() == MetadataScope::Private
    }

    /// How the index notes the change of an entry: behind the user, if it is personal.
    fn noted(&self, entry: &MetadataEntry) -> String {
        match self.reader.filter(|_| self.is_personal(entry)) {
            Some(reader) => format!("{}{entry}", of_reader(reader)),
            None => entry.to_string(),
        }
    }
}

/// How a user is named before an entry, which begins with a slash: without one.
fn of_reader(reader: &Address) -> String {
    file_of("", reader)
}

/// The entry whose change was noted so, if it is one that the owner or this reader sees.
fn seen_by(reader: Option<&str>, noted: &str) -> Option<MetadataEntry> {
    let (user, _) = noted.split_once('/')?;
    let entry: MetadataEntry = noted.get(user.len()..)?.parse().ok()?;
    let is_seen = match (user, reader) {
        ("", None) => true,
        ("", Some(_)) => entry.scope() == MetadataScope::Shared,
        (user, reader) => reader == Some(user),
    };
    is_seen.then_some(entry)
}

/// Beside a mailbox's own file, that of a user who is not the owner.
fn path_of_reader(path: &Path, reader: &Address) -> PathBuf {
    path.with_file_name(file_of(OF_READER, reader))
}

/// The files of annotations in a mailbox's folder, those of all users.
fn metadata_files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).context("reading the folder", folder)? {
        let name = entry.context("reading the folder", folder)?.file_name();
        let octets = name.as_encoded_bytes();
        let is_of_reader = octets.starts_with(OF_READER.as_bytes()) && !octets.ends_with(b".tmp");
        if name == OF_MAILBOX || is_of_reader {
            files.push(folder.join(name));
        }
    }
    Ok(files)
}

fn key(of: Option<&MailboxName>) -> String {
    of.map_or_else(|| SERVER.to_owned(), MailboxName::to_maildir)
}

/// Has sessions told of changes; their numbers come back. They ascend although the index may be lost.
fn note(index: &Index, folder: &str, entries: &[String]) -> Result<Range<i64>, StoreError> {
    let first = now_nanos().max(index.last_metadata_change()? + 1);
    let mut next = first;
    for entry in entries {
        index.add_metadata_change(next, folder, entry)?;
        next += 1;
    }
    index.trim_metadata_changes(REMEMBERED)?;
    Ok(first..next)
}
