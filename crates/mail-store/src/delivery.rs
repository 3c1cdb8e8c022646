//! Delivery into `new/`: it never opens an index.

mod notes;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk_room::Room;
use mail_types::Usage;

use crate::content_hash::Hasher;
use crate::disk::{self, NewFile, Second};
use crate::error::{IoContext as _, Refusal, StoreError};
use crate::message_file::bare_lfs;
use crate::names;
use crate::quota::Count;

pub(crate) use notes::Notes;

/// A file in `tmp/` that counts and hashes what is written, and is removed unless it is kept.
#[derive(Debug)]
pub(crate) struct TmpFile {
    pub(crate) path: PathBuf,
    file: BufWriter<Admitted>,
    size: u64,
    bare_lfs: u64,
    last: u8,
    hasher: Hasher,
    /// No LF in it is taken for the end of a line.
    is_binary: bool,
    /// The content is written, but not flushed.
    is_pending: bool,
}

/// A file that leaves of the disk what mail leaves free.
#[derive(Debug)]
struct Admitted {
    file: NewFile,
    room: Arc<Room>,
}

impl Write for Admitted {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.room.admit_mail(data.len() as u64)?;
        self.file.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl TmpFile {
    /// It takes no more than there is `room` for.
    pub(crate) fn create(maildir: &Path, room: &Arc<Room>) -> Result<Self, StoreError> {
        let path = maildir.join("tmp").join(names::unique());
        let file = Admitted { file: disk::create_new(&path)?, room: Arc::clone(room) };
        let file = BufWriter::with_capacity(64 << 10, file);
        let hasher = Hasher::default();
        Ok(Self { path, file, size: 0, bare_lfs: 0, last: 0, hasher, is_binary: false, is_pending: false })
    }

    /// Octets in the file.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Octets on the wire.
    pub(crate) const fn wire(&self) -> u64 {
        if self.is_binary { self.size } else { self.size + self.bare_lfs }
    }

    pub(crate) fn set_modified(&mut self, seconds: i64) -> Result<(), StoreError> {
        let age = std::time::Duration::from_secs(seconds.unsigned_abs());
        let epoch = std::time::UNIX_EPOCH;
        let time = if seconds < 0 { epoch.checked_sub(age) } else { epoch.checked_add(age) };
        self.flush().context("writing", &self.path)?;
        self.file.get_ref().file.file().set_modified(time.unwrap_or(epoch)).context("dating", &self.path)
    }

    /// Brings the content to the disk, and gives the name for `new/`, or the base of that for `cur/`: it tells when the message
    /// was whole, not when it began to come.
    pub(crate) fn finish(&mut self) -> Result<String, StoreError> {
        self.flush().context("writing", &self.path)?;
        self.sync()?;
        Ok(self.name())
    }

    /// As [`Self::finish`], but where a journal does it the content comes to the disk only with the names: behind those
    /// [`Self::keep`] must be called.
    pub(crate) fn write_out(&mut self) -> Result<String, StoreError> {
        self.flush().context("writing", &self.path)?;
        self.is_pending = disk::write_out(self.file.get_ref().file.file());
        if !self.is_pending {
            self.sync()?;
        }
        Ok(self.name())
    }

    /// Brings the content to the disk if [`Self::write_out`] did not. The folders come first, since other deliveries change them: behind
    /// the commit of the journal for the file they would often need another one.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        if self.is_pending { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), StoreError> {
        disk::sync_file(self.file.get_ref().file.file(), &self.path)
    }

    fn name(&self) -> String {
        let wire = (self.is_binary || self.bare_lfs > 0).then(|| self.wire());
        names::sealed(&names::unique(), self.size, wire, Some(self.hasher.finish()))
    }
}

impl Write for TmpFile {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(data)?;
        let data = data.get(..written).unwrap_or_default();
        self.hasher.update(data);
        self.bare_lfs += bare_lfs(data, self.last);
        self.last = data.last().copied().unwrap_or(self.last);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        disk::discard(&self.path);
    }
}

/// The names in so many folders are brought to the disk by one flush of the file system: each flush of a folder waits for the disk
/// itself, even where a journal has long brought all of them there.
const MANY: usize = if cfg!(test) { 2 } else { 8 };

/// A message on its way into one or more INBOXes: a file in the first one's `tmp/`. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Delivery {
    tmp: TmpFile,
    maildirs: Vec<PathBuf>,
    /// For each of them, where it stands first.
    firsts: Vec<usize>,
    notes: Arc<Notes>,
}

/// A message that one recipient has.
#[derive(Debug)]
struct Placed {
    count: Count,
    how: Second,
}

impl Delivery {
    /// `maildirs` are those of the recipients, at least one.
    pub(crate) fn start(
        maildirs: Vec<PathBuf>,
        notes: &Arc<Notes>,
        room: &Arc<Room>,
    ) -> Result<Self, StoreError> {
        let first = maildirs.first().ok_or(StoreError::Refused(Refusal::NoRecipient))?;
        let tmp = match TmpFile::create(first, room) {
            Err(error) if error.is_not_found() => {
                notes.make_home(account_of(first))?;
                TmpFile::create(first, room)
            }
            created => created,
        }?;
        let mut seen = HashMap::new();
        let first = |(position, maildir)| *seen.entry(Path::as_os_str(maildir)).or_insert(position);
        let firsts = maildirs.iter().map(PathBuf::as_path).enumerate().map(first).collect();
        Ok(Self { tmp, maildirs, firsts, notes: Arc::clone(notes) })
    }

    /// Has the message shown to clients octet by octet (RFC 3030): of others, an LF that stands alone ends a line, and is CRLF to them.
    pub fn keep_octets(&mut self) {
        self.tmp.is_binary = true;
    }

    /// The file in `tmp/`, for the queue to link to or copy. Complete after a flush.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.tmp.path
    }

    /// The same for reading, wherever it is moved to then. Blocks.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn reader(&self) -> std::io::Result<std::fs::File> {
        std::fs::File::open(&self.tmp.path)
    }

    /// Makes the message durable and visible: fsync, link into each `new/`, flush of the folders (where a journal keeps the order,
    /// the fsync comes last).
    /// The results stand in the order of the recipients; where one is `Ok` the message is there for good, where it is an error it
    /// isn't there, or was taken back, so that a sender who tries again doubles nothing (unless the disk refuses that as well).
    #[must_use]
    pub fn commit(mut self) -> Vec<Result<(), StoreError>> {
        let name = match self.tmp.write_out() {
            Ok(name) => name,
            Err(error) => return self.all_failed(&error),
        };
        let note = self.notes.begin(&name, &self.maildirs);
        // All names are there before the first folder is flushed: a journaling file system brings them to the disk at once.
        let placed: Vec<_> = (0..self.maildirs.len()).map(|position| self.place(position, &name)).collect();
        let copied = |(position, placed): (usize, &Result<Option<Placed>, StoreError>)| {
            let how = placed.as_ref().ok().and_then(Option::as_ref).map(|placed| placed.how);
            (how == Some(Second::Copy)).then_some(position)
        };
        let is_kept = self.is_kept_at_once(placed.iter().enumerate().filter_map(copied));
        let (mut counts, mut results) = (Vec::new(), Vec::new());
        for ((maildir, first), placed) in self.maildirs.iter().zip(&self.firsts).zip(placed) {
            let result = match results.get(*first) {
                Some(Err(error)) => Err(self.same(error)),
                Some(Ok(())) => Ok(()),
                None => placed.and_then(|placed| {
                    if !is_kept {
                        keep(maildir).inspect_err(|_| withdraw(maildir, &name))?;
                    }
                    counts.extend(placed.map(|placed| placed.count));
                    Ok(())
                }),
            };
            results.push(result);
        }
        if let Err(error) = self.keep_content(is_kept).and_then(|()| note.close()) {
            self.maildirs.iter().for_each(|maildir| withdraw(maildir, &name));
            return self.all_failed(&error);
        }
        counts.iter_mut().for_each(Count::keep);
        results
    }

    /// As [`Self::commit`], but to all or to none, so that a sender who tries again doubles nothing. On a failure tells the
    /// position of the recipient concerned; what had been placed for others is taken back, though one may have seen it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn commit_all(self) -> Result<(), (usize, StoreError)> {
        self.place_all(|| ())
    }

    /// `placed` is called after each recipient.
    pub(crate) fn place_all(mut self, placed: impl Fn()) -> Result<(), (usize, StoreError)> {
        let name = self.tmp.write_out().map_err(|error| (0, error))?;
        let take_back = |position: usize, error| {
            self.maildirs.iter().take(position + 1).for_each(|maildir| withdraw(maildir, &name));
            (position, error)
        };
        let note = self.notes.begin(&name, &self.maildirs);
        let (mut counts, mut copies) = (Vec::new(), Vec::new());
        for position in 0..self.maildirs.len() {
            if let Some(placed) = self.place(position, &name).map_err(|error| take_back(position, error))? {
                copies.extend((placed.how == Second::Copy).then_some(position));
                counts.push(placed.count);
            }
            placed();
        }
        // All names are there before the first folder is flushed: a journaling file system brings them to the disk at once.
        let last = self.maildirs.len().saturating_sub(1);
        let is_kept = self.is_kept_at_once(copies.into_iter());
        if !is_kept {
            self.maildirs
                .iter()
                .try_for_each(|maildir| keep(maildir))
                .map_err(|error| take_back(last, error))?;
        }
        self.keep_content(is_kept).and_then(|()| note.close()).map_err(|error| take_back(last, error))?;
        counts.iter_mut().for_each(Count::keep);
        Ok(())
    }

    /// Shows the message to the recipient at `position`, once even where two recipients are one account: `None` for the second.
    fn place(&self, position: usize, name: &str) -> Result<Option<Placed>, StoreError> {
        let is_first = self.firsts.get(position) == Some(&position);
        let Some(maildir) = self.maildirs.get(position).filter(|_| is_first) else { return Ok(None) };
        let mut count = Count::begin(account_of(maildir));
        count.add(Usage::message(self.tmp.size));
        let (tmp, new) = (maildir.join("tmp").join(name), maildir.join("new").join(name));
        let link = || disk::link_or_copy(&self.tmp.path, &tmp, &new);
        let how = link().or_else(|error| self.make_folders(maildir, error).and_then(|()| link()))?;
        Ok(Some(Placed { count, how }))
    }

    /// Makes the folders of an account that gets its first mail, where nothing else is amiss.
    fn make_folders(&self, maildir: &Path, error: StoreError) -> Result<(), StoreError> {
        let is_new = error.is_not_found() && account_of(maildir) == maildir;
        if is_new { self.notes.make_home(maildir) } else { Err(error) }
    }

    /// True if all names were many, and are on the disk by one flush; which folder is to blame for a failure shows only one by one.
    /// All but the `copies` are on the file system where the file is, since a hard link is nowhere else.
    fn is_kept_at_once(&self, copies: impl Iterator<Item = usize>) -> bool {
        let mut copies = copies.filter_map(|position| self.maildirs.get(position));
        let file = self.tmp.file.get_ref().file.file();
        self.maildirs.len() >= MANY
            && disk::sync_file_system(file, &self.tmp.path)
                // Without a journal ext4 writes the last of it behind its flush of the disk's own cache: this is one more.
                .and_then(|()| self.tmp.sync())
                .and_then(|()| copies.try_for_each(|maildir| keep(maildir)))
                .inspect_err(|error| tracing::warn!(%error, "each folder is flushed by itself"))
                .is_ok()
    }

    /// Brings the content to the disk, unless it is there: [`Self::is_kept_at_once`] has it there with the names.
    fn keep_content(&self, is_kept: bool) -> Result<(), StoreError> {
        if is_kept { Ok(()) } else { self.tmp.keep() }
    }

    fn all_failed(&self, error: &StoreError) -> Vec<Result<(), StoreError>> {
        self.maildirs.iter().map(|_| Err(self.same(error))).collect()
    }

    /// The same error for another recipient.
    fn same(&self, error: &StoreError) -> StoreError {
        if let StoreError::Io { context, path, source } = error {
            return StoreError::Io { context, path: path.clone(), source: source.kind().into() };
        }
        let source = std::io::Error::other(error.to_string());
        StoreError::Io { context: "delivering", path: self.tmp.path.clone(), source }
    }
}

/// The Maildir that counts what is in this folder of it: INBOX itself, or what a mailbox's folder lies in.
fn account_of(folder: &Path) -> &Path {
    let is_mailbox = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    folder.parent().filter(|_| is_mailbox).unwrap_or(folder)
}

/// Brings the names in `new/` to the disk.
fn keep(maildir: &Path) -> Result<(), StoreError> {
    disk::sync_dir(&maildir.join("new"))
}

/// Takes a message back, also when a server has given it a UID already.
fn withdraw(maildir: &Path, name: &str) {
    disk::discard(&maildir.join("new").join(name));
    let of_message = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|file| names::FileName::parse(file).base == name)
    };
    let seen = std::fs::read_dir(maildir.join("cur")).into_iter().flatten().flatten().filter(of_message);
    seen.for_each(|entry| disk::discard(&entry.path()));
}

impl Write for Delivery {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.tmp.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.tmp.flush()
    }
}
