//! One file in `cur` or `new`, looked at by itself.

use std::fs::{DirEntry, FileType};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use mail_types::Uid;

use super::finding::{Findings, Problem};
use crate::mailbox_file::MailboxFile;
use crate::mark::Mark;
use crate::names::{self, FileName};

/// A message's file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) base: String,
    pub(super) uid: Option<Uid>,
    mark: Option<Mark>,
    pub(super) is_in_cur: bool,
    /// Octets in the file.
    pub(super) size: u64,
}

impl Found {
    /// Looks at an entry of a folder; `None` if it is no message, or gone by now.
    pub(super) fn look(entry: &DirEntry, is_in_cur: bool, findings: &mut Findings) -> Option<Self> {
        let path = entry.path();
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            return None;
        }
        let data = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                findings.add(path, Problem::Unreadable(error.to_string()));
                return None;
            }
            Ok(data) if !data.is_file() => {
                findings.add(path, Problem::NotAFile(kind(data.file_type())));
                return None;
            }
            Ok(data) => data,
        };
        let Ok(name) = name.into_string() else {
            findings.add(path, Problem::NotUtf8);
            return None;
        };
        let parsed = FileName::parse(&name);
        let (base, uid, mark) = (parsed.base.clone().into_owned(), parsed.uid, parsed.mark);
        let found = Self { path, base, uid, mark, is_in_cur, size: data.size(), name: name.clone() };
        found.judge_name(&parsed, findings);
        found.judge_size(&parsed, findings);
        Some(found)
    }

    /// Forgets a UID that another mailbox gave, or another program.
    pub(super) fn keep_own_uid(&mut self, file: &MailboxFile) {
        if self.mark.map_or(!file.is_unmarked, |mark| mark != file.mark()) {
            self.uid = None;
        }
    }

    fn judge_name(&self, parsed: &FileName<'_>, findings: &mut Findings) {
        if let Some(reason) = parsed.breach(&self.name) {
            findings.add(&self.path, Problem::BadName(reason));
        }
    }

    fn judge_size(&self, parsed: &FileName<'_>, findings: &mut Findings) {
        let found = self.size;
        if found == 0 {
            findings.add(&self.path, Problem::Empty);
        } else if let Some(named) = parsed.size.filter(|named| *named != found) {
            findings.add(&self.path, Problem::SizeDiffers { named, found });
        }
        if let Err(errno) = rustix::fs::access(&self.path, rustix::fs::Access::READ_OK)
            && errno != rustix::io::Errno::NOENT
        {
            findings.add(&self.path, Problem::Unreadable(std::io::Error::from(errno).to_string()));
        }
    }

    /// Octets on the wire, if its name vouches for them: then it has the true size too.
    pub(super) fn named_wire(&self) -> Option<u64> {
        let parsed = FileName::parse(&self.name);
        let size = parsed.size.filter(|size| *size == self.size)?;
        parsed.wire.or_else(|| names::is_ours(&parsed.base).then_some(size))
    }
}

fn kind(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() || kind.is_socket() {
        "a pipe or a socket"
    } else {
        "a device"
    }
}
