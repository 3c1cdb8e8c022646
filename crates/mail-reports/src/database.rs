//! All SQL about reports.

mod observed;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;
use whole_file::Expendable;

use crate::ReportError;
use crate::received::{Content, Received};
pub use observed::{Observed, Observer};

/// Two server processes and an operator may have it open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// Lines kept of each kind; those of the oldest reports go first.
const MAX_LINES: i64 = 500_000;
/// How long reports are kept, in seconds.
const KEEP: i64 = 400 * 24 * 3600;

/// Times in seconds.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA foreign_keys = ON;
    CREATE TABLE IF NOT EXISTS report (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        received INTEGER NOT NULL,
        organization TEXT NOT NULL,
        report_id TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS report_once ON report (kind, organization, report_id) WHERE report_id <> '';
    CREATE INDEX IF NOT EXISTS report_age ON report (received);
    CREATE TABLE IF NOT EXISTS dmarc (
        report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
        domain TEXT NOT NULL, source TEXT NOT NULL, count INTEGER NOT NULL,
        disposition TEXT NOT NULL, dkim TEXT NOT NULL, spf TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS dmarc_report ON dmarc (report);
    CREATE TABLE IF NOT EXISTS tls (
        report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
        domain TEXT NOT NULL, policy TEXT NOT NULL, result TEXT NOT NULL,
        succeeded INTEGER NOT NULL, failed INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS tls_report ON tls (report);
    CREATE TABLE IF NOT EXISTS complaint (
        report INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
        type TEXT NOT NULL, recipient TEXT NOT NULL, sender TEXT NOT NULL, source TEXT NOT NULL, domain TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS complaint_report ON complaint (report);
";

/// The table of reports that came.
#[derive(Debug)]
pub struct Reports {
    database: Expendable<Connection>,
}

/// Which reports are shown. What is `None` says nothing.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// That came not before.
    pub since: Option<Timestamp>,
    /// That came before this.
    pub until: Option<Timestamp>,
    /// About this domain, in lower case.
    pub domain: Option<String>,
    /// Lines at most.
    pub limit: usize,
}

/// Messages in the name of a domain, by where they came from and what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DmarcLine {
    /// That of the From field.
    pub domain: String,
    /// The IP address of who sent them.
    pub source: String,
    /// How many.
    pub messages: u64,
    /// What was done with them: `none`, `quarantine`, `reject`, `pass`.
    pub disposition: String,
    /// Whether DKIM passed for the domain: `pass`, `fail`.
    pub dkim: String,
    /// The same of SPF.
    pub spf: String,
    /// Who reports it, up to a few.
    pub reporters: String,
}

/// Sessions with our mail hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsLine {
    /// Whose mail hosts.
    pub domain: String,
    /// By which policy: `sts`, `tlsa`, `no-policy-found`.
    pub policy: String,
    /// Why they failed, as RFC 8460 §4.3 names it; empty where it is not said, and for those that did not.
    pub result: String,
    /// Those that did not fail.
    pub succeeded: u64,
    /// Those that did.
    pub failed: u64,
    /// Who reports it, up to a few.
    pub reporters: String,
}

/// A complaint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComplaintLine {
    /// When it came, as RFC 3339 writes it.
    pub received: String,
    /// `abuse` and the like. RFC 5965 §7.3.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who complains, where that is said.
    pub recipient: String,
    /// The message's reverse path.
    pub sender: String,
    /// The IP address that sent it.
    pub source: String,
    /// The domain complained of.
    pub domain: String,
    /// Who passes the complaint on.
    pub reporter: String,
}

impl Reports {
    /// Opens the database, and makes it where there is none; one that is damaged is set aside. All calls block.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        let database = Expendable::open(path, connect);
        let database = database.map_err(|source| ReportError::Database { path: path.to_owned(), source })?;
        Ok(Self { database })
    }

    /// Adds a report; false if it is there already.
    pub(crate) fn add(&self, received: &Received) -> Result<bool, ReportError> {
        let now = Timestamp::now().as_second();
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let is_new = insert(&transaction, received, now)?;
            prune(&transaction, kind(&received.content), now)?;
            transaction.commit().map(|()| is_new)
        })
    }

    /// What is reported of mail in the name of our domains, the most messages first.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn dmarc(&self, choice: &Choice) -> Result<Vec<DmarcLine>, ReportError> {
        let select =
            "SELECT domain, source, sum(count), disposition, dkim, spf, group_concat(DISTINCT organization)
             FROM dmarc JOIN report ON report.id = dmarc.report";
        let group =
            "GROUP BY domain, source, disposition, dkim, spf ORDER BY sum(count) DESC, domain, source";
        self.select(select, group, choice, |row| {
            Ok(DmarcLine {
                domain: row.get(0)?,
                source: row.get(1)?,
                messages: row.get(2)?,
                disposition: row.get(3)?,
                dkim: row.get(4)?,
                spf: row.get(5)?,
                reporters: few(&row.get::<_, String>(6)?),
            })
        })
    }

    /// What is reported of TLS with our mail hosts, the most failures first.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn tls(&self, choice: &Choice) -> Result<Vec<TlsLine>, ReportError> {
        let select =
            "SELECT domain, policy, result, sum(succeeded), sum(failed), group_concat(DISTINCT organization)
             FROM tls JOIN report ON report.id = tls.report";
        let group =
            "GROUP BY domain, policy, result ORDER BY sum(failed) DESC, sum(succeeded) DESC, domain, policy";
        self.select(select, group, choice, |row| {
            Ok(TlsLine {
                domain: row.get(0)?,
                policy: row.get(1)?,
                result: row.get(2)?,
                succeeded: row.get(3)?,
                failed: row.get(4)?,
                reporters: few(&row.get::<_, String>(5)?),
            })
        })
    }

    /// The complaints, newest first.
    ///
    /// # Errors
    /// [`ReportError::Database`].
    pub fn complaints(&self, choice: &Choice) -> Result<Vec<ComplaintLine>, ReportError> {
        let select = "SELECT received, type, recipient, sender, source, domain, organization
             FROM complaint JOIN report ON report.id = complaint.report";
        self.select(select, "ORDER BY received DESC, report.id DESC", choice, |row| {
            let received = Timestamp::from_second(row.get(0)?).unwrap_or_default();
            Ok(ComplaintLine {
                received: received.to_string(),
                kind: row.get(1)?,
                recipient: row.get(2)?,
                sender: row.get(3)?,
                source: row.get(4)?,
                domain: row.get(5)?,
                reporter: row.get(6)?,
            })
        })
    }

    fn select<T>(
        &self,
        select: &str,
        group: &str,
        choice: &Choice,
        line: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReportError> {
        let query = format!(
            "{select} WHERE received >= ?1 AND received < ?2 AND (?3 IS NULL OR domain = ?3) {group} LIMIT ?4"
        );
        let since = choice.since.map_or(i64::MIN, Timestamp::as_second);
        let until = choice.until.map_or(i64::MAX, Timestamp::as_second);
        let limit = i64::try_from(choice.limit).unwrap_or(i64::MAX);
        self.with(|connection| {
            let mut statement = connection.prepare(&query)?;
            statement.query_map(params![since, until, choice.domain, limit], &line)?.collect()
        })
    }

    pub(crate) fn with<T>(
        &self,
        work: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReportError> {
        self.database
            .with(work)
            .map_err(|source| ReportError::Database { path: self.database.path().to_owned(), source })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute_batch(observed::SCHEMA)?;
    Ok(connection)
}

/// The table of its lines.
pub(crate) const fn kind(content: &Content) -> &'static str {
    match content {
        Content::Dmarc(_) => "dmarc",
        Content::Tls(_) => "tls",
        Content::Complaint(_) => "complaint",
    }
}

fn insert(transaction: &Transaction<'_>, received: &Received, now: i64) -> rusqlite::Result<bool> {
    let Received { organization, report_id, span: (first, last), content } = received;
    let inserted = transaction.execute(
        "INSERT OR IGNORE INTO report (kind, received, organization, report_id, first, last) VALUES (?, ?, ?, ?, ?, ?)",
        params![kind(content), now, organization, report_id, first, last],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    let report = transaction.last_insert_rowid();
    match content {
        Content::Dmarc(rows) => {
            let mut insert = transaction.prepare("INSERT INTO dmarc VALUES (?, ?, ?, ?, ?, ?, ?)")?;
            for it in rows {
                insert.execute(params![
                    report,
                    it.domain,
                    it.source,
                    it.count,
                    it.disposition,
                    it.dkim,
                    it.spf
                ])?;
            }
        }
        Content::Tls(rows) => {
            let mut insert = transaction.prepare("INSERT INTO tls VALUES (?, ?, ?, ?, ?, ?)")?;
            for it in rows {
                insert.execute(params![report, it.domain, it.policy, it.result, it.succeeded, it.failed])?;
            }
        }
        Content::Complaint(it) => {
            transaction.execute(
                "INSERT INTO complaint VALUES (?, ?, ?, ?, ?, ?)",
                params![report, it.kind, it.recipient, it.sender, it.source, it.domain],
            )?;
        }
    }
    Ok(true)
}

/// Forgets what is old, and of too much the oldest.
fn prune(transaction: &Transaction<'_>, table: &str, now: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM report WHERE received < ?1", [now.saturating_sub(KEEP)])?;
    loop {
        let lines = format!("SELECT count(*) FROM {table}");
        if transaction.query_row(&lines, [], |row| row.get::<_, i64>(0))? <= MAX_LINES {
            return Ok(());
        }
        let oldest =
            "DELETE FROM report WHERE id IN (SELECT id FROM report WHERE kind = ?1 ORDER BY id LIMIT 10)";
        transaction.execute(oldest, [table])?;
    }
}

/// The first names of a list.
fn few(names: &str) -> String {
    const MOST: usize = 3;
    let mut names = names.split(',');
    let shown: Vec<&str> = names.by_ref().take(MOST).collect();
    let more = names.count();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
