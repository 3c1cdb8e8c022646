use std::fmt::{self, Display};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rusqlite::{Error, ErrorCode, ffi};

/// What is behind the name of a file that was set aside.
const ASIDE: &str = ".damaged";
/// How many databases that were set aside stay, the newest ones: a disk that damages one again and again must not fill up with them.
const MAX_ASIDE: usize = 8;
/// What SQLite has beside a database: its log, and an index to that.
pub const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Which file it is, by device and number.
type Inode = (u64, u64);

/// A database of which the loss holds up nothing. One that is damaged is set aside under a name that stays, `.damaged` behind its own and a number behind
/// that where there is one already, and made anew, whether that is found when it is opened or later. The newest 8 of these stay. Where another process did
/// so, or a hand, all go on with what lies there then. All calls block.
pub struct Expendable<C> {
    path: PathBuf,
    open: fn(&Path) -> Result<C, Error>,
    /// What is open, and which file that is. `None` where it could not be opened again.
    opened: Mutex<Option<Opened<C>>>,
}

type Opened<C> = (C, Option<Inode>);

impl<C> fmt::Debug for Expendable<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expendable").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<C> Expendable<C> {
    /// Opens what lies at `path` with `open`, which makes it where there is none.
    ///
    /// # Errors
    /// What `open` says, twice where it says that the file is damaged.
    pub fn open(path: &Path, open: fn(&Path) -> Result<C, Error>) -> Result<Self, Error> {
        let this = Self { path: path.to_owned(), open, opened: Mutex::new(None) };
        let opened = this.opened()?;
        *this.lock() = Some(opened);
        Ok(this)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Works with it. Where it is found damaged, the work is done again with the new one.
    ///
    /// # Errors
    /// What `work` says, or what prevents that it is opened anew.
    pub fn with<T>(&self, work: impl Fn(&mut C) -> Result<T, Error>) -> Result<T, Error> {
        let mut place = self.lock();
        // What lies elsewhere by now is closed before another one is opened.
        let kept = place.take().filter(|(_, inode)| *inode == self::inode(&self.path));
        let (mut connection, inode) = kept.map_or_else(|| self.opened(), Ok)?;
        let mut result = work(&mut connection);
        if let Some(error) = result.as_ref().err().filter(|error| is_damage(error)) {
            // Closed first: SQLite knows a file again that a process has open.
            drop(connection);
            set_aside_one_of_few(&self.path, inode, error);
            let (connection, _) = place.insert(self.opened()?);
            result = work(connection);
        } else {
            *place = Some((connection, inode));
        }
        result
    }

    fn opened(&self) -> Result<Opened<C>, Error> {
        set_aside_unless(&self.path, Metadata::is_file);
        let inode = inode(&self.path);
        let opened = match self.open_in_turn() {
            Err(error) if is_damage(&error) => {
                set_aside_one_of_few(&self.path, inode, &error);
                self.open_in_turn()
            }
            opened => opened,
        };
        opened.map(|it| (it, self::inode(&self.path)))
    }

    /// SQLite gives its log to a new database without waiting for another process that does so too.
    fn open_in_turn(&self) -> Result<C, Error> {
        let turn = turn(&self.path);
        if let Err(error) = &turn {
            tracing::warn!(%error, "{} is opened without waiting for others", self.path.display());
        }
        (self.open)(&self.path)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened<C>>> {
        // A panic has left nothing open.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if an error of SQLite lies in the file as a whole: what it holds is lost.
#[must_use]
pub fn is_damage(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|failure| {
        matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            || failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ
    })
}

/// Files that were set aside in this folder, and when.
///
/// # Errors
/// What the file system says.
pub fn set_aside_in(folder: &Path) -> io::Result<Vec<(PathBuf, SystemTime)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, number)) = name.rsplit_once(ASIDE) else { continue };
        if number.chars().all(|it| it == '-' || it.is_ascii_digit()) {
            let changed = fs::symlink_metadata(&path)?.ctime();
            let since_then = std::time::Duration::from_secs(changed.try_into().unwrap_or_default());
            found.push((path, SystemTime::UNIX_EPOCH + since_then));
        }
    }
    found.sort();
    Ok(found)
}

/// Sets aside what lies at `path` if it is of another kind, such as a folder where a file belongs. That it can't is logged. Blocks.
pub fn set_aside_unless(path: &Path, is_right: fn(&Metadata) -> bool) {
    if fs::metadata(path).is_ok_and(|it| !is_right(&it)) {
        set_aside(path, inode(path), &"it is of another kind than it must be");
    }
}

/// Unless another process did so already: then another file lies there.
fn set_aside(path: &Path, damaged: Option<Inode>, why: &dyn Display) {
    let shown = path.display();
    match aside(path, damaged) {
        Ok(Some(aside)) => tracing::error!(
            "{shown} is damaged ({why}): it is set aside as {}, and made anew",
            aside.display()
        ),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "{shown} is damaged ({why}), and can't be set aside"),
    }
}

/// One process after the other, each until it drops this.
fn turn(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path))?;
    folder.lock().map(|()| folder)
}

fn aside(path: &Path, damaged: Option<Inode>) -> io::Result<Option<PathBuf>> {
    let turn = turn(path)?;
    if damaged.is_none() || inode(path) != damaged {
        return Ok(None);
    }
    let last = numbered_aside(path)?.pop().map_or(0, |(number, _)| number);
    let number = last.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?;
    let number = if number == 1 { String::new() } else { format!("-{number}") };
    let aside = beside(path, &format!("{ASIDE}{number}"));
    fs::rename(path, &aside)?;
    for suffix in BESIDE {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    turn.sync_all()?;
    Ok(Some(aside))
}

/// The same of one of which only the newest few stay.
fn set_aside_one_of_few(path: &Path, damaged: Option<Inode>, why: &dyn Display) {
    set_aside(path, damaged, why);
    if let Err(error) = remove_oldest(path) {
        tracing::warn!(%error, "what was set aside of {} before can't be removed", path.display());
    }
}

/// What is a folder stays: that was none of ours.
fn remove_oldest(path: &Path) -> io::Result<()> {
    let mut aside = numbered_aside(path)?;
    aside.retain(|(_, path)| fs::symlink_metadata(path).is_ok_and(|it| !it.is_dir()));
    for (_, oldest) in aside.iter().rev().skip(MAX_ASIDE) {
        for suffix in BESIDE.iter().chain(&[""]) {
            match fs::remove_file(beside(oldest, suffix)) {
                // Another process may be faster.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// What was set aside of a file, and where in the row: the last one last.
fn numbered_aside(path: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let prefix = beside(path, ASIDE);
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = name.strip_prefix(&prefix) else { continue };
        let number = if number.is_empty() { Some("1") } else { number.strip_prefix('-') };
        if let Some(number) = number.and_then(|it| it.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// The file whose name is that of `path` with `suffix` behind it.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: std::ffi::c_int) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    /// What a database would hold.
    fn read(path: &Path) -> Result<String, Error> {
        if !path.exists() {
            fs::write(path, "new").unwrap();
        }
        let text = fs::read_to_string(path).map_err(|_| failure(ffi::SQLITE_CANTOPEN))?;
        if text.starts_with("bad") { Err(failure(ffi::SQLITE_NOTADB)) } else { Ok(text) }
    }

    #[test]
    fn what_is_damaged_is_set_aside_each_time_and_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        for number in 1..=3 {
            fs::write(&path, format!("bad {number}")).unwrap();
            fs::write(beside(&path, "-wal"), "its log").unwrap();
            let one = Expendable::open(&path, read).unwrap();
            assert_eq!(one.with(|text| Ok(text.clone())).unwrap(), "new");
        }
        let aside = set_aside_in(folder.path()).unwrap();
        let texts: Vec<_> = aside.iter().map(|(path, _)| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["bad 1", "bad 2", "bad 3"]);
        assert!(beside(&aside[2].0, "-wal").exists() && !beside(&path, "-wal").exists());
    }

    /// Also where an operator has removed some of them: the oldest go, whatever is free in between. What is no database stays.
    #[test]
    fn the_newest_eight_of_what_was_set_aside_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        fs::write(folder.path().join("it.sqlite.damaged-by-me"), "an operator's").unwrap();
        for number in 1..=12 {
            fs::write(&path, format!("bad {number}")).unwrap();
            fs::write(beside(&path, "-wal"), "its log").unwrap();
            Expendable::open(&path, read).unwrap();
            if number == 6 {
                for name in ["it.sqlite.damaged-4", "it.sqlite.damaged-4-wal"] {
                    fs::remove_file(folder.path().join(name)).unwrap();
                }
                fs::create_dir(beside(&path, ".damaged-4")).unwrap();
            }
        }
        let aside = numbered_aside(&path).unwrap();
        let numbers: Vec<u32> = aside.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [4, 5, 6, 7, 8, 9, 10, 11, 12]);
        for (number, aside) in &aside[1..] {
            assert_eq!(fs::read_to_string(aside).unwrap(), format!("bad {number}"));
            assert!(beside(aside, "-wal").exists());
        }
        assert!(folder.path().join("it.sqlite.damaged-by-me").exists());
        // A new one, that directory, eight with their logs, and what is an operator's.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + 1 + 8 * 2 + 1);
    }

    /// Of two that find damage, the second doesn't set aside what the first has made.
    #[test]
    fn damage_that_is_found_at_work_is_set_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        let [one, other] = [0, 1].map(|_| Expendable::open(&path, read).unwrap());
        let fails_first = |reads: &std::cell::Cell<u32>, text: &str| {
            reads.set(reads.get() + 1);
            if reads.get() == 1 { Err(failure(ffi::SQLITE_CORRUPT)) } else { Ok(text.to_owned()) }
        };
        let (of_one, of_other) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        // As both are at work in it.
        let work = |text: &mut String| {
            if of_other.get() == 0 {
                assert_eq!(one.with(|text| fails_first(&of_one, text)).unwrap(), "new");
                fs::write(&path, "newer").unwrap();
            }
            fails_first(&of_other, text)
        };
        assert_eq!(other.with(work).unwrap(), "newer");
        assert_eq!(other.with(|text| Ok(text.clone())).unwrap(), "newer");
        assert_eq!(set_aside_in(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn all_go_on_with_what_one_of_them_has_made_or_a_hand_has_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        let one = Expendable::open(&path, read).unwrap();
        let text = || one.with(|text| Ok(text.clone())).unwrap();
        fs::rename(&path, beside(&path, ".damaged")).unwrap();
        fs::write(&path, "another's").unwrap();
        assert_eq!(text(), "another's");
        fs::remove_file(&path).unwrap();
        assert_eq!(text(), "new");
        assert!(path.exists());
    }

    #[test]
    fn a_folder_where_a_database_belongs_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        fs::create_dir(&path).unwrap();
        let one = Expendable::open(&path, read).unwrap();
        assert_eq!(one.with(|text| Ok(text.clone())).unwrap(), "new");
        assert!(set_aside_in(folder.path()).unwrap()[0].0.is_dir());
    }

    #[test]
    fn other_errors_set_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sqlite");
        let one = Expendable::open(&path, read).unwrap();
        let work = |_: &mut String| Err::<(), _>(failure(ffi::SQLITE_BUSY));
        assert!(one.with(work).is_err());
        assert_eq!(one.with(|text| Ok(text.clone())).unwrap(), "new");
        assert!(set_aside_in(folder.path()).unwrap().is_empty());
    }
}
