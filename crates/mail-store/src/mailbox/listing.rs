//! The files found in a mailbox's folders.

use std::collections::HashMap;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use super::misfit;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::mark::Mark;
use crate::names::FileName;

/// A file seen in `cur/` or `new/`.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) base: String,
    /// The one in its name, if this mailbox gave it.
    pub(super) uid: Option<u32>,
    inode: u64,
}

/// Message files by the base of their names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    files: HashMap<String, Seen>,
    /// Those whose base another file has as well: somebody copied them within the mailbox.
    doubles: Vec<Seen>,
}

/// Which UIDs in names are a mailbox's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) mark: Mark,
    /// Those without a mark too.
    pub(super) is_unmarked: bool,
}

impl Own {
    /// The UID in a name, if it is the mailbox's own.
    fn uid(self, name: &FileName<'_>) -> Option<u32> {
        let is_own = name.mark.map_or(self.is_unmarked, |mark| mark == self.mark);
        name.uid.filter(|_| is_own).map(|uid| uid.value())
    }
}

impl Listing {
    /// Reads the folders named. What is no plain file is passed over.
    pub(super) fn read(folder: &Path, parts: &[&str], own: Own) -> Result<Self, StoreError> {
        let mut listing = Self::default();
        for part in parts {
            let path = folder.join(part);
            for entry in std::fs::read_dir(&path).context("reading the folder", &path)? {
                let entry = entry.context("reading the folder", &path)?;
                #[cfg(test)]
                FILES_READ.set(FILES_READ.get() + 1);
                if let Some(file) = Seen::new(&entry, own)? {
                    listing.insert(file);
                }
            }
        }
        Ok(listing)
    }

    fn insert(&mut self, file: Seen) {
        match self.files.get_mut(&file.base) {
            None => {
                self.files.insert(file.base.clone(), file);
            }
            Some(other) if other.inode == file.inode => {
                // One file under two names: renamed while we read, or a rename that the disk holds by half.
                if file.path.exists() {
                    let earlier = std::mem::replace(other, file);
                    if earlier.is_in_new() && !other.is_in_new() {
                        disk::discard(&earlier.path);
                    }
                }
            }
            Some(_) => self.doubles.push(file),
        }
    }

    /// Adds what an earlier reading saw and this one didn't.
    pub(super) fn add(&mut self, earlier: Self) {
        for (base, file) in earlier.files {
            self.files.entry(base).or_insert(file);
        }
    }

    pub(super) fn has(&self, base: &str) -> bool {
        self.files.contains_key(base)
    }

    /// Takes out the file of a message. One with another UID that was given is not it.
    pub(super) fn take(&mut self, row: &MessageRow, is_given: impl Fn(u32) -> bool) -> Option<Seen> {
        let same = |file: &Seen| file.base == row.base && file.uid == Some(row.uid);
        if let Some(position) = self.doubles.iter().position(same) {
            return Some(self.doubles.swap_remove(position));
        }
        let uid = self.files.get(&row.base)?.uid;
        if uid.is_some_and(|uid| uid != row.uid && is_given(uid)) {
            return None;
        }
        self.files.remove(&row.base)
    }

    /// True if these are the messages' files and no others.
    pub(super) fn is_of(&self, rows: &[MessageRow], path: impl Fn(&MessageRow) -> PathBuf) -> bool {
        let is_there =
            |row: &MessageRow| self.files.get(&row.base).is_some_and(|file| file.path == path(row));
        self.doubles.is_empty() && self.files.len() == rows.len() && rows.iter().all(is_there)
    }

    /// What was not taken.
    pub(super) fn into_files(self) -> Vec<Seen> {
        self.files.into_values().chain(self.doubles).collect()
    }
}

impl Seen {
    fn new(entry: &std::fs::DirEntry, own: Own) -> Result<Option<Self>, StoreError> {
        let path = entry.path();
        let kind = match entry.file_type() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            kind => kind.context("looking at", &path)?,
        };
        if entry.file_name().as_encoded_bytes().starts_with(b".") || !misfit::is_file(&path, kind) {
            return Ok(None);
        }
        let Some((path, name)) = misfit::with_usable_name(path) else { return Ok(None) };
        let parsed = FileName::parse(&name);
        let (uid, base) = (own.uid(&parsed), parsed.base);
        Ok(Some(Self { path, name, base, uid, inode: entry.ino() }))
    }

    fn is_in_new(&self) -> bool {
        self.path.parent().is_some_and(|folder| folder.ends_with("new"))
    }
}

#[cfg(test)]
thread_local! {
    /// Names that this thread has read in folders, by which tests see what a change costs.
    pub(crate) static FILES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
