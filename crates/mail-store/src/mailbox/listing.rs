//! The files found in a mailbox's folders.

use std::collections::HashMap;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::misfit;
use super::place::{is_settled, modified_at, now_nanos};
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::mark::Mark;
use crate::names::FileName;

/// A file seen in `cur/` or `new/`.
#[derive(Debug)]
pub(super) struct Seen {
    folder: Arc<Path>,
    pub(super) is_in_new: bool,
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
    /// Nothing was renamed while the folders were read, so that no file escaped.
    is_whole: bool,
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
        let times =
            || parts.iter().map(|part| modified_at(&folder.join(part))).collect::<Result<Vec<_>, _>>();
        let (began, before) = (now_nanos(), times()?);
        #[cfg(test)]
        meanwhile(Moment::Begun);
        for part in parts {
            listing.read_part(folder.join(part).into(), *part == "new", own)?;
        }
        listing.is_whole = before.iter().all(|time| is_settled(*time, began)) && before == times()?;
        #[cfg(test)]
        meanwhile(Moment::Ended);
        Ok(listing)
    }

    fn read_part(&mut self, folder: Arc<Path>, is_new: bool, own: Own) -> Result<(), StoreError> {
        for entry in std::fs::read_dir(&folder).context("reading the folder", &folder)? {
            let entry = entry.context("reading the folder", &folder)?;
            #[cfg(test)]
            FILES_READ.set(FILES_READ.get() + 1);
            if let Some(file) = Seen::new(&entry, &folder, is_new, own)? {
                self.insert(file);
            }
        }
        Ok(())
    }

    /// True if nothing was renamed while the folders were read, so that no file escaped.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn insert(&mut self, file: Seen) {
        match self.files.get_mut(&file.base) {
            None => {
                self.files.insert(file.base.clone(), file);
            }
            Some(other) if other.inode == file.inode => {
                // One file under two names: renamed while we read, or a rename that the disk holds by half.
                if file.path().exists() {
                    let earlier = std::mem::replace(other, file);
                    if earlier.is_in_new && !other.is_in_new {
                        disk::discard(&earlier.path());
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
    pub(super) fn is_of(&self, rows: &[MessageRow], mark: Mark) -> bool {
        let is_there =
            |row: &MessageRow| self.files.get(&row.base).is_some_and(|file| file.has_name(&row.name(mark)));
        self.doubles.is_empty() && self.files.len() == rows.len() && rows.iter().all(is_there)
    }

    /// What was not taken.
    pub(super) fn into_files(self) -> Vec<Seen> {
        self.files.into_values().chain(self.doubles).collect()
    }
}

impl Seen {
    fn new(
        entry: &std::fs::DirEntry,
        folder: &Arc<Path>,
        is_in_new: bool,
        own: Own,
    ) -> Result<Option<Self>, StoreError> {
        let name = entry.file_name();
        let kind = match entry.file_type() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            kind => kind.context("looking at", &entry.path())?,
        };
        if name.as_encoded_bytes().starts_with(b".") || !misfit::is_file(entry, kind) {
            return Ok(None);
        }
        let Some(name) = misfit::with_usable_name(name, folder, is_in_new) else { return Ok(None) };
        let parsed = FileName::parse(&name);
        let (uid, base) = (own.uid(&parsed), parsed.base.into_owned());
        Ok(Some(Self { folder: Arc::clone(folder), is_in_new, name, base, uid, inode: entry.ino() }))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// True if it is in `cur/` under this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        !self.is_in_new && self.name == name
    }
}

/// When others do something: at the beginning and the end of a reading, and as soon as what changed is shown.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Begun,
    Ended,
    Shown,
}

#[cfg(test)]
type Meanwhile = Box<dyn FnMut(Moment)>;

#[cfg(test)]
thread_local! {
    /// Names that this thread has read in folders, by which tests see what a change costs.
    pub(crate) static FILES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// What others do at such moments of this thread.
    pub(crate) static MEANWHILE: std::cell::RefCell<Option<Meanwhile>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
pub(super) fn meanwhile(moment: Moment) {
    MEANWHILE.with_borrow_mut(|act| act.iter_mut().for_each(|act| act(moment)));
}
