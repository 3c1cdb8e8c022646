//! The files of the log: each is written by one process, and any may remove old ones.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::EventError;

/// How every segment's name ends.
const SUFFIX: &str = ".jsonl";
/// How long one is written to, so that old events go day by day.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Parts into which the log's size is cut, and the bounds of such a part, in octets.
const PARTS: u64 = 16;
const MIN_SIZE: u64 = 64 << 10;
const MAX_SIZE: u64 = 64 << 20;
/// Names that are tried for a new one.
const MAX_TRIES: u32 = 1000;

/// What all segments together may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Octets.
    pub(crate) size: u64,
    pub(crate) age: Duration,
}

impl Bounds {
    /// Octets of one segment.
    fn of_segment(self) -> u64 {
        (self.size / PARTS).clamp(MIN_SIZE, MAX_SIZE)
    }
}

/// The segment that this process writes to. It holds a lock on it, by which others see that it is in use.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    path: PathBuf,
    begun: SystemTime,
    size: u64,
}

impl Segment {
    /// Goes on with the last one of this server that nobody uses, or begins a new one.
    pub(crate) fn open(folder: &Path, server: &str, bounds: Bounds) -> Result<Self, EventError> {
        make_folder(folder)?;
        let last = list(folder)?.into_iter().rev().find(|path| is_of(path, server));
        if let Some(segment) = last.and_then(|path| Self::take_up(path).ok().flatten())
            && !segment.is_over(bounds)
        {
            return Ok(segment);
        }
        Self::begin(folder, server)
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.size += u64::try_from(lines.len()).unwrap_or_default();
        self.file.write_all(lines)
    }

    /// True once another one is to be begun: it is long or old, or somebody has removed it.
    pub(crate) fn is_over(&self, bounds: Bounds) -> bool {
        let is_old = self.begun.elapsed().is_ok_and(|age| age >= MAX_AGE.min(bounds.age));
        self.size >= bounds.of_segment() || is_old || self.file.metadata().is_ok_and(|it| it.nlink() == 0)
    }

    fn begin(folder: &Path, server: &str) -> Result<Self, EventError> {
        for _ in 0..MAX_TRIES {
            let now = Timestamp::now().strftime("%Y%m%dT%H%M%S.%6f");
            let path = folder.join(format!("{now}-{server}{SUFFIX}"));
            match options().create_new(true).open(&path) {
                Ok(file) => match file.try_lock() {
                    Ok(()) => return Ok(Self { file, path, begun: SystemTime::now(), size: 0 }),
                    // Another process has found it in this moment, and goes on with it.
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(EventError::io("locking", &path)(error)),
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(EventError::io("making", &path)(error)),
            }
        }
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        Err(EventError::io("making a file in", folder)(error))
    }

    /// `None` if somebody uses it. What its last process left of a line is ended.
    fn take_up(path: PathBuf) -> io::Result<Option<Self>> {
        let mut file = options().open(&path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let metadata = file.metadata()?;
        let (begun, size) = (begun(&path).unwrap_or(SystemTime::UNIX_EPOCH), metadata.len());
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Some(Self { file, path, begun, size }))
    }

    /// Removes the oldest ones of any process, as far as the bounds want it and nobody uses them.
    pub(crate) fn prune(&self, bounds: Bounds) -> Result<(), EventError> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let mut others = Vec::new();
        for path in list(folder)? {
            if let Ok(metadata) = fs::metadata(&path)
                && path != self.path
            {
                others.push((path, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
            }
        }
        let all: u64 = others.iter().map(|(_, size, _)| size).sum();
        // What this one may become counts already.
        let mut excess = (all + bounds.of_segment()).saturating_sub(bounds.size);
        for (path, size, modified) in others {
            let is_old = modified.elapsed().is_ok_and(|age| age >= bounds.age);
            if (is_old || excess > 0) && remove(&path)? {
                excess = excess.saturating_sub(size);
            }
        }
        Ok(())
    }
}

/// The segments, oldest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, EventError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EventError::io("reading", folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(EventError::io("reading", folder))?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// False if somebody uses it, or was faster.
fn remove(path: &Path) -> Result<bool, EventError> {
    let file = match options().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(EventError::io("opening", path)(error)),
    };
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true).map_err(EventError::io("removing", path)),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(EventError::io("locking", path)(error)),
    }
}

fn is_of(path: &Path, server: &str) -> bool {
    path.to_string_lossy().ends_with(&format!("-{server}{SUFFIX}"))
}

/// When it was begun, by its name.
fn begun(path: &Path) -> Option<SystemTime> {
    let name = path.file_name()?.to_str()?;
    let (moment, _) = name.split_once('.')?;
    let moment = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", moment).ok()?;
    Some(moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

/// For appending, and for looking at the end.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.append(true).read(true).mode(0o600);
    options
}

fn make_folder(folder: &Path) -> Result<(), EventError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(EventError::io("making the folder", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { size: 1 << 20, age: Duration::from_secs(3600) };

    fn names(folder: &Path) -> Vec<PathBuf> {
        list(folder).unwrap()
    }

    #[test]
    fn a_server_goes_on_with_its_last_segment_and_two_at_a_time_have_one_each() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        first.append(b"{}\n").unwrap();
        let second = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        assert_ne!(first.path, second.path);
        let path = second.path.clone();
        drop((first, second));
        assert_eq!(Segment::open(folder.path(), "smtp", BOUNDS).unwrap().path, path);
        assert_ne!(Segment::open(folder.path(), "queue", BOUNDS).unwrap().path, path);
    }

    /// What one has made and not locked yet the other may take for left by a process that is gone.
    #[test]
    fn two_that_begin_at_once_wait_for_each_other_nowhere_and_have_one_each() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        let (done, all) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for round in 0..300 {
                let (folder, start) = (folder.join(round.to_string()), std::sync::Barrier::new(2));
                let open = || {
                    start.wait();
                    Segment::open(&folder, "imap", BOUNDS).unwrap()
                };
                let [one, other] = std::thread::scope(|scope| {
                    [scope.spawn(open), scope.spawn(open)].map(|opened| opened.join().unwrap())
                });
                assert_ne!(one.path, other.path);
            }
            done.send(()).unwrap();
        });
        let waited = all.recv_timeout(Duration::from_secs(60));
        assert!(waited.is_ok(), "one waits for a file that the other has locked, or failed");
    }

    #[test]
    fn what_a_killed_process_left_of_a_line_does_not_spoil_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        segment.append(b"{}\n{\"at\":\"20").unwrap();
        let path = segment.path.clone();
        drop(segment);
        let mut segment = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        segment.append(b"{}\n").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"{}\n{\"at\":\"20\n{}\n");
    }

    #[test]
    fn the_oldest_go_first_when_there_is_too_much_and_none_that_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let fill = |server: &str| {
            let mut segment = Segment::open(folder.path(), server, BOUNDS).unwrap();
            segment.append(&vec![b'x'; 400 << 10]).unwrap();
            assert!(segment.is_over(BOUNDS));
            segment
        };
        let [used, a, b, c] = [fill("a"), fill("b"), fill("c"), fill("d")];
        let paths = [&used, &a, &b, &c].map(|it| it.path.clone());
        drop((a, b));
        c.prune(BOUNDS).unwrap();
        assert_eq!(names(folder.path()), [paths[0].clone(), paths[2].clone(), paths[3].clone()]);
    }

    #[test]
    fn what_is_too_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let old = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        old.file.set_modified(long_ago).unwrap();
        drop(old);
        let now = Segment::open(folder.path(), "queue", BOUNDS).unwrap();
        now.prune(BOUNDS).unwrap();
        assert_eq!(names(folder.path()), std::slice::from_ref(&now.path));
    }

    #[test]
    fn one_that_was_removed_is_not_written_to_any_further() {
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::open(folder.path(), "smtp", BOUNDS).unwrap();
        assert!(!segment.is_over(BOUNDS));
        fs::remove_file(&segment.path).unwrap();
        assert!(segment.is_over(BOUNDS));
    }

    #[test]
    fn the_name_tells_when_it_was_begun() {
        let begun = begun(Path::new("/x/20260102T030405.678901-smtp.jsonl")).unwrap();
        let expected: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(Timestamp::try_from(begun).unwrap(), expected);
    }
}
