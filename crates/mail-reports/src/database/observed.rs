//! What was found out about mail from elsewhere, counted for the reports that its domains ask for. RFC 7489 §7.2.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use mail_auth::report::Record;
use rusqlite::{Connection, TransactionBehavior, params};
use tracing::{error, warn};

use super::Reports;
use crate::ReportError;

/// Messages that wait to be counted at most; those that come then are not counted.
const MAX_WAITING: usize = 10_000;
/// Octets of what was found out about one; of more no report speaks.
const MAX_RECORD: usize = 4096;
/// How long messages are gathered before they are written.
const GATHER: Duration = Duration::from_secs(2);
/// Lines that a report of one domain and day has at most; what would be one more is not counted.
const MAX_LINES: i64 = 10_000;
/// Lines of all.
const MAX_ALL: i64 = 500_000;
/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// Times as days since 1970, in UTC.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS observed (
        day INTEGER NOT NULL, domain TEXT NOT NULL, record TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (day, domain, record)
    ) STRICT, WITHOUT ROWID;
";

/// What counts messages, beside the work. Dropped, it writes what it has.
#[derive(Debug)]
pub struct Observer {
    waiting: Option<SyncSender<Seen>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A message: the day, the domain of its From field in lower case, and what was found out.
type Seen = (i64, String, String);

/// The messages of a domain and a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Days since 1970, in UTC.
    pub day: i64,
    /// That of their From fields, in lower case.
    pub domain: String,
}

impl Observed {
    /// The first second of the day and the last one, since 1970.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let begin = u64::try_from(self.day.saturating_mul(DAY)).unwrap_or_default();
        (begin, begin + 24 * 3600 - 1)
    }

    /// How many days ago it was.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> i64 {
        day_of(now) - self.day
    }
}

fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(DAY)
}

impl Observer {
    /// Starts the thread that writes into the database.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn open(database: &Path) -> Result<Self, ReportError> {
        let reports = Reports::open(database)?;
        let (waiting, seen) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new().name("observed".to_owned());
        let writer = thread.spawn(move || write(&reports, &seen)).map_err(|source| {
            let (context, path) = ("starting the thread that counts for", database.to_owned());
            ReportError::Io { context, path, source }
        })?;
        Ok(Self { waiting: Some(waiting), writer: Mutex::new(Some(writer)) })
    }

    /// Counts a message that came now. It waits for nothing.
    pub fn see(&self, domain: &str, record: &Record) {
        let Ok(text) = serde_json::to_string(record) else { return };
        if text.len() > MAX_RECORD {
            return;
        }
        let seen = (day_of(Timestamp::now()), domain.to_lowercase(), text);
        if self.waiting.as_ref().is_some_and(|waiting| waiting.try_send(seen).is_err()) {
            warn!(domain, "a message is not counted for its domain's report: there are too many at once");
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        drop(self.waiting.take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("counting messages for reports failed unexpectedly");
        }
    }
}

fn write(reports: &Reports, seen: &Receiver<Seen>) {
    while let Ok(first) = seen.recv() {
        let mut counts = HashMap::<Seen, u32>::from([(first, 1)]);
        let begun = std::time::Instant::now();
        while let Some(left) = GATHER.checked_sub(begun.elapsed()) {
            match seen.recv_timeout(left) {
                Ok(next) => *counts.entry(next).or_default() += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = reports.count(&counts) {
            error!(%error, "messages are not counted for their domains' reports");
        }
    }
}

impl Reports {
    fn count(&self, counts: &HashMap<Seen, u32>) -> Result<(), ReportError> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept: i64 = transaction.query_row("SELECT count(*) FROM observed", [], |row| row.get(0))?;
            let mut room = MAX_ALL.saturating_sub(kept);
            for (seen, count) in counts {
                let is_known = is_known(&transaction, seen)?;
                if is_known || (room > 0 && lines(&transaction, seen)? < MAX_LINES) {
                    room -= i64::from(!is_known);
                    add(&transaction, seen, *count)?;
                }
            }
            transaction.commit()
        })
    }

    /// The domains of which messages were seen on days that are over, the oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn observed(&self, now: Timestamp, limit: usize) -> Result<Vec<Observed>, ReportError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(|connection| {
            let of = |row: &rusqlite::Row<'_>| Ok(Observed { day: row.get(0)?, domain: row.get(1)? });
            connection
                .prepare_cached(
                    "SELECT DISTINCT day, domain FROM observed WHERE day < ?1 ORDER BY day, domain LIMIT ?2",
                )?
                .query_map(params![day_of(now), limit], of)?
                .collect()
        })
    }

    /// What was found out about these messages, each with its count.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn records(&self, observed: &Observed) -> Result<Vec<Record>, ReportError> {
        let rows: Vec<(String, u32)> = self.with(|connection| {
            connection
                .prepare_cached("SELECT record, count FROM observed WHERE day = ?1 AND domain = ?2")?
                .query_map(params![observed.day, observed.domain], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let record = |(text, count): (String, u32)| {
            serde_json::from_str::<Record>(&text).ok().map(|record| record.with_count(count))
        };
        Ok(rows.into_iter().filter_map(record).collect())
    }

    /// Forgets them: they are reported, or nobody wants to hear of them.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn forget(&self, observed: &Observed) -> Result<(), ReportError> {
        self.with(|connection| {
            let delete = "DELETE FROM observed WHERE day = ?1 AND domain = ?2";
            connection.execute(delete, params![observed.day, observed.domain]).map(drop)
        })
    }
}

fn is_known(connection: &Connection, (day, domain, record): &Seen) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM observed WHERE day = ?1 AND domain = ?2 AND record = ?3")?
        .exists(params![day, domain, record])
}

/// Of the same domain and day.
fn lines(connection: &Connection, (day, domain, _): &Seen) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT count(*) FROM observed WHERE day = ?1 AND domain = ?2")?
        .query_row(params![day, domain], |row| row.get(0))
}

fn add(connection: &Connection, (day, domain, record): &Seen, count: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO observed VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )?
        .execute(params![day, domain, record, count])
        .map(drop)
}
