//! Who has the database open. Where somebody took it away, or its log, only they know all that is in it: as long as one of them is there, nobody else
//! decides what becomes of it.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::renewal::Place;
use crate::QueueError;

/// Characters of a note, filled up.
const NOTE: usize = 200;

/// A file that each of them has locked together with the others, and that says what they have open. All is done in a process's turn to write.
#[derive(Debug)]
pub(super) struct Holders {
    file: File,
    path: PathBuf,
}

impl Holders {
    /// Those of the database at `path`, which the caller is not one of yet.
    pub(super) fn of(path: &Path) -> Result<Self, QueueError> {
        let path = path.with_extension("open");
        whole_file::set_aside_unless(&path, Metadata::is_file);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(QueueError::io("making", &path))?;
        Ok(Self { file, path })
    }

    /// True if there are any, and what they have open isn't what lies at its place.
    pub(super) fn miss(&self, place: &Place) -> Result<bool, QueueError> {
        match self.file.try_lock() {
            Ok(()) => self.file.unlock().map(|()| false).map_err(QueueError::io("unlocking", &self.path)),
            Err(error) => match std::io::Error::from(error) {
                error if error.kind() == ErrorKind::WouldBlock => Ok(self.noted()? != note(place)),
                error => Err(QueueError::io("locking", &self.path)(error)),
            },
        }
    }

    /// Is one of them until it is dropped, with this open.
    pub(super) fn join(self, place: &Place) -> Result<Self, QueueError> {
        let note = note(place);
        if self.noted()? != note {
            // In place of another one of the same length: no room is needed for it.
            let written = self.file.write_all_at(format!("{note:<NOTE$}\n").as_bytes(), 0);
            written.map_err(QueueError::io("writing", &self.path))?;
        }
        self.file.lock_shared().map_err(QueueError::io("locking", &self.path))?;
        Ok(self)
    }

    fn noted(&self) -> Result<String, QueueError> {
        let (mut file, mut noted) = (&self.file, Vec::new());
        let read = file.rewind().and_then(|()| file.read_to_end(&mut noted));
        read.map_err(QueueError::io("reading", &self.path))?;
        let noted = String::from_utf8_lossy(&noted);
        Ok(noted.lines().next().unwrap_or_default().trim_end().to_owned())
    }
}

fn note(place: &Place) -> String {
    format!("{place:?}")
}
