//! Who has the database open. Where somebody took it away, or its log, only they know all that is in it: as long as one of them is there, nobody else
//! decides what becomes of it.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::renewal::Place;
use super::turn::{named, who_has_locked};
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

    /// True if they say that they have this open, without a look whether there are any.
    pub(super) fn have(path: &Path, place: &Place) -> bool {
        let path = path.with_extension("open");
        let opened = File::open(&path).map(|file| Self { file, path });
        opened.is_ok_and(|it| it.noted().is_ok_and(|noted| noted == Some(note(place))))
    }

    /// As people are told of them.
    pub(super) fn named(&self) -> String {
        named(&who_has_locked(&self.file))
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
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Database;
    use super::*;
    use crate::{Envelope, Queue, QueueId};

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

    /// Of a process that has the queue open.
    const FOLDER: &str = "MAILSTEAD_TEST_FOLDER";

    #[test]
    #[ignore = "the process that another test has hang"]
    fn has_it_open_until_it_is_ended() {
        let Some(folder) = std::env::var_os(FOLDER) else { return };
        let queue = Queue::open(Path::new(&folder)).unwrap();
        add(&queue);
        println!("open");
        let _ = std::io::stdin().read(&mut [0]);
    }

    fn add(queue: &Arc<Queue>) -> QueueId {
        queue.add().unwrap().commit(&Envelope::plain()).unwrap()
    }

    /// A process that has the queue open, and hangs.
    struct Hanging(Child);

    impl Hanging {
        fn start(folder: &Path) -> Self {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--quiet", "--ignored", "--nocapture", "--exact"]);
            command.arg("database::holders::tests::has_it_open_until_it_is_ended").env(FOLDER, folder);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let said = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(said.map_while(Result::ok).any(|line| line.ends_with("open")));
            let hanging = Self(child);
            hanging.signal("STOP");
            while !hanging.has_stopped() {
                std::thread::yield_now();
            }
            hanging
        }

        fn signal(&self, name: &str) {
            let kill = format!("kill -{name} {}", self.0.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }

        fn has_stopped(&self) -> bool {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
            let is_stopped = |task: &Path| fs::read_to_string(task.join("stat")).unwrap().contains(") T ");
            tasks.into_iter().all(|task| is_stopped(&task.unwrap().path()))
        }
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn queued(database: &Database) -> usize {
        database.list(None, 10).unwrap().len()
    }

    #[test]
    fn who_hangs_with_a_database_that_was_taken_away_is_named_and_puts_it_back_when_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let hanging = Hanging::start(folder.path());
        fs::remove_file(&path).unwrap();
        let open = || Database::open_within(&path, Duration::from_millis(100));
        let error = open().unwrap_err().to_string();
        assert!(error.contains(&format!("process {} (`", hanging.0.id())), "{error}");
        assert!(!path.exists());
        hanging.signal("CONT");
        assert_eq!(queued(&Database::open(&path).unwrap()), 1);
    }

    /// Here that is all: only the file was taken away, not its log.
    #[test]
    fn when_who_hangs_is_ended_the_queue_goes_on_with_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let hanging = Hanging::start(folder.path());
        fs::remove_file(&path).unwrap();
        assert!(matches!(Database::open_within(&path, Duration::ZERO), Err(QueueError::TakenAway { .. })));
        drop(hanging);
        let queue = Queue::open(folder.path()).unwrap();
        add(&queue);
        let told = queue.notices().unwrap();
        assert_eq!((queue.list(None, 10).unwrap().len(), told.len()), (2, 1), "{told:?}");
    }

    #[test]
    fn another_one_that_has_it_open_puts_it_back_without_who_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let queue = Queue::open(folder.path()).unwrap();
        let hanging = Hanging::start(folder.path());
        let id = add(&queue);
        fs::remove_file(&path).unwrap();
        assert_eq!(queued(&Database::open(&path).unwrap()), 2);
        assert!(queue.show(&id).unwrap().is_some());
        hanging.signal("CONT");
        assert_eq!(queued(&Database::open(&path).unwrap()), 2);
    }

    #[test]
    fn a_full_disk_keeps_nobody_from_being_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (path, place) = place(folder.path());
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        assert!(Holders { file: full, path }.join(&place).is_ok());
    }
}
