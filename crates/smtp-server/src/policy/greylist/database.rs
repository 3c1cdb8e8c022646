use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension as _, params};
use whole_file::Expendable;

/// Two server processes have it open while one takes over from the other.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Callers remembered at most; a flood of new ones drives out the oldest that never came again.
const MAX_PAIRS: i64 = 1_000_000;
/// How old a time may be before it is written anew: known callers cost no write for each message.
const TOUCH: i64 = 6 * 3600;
/// Begun callers after which old ones are looked for.
const SWEEP: u32 = 1000;

/// The times in seconds. It is a memory that may be lost: nothing waits for the disk.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS pair (
        domain TEXT NOT NULL, network TEXT NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, passed INTEGER NOT NULL,
        PRIMARY KEY (domain, network)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS pair_age ON pair (passed, last);
    CREATE TABLE IF NOT EXISTS correspondent (address TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// All SQL of the greylist. All calls block.
#[derive(Debug)]
pub(super) struct Database(Expendable<State>);

#[derive(Debug)]
struct State {
    connection: Connection,
    begun: u32,
}

impl State {
    fn open(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection, begun: 0 })
    }
}

/// A network and a domain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) passed: bool,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Expendable::open(path, State::open).map(Self)
    }

    pub(super) fn pair(&self, network: &str, domain: &str) -> Result<Option<Pair>, Error> {
        self.0.with(|state| {
            let mut query = state
                .connection
                .prepare_cached("SELECT first, last, passed FROM pair WHERE domain = ?1 AND network = ?2")?;
            let pair = |row: &rusqlite::Row<'_>| {
                Ok(Pair { first: row.get(0)?, last: row.get(1)?, passed: row.get(2)? })
            };
            query.query_row([domain, network], pair).optional()
        })
    }

    /// True if the domain has passed since, from any network.
    pub(super) fn knows_domain(&self, domain: &str, since: i64) -> Result<bool, Error> {
        self.0.with(|state| {
            let mut query = state.connection.prepare_cached(
                "SELECT 1 FROM pair WHERE domain = ?1 AND passed = 1 AND last > ?2 LIMIT 1",
            )?;
            query.exists(params![domain, since])
        })
    }

    /// Notes one that comes for the first time, and now and then forgets those not seen since `oldest`.
    pub(super) fn begin(&self, network: &str, domain: &str, now: i64, oldest: i64) -> Result<(), Error> {
        self.0.with(|state| {
            if state.begun.is_multiple_of(SWEEP) {
                sweep(&state.connection, oldest)?;
            }
            state.begun = state.begun.wrapping_add(1);
            let mut insert =
                state.connection.prepare_cached("INSERT OR REPLACE INTO pair VALUES (?1, ?2, ?3, ?3, 0)")?;
            insert.execute(params![domain, network, now]).map(drop)
        })
    }

    pub(super) fn passed(&self, network: &str, domain: &str, now: i64) -> Result<(), Error> {
        self.0.with(|state| {
            let mut update = state.connection.prepare_cached(
                "INSERT INTO pair VALUES (?1, ?2, ?3, ?3, 1) \
                 ON CONFLICT DO UPDATE SET last = ?3, passed = 1 WHERE passed = 0 OR last < ?3 - ?4",
            )?;
            update.execute(params![domain, network, now, TOUCH]).map(drop)
        })
    }

    /// When one of our users has last written to this address.
    pub(super) fn correspondent(&self, address: &str) -> Result<Option<i64>, Error> {
        self.0.with(|state| {
            let mut query =
                state.connection.prepare_cached("SELECT last FROM correspondent WHERE address = ?1")?;
            query.query_row([address], |row| row.get(0)).optional()
        })
    }

    pub(super) fn note_correspondent(&self, address: &str, now: i64) -> Result<(), Error> {
        self.0.with(|state| {
            let mut insert = state.connection.prepare_cached(
                "INSERT INTO correspondent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET last = ?2 WHERE last < ?2 - ?3",
            )?;
            insert.execute(params![address, now, TOUCH]).map(drop)
        })
    }
}

fn sweep(connection: &Connection, oldest: i64) -> Result<(), Error> {
    connection.execute("DELETE FROM pair WHERE last < ?1", [oldest])?;
    connection.execute("DELETE FROM correspondent WHERE last < ?1", [oldest])?;
    let count: i64 = connection.query_row("SELECT count(*) FROM pair", [], |row| row.get(0))?;
    let surplus = (count - MAX_PAIRS).max(0);
    let oldest_first = "DELETE FROM pair WHERE (domain, network) IN \
                        (SELECT domain, network FROM pair ORDER BY passed, last LIMIT ?1)";
    connection.execute(oldest_first, [surplus]).map(drop)
}
