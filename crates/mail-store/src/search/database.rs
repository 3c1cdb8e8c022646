//! The full-text index of one account, SQLite with FTS5; all its SQL is here. It is a cache and may be deleted at any time.

use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail_message::search::TEXTS_VERSION;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::texts::Texts;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Head, MessageRow, is_damage};

/// Of another version it is made anew, so also when the texts of messages are read in another way.
const VERSION: i64 = 3 << 16 | TEXTS_VERSION as i64;
/// `document` has the messages, `is_text` false for those that are left to the scan; an id is never given twice. `dropped` counts
/// those that went. The trigrams are taken from texts as the collation compares them, so the tokenizer itself folds nothing.
/// `words` has the words of each message, in no order, for fuzzy searches.
const SCHEMA: &str = "
CREATE TABLE document (
    id INTEGER PRIMARY KEY AUTOINCREMENT, base TEXT NOT NULL, seconds INTEGER NOT NULL, wire INTEGER NOT NULL,
    is_text INTEGER NOT NULL);
CREATE INDEX document_message ON document (base, seconds, wire, is_text);
CREATE TABLE dropped (count INTEGER NOT NULL);
INSERT INTO dropped VALUES (0);
CREATE TABLE mailbox (
    folder TEXT PRIMARY KEY, uid_validity INTEGER NOT NULL, uid_next INTEGER NOT NULL, expunged INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (
    header, body, content = '', contentless_delete = 1, tokenize = 'trigram case_sensitive 1');
CREATE VIRTUAL TABLE trigrams USING fts5vocab (texts, 'row');
CREATE VIRTUAL TABLE words USING fts5 (
    header, body, content = '', contentless_delete = 1, tokenize = 'ascii', detail = 'column');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, 'row');
INSERT INTO texts (texts, rank) VALUES ('hashsize', 4194304);
";
/// Once made, no database is smaller, in octets.
const SMALLEST: u64 = 512;
/// Fewer flushes than by default: after some 16 MB.
const TUNING: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 33554432;";

const DOCUMENTS: &str = "SELECT base, seconds, wire, id, is_text FROM document \
    WHERE (base, seconds, wire) >= (?1, ?2, ?3) ORDER BY base, seconds, wire";
/// So many documents are passed by before the next is sought, which costs about as much.
const MOST_IDLE: usize = 8;

/// The full-text index of an account.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    inode: u64,
    connection: Connection,
}

/// A message in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) id: i64,
    /// False for one that is left to the scan.
    pub(super) is_text: bool,
}

/// As long as it stays the same, nothing has gone from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    dropped: i64,
}

impl Database {
    /// Opens or makes it. One that is damaged is made anew.
    pub(super) fn open(home: &Path) -> Result<Self, StoreError> {
        let path = home.join("search.sqlite");
        let _lock = crate::disk::lock(home)?;
        if !std::fs::metadata(&path).is_ok_and(|it| it.len() >= SMALLEST) {
            remove(&path); // a journal without its database, or one that others still hold open as it was
        }
        match Self::try_open(&path) {
            Err(error) if is_broken(&error) => {
                tracing::warn!(%error, "the full-text index is damaged; it is made anew");
                remove(&path);
                Self::try_open(&path)
            }
            result => result,
        }
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Index { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(1)).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        let inode = std::fs::metadata(path).context("looking at", path)?.ino();
        Ok(Self { path: path.to_owned(), inode, connection })
    }

    /// False once somebody removed or replaced the file.
    pub(super) fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|it| it.ino() == self.inode && it.len() >= SMALLEST)
    }

    /// Removes it, unless it is another one by now.
    pub(super) fn remove(self, home: &Path) -> Result<(), StoreError> {
        let _lock = crate::disk::lock(home)?;
        if std::fs::metadata(&self.path).is_ok_and(|it| it.ino() == self.inode) {
            remove(&self.path);
        }
        Ok(())
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        |source| StoreError::Index { path: self.path.clone(), source }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.connection.prepare_cached(sql).and_then(|mut it| it.execute(values)).map_err(self.failed())
    }

    /// Acts in one transaction; as a writer only one process at a time does.
    pub(super) fn transaction<T>(
        &self,
        is_writer: bool,
        act: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.execute(if is_writer { "BEGIN IMMEDIATE" } else { "BEGIN" }, [])?;
        let outcome = act().and_then(|value| self.execute("COMMIT", []).map(|_| value));
        if !self.connection.is_autocommit() {
            self.execute("ROLLBACK", [])?;
        }
        outcome
    }

    pub(super) fn document(&self, message: &MessageRow) -> Result<Option<Document>, StoreError> {
        let sql = "SELECT id, is_text FROM document WHERE base = ?1 AND seconds = ?2 AND wire = ?3";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let document = |row: &rusqlite::Row<'_>| Ok(Document { id: row.get(0)?, is_text: row.get(1)? });
        let values = params![message.base, message.seconds, message.wire];
        statement.query_row(values, document).optional().map_err(self.failed())
    }

    /// Those of these messages that are in here, in their order.
    ///
    /// Messages and documents are passed by side by side; where many documents of other mailboxes lie between two messages, the
    /// next is sought.
    pub(super) fn documents(&self, messages: &[MessageRow]) -> Result<Vec<Option<Document>>, StoreError> {
        let mut order: Vec<(usize, Key<'_>)> = messages.iter().map(key_of).enumerate().collect();
        order.sort_unstable_by_key(|(_, key)| *key);
        let mut documents = vec![None; messages.len()];
        let mut left = order.as_slice();
        let mut statement = self.connection.prepare_cached(DOCUMENTS).map_err(self.failed())?;
        while let Some((_, key)) = left.first() {
            let mut rows = statement.query(params![key.0, key.1, key.2]).map_err(self.failed())?;
            let mut idle = 0;
            while idle < MOST_IDLE && !left.is_empty() {
                let Some(row) = rows.next().map_err(self.failed())? else { return Ok(documents) };
                let (key, document) = document_of(row).map_err(self.failed())?;
                let (passed, rest) = left.split_at(left.iter().take_while(|(_, it)| *it <= key).count());
                for (position, _) in passed.iter().filter(|(_, it)| *it == key) {
                    documents.get_mut(*position).into_iter().for_each(|it| *it = Some(document));
                }
                idle = if passed.is_empty() { idle + 1 } else { 0 };
                left = rest;
            }
        }
        Ok(documents)
    }

    /// Adds a message; one without texts is left to the scan.
    pub(super) fn add(&self, message: &MessageRow, texts: Option<&Texts>) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO document (base, seconds, wire, is_text) VALUES (?1, ?2, ?3, ?4)",
            params![message.base, message.seconds, message.wire, texts.is_some()],
        )?;
        if let Some(texts) = texts {
            let sql = "INSERT INTO texts (rowid, header, body) VALUES (?1, ?2, ?3)";
            let id = self.connection.last_insert_rowid();
            self.execute(sql, params![id, texts.header, texts.body])?;
            let sql = "INSERT INTO words (rowid, header, body) VALUES (?1, ?2, ?3)";
            self.execute(sql, params![id, texts.header_words, texts.body_words])?;
        }
        Ok(())
    }

    pub(super) fn drop_document(&self, id: i64) -> Result<(), StoreError> {
        self.execute("UPDATE dropped SET count = count + 1", [])?;
        self.execute("DELETE FROM texts WHERE rowid = ?1", [id])?;
        self.execute("DELETE FROM words WHERE rowid = ?1", [id])?;
        self.execute("DELETE FROM document WHERE id = ?1", [id])?;
        Ok(())
    }

    /// The messages whose names' bases are not `alive`.
    pub(super) fn dead(&self, alive: impl Fn(&str) -> bool) -> Result<Vec<i64>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, base FROM document").map_err(self.failed())?;
        let documents = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .map_err(self.failed())?;
        let dead = documents.filter_map(|it| match it {
            Ok((_, base)) if alive(&base) => None,
            Ok((id, _)) => Some(Ok(id)),
            Err(error) => Some(Err(error)),
        });
        dead.collect::<Result<_, _>>().map_err(self.failed())
    }

    /// How far each mailbox was when all of its messages were in here.
    pub(super) fn mailboxes(&self) -> Result<Vec<Head>, StoreError> {
        let sql = "SELECT folder, uid_validity, uid_next, expunged FROM mailbox";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let heads = statement.query_map([], Head::of_row).map_err(self.failed())?;
        heads.collect::<Result<_, _>>().map_err(self.failed())
    }

    pub(super) fn put_mailbox(&self, head: &Head) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO mailbox VALUES (?1, ?2, ?3, ?4)";
        self.execute(sql, params![head.folder, head.uid_validity, head.uid_next, head.expunged])?;
        Ok(())
    }

    pub(super) fn forget_mailbox(&self, folder: &str) -> Result<(), StoreError> {
        self.execute("DELETE FROM mailbox WHERE folder = ?1", [folder])?;
        Ok(())
    }

    /// The messages with these ids that a query in FTS5's language finds, ascending.
    pub(super) fn find(&self, query: &str, ids: RangeInclusive<i64>) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT rowid FROM texts WHERE texts MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let found = statement.query_map(params![query, ids.start(), ids.end()], |row| row.get(0));
        found.and_then(Iterator::collect).map_err(self.failed())
    }

    /// The last id that a message has; 0 if there is none.
    pub(super) fn last_id(&self) -> Result<i64, StoreError> {
        self.number("SELECT coalesce(max(id), 0) FROM document")
    }

    /// What tells whether a later look at it shows all that an earlier one did, and perhaps more.
    pub(super) fn stamp(&self) -> Result<Stamp, StoreError> {
        Ok(Stamp { inode: self.inode, dropped: self.number("SELECT count FROM dropped")? })
    }

    fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.query_row([], |row| row.get(0)).map_err(self.failed())
    }

    /// Shows every word that any message has.
    pub(super) fn for_each_word(&self, mut see: impl FnMut(&str)) -> Result<(), StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT term FROM vocabulary").map_err(self.failed())?;
        let mut rows = statement.query([]).map_err(self.failed())?;
        while let Some(row) = rows.next().map_err(self.failed())? {
            see(row.get_ref(0).map_err(self.failed())?.as_str().unwrap_or_default());
        }
        Ok(())
    }

    /// Shows the messages in which a query in FTS5's language finds words, ascending.
    pub(super) fn find_words(&self, query: &str, mut see: impl FnMut(i64)) -> Result<(), StoreError> {
        let sql = "SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let mut rows = statement.query([query]).map_err(self.failed())?;
        while let Some(row) = rows.next().map_err(self.failed())? {
            see(row.get(0).map_err(self.failed())?);
        }
        Ok(())
    }

    /// The trigrams that begin so, `None` if there are more than `most`.
    pub(super) fn trigrams(&self, prefix: &str, most: usize) -> Result<Option<Vec<String>>, StoreError> {
        let sql = "SELECT term FROM trigrams WHERE term >= ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let mut rows = statement.query([prefix]).map_err(self.failed())?;
        let mut trigrams = Vec::new();
        while let Some(row) = rows.next().map_err(self.failed())? {
            let trigram: String = row.get(0).map_err(self.failed())?;
            match trigram.starts_with(prefix) {
                true if trigrams.len() == most => return Ok(None),
                true => trigrams.push(trigram),
                false => break,
            }
        }
        Ok(Some(trigrams))
    }
}

/// What a message is known by: base, date and size.
type Key<'a> = (&'a str, i64, u64);

fn key_of(message: &MessageRow) -> Key<'_> {
    (&message.base, message.seconds, message.wire)
}

fn document_of<'a>(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<(Key<'a>, Document)> {
    let key = (row.get_ref(0)?.as_str()?, row.get(1)?, row.get(2)?);
    Ok((key, Document { id: row.get(3)?, is_text: row.get(4)? }))
}

/// Makes the tables, unless they are there.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TUNING)?;
    let version = |it: &Connection| it.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    if version(connection)? == VERSION {
        return connection.query_row(
            "SELECT count(*) FROM texts WHERE texts MATCH '\"mailstead\"'",
            [],
            |_| Ok(()),
        );
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for table in ["vocabulary", "words", "trigrams", "texts", "mailbox", "document", "dropped"] {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch("COMMIT")
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        crate::disk::discard(Path::new(&name));
    }
}

/// True if the file's content is at fault, not the moment.
pub(super) fn is_broken(error: &StoreError) -> bool {
    let StoreError::Index { source, .. } = error else { return false };
    is_damage(source) || source.to_string().contains("vtable")
}

/// True if another process is at it.
pub(super) fn is_busy(error: &StoreError) -> bool {
    let code = |source: &rusqlite::Error| source.sqlite_error_code();
    matches!(error, StoreError::Index { source, .. }
        if matches!(code(source), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)))
}
