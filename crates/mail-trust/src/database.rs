//! The database of what other domains want: all its SQL is here.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::TrustError;

const FORMAT: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE policy (
        domain TEXT PRIMARY KEY,
        id TEXT NOT NULL,
        text TEXT NOT NULL,
        fetched INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        used INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX policy_used ON policy (used);
";
/// How long a writer waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// Policies kept; those that were not used for longest go first.
const MAX_POLICIES: i64 = 50_000;

/// A policy as it was fetched. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// By which the domain's record names it.
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) fetched: i64,
    pub(crate) expires: i64,
    /// When it was last of use, to a day.
    pub(crate) used: i64,
}

/// An open database. All calls block.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Database {
    /// Opens or makes it. One that is no database, or none of ours, is put aside, since nothing in it can't be learnt anew.
    pub(crate) fn open(path: &Path) -> Result<Self, TrustError> {
        let connection = match connect(path) {
            Err(error) if is_damaged(&error) => {
                let aside = path.with_extension("sqlite.damaged");
                tracing::error!(path = %path.display(), %error, "the database of policies is damaged, and put aside");
                std::fs::rename(path, &aside).map_err(TrustError::io("renaming", path))?;
                for suffix in ["-wal", "-shm"] {
                    // There need not be any.
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                connect(path)
            }
            connection => connection,
        };
        let connection =
            connection.map_err(|source| TrustError::Database { path: path.to_owned(), source })?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned() })
    }

    /// The policy of a domain that has not expired.
    pub(crate) fn policy(&self, domain: &str, now: Timestamp) -> Result<Option<Kept>, TrustError> {
        let sql = "SELECT id, text, fetched, expires, used FROM policy WHERE domain = ?1 AND expires > ?2";
        self.connection()
            .query_row(sql, params![domain, now.as_second()], kept)
            .optional()
            .map_err(self.failed())
    }

    /// Keeps a domain's policy in place of the one before.
    pub(crate) fn keep(&self, domain: &str, kept: &Kept) -> Result<(), TrustError> {
        let keep = |connection: &Connection| {
            let sql = "INSERT OR REPLACE INTO policy (domain, id, text, fetched, expires, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            connection
                .execute(sql, params![domain, kept.id, kept.text, kept.fetched, kept.expires, kept.used])?;
            let sql = "DELETE FROM policy WHERE domain IN (SELECT domain FROM policy ORDER BY used
                LIMIT max(0, (SELECT count(*) FROM policy) - ?1))";
            connection.execute(sql, [MAX_POLICIES])
        };
        keep(&self.connection()).map(drop).map_err(self.failed())
    }

    /// Notes that a policy is of use.
    pub(crate) fn used(&self, domain: &str, now: Timestamp) -> Result<(), TrustError> {
        let sql = "UPDATE policy SET used = ?2 WHERE domain = ?1";
        self.connection().execute(sql, params![domain, now.as_second()]).map(drop).map_err(self.failed())
    }

    /// Domains whose policies were fetched before that moment and used after the other one, at most `limit`; those that have expired are
    /// removed.
    pub(crate) fn stale(
        &self,
        now: Timestamp,
        fetched_before: Timestamp,
        used_after: Timestamp,
        limit: usize,
    ) -> Result<Vec<String>, TrustError> {
        let find = |connection: &Connection| {
            connection.execute("DELETE FROM policy WHERE expires <= ?1", [now.as_second()])?;
            let sql = "SELECT domain FROM policy WHERE fetched < ?1 AND used > ?2 ORDER BY fetched LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let domains = statement
                .query_map(params![fetched_before.as_second(), used_after.as_second(), limit], |row| {
                    row.get(0)
                })?;
            domains.collect::<rusqlite::Result<_>>()
        };
        find(&self.connection()).map_err(self.failed())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> TrustError {
        let path = self.path.clone();
        move |source| TrustError::Database { path: path.clone(), source }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == 0 {
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    }
    Ok(connection)
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    )
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        id: row.get(0)?,
        text: row.get(1)?,
        fetched: row.get(2)?,
        expires: row.get(3)?,
        used: row.get(4)?,
    })
}
