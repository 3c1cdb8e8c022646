//! The queue's database: all its SQL is here.
//!
//! A recipient's `next_attempt` is set exactly while it is pending and its message is not held, so that one partial index
//! holds what is to be done, in order.

mod due;
mod flush;
mod group;
mod holders;
mod notices;
mod operator;
mod raw;
mod renewal;
mod row;
mod salvage;
mod totals;
mod turn;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use mail_types::Address;
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, ffi,
    params,
};
use smtp_proto::{ByMode, OriginalRecipient, Priority};

use crate::message::{Diagnosis, Envelope, QueueId, RecipientState};
use crate::step::Step;
use crate::{QueueError, step};

use flush::Flush;
pub(crate) use group::{Change, Writer};
use holders::Holders;
pub use notices::Notice;
pub(crate) use operator::Selection;
pub(crate) use raw::RawText;
use renewal::{FolderState, Place, Unrenewed};
use row::{body_code, state_code};
use turn::{Turn, TurnFile};

const FORMAT: i64 = 11;
/// The tables of format [`SCHEMA_FORMAT`]; a new database is brought from it to [`FORMAT`] as an old one is.
const SCHEMA_FORMAT: usize = 5;
const SCHEMA: &str = "
    CREATE TABLE message (
        id TEXT PRIMARY KEY,
        sender TEXT,
        size INTEGER NOT NULL,
        arrived INTEGER NOT NULL,
        held INTEGER NOT NULL DEFAULT 0,
        smtputf8 INTEGER NOT NULL,
        eight_bit INTEGER NOT NULL,
        ret TEXT,
        envelope_id TEXT,
        require_tls INTEGER NOT NULL DEFAULT 0,
        priority INTEGER,
        deadline INTEGER,
        deadline_returns INTEGER,
        deadline_traced INTEGER,
        release INTEGER,
        is_ours INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE recipient (
        message TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        address TEXT NOT NULL,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_attempt INTEGER,
        next_attempt INTEGER,
        status TEXT,
        host TEXT,
        text TEXT,
        notify TEXT,
        original TEXT,
        warned INTEGER NOT NULL DEFAULT 0,
        priority INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (message, position)
    ) STRICT, WITHOUT ROWID;
";
/// Each brings a database from its format, counted from 1, to the next one: 1 knew of no requests, 2 of no warnings,
/// 3 of nothing that says when and how a message is to go on its way, 4 of no signatures, 5 of no messages without a file, 6 of no
/// senders beside recipients and of no notices, 7 of no ways that operators chose, 8 of nobody whose mail it is, and of no bulk mail,
/// 9 not from which other one it was made, 10 of no checksums.
const UPGRADES: [&str; 10] = [
    "ALTER TABLE message ADD COLUMN ret TEXT;
     ALTER TABLE message ADD COLUMN envelope_id TEXT;
     ALTER TABLE recipient ADD COLUMN notify TEXT;
     ALTER TABLE recipient ADD COLUMN original TEXT;",
    "ALTER TABLE recipient ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE message ADD COLUMN require_tls INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE message ADD COLUMN priority INTEGER;
     ALTER TABLE message ADD COLUMN deadline INTEGER;
     ALTER TABLE message ADD COLUMN deadline_returns INTEGER;
     ALTER TABLE message ADD COLUMN deadline_traced INTEGER;
     ALTER TABLE message ADD COLUMN release INTEGER;
     ALTER TABLE recipient ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE message ADD COLUMN is_ours INTEGER NOT NULL DEFAULT 0;",
    // The octets of small messages, which need no file of their own: one flush of the log makes a message durable, and with it those of
    // all senders that came at the same time.
    "CREATE TABLE content (id INTEGER PRIMARY KEY, octets BLOB NOT NULL) STRICT;
     ALTER TABLE message ADD COLUMN content INTEGER;
     CREATE TRIGGER content_goes_with_its_message AFTER DELETE ON message WHEN old.content IS NOT NULL
         BEGIN DELETE FROM content WHERE id = old.content; END;",
    "ALTER TABLE recipient ADD COLUMN sender TEXT NOT NULL DEFAULT '';
     UPDATE recipient SET sender = coalesce((SELECT sender FROM message WHERE id = message), '');
     CREATE TABLE notice (subject TEXT PRIMARY KEY, text TEXT NOT NULL, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    "ALTER TABLE recipient ADD COLUMN next_hop TEXT;",
    "ALTER TABLE message ADD COLUMN origin TEXT NOT NULL DEFAULT '';
     ALTER TABLE message ADD COLUMN is_bulk INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE recipient ADD COLUMN origin TEXT NOT NULL DEFAULT '';",
    // A name of the database's own, and those of the ones that it took the place of.
    "CREATE TABLE lineage (id TEXT PRIMARY KEY, is_own INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     INSERT INTO lineage (id, is_own) VALUES (lower(hex(randomblob(16))), 1);",
    "ALTER TABLE message ADD COLUMN checksum INTEGER;",
];
/// What an account holds back is counted in one; what is due is found in the other alone, without a look at the table, from any place on. Older
/// versions had one in which what is due since the same moment was ordered by address, and before that others with less in them.
const INDEX: &str = "
    CREATE INDEX IF NOT EXISTS message_held_back ON message (origin, release, size) WHERE release IS NOT NULL;
    CREATE INDEX IF NOT EXISTS recipient_due_in_turn
        ON recipient (priority, origin, next_attempt, message, position, address, sender, next_hop)
        WHERE next_attempt IS NOT NULL;
    DROP INDEX IF EXISTS recipient_due;
    DROP INDEX IF EXISTS recipient_due_at;
    DROP INDEX IF EXISTS recipient_due_by_priority;
    DROP INDEX IF EXISTS recipient_due_of_sender;
    DROP INDEX IF EXISTS recipient_due_by_hop;
    DROP INDEX IF EXISTS recipient_due_of_origin;
";
/// What that makes.
const INDEXES: [&str; 2] = ["recipient_due_in_turn", "message_held_back"];
/// How long a writer waits for the writers of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long those are waited for who have the database open that was taken away, and how often they are looked for.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A message about to get its row.
#[derive(Debug)]
pub(crate) struct NewMessage {
    pub(crate) id: QueueId,
    pub(crate) envelope: Envelope,
    pub(crate) size: u64,
    /// CRC-32 of its octets, if that is known.
    pub(crate) checksum: Option<u32>,
    /// Its octets; `None` if they lie in a file, which is durable already.
    pub(crate) content: Option<Bytes>,
    pub(crate) arrived: Timestamp,
    /// When it is tried first.
    pub(crate) first_attempt: Timestamp,
}

/// What an attempt made of one recipient.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Its place among the message's recipients.
    pub(crate) position: usize,
    pub(crate) state: RecipientState,
    pub(crate) last_attempt: Timestamp,
    /// For pending ones.
    pub(crate) next_attempt: Option<Timestamp>,
    pub(crate) diagnosis: Option<Diagnosis>,
    /// The message is late.
    pub(crate) warned: bool,
}

/// What an attempt came to, to be recorded with what came of it (bounces, forwards): both or nothing.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) id: QueueId,
    pub(crate) progress: Vec<Progress>,
    pub(crate) offspring: Vec<NewMessage>,
    /// Places of other recipients of which one of these tells that the message is late.
    pub(crate) warned: Vec<usize>,
    /// A report that says less than one of these, and is no longer needed.
    pub(crate) superseded: Option<QueueId>,
}

/// What became of a message when an attempt was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Recipients are pending.
    Kept,
    /// It was the last one: the row is gone.
    Finished {
        /// Its octets lie in a file.
        has_file: bool,
    },
    /// An operator removed the message meanwhile; nothing was recorded, nothing added.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Database {
    /// Left before the rest is closed. `None` of a guest, who reads beside those that have it open, and is none of them.
    holders: Option<Holders>,
    connection: Connection,
    path: PathBuf,
    /// Locked by who writes: SQLite's own way to wait for another process is to look again after a sleep.
    turn: Arc<TurnFile>,
    /// What was opened.
    place: Place,
    /// How the folder was as all was in its place, if it had been so for a while.
    settled: Cell<Option<FolderState>>,
    /// How SQLite was told to commit.
    flush: Cell<Flush>,
    /// The system has failed to write, and may tell of that only once.
    is_unsure: Cell<bool>,
    /// That it must be made anew, and couldn't be.
    unrenewed: Option<Unrenewed>,
}

impl Database {
    /// Opens or makes it. One that is damaged is set aside, and made anew of what can be read of it. Where somebody took it away from those who have it
    /// open, they are waited for.
    pub(crate) fn open(path: &Path) -> Result<Self, QueueError> {
        Self::open_within(path, PATIENCE)
    }

    fn open_within(path: &Path, patience: Duration) -> Result<Self, QueueError> {
        let (turn, began) = (TurnFile::of(path)?, Instant::now());
        loop {
            let held = Turn::take(&turn)?;
            let holders = Holders::of(path)?;
            if !holders.miss(&Place::of(path))? {
                return Self::open_in_turn(path, &turn, &held);
            }
            drop(held);
            if began.elapsed() > patience {
                return Err(QueueError::TakenAway { path: path.to_owned(), from: holders.named() });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Opens it to be read, for a while: without a turn, which somebody may keep for long, where those who have it open have it in its place; else as
    /// [`Self::open`] does.
    pub(crate) fn visit(path: &Path) -> Result<Self, QueueError> {
        match Self::open_as_guest(path) {
            Ok(Some(guest)) => Ok(guest),
            Ok(None) | Err(_) => Self::open(path),
        }
    }

    /// `None` if something is to be done before it can be read.
    fn open_as_guest(path: &Path) -> Result<Option<Self>, QueueError> {
        let failed = |source| QueueError::Database { path: path.to_owned(), source };
        let place = Place::of(path);
        if !Holders::have(path, &place) {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let prepare = || {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            format(&connection)
        };
        let (found, turn) = (prepare().map_err(failed)?, TurnFile::of(path)?);
        let guest = Self::of(connection, path, turn, place, None);
        Ok((found == FORMAT && guest.is_in_place()).then_some(guest))
    }

    fn open_what_is_there(path: &Path, turn: &Arc<TurnFile>) -> Result<Self, QueueError> {
        let failed = |source| QueueError::Database { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        // All that delivery asks is prepared once.
        connection.set_prepared_statement_cache_capacity(64);
        let found = furnish(&mut connection).map_err(|error| failed(judged(&connection, error)))?;
        if found > FORMAT {
            return Err(QueueError::NewerFormat { path: path.to_owned(), found });
        }
        let place = Place::of(path);
        let holders = Some(Holders::of(path)?.join(&place)?);
        Ok(Self::of(connection, path, Arc::clone(turn), place, holders))
    }

    fn of(
        connection: Connection,
        path: &Path,
        turn: Arc<TurnFile>,
        place: Place,
        holders: Option<Holders>,
    ) -> Self {
        let (path, settled, flush) = (path.to_owned(), Cell::default(), Cell::new(Flush::AtCommit));
        let is_unsure = Cell::default();
        Self { holders, connection, path, turn, place, settled, flush, is_unsure, unrenewed: None }
    }

    /// Reads. Where it is damaged, or was taken away, what could be saved is read.
    pub(crate) fn read<T>(
        &mut self,
        mut work: impl FnMut(&Self) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        match self.read_once(&mut work) {
            Err(error) if error.is_loss() => work(self),
            result => result,
        }
    }

    /// The same for work that can't be done again: where it is damaged this fails, and what could be saved is there for the next.
    pub(crate) fn read_once<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        self.refresh()?;
        let result = work(self);
        if let Some(error) = result.as_ref().err().filter(|error| error.is_loss()) {
            if self.holders.is_none() {
                *self = Self::open(&self.path)?;
            }
            let turn = Turn::take(&self.turn)?;
            self.renew(Some(error), &turn)?;
        }
        result
    }

    /// Runs `work` in one durable transaction, when the processes that came before have done theirs. Where the database is damaged, or was taken
    /// away, it is run in what could be saved.
    fn write<T>(
        &mut self,
        work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, QueueError> {
        self.write_flushed(Flush::AtCommit, work)
    }

    /// The same, on the disk when `flush` says.
    fn write_flushed<T>(
        &mut self,
        flush: Flush,
        mut work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, QueueError> {
        let turn = Turn::take(&self.turn)?;
        if !self.is_in_place() {
            self.renew(None, &turn)?;
        }
        match self.transact(flush, &mut work) {
            Err(error) if error.is_loss() => {
                self.renew(Some(&error), &turn)?;
                self.transact(flush, &mut work)
            }
            result => result,
        }
    }

    fn transact<T>(
        &mut self,
        flush: Flush,
        work: &mut impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, QueueError> {
        self.set_flush(flush)?;
        let result = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(
            |transaction| {
                let value = work(&transaction)?;
                step::reached(Step::Changed);
                transaction.commit()?;
                step::reached(Step::Committed);
                Ok(value)
            },
        );
        result.map_err(|source| {
            if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
                self.is_unsure.set(true);
            }
            self.failed(source)
        })
    }

    fn failed(&self, source: rusqlite::Error) -> QueueError {
        QueueError::Database { path: self.path.clone(), source: judged(&self.connection, source) }
    }

    pub(crate) fn contains(&self, id: &QueueId) -> Result<bool, QueueError> {
        self.connection
            .prepare_cached("SELECT 1 FROM message WHERE id = ?1")
            .and_then(|mut statement| statement.exists([&id.0]))
            .map_err(|source| self.failed(source))
    }

    /// The octets of a message that has no file; `None` if it has one, or isn't there.
    pub(crate) fn content(&self, id: &QueueId) -> Result<Option<Bytes>, QueueError> {
        let octets = |row: &Row<'_>| row.get::<_, Vec<u8>>(0).map(Bytes::from);
        self.connection
            .prepare_cached(
                "SELECT octets FROM content WHERE id = (SELECT content FROM message WHERE message.id = ?1)",
            )
            .and_then(|mut statement| statement.query_row([&id.0], octets).optional())
            .map_err(|source| self.failed(source))
    }
}

/// An error, as one of a damaged file where that lacks a table or a column, which SQLite takes for a mistake of whoever asks.
fn judged(connection: &Connection, error: rusqlite::Error) -> rusqlite::Error {
    let (rusqlite::Error::SqliteFailure(failure, _) | rusqlite::Error::SqlInputError { error: failure, .. }) =
        &error
    else {
        return error;
    };
    if failure.extended_code == ffi::SQLITE_ERROR && lacks_columns(connection) {
        let text = Some(error.to_string());
        return rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), text);
    }
    error
}

/// True unless it has all that a new one has.
fn lacks_columns(connection: &Connection) -> bool {
    let columns = |connection: &Connection| -> rusqlite::Result<Vec<(String, String)>> {
        connection
            .prepare("SELECT it.name, field.name FROM sqlite_schema AS it, pragma_table_info(it.name) AS field WHERE it.type = 'table'")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    let of_new = || {
        let mut new = Connection::open_in_memory()?;
        create(&mut new)?;
        index(&new)?;
        columns(&new)
    };
    let (Ok(known), Ok(needed)) = (columns(connection), of_new()) else { return true };
    needed.iter().any(|column| !known.contains(column))
}

/// Makes it what this program works with, unless it is newer. Returns its format.
fn furnish(connection: &mut Connection) -> rusqlite::Result<i64> {
    prepare(connection)?;
    let found = create(connection)?;
    if found <= FORMAT {
        index(connection)?;
    }
    Ok(found)
}

/// Durable at each commit, unless [`Flush::Later`] is set for one: WAL with synchronous=FULL syncs the log before COMMIT returns.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // A statement is prepared once, not anew for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", Flush::AtCommit.synchronous())?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes the tables in a new database, and brings an old one up to date. Returns the format found or made.
fn create(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found = format(connection)?;
    if found >= FORMAT {
        return Ok(found);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let mut known = usize::try_from(format(&transaction)?).unwrap_or_default();
    if known == 0 {
        transaction.execute_batch(SCHEMA)?;
        known = SCHEMA_FORMAT;
    }
    UPGRADES.iter().skip(known - 1).try_for_each(|step| transaction.execute_batch(step))?;
    if format(&transaction)? < FORMAT {
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    let made = format(&transaction)?;
    transaction.commit().map(|()| made)
}

/// Writes only where something is to be changed.
fn index(connection: &Connection) -> rusqlite::Result<()> {
    let mut is_there = connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1")?;
    let mut lacks = |names: &[&str]| {
        names
            .iter()
            .try_fold(false, |lacks, name| Ok::<_, rusqlite::Error>(lacks || !is_there.exists([name])?))
    };
    let is_sane = |connection: &Connection| connection.prepare(totals::SANE)?.exists([]);
    if lacks(&INDEXES)? {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {INDEX} COMMIT;"))?;
    }
    if lacks(&totals::NAMES)? || !is_sane(connection)? {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {} COMMIT;", totals::TOTALS))?;
    }
    Ok(())
}

/// The database's name of its own; empty if somebody has removed it.
fn own_id(connection: &Connection) -> rusqlite::Result<String> {
    let own = "SELECT coalesce((SELECT id FROM lineage WHERE is_own), '')";
    connection.query_row(own, [], |row| Ok(raw::lossy(row, 0)?.into_owned()))
}

/// Notes the name of a database that this one takes the place of, or what was in its place.
fn note_ancestor(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO lineage (id, is_own) VALUES (?1, 0)";
    transaction.prepare_cached(insert)?.execute([id]).map(drop)
}

fn insert(transaction: &Transaction<'_>, message: &NewMessage) -> rusqlite::Result<()> {
    let NewMessage { id, envelope, size, checksum, content, arrived, first_attempt } = message;
    let handling = &envelope.handling;
    if let Some(octets) = content {
        transaction.prepare_cached("INSERT INTO content (octets) VALUES (?)")?.execute([octets.as_ref()])?;
    }
    let content = content.as_ref().map(|_| transaction.last_insert_rowid());
    transaction
        .prepare_cached(
            "INSERT INTO message (id, sender, size, arrived, smtputf8, eight_bit, ret, envelope_id, require_tls,
                 priority, deadline, deadline_returns, deadline_traced, release, is_ours, content, origin, is_bulk, checksum)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id.0,
            envelope.sender.as_ref().map(Address::to_string),
            i64::try_from(*size).unwrap_or(i64::MAX),
            arrived.as_millisecond(),
            envelope.smtputf8,
            body_code(envelope.body),
            envelope.requests.ret.map(|ret| ret.to_string()),
            envelope.requests.envelope_id,
            handling.require_tls,
            handling.priority.map(Priority::get),
            handling.deadline.map(|it| it.at.as_millisecond()),
            handling.deadline.map(|it| it.mode == ByMode::Return),
            handling.deadline.map(|it| it.trace),
            handling.release.map(Timestamp::as_millisecond),
            handling.is_ours,
            content,
            envelope.origin,
            handling.is_bulk,
            checksum,
        ])?;
    let mut recipient = transaction.prepare_cached(
        "INSERT INTO recipient (message, position, address, state, next_attempt, notify, original, priority,
             sender, origin)
         VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
    )?;
    let sender = envelope.sender.as_ref().map(Address::to_string).unwrap_or_default();
    for (position, address) in (0_i64..).zip(&envelope.recipients) {
        let parameters = envelope.requests.recipients.get(address);
        recipient.execute(params![
            id.0,
            position,
            address.to_string(),
            first_attempt.as_millisecond(),
            parameters.and_then(|it| it.notify).map(|notify| notify.to_string()),
            // Never longer than a parameter may be, so that it can be read again.
            parameters.and_then(|it| it.original.as_ref()).map(OriginalRecipient::in_utf8),
            handling.turn().get(),
            sender,
            envelope.origin,
        ])?;
    }
    Ok(())
}

fn record(transaction: &Transaction<'_>, id: &QueueId, step: &Progress, held: bool) -> rusqlite::Result<()> {
    let diagnosis = step.diagnosis.as_ref();
    transaction
        .prepare_cached(
            "UPDATE recipient SET state = ?3, attempts = attempts + 1, last_attempt = ?4, next_attempt = ?5,
             status = ?6, host = ?7, text = ?8, warned = max(warned, ?9) WHERE message = ?1 AND position = ?2 AND state = 0",
        )?
        .execute(params![
            id.0,
            i64::try_from(step.position).unwrap_or(i64::MAX),
            state_code(step.state),
            step.last_attempt.as_millisecond(),
            step.next_attempt.filter(|_| !held).map(Timestamp::as_millisecond),
            diagnosis.map(|it| it.status.to_string()),
            diagnosis.and_then(Diagnosis::server),
            diagnosis.map(|it| it.text.as_str()),
            step.warned,
        ])
        .map(|_| ())
}
