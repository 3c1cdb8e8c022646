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

    /// True if there are any, and what they have open isn't what lies at its place. Where nothing says what they have open, it is taken to be that.
    pub(super) fn miss(&self, place: &Place) -> Result<bool, QueueError> {
        match self.file.try_lock() {
            Ok(()) => self.file.unlock().map(|()| false).map_err(QueueError::io("unlocking", &self.path)),
            Err(error) => match std::io::Error::from(error) {
                error if error.kind() == ErrorKind::WouldBlock => {
                    Ok(self.noted()?.is_some_and(|noted| noted != note(place)))
                }
                error => Err(QueueError::io("locking", &self.path)(error)),
            },
        }
    }

    /// Is one of them until it is dropped, with this open.
    pub(super) fn join(self, place: &Place) -> Result<Self, QueueError> {
        let note = note(place);
        if self.noted()?.as_ref() != Some(&note)
            && let Err(error) = self.file.write_all_at(format!("{note:<NOTE$}\n").as_bytes(), 0)
        {
            tracing::warn!(%error, "{} can't be written", self.path.display());
            // Rather none than one that is not right any more.
            let _ = self.file.set_len(0);
        }
        self.file.lock_shared().map_err(QueueError::io("locking", &self.path))?;
        Ok(self)
    }

    /// What they have open; `None` if that was never written, or makes no sense.
    fn noted(&self) -> Result<Option<String>, QueueError> {
        let (mut file, mut noted) = (&self.file, Vec::new());
        let read = file.rewind().and_then(|()| file.take(NOTE as u64).read_to_end(&mut noted));
        read.map_err(QueueError::io("reading", &self.path))?;
        let noted = String::from_utf8(noted).unwrap_or_default().trim_end().to_owned();
        Ok(Some(noted).filter(|noted| is_note(noted)))
    }
}

fn note(place: &Place) -> String {
    format!("{place:?}")
}

fn is_note(text: &str) -> bool {
    let places = text.strip_prefix("Place([").and_then(|rest| rest.strip_suffix("])"));
    places.is_some_and(|it| it.chars().all(|it| it.is_ascii_alphanumeric() || " (),".contains(it)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of a database that is open.
    fn place(folder: &Path) -> (PathBuf, Place) {
        let path = folder.join("queue.sqlite");
        fs::write(&path, "it").unwrap();
        let place = Place::of(&path);
        (path, place)
    }

    #[test]
    fn a_note_that_makes_no_sense_says_nothing_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, place) = place(folder.path());
        let _first = Holders::of(&path).unwrap().join(&place).unwrap();
        let whole = fs::read(path.with_extension("open")).unwrap();
        let garbage = [&b""[..], &whole[..20], &[0xff; 300], &[0; 300], b"Place([None, N\0ne, None])"];
        for damaged in garbage {
            fs::write(path.with_extension("open"), damaged).unwrap();
            let next = Holders::of(&path).unwrap();
            assert!(!next.miss(&place).unwrap(), "{}", damaged.escape_ascii());
            let _next = next.join(&place).unwrap();
            assert_eq!(Holders::of(&path).unwrap().noted().unwrap(), Some(note(&place)));
            fs::remove_file(&path).unwrap();
            assert!(Holders::of(&path).unwrap().miss(&Place::of(&path)).unwrap());
            fs::write(&path, "it").unwrap();
        }
    }

    #[test]
    fn a_full_disk_keeps_nobody_from_being_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (path, place) = place(folder.path());
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        assert!(Holders { file: full, path }.join(&place).is_ok());
    }
}
