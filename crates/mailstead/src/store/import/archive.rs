//! Archives, read as a stream: what they hold is never unpacked to the disk.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use ::zip::read::ZipFile;
use ::zip::{ExtraField, ZipArchive};
use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tar::Entries;

use super::tree::{Content, Entry, Visit, names};
use crate::store::trouble::Trouble;

/// An archive may unpack to this, and to [`RATIO`] times its size besides; text is seldom packed more than twenty times.
const FREE: u64 = 1 << 30;
const RATIO: u64 = 200;

/// Stops reading what unpacks to far more than mail does.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R, archive: &File) -> io::Result<Self> {
        Ok(Self { inner, left: allowance(archive.metadata()?.len()) })
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if self.left == 0 { Err(too_much()) } else { Ok(read) }
    }
}

/// Tells a file that is cut short from one that has ended.
struct Whole<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("the archive ends within it"));
        }
        Ok(read)
    }
}

const fn allowance(size: u64) -> u64 {
    FREE.saturating_add(size.saturating_mul(RATIO))
}

fn too_much() -> io::Error {
    io::Error::other(format!(
        "it unpacks to more than {RATIO} times its size, which mail does not: not read further"
    ))
}

fn damaged(error: impl std::fmt::Display) -> Trouble {
    Trouble::Message(format!("the archive can't be read: {error}"))
}

pub(super) fn tar(path: &Path, visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let file = File::open(path).map_err(Trouble::unreadable)?;
    entries(::tar::Archive::new(io::BufReader::new(file)).entries().map_err(damaged)?, visit)
}

pub(super) fn tar_gz(path: &Path, visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let file = File::open(path).map_err(Trouble::unreadable)?;
    let size = file.try_clone().map_err(Trouble::unreadable)?;
    let unpacked = Bounded::new(MultiGzDecoder::new(io::BufReader::new(file)), &size);
    let mut archive = ::tar::Archive::new(unpacked.map_err(Trouble::unreadable)?);
    entries(archive.entries().map_err(damaged)?, visit)
}

fn entries<R: Read>(entries: Entries<'_, R>, visit: &mut Visit<'_>) -> Result<(), Trouble> {
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        let path = names(&String::from_utf8_lossy(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        let modified = entry.header().mtime().ok().map(u64::cast_signed); // before 1970 it is negative
        let size = entry.size();
        let mut whole = Whole { inner: &mut entry, left: size };
        let content = if kind.is_dir() {
            Content::Folder
        } else if kind.is_file() || kind.is_contiguous() {
            Content::File(&mut whole)
        } else {
            continue; // links and devices hold no mail
        };
        visit(Entry { path, modified, size, content })?;
    }
    Ok(())
}

pub(super) fn zip(path: &Path, visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let file = File::open(path).map_err(Trouble::unreadable)?;
    let mut left = allowance(file.metadata().map_err(Trouble::unreadable)?.len());
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    for index in 0..archive.len() {
        left = zip_entry(&mut archive, index, left, visit)?;
    }
    Ok(())
}

/// Gives how much the entries after this one may unpack to.
fn zip_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
    left: u64,
    visit: &mut Visit<'_>,
) -> Result<u64, Trouble> {
    let name = archive.name_for_index(index).and_then(Result::ok).unwrap_or_default();
    let path = names(&name);
    let file = match archive.by_index(index) {
        Ok(file) => file,
        Err(error) => {
            let content = Content::Unreadable(error.to_string());
            return visit(Entry { path, modified: None, size: 0, content }).map(|()| left);
        }
    };
    let (modified, size, is_dir) = (modified(&file), file.size(), file.is_dir());
    if file.is_symlink() {
        return Ok(left);
    }
    let mut bounded = Bounded { inner: file, left };
    let content = if is_dir { Content::Folder } else { Content::File(&mut bounded) };
    visit(Entry { path, modified, size, content })?;
    if bounded.left == 0 { Err(damaged(too_much())) } else { Ok(bounded.left) }
}

/// The moment in the entry's extended timestamp; without one, the time of the clock where it was packed is taken for ours.
fn modified<R: Read>(file: &ZipFile<'_, R>) -> Option<i64> {
    let extended = file.extra_data_fields().find_map(|field| {
        let ExtraField::ExtendedTimestamp(times) = field else { return None };
        times.mod_time().map(i64::from)
    });
    extended.or_else(|| {
        let time = file.last_modified()?;
        let part = |value: u8| i8::try_from(value).ok();
        let year = i16::try_from(time.year()).ok()?;
        let (month, day) = (part(time.month())?, part(time.day())?);
        let (hour, minute, second) = (part(time.hour())?, part(time.minute())?, part(time.second())?);
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(time.to_zoned(TimeZone::system()).ok()?.timestamp().as_second())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_to_more_than_mail_does_is_not_read_further() {
        let mut bounded = Bounded { inner: io::repeat(0), left: 100_000 };
        let mut read = Vec::new();
        bounded.read_to_end(&mut read).unwrap_err();
        assert!(read.len() <= 100_000);
        assert_eq!(bounded.left, 0);
        assert!(allowance(1 << 20) > 100 << 20, "a mailbox of text packs well");
    }
}
