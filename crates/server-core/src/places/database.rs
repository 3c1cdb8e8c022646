use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, params};
use whole_file::Expendable;

/// The servers of a machine share it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Networks that are remembered of one account at most: the oldest ones go.
const MAX_OF_ACCOUNT: u32 = 64;

/// The times in seconds. What a crash of the machine takes with it costs nothing but the next login's note.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS place (
        network TEXT NOT NULL, account TEXT NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (network, account)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS place_of_account ON place (account, last);
";

/// All SQL about places. All calls block.
#[derive(Debug)]
pub(super) struct Database(Expendable<Connection>);

impl Database {
    /// Opens it, and forgets what is older than `oldest`.
    pub(super) fn open(path: &Path, oldest: i64) -> Result<Self, Error> {
        let database = Expendable::open(path, connect)?;
        database.with(|connection| connection.execute("DELETE FROM place WHERE last < ?1", [oldest]))?;
        Ok(Self(database))
    }

    pub(super) fn note(&self, network: &str, account: &str, now: i64) -> Result<(), Error> {
        self.0.with(|connection| {
            let change = connection.transaction()?;
            change.execute(
                "INSERT OR REPLACE INTO place VALUES (?1, ?2, ?3)",
                params![network, account, now],
            )?;
            change.execute(
                "DELETE FROM place WHERE account = ?1 AND network NOT IN \
                 (SELECT network FROM place WHERE account = ?1 ORDER BY last DESC LIMIT ?2)",
                params![account, MAX_OF_ACCOUNT],
            )?;
            change.commit()
        })
    }

    /// True if the account `name`, or one of the local part `name` where it names no domain, has been there since `oldest`.
    pub(super) fn knows(&self, network: &str, name: &str, oldest: i64) -> Result<bool, Error> {
        self.0.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT 1 FROM place WHERE network = ?1 AND last >= ?3 \
                 AND (account = ?2 OR substr(account, 1, length(?2) + 1) = ?2 || '@')",
            )?;
            query.exists(params![network, name, oldest])
        })
    }

    /// True if anybody has been there since `oldest`.
    pub(super) fn knows_anybody(&self, network: &str, oldest: i64) -> Result<bool, Error> {
        self.0.with(|connection| {
            let mut query =
                connection.prepare_cached("SELECT 1 FROM place WHERE network = ?1 AND last >= ?2")?;
            query.exists(params![network, oldest])
        })
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn servers_that_start_at_the_same_time_make_it_one_after_the_other() {
        for _ in 0..60 {
            let folder = tempfile::tempdir().unwrap();
            let (path, start) = (folder.path().join("places.sqlite"), Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        Database::open(&path, 0).unwrap();
                    });
                }
            });
        }
    }
}
