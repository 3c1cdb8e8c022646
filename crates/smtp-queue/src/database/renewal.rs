//! A database that is damaged, or that somebody took away from those who have it open, is set aside and made anew of all that can be read.
//!
//! All is done in a process's turn to write. What was taken away is made anew by one that has had it open, as long as there is any (`holders.rs`); what
//! is damaged, by whoever finds that. The new one is written whole beside the old one, and takes its place in one step; who has the old one open finds
//! out before its next word, and goes on with the new one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use whole_file::{BESIDE, beside};

use super::salvage::salvage;
use super::turn::{Turn, TurnFile};
use super::{Database, create, index, note_ancestor, own_id};
use crate::mishap::{self, Mishap, Salvaged};
use crate::step::Step;
use crate::{QueueError, QueueId, step};

/// Octets of the smallest database.
const SMALLEST: u64 = 512;
/// In less than that a folder may change without another time of its last change, on any file system.
const MOMENT: Duration = Duration::from_secs(2);

/// How a log begins: <https://www.sqlite.org/fileformat2.html#walformat>.
const LOG: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];

/// In front of the moment in the name of one that was set aside.
const ASIDE: &str = ".damaged-";

/// How long a renewal that failed is not begun again: at first, at most, and at least as many times as long as it took, since it holds up all that write.
const RESPITE: Duration = Duration::from_secs(1);
const MAX_RESPITE: Duration = Duration::from_secs(60);
const RESPITES: u32 = 10;

/// By device and number.
type Inode = (u64, u64);

/// Which folder it is, by device and number, and since when it has been as it is: by a time that nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FolderState {
    inode: Inode,
    changed: (i64, i64),
}

impl FolderState {
    fn of(folder: &fs::Metadata) -> Self {
        Self { inode: (folder.dev(), folder.ino()), changed: (folder.ctime(), folder.ctime_nsec()) }
    }

    /// False if it may change at this moment without another state.
    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).map(|it| UNIX_EPOCH + Duration::from_secs(it));
        changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|it| it > MOMENT))
    }
}

/// A renewal that failed: until then none is begun, and what is asked of the database fails for the same reason.
#[derive(Debug)]
pub(super) struct Unrenewed {
    why: Arc<QueueError>,
    until: Instant,
    respite: Duration,
}

impl Unrenewed {
    /// One that failed at `now`, having taken so long, after others or for the first time.
    fn new(before: Option<&Self>, error: QueueError, took: Duration, now: Instant) -> Self {
        let respite = before.map_or(RESPITE, |before| before.respite.saturating_mul(2).min(MAX_RESPITE));
        Self { why: Arc::new(error), until: now + respite.max(took.saturating_mul(RESPITES)), respite }
    }

    fn error(&self) -> QueueError {
        QueueError::Unrenewed(Arc::clone(&self.why))
    }
}

/// What lies at a path, and what SQLite has beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place([Option<Inode>; 3]);

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        let inode = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
        let [log, map] = BESIDE.map(|suffix| inode(&beside(path, suffix)));
        Self([inode(path), log, map])
    }

    /// What is in the database there: all that the file and its log say.
    fn content(&self) -> String {
        let [file, log, _] = self.0;
        format!("{file:?} {log:?}")
    }

    /// True if there is nothing.
    const fn is_empty(&self) -> bool {
        matches!(self.0, [None, None, None])
    }
}

/// True unless it is known at first sight that it must be made, or made anew.
pub(super) fn looks_sound(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.len() >= SMALLEST) && !finished(path).exists()
}

impl Database {
    /// Opens or makes it, for who has the turn.
    pub(super) fn open_in_turn(path: &Path, turn: &Arc<TurnFile>, held: &Turn) -> Result<Self, QueueError> {
        if finished(path).exists() {
            put_in_place(path)?;
        }
        for suffix in [""].iter().chain(&BESIDE) {
            whole_file::set_aside_unless(&beside(path, suffix), fs::Metadata::is_file);
        }
        let why = if let Some(why) = missing(path)? {
            why.to_owned()
        } else {
            match Self::open_what_is_there(path, turn) {
                Err(error) if error.is_loss() => error.to_string(),
                opened => return opened,
            }
        };
        renew(path, None, &why, held)?;
        Self::open_what_is_there(path, turn)
    }

    /// True if what is open is what others will find, and no new one lies there whose maker came to no end. Each word to the database asks this:
    /// as long as the folder stays as it was, that costs one look.
    pub(super) fn is_in_place(&self) -> bool {
        self.is_in_place_at(SystemTime::now())
    }

    fn is_in_place_at(&self, now: SystemTime) -> bool {
        let state = fs::metadata(folder_of(&self.path)).ok().map(|it| FolderState::of(&it));
        if state.is_some() && state == self.settled.get() {
            return true;
        }
        let is_in_place = Place::of(&self.path) == self.place && !finished(&self.path).exists();
        self.settled.set(state.filter(|state| is_in_place && state.is_settled(now)));
        is_in_place
    }

    /// Sees to it that it is.
    pub(crate) fn refresh(&mut self) -> Result<(), QueueError> {
        if self.is_in_place() {
            return Ok(());
        }
        if self.holders.is_none() {
            *self = Self::visit(&self.path)?;
            return Ok(());
        }
        let turn = Turn::take(&self.turn)?;
        if self.is_in_place() { Ok(()) } else { self.renew(None, &turn) }
    }

    /// Goes over to a new one, made of this one unless another process did that: because of an error, or because what is open is not in its
    /// place.
    pub(super) fn renew(&mut self, error: Option<&QueueError>, turn: &Turn) -> Result<(), QueueError> {
        if finished(&self.path).exists() {
            put_in_place(&self.path)?;
        }
        if let Some(successor) = self.successor()? {
            *self = successor;
            return Ok(());
        }
        let why = error.map_or_else(
            || "somebody removed or replaced it, or its -wal or -shm, while it was open".to_owned(),
            ToString::to_string,
        );
        let began = Instant::now();
        if let Some(failed) = self.unrenewed.as_ref().filter(|failed| began < failed.until) {
            return Err(failed.error());
        }
        if let Err(error) = renew(&self.path, Some((self, error.is_none())), &why, turn) {
            let failed = Unrenewed::new(self.unrenewed.as_ref(), error, began.elapsed(), Instant::now());
            return Err(self.unrenewed.insert(failed).error());
        }
        *self = Self::open_what_is_there(&self.path, &self.turn)?;
        Ok(())
    }

    /// What took the place of this one, made of all that is in it.
    fn successor(&self) -> Result<Option<Self>, QueueError> {
        // To open one with this one's log, or index to that, would change what is left of them.
        let (Place(there), Place(here)) = (Place::of(&self.path), self.place);
        let is_other = there.iter().zip(here).all(|(there, here)| there.is_none() || *there != here);
        if !is_other || !looks_sound(&self.path) {
            return Ok(None);
        }
        let there = Self::open_what_is_there(&self.path, &self.turn);
        let is_successor = |there: &Self| there.descends_from(&self.place.content());
        match there.and_then(|there| Ok(is_successor(&there)?.then_some(there))) {
            // It is set aside as well.
            Err(error) if error.is_loss() => Ok(None),
            found => found,
        }
    }

    /// True if it was made of the one of this name, or of what was in this place.
    fn descends_from(&self, name: &str) -> Result<bool, QueueError> {
        let find = "SELECT 1 FROM lineage WHERE id = ?1";
        let found = self.connection.prepare(find).and_then(|mut it| it.exists([name]));
        found.map_err(|source| self.failed(source))
    }
}

/// Why a database that isn't there, or is too short to be one, must have been there, or lacks its log; `None` if it is to be opened or made as usual.
fn missing(path: &Path) -> Result<Option<&'static str>, QueueError> {
    let log = beside(path, "-wal");
    if length(path) >= SMALLEST {
        return Ok(is_garbage(&log)?.then_some("its log was overwritten"));
    }
    let is_new = length(path) == 0 && length(&log) == 0 && files(&messages(path))?.is_empty();
    Ok((!is_new).then_some(if path.exists() { "it was cut off" } else { "somebody removed it" }))
}

/// True if a log begins as SQLite begins none. Zeros are what the loss of power may leave of one that nobody was promised anything of.
fn is_garbage(log: &Path) -> Result<bool, QueueError> {
    let mut beginning = Vec::new();
    let read = File::open(log).and_then(|file| file.take(4).read_to_end(&mut beginning));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        read => {
            read.map_err(QueueError::io("reading", log))?;
            let known: [&[u8]; 4] = [&[], &[0; 4], &LOG[0], &LOG[1]];
            Ok(!known.contains(&beginning.as_slice()))
        }
    }
}

/// What is open of it, and whether that is sound.
type Own<'o> = Option<(&'o Database, bool)>;

fn renew(path: &Path, own: Own<'_>, why: &str, _turn: &Turn) -> Result<(), QueueError> {
    let folder = folder_of(path);
    let moment = free_moment(path)?;
    let aside = set_aside(path, own, &moment)?;
    let (salvaged, strays) = make(path, own, aside.as_deref())?;
    let mishap =
        Mishap { moment: &moment, why, aside: aside.as_deref(), salvaged: &salvaged, strays: &strays };
    // Before anybody can take the new one for whole: what became of the old one must not stay untold.
    let new = beside(path, ".new");
    let told = mishap.write(folder).inspect_err(|_| discard(&new))?;
    fs::rename(&new, finished(path)).map_err(QueueError::io("writing", &new))?;
    sync(folder)?;
    step::reached(Step::Renewed);
    put_in_place(path)?;
    tracing::error!(told = %told.display(), "{}", mishap.summary());
    Ok(())
}

/// The first one from now on of which nothing is named yet.
fn free_moment(path: &Path) -> Result<String, QueueError> {
    let now = Timestamp::now();
    let moments = (0..).map_while(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
    let is_free = |moment: &String| {
        !mishap::text(folder_of(path), moment).exists() && Place::of(&aside_of(path, moment)).is_empty()
    };
    let free = moments.map(mishap::moment).find(is_free);
    free.ok_or_else(|| QueueError::io("setting aside", path)(ErrorKind::AlreadyExists.into()))
}

/// Gives what lies there a name that stays: the database, and what is in its log. `None` if neither is there.
fn set_aside(path: &Path, own: Own<'_>, moment: &str) -> Result<Option<PathBuf>, QueueError> {
    whole_file::set_aside_unless(path, fs::Metadata::is_file);
    let Place([file, log, _]) = Place::of(path);
    // Of what was put in the place of an open one, that one's log says nothing.
    let is_foreign = own.is_some_and(|(own, _)| own.place.0[0] != file && own.place.0[1] == log);
    let log = log.filter(|_| !is_foreign && length(&beside(path, "-wal")) > 0);
    if file.is_none() && log.is_none() {
        return Ok(None);
    }
    if let Some(aside) = already_aside(path, [file, log])? {
        return Ok(Some(aside));
    }
    let failed = || QueueError::io("setting aside", path);
    let aside = aside_of(path, moment);
    if file.is_some() {
        fs::hard_link(path, &aside).map_err(failed())?;
    } else {
        File::create_new(&aside).map_err(failed())?;
    }
    if log.is_some() {
        fs::hard_link(beside(path, "-wal"), beside(&aside, "-wal")).map_err(failed())?;
    }
    sync(folder_of(path))?;
    step::reached(Step::SetAside);
    Ok(Some(aside))
}

/// Where an attempt to do this that came to no end has put the same.
fn already_aside(path: &Path, there: [Option<Inode>; 2]) -> Result<Option<PathBuf>, QueueError> {
    let failed = || QueueError::io("reading", path);
    let prefix = format!("{}{ASIDE}", name_of(path));
    for entry in fs::read_dir(folder_of(path)).map_err(failed())? {
        let entry = entry.map_err(failed())?.path();
        let Place([file, log, _]) = Place::of(&entry);
        if name_of(&entry).starts_with(&prefix) && [file, log] == there {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Makes the new one of what can be read, whole and durable. Tells which files belong to no message in it. Where that fails nothing stays of it: the
/// disk may be full.
fn make(path: &Path, own: Own<'_>, aside: Option<&Path>) -> Result<(Salvaged, Vec<String>), QueueError> {
    let new = beside(path, ".new");
    remove(&new)?;
    make_at(&new, path, own, aside).inspect_err(|_| discard(&new))
}

fn discard(new: &Path) {
    for suffix in [""].iter().chain(&BESIDE) {
        let _ = fs::remove_file(beside(new, suffix));
    }
}

fn make_at(
    new: &Path,
    path: &Path,
    own: Own<'_>,
    aside: Option<&Path>,
) -> Result<(Salvaged, Vec<String>), QueueError> {
    let files_of = messages(path);
    let failed = |source| QueueError::Database { path: new.to_owned(), source };
    let mut target = Connection::open(new).map_err(failed)?;
    let mut salvaged = Salvaged::default();
    let mut fill = || -> rusqlite::Result<()> {
        // Nobody knows of it yet.
        target.pragma_update(None, "journal_mode", "MEMORY")?;
        target.pragma_update(None, "synchronous", "OFF")?;
        create(&mut target)?;
        let transaction = target.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Who has it open knows by that what took its place.
        let own_place = own.map(|(own, _)| own.place);
        for place in own_place.into_iter().chain([Place::of(path)]) {
            note_ancestor(&transaction, &place.content())?;
        }
        take_over(&transaction, own, aside, &files_of, &mut salvaged)?;
        transaction.commit()?;
        index(&target)?;
        target.pragma_update(None, "journal_mode", "WAL")
    };
    fill().map_err(failed)?;
    let mut strays = files(&files_of)?;
    let mut known = target.prepare("SELECT 1 FROM message WHERE id = ?1").map_err(failed)?;
    strays.retain(|name| !known.exists([name]).unwrap_or_default());
    drop(known);
    target.close().map_err(|(_, source)| failed(source))?;
    let written = File::open(new).and_then(|file| file.sync_all());
    written.map_err(QueueError::io("writing", new))?;
    Ok((salvaged, strays))
}

fn take_over(
    target: &Transaction<'_>,
    own: Own<'_>,
    aside: Option<&Path>,
    files: &Path,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    if let Some((own, _)) = own {
        salvage(&own.connection, target, files, salvaged)?;
    }
    let sound = own.filter(|(_, is_sound)| *is_sound).map(|(own, _)| own);
    // The same file without its log would be behind what is open of it.
    let is_mine = |aside: &&Path| sound.is_some_and(|own| Place::of(aside).0[0] == own.place.0[0]);
    let Some(aside) = aside.filter(|aside| !is_mine(aside)) else { return Ok(()) };
    // What is no database at all says nothing; and what is a copy of this one, or of what this one was made of, nothing new.
    let Ok(source) = look_into(aside) else { return Ok(()) };
    let is_copy = |own: &Database| own_id(&source).is_ok_and(|id| own.descends_from(&id).unwrap_or_default());
    if !sound.is_some_and(is_copy) {
        salvage(&source, target, files, salvaged)?;
    }
    drop(source);
    let _ = fs::remove_file(beside(aside, "-shm"));
    Ok(())
}

/// Leaves the file and its log as they are.
fn look_into(aside: &Path) -> rusqlite::Result<Connection> {
    if fs::metadata(aside).is_ok_and(|it| it.len() == 0) {
        // SQLite would remove the log of an empty one, in which much may be.
        let _ = File::options().write(true).open(aside).and_then(|file| file.set_len(SMALLEST));
    }
    let source = Connection::open(aside)?;
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // What was cut off is read as far as it goes.
    source.pragma_update(None, "writable_schema", true)?;
    source.pragma_update(None, "query_only", true)?;
    Ok(source)
}

/// The last step, which is done again if it comes to no end.
fn put_in_place(path: &Path) -> Result<(), QueueError> {
    // Of the old one: the new one has none.
    for suffix in BESIDE {
        remove(&beside(path, suffix))?;
    }
    step::reached(Step::Cleared);
    fs::rename(finished(path), path).map_err(QueueError::io("putting in place", path))?;
    step::reached(Step::InPlace);
    sync(folder_of(path))
}

/// Where the new one is that is whole and only has to be put in place.
fn finished(path: &Path) -> PathBuf {
    beside(path, ".renewed")
}

fn messages(path: &Path) -> PathBuf {
    folder_of(path).join("messages")
}

/// The names of the messages' files.
fn files(folder: &Path) -> Result<Vec<String>, QueueError> {
    let read = || -> io::Result<Vec<String>> {
        let names = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(folder)?.map(names).collect()
    };
    let mut names = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(QueueError::io("reading", folder))?,
    };
    names.retain(|name| QueueId(name.clone()).moment().is_some());
    names.sort();
    Ok(names)
}

/// Octets of what lies there; none where nothing does.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |it| it.len())
}

fn aside_of(path: &Path, moment: &str) -> PathBuf {
    beside(path, &format!("{ASIDE}{moment}"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn remove(path: &Path) -> Result<(), QueueError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(QueueError::io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), QueueError> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(QueueError::io("syncing", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_new_one_that_can_not_be_made_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        fs::write(&path, [0x5a; 4096]).unwrap();
        // Found out when the new one is written.
        fs::write(messages(&path), "no folder").unwrap();
        assert!(Database::open(&path).is_err());
        assert!(Place::of(&beside(&path, ".new")).is_empty());
        fs::remove_file(messages(&path)).unwrap();
        assert!(Database::open(&path).is_ok());
    }

    /// A disk that is full stays so for a while, and to make a large one anew is much work, during which nobody else writes.
    #[test]
    fn a_renewal_that_fails_is_not_begun_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let mut database = Database::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let obstacle = beside(&path, ".new");
        fs::create_dir(&obstacle).unwrap();
        let began = Instant::now();
        let first = database.refresh().unwrap_err().to_string();
        fs::remove_dir(&obstacle).unwrap();
        while let Err(error) = database.refresh() {
            assert_eq!(error.to_string(), first, "told once, since it is the same");
            std::thread::yield_now();
        }
        assert!(began.elapsed() >= RESPITE && path.exists());
        assert!(database.unrenewed.is_none());
    }

    #[test]
    fn the_respite_after_a_failed_renewal_grows_and_is_longer_than_that_took() {
        let now = Instant::now();
        let mut failed: Option<Unrenewed> = None;
        let mut wait = |took| {
            let error = QueueError::NoRecipients;
            let next = Unrenewed::new(failed.as_ref(), error, Duration::from_secs(took), now);
            let wait = next.until - now;
            failed = Some(next);
            wait.as_secs()
        };
        assert_eq!([0, 0, 0, 0, 0, 0, 0, 0].map(&mut wait), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(30), 300);
    }

    /// What is seen once of a folder that has been left alone holds until it changes, whatever the change is.
    #[test]
    fn every_change_in_a_folder_long_left_alone_is_seen() {
        let removed = |database: &Path| fs::remove_file(beside(database, "-wal")).unwrap();
        let replaced = |database: &Path| {
            fs::copy(database, beside(database, ".copy")).unwrap();
            fs::rename(beside(database, ".copy"), database).unwrap();
        };
        let renewed = |database: &Path| fs::write(finished(database), "").unwrap();
        for change in [removed as fn(&Path), replaced, renewed] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("queue.sqlite");
            let database = Database::open(&path).unwrap();
            let (now, soon) = (SystemTime::now(), SystemTime::now() + 2 * MOMENT);
            let changed = folder.path().metadata().unwrap().modified().unwrap();
            assert!(database.is_in_place_at(now) && database.is_in_place_at(soon));
            assert!(database.settled.get().is_some());
            assert!(database.is_in_place_at(soon));
            change(&path);
            // As a copy of the folder is put back.
            File::open(folder.path()).unwrap().set_modified(changed).unwrap();
            assert!(!database.is_in_place_at(soon));
        }
    }
}
