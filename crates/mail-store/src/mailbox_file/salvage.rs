//! A damaged or missing `mailstead-mailbox`, made anew from what is left of it, the index and the names of the files.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mail_types::UidValidity;

use super::MailboxFile;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MailboxRow;
use crate::mark::Mark;
use crate::names::{self, FileName};

/// How far above the last known number to go on: the index may lack its last changes.
const MARGIN: u32 = 1 << 16;

impl MailboxFile {
    /// Makes the file anew with the same UIDVALIDITY, if that is still known, and sets the damaged one aside. Keywords whose
    /// names are lost get others. False if the UIDVALIDITY is not known and something depends on it.
    ///
    /// The UIDVALIDITY is that in the names of the messages' files, unless these were copied from another mailbox (`is_copied`
    /// knows whose mark it is), else that of the index, else that in what is left of the file.
    pub(crate) fn salvage(
        folder: &Path,
        known: Option<&MailboxRow>,
        is_copied: impl Fn(Mark) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let path = Self::path(folder);
        let damaged = disk::read_optional(&path)?;
        let is_damaged = damaged.is_some();
        let (mut file, is_told) = Self::whole_lines(&String::from_utf8_lossy(&damaged.unwrap_or_default()));
        let uids = UidsInNames::read(folder)?;
        let in_index = known.and_then(|row| UidValidity::try_from(row.uid_validity).ok());
        let own = match uids.mark() {
            Some(mark) if in_index == Some(mark.uid_validity) || !is_copied(mark)? => Some(mark),
            _ => None,
        };
        // Where another server was at work since, its list counts.
        let in_index = in_index.filter(|_| is_damaged || !Self::has_foreign_list(folder));
        if let Some(mark) = own {
            (file.uid_validity, file.id) = (mark.uid_validity, mark.id);
        } else if let Some(uid_validity) = in_index {
            file.uid_validity = uid_validity;
        } else if !is_told {
            if is_damaged && uids.is_empty() {
                set_aside(&path)?;
            }
            return Ok(is_damaged && uids.is_empty());
        }
        file.is_unmarked = own.is_none() && uids.marks.contains_key(&None);
        let last = [file.uid_limit, known.map_or(1, |row| row.uid_next), uids.highest(&file)];
        file.uid_limit = last.into_iter().max().unwrap_or(1).saturating_add(MARGIN);
        let last = file.mod_seq_limit.max(known.map_or(1, |row| row.mod_seq));
        file.mod_seq_limit = last + u64::from(MARGIN);
        if known.is_none() {
            // What is lost is not known: nobody changes a mailbox each second for all its life.
            file.mod_seq_limit = file.mod_seq_limit.max(seconds_now());
        }
        set_aside(&path)?;
        file.write(folder)?;
        tracing::warn!(path = %path.display(), "made anew; if there was a damaged one, that is kept beside it");
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

/// The UIDs that names of files here claim.
#[derive(Default)]
struct UidsInNames {
    /// By mark, how many files have it, and the highest UID beside it.
    marks: HashMap<Option<Mark>, (usize, u32)>,
}

impl UidsInNames {
    fn read(folder: &Path) -> Result<Self, StoreError> {
        let mut this = Self::default();
        for path in ["new", "cur"].map(|part| folder.join(part)) {
            for entry in std::fs::read_dir(&path).context("reading the folder", &path)? {
                let name = entry.context("reading the folder", &path)?.file_name();
                let name = name.to_string_lossy();
                let name = FileName::parse(&name);
                if let Some(uid) = name.uid {
                    let (count, highest) = this.marks.entry(name.mark).or_default();
                    *count += 1;
                    *highest = uid.value().max(*highest);
                }
            }
        }
        Ok(this)
    }

    fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The one that most files have.
    fn mark(&self) -> Option<Mark> {
        let marks = self.marks.iter().filter_map(|(mark, (count, _))| Some((count, (*mark)?)));
        marks.max_by_key(|(count, _)| *count).map(|(_, mark)| mark)
    }

    /// The highest that is the mailbox's own.
    fn highest(&self, file: &MailboxFile) -> u32 {
        let is_own = |mark: &Option<Mark>| mark.map_or(file.is_unmarked, |mark| mark == file.mark());
        let own = self.marks.iter().filter(|(mark, _)| is_own(mark));
        own.map(|(_, (_, highest))| *highest).max().unwrap_or_default()
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn set_aside(path: &Path) -> Result<(), StoreError> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".damaged-{}", names::unique()));
    match disk::rename_new(path, Path::new(&aside)) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
