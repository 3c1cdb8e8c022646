//! The database of suppressed addresses: all its SQL is here.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_config::SuppressionConfig;
use mail_types::Address;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use whole_file::Expendable;

use crate::QueueError;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS address (
        address TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        bounces INTEGER NOT NULL,
        suppressed INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        expires INTEGER,
        text TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";
/// Octets of what was said last that a sender is told.
const MAX_SAID: usize = 200;
/// How long a writer waits for the writers of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why an address gets no bulk mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuppressionReason {
    /// Mail to it came back for good.
    Bounce,
    /// It complained (RFC 5965), or its mail system did for it.
    Complaint,
    /// An operator wants it so.
    Operator,
}

impl SuppressionReason {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::Operator => "operator",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "bounce" => Self::Bounce,
            "complaint" => Self::Complaint,
            _ => Self::Operator,
        }
    }
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    /// In lower case.
    pub address: String,
    /// Why.
    pub reason: SuppressionReason,
    /// How often mail to it came back.
    pub bounces: u32,
    /// It gets no bulk mail; false while it has not bounced often enough.
    pub is_suppressed: bool,
    /// When it was first noted.
    pub first: Timestamp,
    /// When it was last noted.
    pub last: Timestamp,
    /// When it is forgotten; `None` for never.
    pub expires: Option<Timestamp>,
    /// What was said last.
    pub text: String,
}

/// The list of suppressed addresses. All calls block; any number of processes may have it open. One that is damaged is set aside, and made anew.
#[derive(Debug)]
pub struct Suppression {
    database: Expendable<Connection>,
    config: SuppressionConfig,
}

impl Suppression {
    /// Opens the list at `path`, making it when it does not exist.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn open(path: &Path, config: &SuppressionConfig) -> Result<Self, QueueError> {
        let database = Expendable::open(path, connect);
        let database = database.map_err(|source| QueueError::Database { path: path.to_owned(), source })?;
        Ok(Self { database, config: config.clone() })
    }

    /// Notes that mail to an address came back for good. True if it is suppressed now.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn bounced(&self, address: &Address, text: &str, now: Timestamp) -> Result<bool, QueueError> {
        let known = self.find(address, now)?;
        let bounces = known.as_ref().map_or(0, |it| it.bounces).saturating_add(1);
        let was_suppressed = known.as_ref().is_some_and(|it| it.is_suppressed);
        let is_suppressed = was_suppressed || bounces >= self.config.bounces;
        let reason =
            known.as_ref().filter(|_| was_suppressed).map_or(SuppressionReason::Bounce, |it| it.reason);
        let never_ends = was_suppressed && known.is_some_and(|it| it.expires.is_none());
        let expires = (!never_ends).then(|| self.expiry(now));
        self.put(address, reason, (bounces, is_suppressed), expires, text, now)?;
        Ok(is_suppressed)
    }

    /// Suppresses an address at once because of a complaint, such as a feedback report (RFC 5965).
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn complained(&self, address: &Address, text: &str, now: Timestamp) -> Result<(), QueueError> {
        let bounces = self.find(address, now)?.map_or(0, |it| it.bounces);
        let expires = Some(self.expiry(now));
        self.put(address, SuppressionReason::Complaint, (bounces, true), expires, text, now)
    }

    /// Suppresses an address until it is removed.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn add(&self, address: &Address, text: &str, now: Timestamp) -> Result<(), QueueError> {
        self.put(address, SuppressionReason::Operator, (0, true), None, text, now)
    }

    /// Forgets an address. False if nothing was known of it.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn remove(&self, address: &Address) -> Result<bool, QueueError> {
        self.on(|connection| {
            connection
                .execute("DELETE FROM address WHERE address = ?1", [key(address)])
                .map(|count| count > 0)
        })
    }

    /// What is known of an address, and is not forgotten.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn find(&self, address: &Address, now: Timestamp) -> Result<Option<Suppressed>, QueueError> {
        self.on(|connection| {
            connection
                .prepare_cached(
                    "SELECT * FROM address WHERE address = ?1 AND (expires IS NULL OR expires > ?2)",
                )?
                .query_row(params![key(address), now.as_millisecond()], suppressed)
                .optional()
        })
    }

    /// Why bulk mail does not go to an address, as its sender is told; `None` if it does.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn obstacle(&self, address: &Address, now: Timestamp) -> Result<Option<String>, QueueError> {
        let known = self.find(address, now)?.filter(|it| it.is_suppressed);
        Ok(known.map(|it| {
            let why = match it.reason {
                SuppressionReason::Bounce => format!("mail to it came back {} times", it.bounces),
                SuppressionReason::Complaint => "who reads it has complained".to_owned(),
                SuppressionReason::Operator => "an operator wants it so".to_owned(),
            };
            let text = it.text.get(..it.text.floor_char_boundary(MAX_SAID)).unwrap_or_default();
            let said = if text.is_empty() { String::new() } else { format!(" ({text})") };
            format!(
                "{address} is on the suppression list since {}, {why}{said}; `mailstead suppression remove {address}` lifts it",
                it.last.strftime("%Y-%m-%d")
            )
        }))
    }

    /// All that is known and not forgotten, by address. What is forgotten goes.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn list(&self, now: Timestamp) -> Result<Vec<Suppressed>, QueueError> {
        self.on(|connection| {
            connection.execute("DELETE FROM address WHERE expires <= ?1", [now.as_millisecond()])?;
            connection
                .prepare_cached("SELECT * FROM address ORDER BY address")?
                .query_map([], suppressed)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
    }

    fn expiry(&self, now: Timestamp) -> Timestamp {
        let time = SignedDuration::try_from(self.config.expire_after).unwrap_or(SignedDuration::MAX);
        now.saturating_add(time).unwrap_or(Timestamp::MAX)
    }

    fn put(
        &self,
        address: &Address,
        reason: SuppressionReason,
        (bounces, is_suppressed): (u32, bool),
        expires: Option<Timestamp>,
        text: &str,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.on(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO address (address, reason, bounces, suppressed, first, last, expires, text)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)
                     ON CONFLICT (address) DO UPDATE
                     SET reason = ?2, bounces = ?3, suppressed = ?4, last = ?5, expires = ?6, text = ?7",
                )?
                .execute(params![
                    key(address),
                    reason.as_str(),
                    bounces,
                    is_suppressed,
                    now.as_millisecond(),
                    expires.map(Timestamp::as_millisecond),
                    text,
                ])
                .map(drop)
        })
    }

    fn on<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, QueueError> {
        self.database
            .with(|connection| work(connection))
            .map_err(|source| QueueError::Database { path: self.database.path().to_owned(), source })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // A statement is prepared once, not anew for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Local parts in lower case, whatever others do: who is wrongly kept from mail can be told so, who gets too much is lost.
fn key(address: &Address) -> String {
    address.to_lowercase().to_string()
}

fn suppressed(row: &Row<'_>) -> rusqlite::Result<Suppressed> {
    let moment = |column: &str| {
        let milliseconds: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(milliseconds.and_then(|it| Timestamp::from_millisecond(it).ok()))
    };
    Ok(Suppressed {
        address: row.get("address")?,
        reason: SuppressionReason::parse(&row.get::<_, String>("reason")?),
        bounces: row.get("bounces")?,
        is_suppressed: row.get("suppressed")?,
        first: moment("first")?.unwrap_or_default(),
        last: moment("last")?.unwrap_or_default(),
        expires: moment("expires")?,
        text: row.get("text")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn open(path: &Path) -> Suppression {
        let expire_after = Duration::from_secs(90 * 86_400);
        Suppression::open(
            path,
            &SuppressionConfig { bounces: 2, expire_after, ..SuppressionConfig::default() },
        )
        .unwrap()
    }

    #[test]
    fn an_address_is_suppressed_when_it_has_bounced_often_enough_and_for_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suppression.sqlite");
        let list = open(&path);
        assert!(!list.bounced(&address("Bob@x.test"), "550 5.1.1 who?", day(0)).unwrap());
        assert_eq!(list.obstacle(&address("bob@x.test"), day(1)).unwrap(), None);
        assert!(list.bounced(&address("bob@x.test"), "550 5.1.1 who?", day(1)).unwrap());
        drop(list);
        let list = open(&path);
        let text = list.obstacle(&address("BOB@x.test"), day(2)).unwrap().unwrap();
        assert!(text.contains("came back 2 times (550 5.1.1 who?)"), "{text}");
        assert!(text.ends_with("`mailstead suppression remove BOB@x.test` lifts it"), "{text}");
        assert_eq!(list.obstacle(&address("bob@x.test"), day(92)).unwrap(), None, "it expires");
        assert!(!list.bounced(&address("bob@x.test"), "550", day(93)).unwrap(), "and begins anew");
    }

    /// Whether that is found at the start or at work.
    #[test]
    fn a_list_that_is_damaged_is_set_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suppression.sqlite");
        for number in 1..=2 {
            std::fs::write(&path, "this is no list, whoever put it here").unwrap();
            let list = open(&path);
            list.add(&address("bob@x.test"), "", day(0)).unwrap();
            assert_eq!(whole_file::set_aside_in(folder.path()).unwrap().len(), number);
        }
        let (one, other) = (open(&path), open(&path));
        std::fs::write(&path, [0x5a; 60_000]).unwrap();
        for list in [&one, &other] {
            list.add(&address("eve@x.test"), "", day(0)).unwrap();
            assert_eq!(list.list(day(0)).unwrap().len(), 1);
        }
        assert_eq!(whole_file::set_aside_in(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn a_complaint_counts_at_once_and_an_operators_word_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let list = open(&folder.path().join("suppression.sqlite"));
        list.complained(&address("eve@x.test"), "abuse", day(0)).unwrap();
        list.add(&address("bob@x.test"), "asked by telephone", day(0)).unwrap();
        assert!(
            list.obstacle(&address("eve@x.test"), day(1))
                .unwrap()
                .unwrap()
                .contains("has complained (abuse)")
        );
        assert!(list.bounced(&address("bob@x.test"), "550", day(1)).unwrap());
        let known = list.find(&address("bob@x.test"), day(1000)).unwrap().unwrap();
        assert_eq!((known.reason, known.expires), (SuppressionReason::Operator, None));
        assert_eq!(list.list(day(1000)).unwrap().len(), 1);
        assert!(
            list.remove(&address("Bob@x.test")).unwrap() && !list.remove(&address("bob@x.test")).unwrap()
        );
    }
}
