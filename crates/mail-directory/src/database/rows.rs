//! Rows that every message asks for, kept in memory as long as nobody changes the database.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{BUSY_TIMEOUT, Database, Inflow, Result, connect};

/// Accounts, and domains, that are kept at most; beyond that all are read anew.
const MAX_KEPT: usize = if cfg!(test) { 2 } else { 10_000 };

/// What RCPT asks of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountRow {
    pub(crate) inflow: Inflow,
    /// What is stored for octets and messages.
    pub(crate) quota: (Option<i64>, Option<i64>),
}

/// Tells whether somebody has changed the database, by a connection that changes nothing: SQLite counts what all others commit, of
/// whatever process.
#[derive(Debug)]
pub(super) struct Watch {
    connection: Connection,
    version: i64,
    kept: Arc<Mutex<Kept>>,
}

/// Only what there is, so that guesses at names take no room.
#[derive(Debug, Default)]
struct Kept {
    domains: HashSet<String>,
    /// Whether these are all domains there are.
    is_complete: Option<bool>,
    accounts: HashMap<String, AccountRow>,
    everybody_refuses: Option<bool>,
}

/// The database as it was when this was made, or newer.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    database: &'a Database,
    kept: Arc<Mutex<Kept>>,
}

/// What is kept, alone.
#[derive(Debug)]
pub(crate) struct AtHand(Arc<Mutex<Kept>>);

impl Watch {
    fn open(database: &Database) -> rusqlite::Result<Self> {
        Ok(Self { connection: connect(&database.path)?, version: 0, kept: Arc::default() })
    }

    /// What is kept and holds: SQLite's manual on `PRAGMA data_version`.
    fn look(&mut self) -> rusqlite::Result<Arc<Mutex<Kept>>> {
        let mut statement = self.connection.prepare_cached("PRAGMA data_version")?;
        let version = statement.query_row([], |row| row.get(0))?;
        if version != self.version {
            (self.version, self.kept) = (version, Arc::default());
        }
        Ok(Arc::clone(&self.kept))
    }

    /// As [`Self::look`], but fails where it would have to wait for another process.
    fn look_without_waiting(&mut self) -> rusqlite::Result<Arc<Mutex<Kept>>> {
        self.connection.busy_timeout(Duration::ZERO)?;
        let looked = self.look();
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        looked
    }
}

impl Kept {
    /// `None` if that is not known.
    fn is_domain(&self, name: &str) -> Option<bool> {
        let is_known = self.domains.contains(name);
        (is_known || self.is_complete == Some(true)).then_some(is_known)
    }
}

impl Database {
    /// What holds now.
    pub(crate) fn rows(&self) -> Result<Rows<'_>> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = || {
            let mut open = watch.take().map_or_else(|| Watch::open(self), Ok)?;
            let kept = open.look()?;
            *watch = Some(open);
            Ok(kept)
        };
        let kept = { looked }().map_err(|source| self.failed(source))?;
        Ok(Rows { database: self, kept })
    }

    /// The same as far as it is in memory; `None` if that can't be told without waiting.
    pub(crate) fn rows_at_hand(&self) -> Option<AtHand> {
        let mut watch = self.watch.try_lock().ok()?;
        watch.as_mut()?.look_without_waiting().ok().map(AtHand)
    }

    /// All domains; `None` if they are more.
    fn domains_up_to(&self, most: usize) -> Result<Option<Vec<String>>> {
        let some = self.column(&format!("SELECT name FROM domain LIMIT {}", most + 1), &[])?;
        Ok((some.len() <= most).then_some(some))
    }

    fn account_row(&self, account: &str) -> Result<Option<AccountRow>> {
        let sql = "SELECT receives, keeps_copy, EXISTS (SELECT 1 FROM forward WHERE account = address),
                       EXISTS (SELECT 1 FROM refusal WHERE account = address), quota_storage, quota_messages
                   FROM account WHERE address = ?1";
        let parsed = |row: &Row<'_>| {
            let inflow = Inflow {
                receives: row.get(0)?,
                keeps_copy: row.get(1)?,
                forwards: row.get(2)?,
                may_refuse: row.get(3)?,
            };
            Ok(AccountRow { inflow, quota: (row.get(4)?, row.get(5)?) })
        };
        self.with(|connection| connection.prepare_cached(sql)?.query_row([account], parsed).optional())
    }
}

impl AtHand {
    /// The account of this name, in lower case, in this domain, if it is known that nobody here refuses a sender for all.
    pub(crate) fn account(&self, name: &str, domain: &str) -> Option<AccountRow> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = kept.everybody_refuses == Some(false) && kept.domains.contains(domain);
        kept.accounts.get(name).copied().filter(|_| is_known)
    }

    /// True if this is known to be no domain of ours.
    pub(crate) fn is_foreign(&self, domain: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_domain(domain) == Some(false)
    }
}

impl Rows<'_> {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_domain(&self, name: &str) -> Result<bool> {
        if let Some(known) = self.lock().is_domain(name) {
            return Ok(known);
        }
        if self.lock().is_complete.is_none() {
            let all = self.database.domains_up_to(MAX_KEPT)?;
            let mut kept = self.lock();
            kept.is_complete = Some(all.is_some());
            kept.domains.extend(all.into_iter().flatten());
            if let Some(known) = kept.is_domain(name) {
                return Ok(known);
            }
        }
        let is_domain = self.database.is_domain(name)?;
        if is_domain {
            let domains = &mut self.lock().domains;
            if domains.len() >= MAX_KEPT {
                domains.clear();
            }
            domains.insert(name.to_owned());
        }
        Ok(is_domain)
    }

    /// `None` if there is no such account.
    pub(crate) fn account(&self, name: &str) -> Result<Option<AccountRow>> {
        if let Some(row) = self.lock().accounts.get(name) {
            return Ok(Some(*row));
        }
        let row = self.database.account_row(name)?;
        if let Some(row) = row {
            let accounts = &mut self.lock().accounts;
            if accounts.len() >= MAX_KEPT {
                accounts.clear();
            }
            accounts.insert(name.to_owned(), row);
        }
        Ok(row)
    }

    /// True if there is a sender whose mail nobody here takes.
    pub(crate) fn does_everybody_refuse(&self) -> Result<bool> {
        if let Some(known) = self.lock().everybody_refuses {
            return Ok(known);
        }
        let found = self.database.refuses_any("")?;
        self.lock().everybody_refuses = Some(found);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use mail_types::Secret;

    use crate::Directory;

    #[test]
    fn of_few_domains_it_is_known_which_are_foreign_until_another_process_adds_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("directory.sqlite");
        let [directory, other] = [(); 2].map(|()| Directory::open(&file).unwrap());
        directory.add_domain(&"a.example".parse().unwrap()).unwrap();
        assert!(!directory.database.rows().unwrap().is_domain("b.example").unwrap());
        let is_foreign = || directory.database.rows_at_hand().unwrap().is_foreign("b.example");
        assert!(is_foreign());
        other.add_domain(&"b.example".parse().unwrap()).unwrap();
        assert!(!is_foreign());
        assert!(directory.database.rows().unwrap().is_domain("b.example").unwrap());
    }

    #[test]
    fn guesses_at_names_take_no_memory_and_many_accounts_no_more_than_some() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
        let names = ["a", "b", "c"].map(|name| (format!("{name}@{name}.example"), format!("{name}.example")));
        for (account, domain) in &names {
            directory.add_domain(&domain.parse().unwrap()).unwrap();
            directory.add_account(&account.parse().unwrap(), &Secret::new("secret".to_owned())).unwrap();
        }
        let rows = directory.database.rows().unwrap();
        let kept = || {
            let kept = rows.lock();
            (kept.domains.len(), kept.accounts.len())
        };
        assert!(!rows.is_domain("d.example").unwrap() && rows.account("d@a.example").unwrap().is_none());
        assert_eq!(kept(), (0, 0));
        for (number, (account, domain)) in names.iter().enumerate() {
            assert!(rows.is_domain(domain).unwrap() && rows.account(account).unwrap().is_some());
            assert_eq!(kept(), [(1, 1), (2, 2), (1, 1)][number], "beyond the limit they are read anew");
        }
    }
}
