//! The database of what other domains want: all its SQL is here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use whole_file::Expendable;

use crate::TrustError;
use crate::reports::{DayReport, Session};

const FORMAT: i64 = 2;
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
/// Format 1 did not know of results. Days are written as `2026-11-28`, policies and failures as reports have them, in JSON.
const RESULTS: &str = "
    CREATE TABLE result (
        day TEXT NOT NULL,
        domain TEXT NOT NULL,
        applied TEXT NOT NULL,
        failed TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, domain, applied, failed)
    ) STRICT, WITHOUT ROWID;
";
/// Different results that are kept of one domain and day, and in all.
const MAX_OF_DOMAIN: i64 = 100;
const MAX_RESULTS: i64 = 200_000;
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
    database: Expendable<Connection>,
}

impl Database {
    /// Opens or makes it. One that is damaged is set aside, since nothing in it can't be learnt anew.
    pub(crate) fn open(path: &Path) -> Result<Self, TrustError> {
        let database = Expendable::open(path, connect);
        let database = database.map_err(|source| TrustError::Database { path: path.to_owned(), source })?;
        Ok(Self { database })
    }

    /// The policy of a domain that has not expired.
    pub(crate) fn policy(&self, domain: &str, now: Timestamp) -> Result<Option<Kept>, TrustError> {
        let sql = "SELECT id, text, fetched, expires, used FROM policy WHERE domain = ?1 AND expires > ?2";
        self.on(|connection| connection.query_row(sql, params![domain, now.as_second()], kept).optional())
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
        self.on(|connection| keep(connection).map(drop))
    }

    /// Notes that a policy is of use.
    pub(crate) fn used(&self, domain: &str, now: Timestamp) -> Result<(), TrustError> {
        let sql = "UPDATE policy SET used = ?2 WHERE domain = ?1";
        self.on(|connection| connection.execute(sql, params![domain, now.as_second()]).map(drop))
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
        self.on(|connection| find(connection))
    }

    /// Adds up results. Those beyond what is kept are left out.
    pub(crate) fn count(&self, counted: &BTreeMap<(Date, Session), u64>) -> Result<(), TrustError> {
        let count = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for ((day, session), count) in counted {
                add(&transaction, *day, session, *count)?;
            }
            transaction.commit()
        };
        self.on(count)
    }

    /// What was seen on days before `today`, by domain, the oldest first, at most `limit` of them.
    pub(crate) fn reports(&self, today: Date, limit: usize) -> Result<Vec<DayReport>, TrustError> {
        let find = |connection: &Connection| {
            let sql = "SELECT DISTINCT day, domain FROM result WHERE day < ?1 ORDER BY day, domain LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let named = statement
                .query_map(params![today.to_string(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let named = named.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
            named
                .into_iter()
                .map(|(day, domain)| report(connection, &day, domain))
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        self.on(|connection| find(connection))
    }

    /// Removes the results of a domain and day.
    pub(crate) fn forget(&self, domain: &str, day: Date) -> Result<(), TrustError> {
        let sql = "DELETE FROM result WHERE day = ?1 AND domain = ?2";
        self.on(|connection| connection.execute(sql, params![day.to_string(), domain]).map(drop))
    }

    fn on<T>(&self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T, TrustError> {
        self.database
            .with(work)
            .map_err(|source| TrustError::Database { path: self.database.path().to_owned(), source })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let lacking = match format {
        0 => format!("{SCHEMA}{RESULTS}"),
        1 => RESULTS.to_owned(),
        _ => return Ok(connection),
    };
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {lacking} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    Ok(connection)
}

fn add(connection: &Connection, day: Date, session: &Session, count: u64) -> rusqlite::Result<()> {
    let unwritable = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let applied = serde_json::to_string(&session.applied).map_err(unwritable)?;
    let failed = session.failed.as_ref().map(serde_json::to_string).transpose().map_err(unwritable)?;
    let (day, failed) = (day.to_string(), failed.unwrap_or_default());
    let sql = "UPDATE result SET count = count + ?5 WHERE day = ?1 AND domain = ?2 AND applied = ?3 AND failed = ?4";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    if connection.prepare_cached(sql)?.execute(params![day, session.domain, applied, failed, count])? > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO result (day, domain, applied, failed, count) SELECT ?1, ?2, ?3, ?4, ?5
        WHERE (SELECT count(*) FROM result WHERE day = ?1 AND domain = ?2) < ?6 AND (SELECT count(*) FROM result) < ?7";
    let limits = params![day, session.domain, applied, failed, count, MAX_OF_DOMAIN, MAX_RESULTS];
    connection.prepare_cached(sql)?.execute(limits).map(drop)
}

fn report(connection: &Connection, day: &str, domain: String) -> rusqlite::Result<DayReport> {
    let damaged = |error: &dyn std::fmt::Display| rusqlite::Error::InvalidColumnName(error.to_string());
    let sql =
        "SELECT applied, failed, count FROM result WHERE day = ?1 AND domain = ?2 ORDER BY applied, failed";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![day, domain])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let (applied, failed): (String, String) = (row.get(0)?, row.get(1)?);
        let applied = serde_json::from_str(&applied).map_err(|error| damaged(&error))?;
        let failed = (!failed.is_empty()).then(|| serde_json::from_str(&failed)).transpose();
        sessions.push((applied, failed.map_err(|error| damaged(&error))?, row.get(2)?));
    }
    Ok(DayReport { day: day.parse().map_err(|error: jiff::Error| damaged(&error))?, domain, sessions })
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
