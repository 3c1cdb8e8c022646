//! The index of one account, SQLite; all SQL is here. It is a cache of the Maildir and may be deleted at any time.

mod inspect;
mod metadata;
mod newest;
mod object_ids;
mod rows;
mod sum;
mod summaries;

use std::cell::Cell;
use std::fmt::Display;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail_types::Uid;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::error::{IoContext as _, StoreError};
pub(crate) use inspect::Soundness;
pub(crate) use newest::Head;
pub(crate) use rows::{MailboxRow, MessageRow, MessageState};
use rows::{mailbox_row, message_row, message_state};
use sum::{Sum, damaged, verify};

/// A database has at least one page of so many octets.
const SMALLEST: u64 = 512;
/// Messages are looked up as a range where that has at most so many times as many.
const SPARSE: usize = 4;
/// How long one waits for another process.
const BUSY: Duration = Duration::from_secs(10);
/// Of another version it is made anew: it is only a cache.
const VERSION: i64 = 11;
const SCHEMA: &str = "
DROP TABLE IF EXISTS mailbox;
DROP TABLE IF EXISTS message;
DROP TABLE IF EXISTS expunged;
DROP TABLE IF EXISTS summary;
DROP TABLE IF EXISTS digest;
DROP TABLE IF EXISTS mailbox_id;
DROP TABLE IF EXISTS account;
DROP TABLE IF EXISTS metadata_change;
CREATE TABLE mailbox (
    folder TEXT PRIMARY KEY, uid_validity INTEGER NOT NULL, uid_next INTEGER NOT NULL, mod_seq INTEGER NOT NULL,
    first_recent INTEGER NOT NULL, boot TEXT NOT NULL, cur INTEGER NOT NULL, new INTEGER NOT NULL,
    compared INTEGER NOT NULL, cost INTEGER NOT NULL, settles INTEGER NOT NULL, doubt INTEGER NOT NULL,
    log_floor INTEGER NOT NULL, least_mod_seq INTEGER NOT NULL, messages INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE message (
    folder TEXT NOT NULL, uid INTEGER NOT NULL, base TEXT NOT NULL, info TEXT NOT NULL, extra TEXT NOT NULL,
    seconds INTEGER NOT NULL, offset_minutes INTEGER NOT NULL, wire INTEGER NOT NULL, mod_seq INTEGER NOT NULL,
    saved INTEGER, sum INTEGER NOT NULL, PRIMARY KEY (folder, uid)) WITHOUT ROWID;
CREATE INDEX message_change ON message (folder, mod_seq);
CREATE TABLE expunged (
    folder TEXT NOT NULL, mod_seq INTEGER NOT NULL, uid INTEGER NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (folder, mod_seq, uid)) WITHOUT ROWID;
CREATE TABLE summary (
    folder TEXT NOT NULL, uid INTEGER NOT NULL, wire INTEGER NOT NULL, form INTEGER NOT NULL,
    envelope BLOB, body BLOB, body_structure BLOB, fields BLOB, preview BLOB, sum INTEGER NOT NULL,
    PRIMARY KEY (folder, uid));
CREATE TABLE digest (
    folder TEXT NOT NULL, uid INTEGER NOT NULL, wire INTEGER NOT NULL, form INTEGER NOT NULL, digest BLOB NOT NULL,
    content BLOB, sum INTEGER NOT NULL, PRIMARY KEY (folder, uid)) WITHOUT ROWID;
CREATE TABLE mailbox_id (id BLOB PRIMARY KEY, folder TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE account (commits INTEGER NOT NULL);
INSERT INTO account VALUES (0);
CREATE TABLE metadata_change (
    number INTEGER PRIMARY KEY, folder TEXT NOT NULL, entry TEXT NOT NULL, sum INTEGER NOT NULL);
";
const TABLES: [&str; 7] =
    ["mailbox", "message", "expunged", "summary", "digest", "mailbox_id", "metadata_change"];
const MAILBOX: &str = "SELECT uid_validity, uid_next, mod_seq, first_recent, boot, cur, new, compared, cost, settles, doubt, log_floor, least_mod_seq, messages, sum FROM mailbox WHERE folder = ?1";
const MESSAGE: &str = "SELECT uid, info, extra, seconds, offset_minutes, wire, mod_seq, saved, sum, base FROM message WHERE folder = ?1";
const ONE_MESSAGE: &str = "SELECT uid, info, extra, seconds, offset_minutes, wire, mod_seq, saved, sum, base FROM message WHERE folder = ?1 AND uid = ?2";
const STATES: &str = "SELECT uid, info, extra, seconds, offset_minutes, wire, mod_seq, saved, sum FROM message WHERE folder = ?1 ORDER BY uid";

#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    inode: u64,
    connection: Connection,
    /// Rows changed before the transaction.
    changes: Cell<u64>,
}

impl Index {
    /// Opens or makes it. One that is damaged is set aside; where somebody removes it meanwhile, another is made.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::open_what_is_there(path) {
            Err(error) if is_moved(&error) => Self::open_what_is_there(path),
            result => result,
        }
    }

    fn open_what_is_there(path: &Path) -> Result<Self, StoreError> {
        // A log that a removed index has left would be taken for that of the new one. Where another process has made a new one,
        // what lies beside it is that one's.
        if !path.try_exists().context("looking at", path)? {
            discard_logs(path);
        } else if is_cut_off(path) {
            // SQLite would take it for a new one, and wait for those who still have the old one open.
            set_aside(path, &"it is cut off")?;
        }
        let open = || Self::try_open(path).and_then(Self::of_this_version);
        match open() {
            Err(StoreError::Index { source, .. }) if is_damage(&source) || is_cut_off(path) => {
                set_aside(path, &source)?;
                open()
            }
            result => result,
        }
    }

    /// Makes the tables, unless they are there. What a newer version made of them can't be known: its file is put away.
    fn of_this_version(self) -> Result<Self, StoreError> {
        let version = self.version()?;
        if version > VERSION {
            tracing::warn!(index = %self.path.display(), version, "the index is from a newer version of Mailstead; it is made anew from the Maildir");
            let Self { path, connection, .. } = self;
            drop(connection);
            put_away(&path, "newer")?;
            return Self::try_open(&path)?.of_this_version();
        }
        if version != VERSION {
            prepare(&self.connection).map_err(self.failed())?;
        }
        Ok(self)
    }

    fn version(&self) -> Result<i64, StoreError> {
        self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(self.failed())
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Index { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(failed)?;
        #[cfg(test)]
        meanwhile();
        connection.busy_timeout(BUSY).map_err(failed)?;
        let tuning = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
        connection.execute_batch(tuning).map_err(failed)?;
        let index = Self::of(path, connection)?;
        index.version()?;
        Ok(index)
    }

    /// Opens it as it is, for reading. Only who has the lock makes one.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|source| StoreError::Index { path: path.to_owned(), source })?;
        Self::of(path, connection)
    }

    fn of(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        connection.set_prepared_statement_cache_capacity(64);
        // A statement is prepared once, not anew for each value that it is given.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|source| StoreError::Index { path: path.to_owned(), source })?;
        #[cfg(test)]
        meanwhile();
        let inode = std::fs::metadata(path).context("looking at", path)?.ino();
        Ok(Self { path: path.to_owned(), inode, connection, changes: Cell::default() })
    }

    /// Of the file that was opened.
    pub(crate) const fn inode(&self) -> u64 {
        self.inode
    }

    /// True as long as its file is the one that was opened, and one at all.
    pub(crate) fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|it| it.ino() == self.inode && it.len() >= SMALLEST)
    }

    /// Opens the file anew if somebody removed or replaced it.
    pub(crate) fn refresh(&mut self) -> Result<(), StoreError> {
        if self.is_current() {
            return Ok(());
        }
        if !self.path.try_exists().context("looking at", &self.path)? {
            tracing::warn!(index = %self.path.display(), "the index was removed; it is rebuilt from the Maildir");
        }
        let path = self.path.clone();
        *self = Self::open(&path)?;
        Ok(())
    }

    /// True if its file has this path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    /// True if an error lies in the file: what it holds is lost.
    pub(crate) fn is_lost(&self, error: &rusqlite::Error) -> bool {
        is_damage(error) || is_cut_off(&self.path)
    }

    /// When it is damaged: sets the file aside and begins a new one.
    pub(crate) fn recover(&mut self, error: &dyn Display) -> Result<(), StoreError> {
        set_aside(&self.path, error)?;
        let path = self.path.clone();
        *self = Self::open(&path)?;
        Ok(())
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        |source| StoreError::Index { path: self.path.clone(), source }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql).and_then(|mut it| it.execute(values)).map_err(self.failed())?;
        Ok(())
    }

    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        self.changes.set(self.connection.total_changes());
        self.execute("BEGIN IMMEDIATE", [])
    }

    /// True if the transaction has changed anything.
    pub(crate) fn has_changed(&self) -> bool {
        self.connection.total_changes() != self.changes.get()
    }

    /// The number of the last transaction that changed anything.
    pub(crate) fn commits(&self) -> Result<u64, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT commits FROM account").map_err(self.failed())?;
        statement.query_row([], |row| row.get(0)).map_err(self.failed())
    }

    pub(crate) fn put_commits(&self, commits: u64) -> Result<(), StoreError> {
        self.execute("UPDATE account SET commits = ?1", [commits])
    }

    /// Has every mailbox learnt anew, above all that was ever told: the index lacks changes.
    pub(crate) fn outdate(&self) -> Result<(), StoreError> {
        self.execute("UPDATE mailbox SET boot = ''", [])
    }

    /// What was so in one boot of the machine is so in the next.
    pub(crate) fn carry_over(&self, before: &str, now: &str) -> Result<(), StoreError> {
        self.execute("UPDATE mailbox SET boot = ?2 WHERE boot = ?1", [before, now])
    }

    /// Brings all that is committed to the disk. False if others read it meanwhile, or did the same, so that some was left.
    pub(crate) fn checkpoint(&self) -> Result<bool, StoreError> {
        let figures = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?));
        let (is_busy, all, done): (bool, i64, i64) = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], figures)
            .map_err(self.failed())?;
        Ok(!is_busy && all == done)
    }

    /// Has every mailbox compared as a whole when it is next opened.
    pub(crate) fn distrust(&self) -> Result<(), StoreError> {
        self.execute("UPDATE mailbox SET cur = 0", [])
    }

    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        crate::disk::before_commit(&self.path)?;
        self.execute("COMMIT", [])
    }

    pub(crate) fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK", [])
        {
            tracing::error!(%error, "a transaction can't be taken back");
        }
    }

    pub(crate) fn mailbox(&self, folder: &str) -> Result<Option<MailboxRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(MAILBOX).map_err(self.failed())?;
        statement.query_row([folder], mailbox_row).optional().map_err(self.failed())
    }

    pub(crate) fn put_mailbox(&self, folder: &str, row: &MailboxRow) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO mailbox VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            params![
                folder,
                row.uid_validity,
                row.uid_next,
                row.mod_seq,
                row.first_recent,
                row.boot,
                row.cur,
                row.new,
                row.compared,
                row.cost,
                row.settles,
                row.doubt,
                row.log_floor,
                row.least_mod_seq,
                row.messages,
                row.sum()
            ],
        )
    }

    /// All messages, ascending by UID.
    pub(crate) fn messages(&self, folder: &str) -> Result<Vec<MessageRow>, StoreError> {
        self.rows(&format!("{MESSAGE} ORDER BY uid"), params![folder])
    }

    /// As [`Self::messages`], where there must be so many.
    pub(crate) fn all_messages(&self, folder: &str, count: u32) -> Result<Vec<MessageRow>, StoreError> {
        let rows = self.messages(folder)?;
        self.expect(count, rows.len())?;
        Ok(rows)
    }

    /// Hands on all messages' states, ascending by UID, without keeping them. There must be so many.
    pub(crate) fn each_state(
        &self,
        folder: &str,
        count: u32,
        mut take: impl FnMut(MessageState<'_>),
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(STATES).map_err(self.failed())?;
        let mut rows = statement.query([folder]).map_err(self.failed())?;
        let mut found = 0;
        while let Some(row) = rows.next().map_err(self.failed())? {
            take(message_state(row).map_err(self.failed())?);
            found += 1;
        }
        self.expect(count, found)
    }

    /// Where a key is damaged, SQLite ends a range there.
    fn expect(&self, count: u32, found: usize) -> Result<(), StoreError> {
        if usize::try_from(count) == Ok(found) { Ok(()) } else { Err(self.failed()(damaged(0))) }
    }

    /// The messages changed or added after `mod_seq`, ascending by UID.
    pub(crate) fn messages_since(&self, folder: &str, mod_seq: u64) -> Result<Vec<MessageRow>, StoreError> {
        let mut rows = self.rows(&format!("{MESSAGE} AND mod_seq > ?2"), params![folder, mod_seq])?;
        rows.sort_unstable_by_key(|row| row.uid);
        Ok(rows)
    }

    /// At most `limit` messages from `uid` on, ascending.
    pub(crate) fn messages_from(
        &self,
        folder: &str,
        uid: u32,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.rows(&format!("{MESSAGE} AND uid >= ?2 ORDER BY uid LIMIT ?3"), params![folder, uid, limit])
    }

    /// Those of these messages that there are. The UIDs ascend.
    pub(crate) fn messages_named(&self, folder: &str, uids: &[Uid]) -> Result<Vec<MessageRow>, StoreError> {
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(Vec::new()) };
        let span = usize::try_from(last.value() - first.value()).unwrap_or(usize::MAX);
        let sql = format!("{MESSAGE} AND uid BETWEEN ?2 AND ?3 ORDER BY uid");
        let rows = if span < SPARSE * uids.len() {
            self.rows(&sql, params![folder, first.value(), last.value()])?
        } else {
            Vec::new()
        };
        let mut rows = rows.into_iter().peekable();
        let mut named = Vec::with_capacity(uids.len());
        for uid in uids.iter().map(|uid| uid.value()) {
            while rows.next_if(|row| row.uid < uid).is_some() {}
            match rows.next_if(|row| row.uid == uid) {
                Some(row) => named.push(row),
                // Where a key is damaged, SQLite ends a range there.
                None => named.extend(self.message(folder, uid)?),
            }
        }
        Ok(named)
    }

    fn rows(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<MessageRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let rows = statement.query_map(values, message_row).map_err(self.failed())?;
        rows.collect::<Result<_, _>>().map_err(self.failed())
    }

    pub(crate) fn message(&self, folder: &str, uid: u32) -> Result<Option<MessageRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(ONE_MESSAGE).map_err(self.failed())?;
        statement.query_row(params![folder, uid], message_row).optional().map_err(self.failed())
    }

    /// The UIDs expunged after the mod-sequence `after` and up to `last`.
    pub(crate) fn expunged(&self, folder: &str, after: u64, last: u64) -> Result<Vec<u32>, StoreError> {
        let sql =
            "SELECT uid, mod_seq, sum FROM expunged WHERE folder = ?1 AND mod_seq > ?2 AND mod_seq <= ?3";
        let expunged = |row: &rusqlite::Row<'_>| {
            let uid = row.get(0)?;
            verify(row, 2, expunged_sum(uid, row.get(1)?))?;
            Ok(uid)
        };
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let uids = statement.query_map(params![folder, after, last], expunged).map_err(self.failed())?;
        uids.collect::<Result<_, _>>().map_err(self.failed())
    }

    /// True if it remembers that the message was taken out.
    pub(crate) fn has_expunged(&self, folder: &str, uid: u32) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM expunged WHERE folder = ?1 AND uid = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.exists(params![folder, uid]).map_err(self.failed())
    }

    /// Puts a message in whose UID is new to the folder.
    pub(crate) fn add_message(&self, folder: &str, row: &MessageRow) -> Result<(), StoreError> {
        self.write_message(
            "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            folder,
            row,
        )
    }

    /// Puts a message in, in place of the one with this UID.
    pub(crate) fn put_message(&self, folder: &str, row: &MessageRow) -> Result<(), StoreError> {
        self.write_message(
            "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            folder,
            row,
        )
    }

    /// Writes down the other flags of messages.
    pub(crate) fn put_flags(&self, folder: &str, rows: &[MessageRow]) -> Result<(), StoreError> {
        let sql =
            "UPDATE message SET info = ?3, extra = ?4, mod_seq = ?5, sum = ?6 WHERE folder = ?1 AND uid = ?2";
        let mut update = self.connection.prepare_cached(sql).map_err(self.failed())?;
        rows.iter().try_for_each(|row| {
            let values = params![folder, row.uid, row.info, row.extra, row.mod_seq, row.sum()];
            update.execute(values).map(|_| ()).map_err(self.failed())
        })
    }

    fn write_message(&self, sql: &str, folder: &str, row: &MessageRow) -> Result<(), StoreError> {
        self.execute(
            sql,
            params![
                folder,
                row.uid,
                row.base,
                row.info,
                row.extra,
                row.seconds,
                row.offset_minutes,
                row.wire,
                row.mod_seq,
                row.saved,
                row.sum()
            ],
        )
    }

    /// Takes a message out and logs that.
    pub(crate) fn expunge(&self, folder: &str, uid: u32, mod_seq: u64) -> Result<(), StoreError> {
        self.execute("DELETE FROM message WHERE folder = ?1 AND uid = ?2", params![folder, uid])?;
        self.execute("DELETE FROM summary WHERE folder = ?1 AND uid = ?2", params![folder, uid])?;
        self.execute("DELETE FROM digest WHERE folder = ?1 AND uid = ?2", params![folder, uid])?;
        let sum = expunged_sum(uid, mod_seq);
        self.execute(
            "INSERT OR REPLACE INTO expunged VALUES (?1, ?2, ?3, ?4)",
            params![folder, mod_seq, uid, sum],
        )
    }

    /// Keeps only the last `keep` of the expunged, and in any case what went below the mod-sequence `newest`; the mod-sequence
    /// after which the log is whole, if that cut it.
    pub(crate) fn trim_log(&self, folder: &str, keep: u32, newest: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT mod_seq FROM expunged WHERE folder = ?1 ORDER BY mod_seq DESC LIMIT 1 OFFSET ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let floor = statement.query_row(params![folder, keep], |row| row.get::<_, u64>(0)).optional();
        let Some(floor) = floor.map_err(self.failed())? else { return Ok(None) };
        let floor = floor.min(newest.saturating_sub(1));
        self.execute("DELETE FROM expunged WHERE folder = ?1 AND mod_seq <= ?2", params![folder, floor])?;
        Ok(Some(floor))
    }

    /// Has what is known of one mailbox be known of another.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.forget(to)?;
        for table in TABLES {
            self.execute(&format!("UPDATE {table} SET folder = ?2 WHERE folder = ?1"), [from, to])?;
        }
        Ok(())
    }

    /// Forgets a mailbox.
    pub(crate) fn forget(&self, folder: &str) -> Result<(), StoreError> {
        for table in TABLES {
            self.execute(&format!("DELETE FROM {table} WHERE folder = ?1"), [folder])?;
        }
        Ok(())
    }
}

fn expunged_sum(uid: u32, mod_seq: u64) -> u32 {
    Sum::default().number(uid.into()).number(mod_seq.cast_signed()).finish()
}

/// Makes the tables in place of those of an earlier version.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch("COMMIT")
}

/// True if the database's content is at fault, not the moment.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    if let rusqlite::Error::SqliteFailure(failure, text) = error {
        return matches!(
            failure.code,
            // A new UID that a message has already: the mailbox's next UID is too low.
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
        ) || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
            || text.as_deref().is_some_and(|it| it.contains("no such") || it.contains("has no column"));
    }
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// True if there is no room on the disk, be it for the memory that those share who have the index open.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|failure| {
        failure.code == ErrorCode::DiskFull || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// True if it failed because the file was removed or replaced after it was opened.
fn is_moved(error: &StoreError) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_FSTAT, SQLITE_READONLY_DBMOVED};
    if let StoreError::Index { source: rusqlite::Error::SqliteFailure(failure, _), .. } = error {
        return [SQLITE_IOERR_FSTAT, SQLITE_READONLY_DBMOVED].contains(&failure.extended_code);
    }
    error.is_not_found()
}

/// True if it is shorter than any database. Its length alone is looked at: to open it beside SQLite and close it would end
/// the locks that this process has on it.
fn is_cut_off(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.len() < SMALLEST)
}

fn set_aside(path: &Path, error: &dyn Display) -> Result<(), StoreError> {
    tracing::error!(index = %path.display(), %error, "the index is damaged; it is set aside and rebuilt from the Maildir");
    put_away(path, "damaged")
}

/// Takes it away, in place of the last one of that kind.
fn put_away(path: &Path, kind: &str) -> Result<(), StoreError> {
    std::fs::rename(path, path.with_extension(format!("sqlite.{kind}"))).context("setting aside", path)?;
    discard_logs(path);
    Ok(())
}

/// Removes what SQLite has beside a file that is gone.
fn discard_logs(path: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        crate::disk::discard(Path::new(&name));
    }
}

#[cfg(test)]
thread_local! {
    /// What another program does while this thread opens an index.
    pub(crate) static MEANWHILE: std::cell::RefCell<Option<Box<dyn FnMut()>>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn meanwhile() {
    MEANWHILE.with_borrow_mut(|act| act.iter_mut().for_each(|act| act()));
}
