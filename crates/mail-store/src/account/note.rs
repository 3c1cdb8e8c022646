//! What stands in the lock's file: a note by who had the lock, for who has it next.

use std::collections::HashSet;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;

use crate::disk;

/// Octets of `<work> <commits> <boot>`: a digit, twenty, and an id as the system gives it, divided by spaces and ended by a newline.
const LENGTH: usize = 60;

const DONE: u8 = b'0';
const UNDER_WAY: u8 = b'1';
/// As [`UNDER_WAY`], and behind the note stands which files are being placed.
const PLACING: u8 = b'2';

/// The note, without what is being placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    work: u8,
    /// The number of the index's last transaction that changed something. An index with a lower one is an old one.
    pub(super) commits: u64,
    /// All that the index holds was brought to the disk in this boot of the machine, and nothing has changed since.
    pub(super) settled: Option<String>,
}

impl Note {
    pub(super) fn read(file: &File) -> Result<Self> {
        let mut octets = [0; LENGTH];
        let count = file.read_at(&mut octets, 0)?;
        let text = octets.get(..count).unwrap_or_default();
        let mut fields = str::from_utf8(text).unwrap_or_default().split_ascii_whitespace();
        let work = text.first().copied().unwrap_or(DONE);
        // One that an earlier version wrote has only the first.
        let commits = fields.nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
        let settled = fields.next().filter(|boot| *boot != "-").map(str::to_owned);
        Ok(Self { work, commits, settled })
    }

    /// True if work was under way when its process died, or when the disk failed: then the folders may differ from the index
    /// although their times don't show it.
    pub(super) fn is_half_done(&self) -> bool {
        self.work == UNDER_WAY || self.work == PLACING
    }

    pub(super) fn is_placing(&self) -> bool {
        self.work == PLACING
    }

    /// Notes that work is under way.
    pub(super) fn begin(file: &File) -> Result<()> {
        file.write_all_at(&[UNDER_WAY], 0)
    }

    /// Notes that the work is done, with the index at this transaction.
    pub(super) fn end(&self, file: &File, commits: u64) -> Result<()> {
        if commits == self.commits {
            return file.write_all_at(&[DONE], 0);
        }
        Self { work: DONE, commits, settled: None }.write(file)
    }

    fn write(&self, file: &File) -> Result<()> {
        let boot = self.settled.as_deref().unwrap_or("-");
        let text = format!("{} {:020} {boot:36}\n", char::from(self.work), self.commits);
        file.write_all_at(text.as_bytes(), 0)
    }

    /// Notes, durably, that what the index holds is on the disk, or no more.
    pub(super) fn settle(&self, file: &File, is_settled: bool) -> Result<()> {
        let settled = is_settled.then(|| disk::boot_id().to_owned());
        Self { settled, ..self.clone() }.write(file)?;
        file.sync_data()
    }

    /// Notes which files are about to be placed in a folder of this name, by the bases of their names.
    pub(super) fn place<'a>(file: &File, folder: &str, bases: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut text = format!("{folder}\n");
        for base in bases {
            text.push_str(base);
            text.push('\n');
        }
        text.push('\n');
        file.write_all_at(text.as_bytes(), LENGTH as u64)?;
        file.write_all_at(&[PLACING], 0)
    }

    /// The folder in which files were being placed, and the bases of their names.
    pub(super) fn placed(file: &File) -> Result<(String, HashSet<String>)> {
        let mut octets = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or_default()];
        file.read_exact_at(&mut octets, 0)?;
        let text = String::from_utf8_lossy(octets.get(LENGTH..).unwrap_or_default());
        let mut lines = text.split('\n');
        let folder = lines.next().unwrap_or_default().to_owned();
        Ok((folder, lines.take_while(|base| !base.is_empty()).map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_also_one_of_an_earlier_version() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Note::read(&file).unwrap(), Note { work: DONE, commits: 0, settled: None });
        file.write_all_at(b"1", 0).unwrap();
        let note = Note::read(&file).unwrap();
        assert!(note.is_half_done() && !note.is_placing());
        note.end(&file, 7).unwrap();
        let note = Note::read(&file).unwrap();
        assert_eq!(note, Note { work: DONE, commits: 7, settled: None });
        note.settle(&file, true).unwrap();
        let settled = Note::read(&file).unwrap();
        assert_eq!(settled.settled.as_deref(), Some(disk::boot_id()));
        Note::begin(&file).unwrap();
        settled.end(&file, 7).unwrap();
        assert_eq!(Note::read(&file).unwrap(), settled, "what changes nothing leaves all settled");
        Note::place(&file, ".Sent", ["a,S=1", "b", "c"].into_iter()).unwrap();
        Note::place(&file, "", ["d"].into_iter()).unwrap();
        assert_eq!(Note::placed(&file).unwrap(), (String::new(), HashSet::from(["d".to_owned()])));
        let note = Note::read(&file).unwrap();
        assert!(note.is_placing() && note.is_half_done());
        note.end(&file, 8).unwrap();
        assert_eq!(Note::read(&file).unwrap(), Note { work: DONE, commits: 8, settled: None });
    }
}
