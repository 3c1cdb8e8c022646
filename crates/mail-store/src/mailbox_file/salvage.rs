//! A damaged or missing `mailstead-mailbox`, made anew from what is left of it, the index and the names of the files.

use std::path::Path;

use mail_types::UidValidity;

use super::MailboxFile;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MailboxRow;
use crate::names::{self, FileName};

/// How far above the last known number to go on: the index may lack its last changes.
const MARGIN: u32 = 1 << 16;

impl MailboxFile {
    /// Makes the file anew with the same UIDVALIDITY, if that is still known, and sets the damaged one aside. Keywords whose
    /// names are lost get others. False if the UIDVALIDITY is not known.
    pub(crate) fn salvage(folder: &Path, known: Option<&MailboxRow>) -> Result<bool, StoreError> {
        let path = Self::path(folder);
        let damaged = disk::read_optional(&path)?;
        let (mut file, is_whole) = Self::whole_lines(&String::from_utf8_lossy(&damaged.unwrap_or_default()));
        let uid_validity = known.and_then(|row| UidValidity::try_from(row.uid_validity).ok());
        match uid_validity {
            Some(uid_validity) => file.uid_validity = uid_validity,
            None if is_whole => {}
            None => return Ok(false),
        }
        let last = [file.uid_limit, known.map_or(1, |row| row.uid_next), highest_uid(folder)?];
        file.uid_limit = last.into_iter().max().unwrap_or(1).saturating_add(MARGIN);
        let last = file.mod_seq_limit.max(known.map_or(1, |row| row.mod_seq));
        file.mod_seq_limit = last + u64::from(MARGIN);
        set_aside(&path)?;
        file.write(folder)?;
        tracing::warn!(path = %path.display(), "made anew; the damaged file is kept beside it");
        Ok(true)
    }

    /// What the lines say before the first that can't be understood; true if they name the UIDVALIDITY.
    fn whole_lines(text: &str) -> (Self, bool) {
        let mut file = Self::new(UidValidity::MIN, None);
        let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
        let is_ours = lines.next() == Some("mailstead-mailbox 1");
        let mut is_known = false;
        for line in lines.take_while(|_| is_ours) {
            if file.take_line(line).is_none() {
                break;
            }
            is_known |= line.starts_with("uidvalidity ");
        }
        (file, is_known)
    }
}

/// The highest UID that a file claims here.
fn highest_uid(folder: &Path) -> Result<u32, StoreError> {
    let mut highest = 0;
    for path in ["new", "cur"].map(|part| folder.join(part)) {
        for entry in std::fs::read_dir(&path).context("reading the folder", &path)? {
            let name = entry.context("reading the folder", &path)?.file_name();
            let uid = FileName::parse(&name.to_string_lossy()).uid;
            highest = highest.max(uid.map_or(0, |uid| uid.value()));
        }
    }
    Ok(highest)
}

fn set_aside(path: &Path) -> Result<(), StoreError> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".damaged-{}", names::unique()));
    match disk::rename_new(path, Path::new(&aside)) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
