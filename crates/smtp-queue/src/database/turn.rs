//! Whose turn it is to write: one process after the other, by a lock of the system, since SQLite's own way is to look again after a sleep. Who waits for
//! long says so, and for whom: a process that was stopped while it had its turn holds up all others.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::QueueError;

/// How long a turn may be waited for without a word.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody waits for longer, and how often when nobody waits until that ends.
const LOOK: Duration = Duration::from_secs(1);
const IDLE_LOOKS: u32 = 10;
/// Where the system says who has locked what.
const LOCKS: &str = "/proc/locks";

/// What is locked by who writes, open.
#[derive(Debug)]
pub(super) struct TurnFile {
    file: File,
    path: PathBuf,
}

impl TurnFile {
    /// That of the database at `path`.
    pub(super) fn of(path: &Path) -> Result<Arc<Self>, QueueError> {
        let path = path.with_extension("turn");
        whole_file::set_aside_unless(&path, Metadata::is_file);
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(QueueError::io("making", &path))?;
        Ok(Arc::new(Self { file, path }))
    }
}

/// A process's turn to write, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<TurnFile>);

impl Turn {
    /// Waits for it.
    pub(super) fn take(of: &Arc<TurnFile>) -> Result<Self, QueueError> {
        match of.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let _waits = Waits::begin(of);
                of.file.lock().map_err(QueueError::io("locking", &of.path))?;
            }
            Err(TryLockError::Error(error)) => return Err(QueueError::io("locking", &of.path)(error)),
        }
        Ok(Self(Arc::clone(of)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.0.file.unlock() {
            tracing::error!(%error, "the queue stays locked");
        }
    }
}

/// The processes that have locked this file, as far as the system says: none in another namespace.
pub(super) fn who_has_locked(file: &File) -> Vec<u32> {
    let Ok(inode) = file.metadata().map(|it| it.ino().to_string()) else { return Vec::new() };
    let locks = std::fs::read_to_string(LOCKS).unwrap_or_default();
    let mut holders: Vec<u32> = locks.lines().filter_map(|line| holder(line, &inode)).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

/// Who has a lock by this line, if it is one on that file: `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`; who waits for one has an arrow behind the number.
fn holder(line: &str, inode: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let is_flock = words.next() == Some("FLOCK");
    let process = words.nth(2).and_then(|it| it.parse().ok()).filter(|it| *it > 0);
    let place = words.next()?.rsplit(':').next();
    process.filter(|_| is_flock && place == Some(inode))
}

/// As people are told of them.
pub(super) fn named(processes: &[u32]) -> String {
    let name = |process: &u32| {
        let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|it| *it == 0).map(String::from_utf8_lossy).collect();
        let command = words.join(" ");
        match command.trim() {
            "" => format!("process {process}"),
            command => format!("process {process} (`{}`)", command.escape_debug()),
        }
    };
    match processes {
        [] => "a process that can't be told from here".to_owned(),
        some => some.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

/// All of this process that wait.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting { all: Vec::new(), last: 0, is_watched: false });

struct Waiting {
    all: Vec<Wait>,
    /// The number of the last one.
    last: u64,
    /// A thread looks at them.
    is_watched: bool,
}

struct Wait {
    number: u64,
    of: Arc<TurnFile>,
    since: Instant,
    is_told: bool,
}

/// That somebody waits, until it is dropped.
struct Waits(u64);

impl Waits {
    fn begin(of: &Arc<TurnFile>) -> Self {
        let mut waiting = waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.all.push(Wait { number, of: Arc::clone(of), since: Instant::now(), is_told: false });
        if !waiting.is_watched {
            let watch = thread::Builder::new().name("queue-turn".to_owned()).spawn(watch);
            waiting.is_watched = watch.is_ok();
        }
        Self(number)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = waiting();
        if let Some(place) = waiting.all.iter().position(|it| it.number == self.0) {
            let wait = waiting.all.swap_remove(place);
            drop(waiting);
            if wait.is_told {
                tracing::warn!(
                    "the turn to write to the queue came after {} s",
                    wait.since.elapsed().as_secs()
                );
            }
        }
    }
}

/// Looks until nobody has waited for a while.
fn watch() {
    let mut idle = 0;
    loop {
        thread::sleep(LOOK);
        let mut waiting = waiting();
        idle = if waiting.all.is_empty() { idle + 1 } else { 0 };
        if idle > IDLE_LOOKS {
            waiting.is_watched = false;
            return;
        }
        let mut overdue = Vec::new();
        for wait in waiting.all.iter_mut().filter(|it| !it.is_told && it.since.elapsed() >= PATIENCE) {
            wait.is_told = true;
            overdue.push((Arc::clone(&wait.of), wait.since));
        }
        drop(waiting);
        overdue.iter().for_each(|(of, since)| tell(of, *since));
    }
}

fn tell(of: &TurnFile, since: Instant) {
    tracing::warn!(
        "waiting for the turn to write to the queue for {} s: {} has locked {}, and may be stopped or hang",
        since.elapsed().as_secs(),
        named(&who_has_locked(&of.file)),
        of.path.display()
    );
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_lock_is_read_from_what_the_system_says() {
        #[track_caller]
        fn check(line: &str, expected: Option<u32>) {
            assert_eq!(holder(line, "131"), expected, "{line}");
        }
        check("1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", Some(4711));
        check("12: FLOCK  ADVISORY  READ  4711 00:2f:131 0 EOF", Some(4711));
        check("1: -> FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", None);
        check("1: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF", None);
        check("1: FLOCK  ADVISORY  WRITE 4711 08:01:1131 0 EOF", None);
        check("1: FLOCK  ADVISORY  WRITE -1 08:01:131 0 EOF", None);
        check("1: FLOCK", None);
        check("", None);
    }

    #[test]
    fn the_process_that_has_its_turn_is_known_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let open = || TurnFile::of(&folder.path().join("queue.sqlite")).unwrap();
        let (mine, others) = (open(), open());
        assert!(who_has_locked(&others.file).is_empty());
        let turn = Turn::take(&mine).unwrap();
        let holders = who_has_locked(&others.file);
        assert_eq!(holders, [std::process::id()]);
        assert!(named(&holders).starts_with(&format!("process {} (`", std::process::id())));
        drop(turn);
        assert!(who_has_locked(&others.file).is_empty());
    }
}
