//! Annotations of an account's mailboxes, and its own ones of the server. RFC 5464.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use mail_types::{MailboxName, MetadataEntry, SpecialUse};
use tokio::sync::watch;

use super::Account;
use crate::disk;
use crate::error::StoreError;
use crate::index::Index;
use crate::mailbox::now_nanos;
use crate::mailbox_file::MailboxFile;
use crate::metadata::{Metadata, OF_MAILBOX, OF_SERVER};

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
    /// How many annotations one mailbox or the server may have.
    pub most: usize,
}

impl Account {
    /// The annotations of a mailbox or, without one, of the server. Doesn't wait for who changes the account.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`].
    pub fn metadata(&self, of: Option<&MailboxName>) -> Result<Metadata, StoreError> {
        let mut metadata = Metadata::read(&self.metadata_path(of)?)?;
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
            let mut metadata = Metadata::read(&path)?;
            let (before, mut changed) = (metadata.clone(), Vec::new());
            for (entry, octets) in changes.values {
                if metadata.set(entry, octets.as_deref()) {
                    changed.push(entry.clone());
                }
            }
            if metadata.len() > changes.most.max(before.len()) {
                return Err(StoreError::TooManyAnnotations);
            }
            if !changed.is_empty() {
                metadata.write(&path)?;
            }
            if let (Some(name), Some(special_use)) = (of, changes.special_use) {
                let used = self.change_special_use(index, name, special_use);
                // All or none.
                changed.extend(used.inspect_err(|_| drop(before.write(&path)))?);
            }
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
                note(index, &other.to_maildir(), std::slice::from_ref(&entry))?;
            }
        }
        let folder = self.folder(name);
        let file = MailboxFile::read(&folder)?.filter(|file| file.special_use != special_use);
        let Some(file) = file else { return Ok(None) };
        MailboxFile { special_use, ..file }.write(&folder)?;
        Ok(Some(entry))
    }

    /// The annotations of the INBOX stay, and the mailbox to which its messages went has them too. RFC 5464 §4.1.
    pub(super) fn copy_metadata(&self, from: &MailboxName, to: &MailboxName) -> Result<(), StoreError> {
        self.locked(|_| {
            let metadata = Metadata::read(&self.metadata_path(Some(from))?)?;
            if metadata.len() == 0 { Ok(()) } else { metadata.write(&self.metadata_path(Some(to))?) }
        })
    }

    /// Takes away what an earlier mailbox of this name has left in its folder.
    pub(super) fn discard_metadata(&self, name: &MailboxName) {
        disk::discard(&self.folder(name).join(OF_MAILBOX));
    }

    /// The number of the last change of an annotation.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn last_metadata_change(&self) -> Result<i64, StoreError> {
        self.read(Index::last_metadata_change)
    }

    /// Which annotations were changed since the change of a number, whichever process did it, each once. An index that was lost has
    /// lost them.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn metadata_changes_since(&self, number: i64) -> Result<Vec<MetadataChange>, StoreError> {
        let rows = self.read(|index| index.metadata_changes_since(number))?;
        let mut changes = BTreeMap::new();
        for (number, folder, entry) in rows {
            let mailbox = match folder.as_str() {
                SERVER => None,
                "" => Some(MailboxName::inbox()),
                folder => match MailboxName::from_maildir(folder) {
                    Ok(name) => Some(name),
                    Err(_) => continue,
                },
            };
            if let Ok(entry) = entry.parse::<MetadataEntry>() {
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

fn key(of: Option<&MailboxName>) -> String {
    of.map_or_else(|| SERVER.to_owned(), MailboxName::to_maildir)
}

/// Has sessions told of changes; their numbers come back. They ascend although the index may be lost.
fn note(index: &Index, folder: &str, entries: &[MetadataEntry]) -> Result<Range<i64>, StoreError> {
    let first = now_nanos().max(index.last_metadata_change()? + 1);
    let mut next = first;
    for entry in entries {
        index.add_metadata_change(next, folder, entry.as_str())?;
        next += 1;
    }
    index.trim_metadata_changes(REMEMBERED)?;
    Ok(first..next)
}
