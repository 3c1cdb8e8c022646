mod forwards;
mod lists;
mod refusals;
mod rows;
mod send_rights;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use rows::Watch;
pub(crate) use rows::{AccountRow, AtHand, Rows};

use crate::{DirectoryError, Stored};

/// All SQL of the directory. Addresses are kept in the form that [`mail_types::Address::to_lowercase`] gives.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    /// Connections not in use.
    idle: Mutex<Vec<Connection>>,
    watch: Mutex<Option<Watch>>,
}

/// Connections kept open for the next question.
const KEPT_OPEN: usize = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of an account's mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inflow {
    /// It takes mail.
    pub(crate) receives: bool,
    /// Its mail goes on to others.
    pub(crate) forwards: bool,
    /// What goes on stays here as well.
    pub(crate) keeps_copy: bool,
    /// It refuses mail of some senders.
    pub(crate) may_refuse: bool,
}

const FORMAT: i64 = 7;
const SCHEMA: &str = "
    CREATE TABLE domain (name TEXT PRIMARY KEY) STRICT;
    CREATE TABLE account (
        address TEXT PRIMARY KEY,
        domain TEXT NOT NULL REFERENCES domain (name),
        password TEXT NOT NULL,
        created INTEGER NOT NULL DEFAULT (unixepoch())
    ) STRICT;
    CREATE TABLE alias (
        address TEXT NOT NULL,
        domain TEXT NOT NULL REFERENCES domain (name),
        target TEXT NOT NULL,
        PRIMARY KEY (address, target)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX account_domain ON account (domain, created);
    PRAGMA user_version = 1;
";

/// Format 2: what an account may hold, octets and messages; null for the config's default, -1 for no limit.
const SCHEMA_2: &str = "
    ALTER TABLE account ADD COLUMN quota_storage INTEGER;
    ALTER TABLE account ADD COLUMN quota_messages INTEGER;
    PRAGMA user_version = 2;
";

/// Format 3: the keys for SCRAM, null where a password can't have them, or is older and was not used since; and what the keys of unknown accounts are made of.
const SCHEMA_3: &str = "
    ALTER TABLE account ADD COLUMN scram TEXT;
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    INSERT INTO secret (name, value) VALUES ('scram', randomblob(32));
    PRAGMA user_version = 3;
";

/// Format 4: whether an account takes mail, and whose mail is refused; the empty account stands for all.
const SCHEMA_4: &str = "
    ALTER TABLE account ADD COLUMN receives INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE refusal (
        account TEXT NOT NULL,
        sender TEXT NOT NULL,
        PRIMARY KEY (account, sender)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 4;
";

/// Format 5: lists, and where accounts' mail goes on to.
const SCHEMA_5: &str = "
    CREATE TABLE list (
        address TEXT PRIMARY KEY,
        domain TEXT NOT NULL REFERENCES domain (name),
        owner TEXT NOT NULL,
        posting TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE member (
        list TEXT NOT NULL REFERENCES list (address) ON DELETE CASCADE,
        address TEXT NOT NULL,
        PRIMARY KEY (list, address)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE poster (
        list TEXT NOT NULL REFERENCES list (address) ON DELETE CASCADE,
        sender TEXT NOT NULL,
        PRIMARY KEY (list, sender)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE forward (
        account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE,
        target TEXT NOT NULL,
        PRIMARY KEY (account, target)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE account ADD COLUMN keeps_copy INTEGER NOT NULL DEFAULT 1;
    PRAGMA user_version = 5;
";

/// Format 6: as whom accounts may send besides themselves, an address or a domain.
const SCHEMA_6: &str = "
    CREATE TABLE send_right (
        account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE,
        sender TEXT NOT NULL,
        PRIMARY KEY (account, sender)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 6;
";

/// Format 7: whether the server saves what an account sends.
const SCHEMA_7: &str = "
    ALTER TABLE account ADD COLUMN saves_sent INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 7;
";

type Result<T> = std::result::Result<T, DirectoryError>;

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let this = Self { path: path.to_owned(), idle: Mutex::default(), watch: Mutex::default() };
        let found = this.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if found == 0 {
                transaction.execute_batch(SCHEMA)?;
            }
            if found < 2 {
                transaction.execute_batch(SCHEMA_2)?;
            }
            if found < 3 {
                transaction.execute_batch(SCHEMA_3)?;
            }
            if found < 4 {
                transaction.execute_batch(SCHEMA_4)?;
            }
            if found < 5 {
                transaction.execute_batch(SCHEMA_5)?;
            }
            if found < 6 {
                transaction.execute_batch(SCHEMA_6)?;
            }
            if found < 7 {
                transaction.execute_batch(SCHEMA_7)?;
            }
            transaction.commit()?;
            Ok(found)
        })?;
        if found > FORMAT {
            return Err(DirectoryError::NewerFormat { path: path.to_owned(), found });
        }
        this.rows()?;
        Ok(this)
    }

    /// Runs `work` on a connection of its own.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let run = || -> rusqlite::Result<T> {
            let mut connection = idle.map_or_else(|| connect(&self.path), Ok)?;
            let result = work(&mut connection)?;
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT_OPEN {
                idle.push(connection);
            }
            Ok(result)
        };
        run().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> DirectoryError {
        DirectoryError::Database { path: self.path.clone(), source }
    }

    fn exists(&self, sql: &str, key: &str) -> Result<bool> {
        self.with(|connection| connection.prepare_cached(sql)?.exists([key]))
    }

    fn column(&self, sql: &str, key: &[&str]) -> Result<Vec<String>> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(rusqlite::params_from_iter(key), |row| row.get(0))?.collect()
        })
    }

    pub(crate) fn is_domain(&self, name: &str) -> Result<bool> {
        self.exists("SELECT 1 FROM domain WHERE name = ?1", name)
    }

    pub(crate) fn is_account(&self, address: &str) -> Result<bool> {
        self.exists("SELECT 1 FROM account WHERE address = ?1", address)
    }

    pub(crate) fn set_receives(&self, account: &str, receives: bool) -> Result<bool> {
        let sql = "UPDATE account SET receives = ?2 WHERE address = ?1";
        Ok(self.change(sql, params![account, receives])? > 0)
    }

    pub(crate) fn is_used(&self, domain: &str) -> Result<bool> {
        self.exists(
            "SELECT 1 FROM account WHERE domain = ?1 UNION ALL SELECT 1 FROM alias WHERE domain = ?1
             UNION ALL SELECT 1 FROM list WHERE domain = ?1",
            domain,
        )
    }

    pub(crate) fn domains(&self) -> Result<Vec<String>> {
        self.column("SELECT name FROM domain ORDER BY name", &[])
    }

    pub(crate) fn accounts(&self) -> Result<Vec<String>> {
        self.column("SELECT address FROM account ORDER BY domain, address", &[])
    }

    /// The oldest one: before all of this domain, among these one that takes mail.
    pub(crate) fn first_account(&self, domain: &str) -> Result<Option<String>> {
        let sql = "SELECT address FROM account ORDER BY domain <> ?1, NOT receives, created, rowid LIMIT 1";
        Ok(self.column(sql, &[domain])?.into_iter().next())
    }

    pub(crate) fn targets(&self, alias: &str) -> Result<Vec<String>> {
        self.column("SELECT target FROM alias WHERE address = ?1 ORDER BY target", &[alias])
    }

    pub(crate) fn aliases(&self) -> Result<Vec<(String, String)>> {
        self.with(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT address, target FROM alias ORDER BY domain, address, target")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// The hash of the password, and whether there are keys for SCRAM.
    pub(crate) fn password(&self, account: &str) -> Result<Option<(String, bool)>> {
        self.with(|connection| {
            let sql = "SELECT password, scram IS NOT NULL FROM account WHERE address = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([account], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Adds the keys for SCRAM to a password of this hash that has none.
    pub(crate) fn add_scram(&self, account: &str, hash: &str, keys: &str) -> Result<bool> {
        let sql = "UPDATE account SET scram = ?3 WHERE address = ?1 AND password = ?2 AND scram IS NULL";
        Ok(self.change(sql, [account, hash, keys])? > 0)
    }

    /// The keys for SCRAM, as far as there are any.
    pub(crate) fn scram(&self, account: &str) -> Result<Option<String>> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT scram FROM account WHERE address = ?1")?;
            Ok(statement.query_row([account], |row| row.get(0)).optional()?.flatten())
        })
    }

    /// What the keys of unknown accounts are made of.
    pub(crate) fn scram_secret(&self) -> Result<Vec<u8>> {
        self.with(|connection| {
            connection.query_row("SELECT value FROM secret WHERE name = 'scram'", [], |row| row.get(0))
        })
    }

    /// Runs one statement and returns how many rows it changed.
    fn change(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.with(|connection| connection.prepare_cached(sql)?.execute(values))
    }

    pub(crate) fn add_domain(&self, name: &str) -> Result<bool> {
        Ok(self.change("INSERT OR IGNORE INTO domain (name) VALUES (?1)", [name])? > 0)
    }

    pub(crate) fn remove_domain(&self, name: &str) -> Result<bool> {
        Ok(self.change("DELETE FROM domain WHERE name = ?1", [name])? > 0)
    }

    pub(crate) fn add_account(&self, address: &str, domain: &str, password: &Stored) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO account (address, domain, password, scram) VALUES (?1, ?2, ?3, ?4)";
        Ok(self.change(sql, params![address, domain, password.hash, password.scram])? > 0)
    }

    pub(crate) fn remove_account(&self, address: &str) -> Result<bool> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM refusal WHERE account = ?1", [address])?;
            let removed = transaction.execute("DELETE FROM account WHERE address = ?1", [address])?;
            transaction.commit().map(|()| removed > 0)
        })
    }

    pub(crate) fn set_password(&self, address: &str, password: &Stored) -> Result<bool> {
        let sql = "UPDATE account SET password = ?2, scram = ?3 WHERE address = ?1";
        Ok(self.change(sql, params![address, password.hash, password.scram])? > 0)
    }

    pub(crate) fn set_quota(
        &self,
        account: &str,
        storage: Option<i64>,
        messages: Option<i64>,
    ) -> Result<bool> {
        let sql = "UPDATE account SET quota_storage = ?2, quota_messages = ?3 WHERE address = ?1";
        Ok(self.change(sql, params![account, storage, messages])? > 0)
    }

    pub(crate) fn add_targets(&self, alias: &str, domain: &str, targets: &[String]) -> Result<()> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for target in targets {
                let sql = "INSERT OR IGNORE INTO alias (address, domain, target) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, params![alias, domain, target])?;
            }
            transaction.commit()
        })
    }

    pub(crate) fn remove_targets(&self, alias: &str, targets: &[String]) -> Result<()> {
        self.for_each("DELETE FROM alias WHERE address = ?1 AND target = ?2", alias, targets)
    }

    /// Runs a statement with the key and each of the values, for all or none.
    fn for_each(&self, sql: &str, key: &str, values: &[String]) -> Result<()> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            values.iter().try_for_each(|value| transaction.execute(sql, [key, value]).map(drop))?;
            transaction.commit()
        })
    }

    /// Clears what stands under a key, and adds the values.
    fn replace(&self, clear: &str, add: &str, key: &str, values: &[String]) -> Result<()> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute(clear, [key])?;
            values.iter().try_for_each(|value| transaction.execute(add, [key, value]).map(drop))?;
            transaction.commit()
        })
    }

    pub(crate) fn remove_alias(&self, alias: &str) -> Result<bool> {
        Ok(self.change("DELETE FROM alias WHERE address = ?1", [alias])? > 0)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // A statement is prepared once, not anew for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}
