//! From where each account has logged in, for all servers of the machine: a memory that may be lost.

mod database;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mail_types::{Address, Network};
use rusqlite::Error;
use tokio::task::spawn_blocking;
use tracing::warn;

use database::Database;

const DAY: i64 = 86_400;
/// For how long a place is known after the last login from there.
const KEEP: i64 = 180 * DAY;
/// Places that this process remembers to have noted today.
const MAX_NOTED: usize = 10_000;

/// Where somebody is: providers give the addresses of one network in turn, and a host has a whole /64 of IPv6 (RFC 6177 §2).
pub(crate) fn place(peer: IpAddr) -> Network {
    let peer = peer.to_canonical();
    Network::of(peer, if peer.is_ipv4() { 24 } else { 64 })
}

/// The account that a user name stands for, as far as that can be told without the directory.
pub(crate) fn canonical(name: &str) -> String {
    match name.parse::<Address>() {
        Ok(address) => address.to_lowercase().to_string(),
        Err(_) => name.to_lowercase(),
    }
}

/// The networks from which accounts have logged in.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// `None` where there is only what this process remembers.
    database: Option<Database>,
    noted: Mutex<Noted>,
}

/// What this process has noted today: it needs no second note.
#[derive(Debug, Default)]
struct Noted {
    day: i64,
    count: usize,
    places: HashMap<Network, Vec<String>>,
}

impl Noted {
    /// False if it was noted on that day.
    fn is_new(&mut self, day: i64, place: Network, account: &str) -> bool {
        if self.day != day || self.count >= MAX_NOTED {
            *self = Self { day, ..Self::default() };
        }
        let accounts = self.places.entry(place).or_default();
        let is_new = !accounts.iter().any(|other| other == account);
        if is_new {
            accounts.push(account.to_owned());
            self.count += 1;
        }
        is_new
    }

    fn knows(&self, place: Network, name: &str) -> bool {
        let is_meant = |account: &String| {
            account.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        self.places.get(&place).is_some_and(|accounts| accounts.iter().any(is_meant))
    }
}

impl Places {
    /// Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { database: Some(Database::open(path, now() - KEEP)?), noted: Mutex::default() })
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes, beside the work and once a day, that `account` has logged in from there.
    pub(crate) fn note(self: &Arc<Self>, place: Network, account: String) {
        if self.noted().is_new(now() / DAY, place, &account) && self.database.is_some() {
            let this = Arc::clone(self);
            drop(spawn_blocking(move || this.write(place, &account)));
        }
    }

    pub(crate) fn write(&self, place: Network, account: &str) {
        let written = self.database.as_ref().map(|it| it.note(&place.to_string(), account, now()));
        if let Some(Err(error)) = written {
            warn!(%error, account, %place, "from where an account has logged in can't be noted");
        }
    }

    /// True if the account that `name` stands for has logged in from there.
    pub(crate) async fn knows(self: &Arc<Self>, place: Network, name: String) -> bool {
        self.noted().knows(place, &name)
            || self.ask(move |database| database.knows(&place.to_string(), &name, now() - KEEP)).await
    }

    /// True if any account has logged in from there.
    pub(crate) async fn knows_anybody(self: &Arc<Self>, place: Network) -> bool {
        self.noted().places.contains_key(&place)
            || self.ask(move |database| database.knows_anybody(&place.to_string(), now() - KEEP)).await
    }

    /// Where the database can't be asked nobody is known.
    async fn ask<F>(self: &Arc<Self>, question: F) -> bool
    where
        F: FnOnce(&Database) -> Result<bool, Error> + Send + 'static,
    {
        let this = Arc::clone(self);
        let answer = spawn_blocking(move || this.database.as_ref().map(question).transpose()).await;
        match answer {
            Ok(Ok(answer)) => answer.unwrap_or_default(),
            Ok(Err(error)) => {
                warn!(%error, "from where accounts have logged in can't be told");
                false
            }
            Err(_) => false,
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_for_half_a_year_and_so_many_of_one_account() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("places.sqlite");
        let database = Database::open(&file, 0).unwrap();
        database.note("192.0.2.0/24", "bob@example.org", 100).unwrap();
        assert!(database.knows("192.0.2.0/24", "bob@example.org", 100).unwrap());
        assert!(database.knows("192.0.2.0/24", "bob", 100).unwrap(), "the only domain need not be named");
        assert!(!database.knows("192.0.2.0/24", "bo", 100).unwrap());
        assert!(!database.knows("192.0.2.0/24", "alice@example.org", 100).unwrap());
        assert!(!database.knows("198.51.100.0/24", "bob@example.org", 100).unwrap());
        assert!(database.knows_anybody("192.0.2.0/24", 100).unwrap());
        assert!(!database.knows("192.0.2.0/24", "bob@example.org", 101).unwrap(), "too old");
        for number in 0..64 {
            database.note(&format!("10.0.{number}.0/24"), "bob@example.org", 200).unwrap();
        }
        assert!(!database.knows("192.0.2.0/24", "bob@example.org", 0).unwrap(), "the oldest one goes");
        assert!(database.knows("10.0.63.0/24", "bob@example.org", 0).unwrap());
        drop(database);
        let database = Database::open(&file, 201).unwrap();
        assert!(!database.knows_anybody("10.0.63.0/24", 0).unwrap(), "forgotten when it is opened");
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("places.sqlite");
        std::fs::write(&file, "this is no database").unwrap();
        let database = Database::open(&file, 0).unwrap();
        database.note("192.0.2.0/24", "bob@example.org", 100).unwrap();
        assert!(database.knows("192.0.2.0/24", "bob", 100).unwrap());
        assert_eq!(whole_file::set_aside_in(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_place_is_noted_once_a_day_and_takes_bounded_memory() {
        let mut noted = Noted::default();
        let home = place("192.0.2.7".parse().unwrap());
        assert!(noted.is_new(1, home, "bob@example.org"));
        assert!(
            !noted.is_new(1, place("192.0.2.200".parse().unwrap()), "bob@example.org"),
            "the same network"
        );
        assert!(noted.knows(home, "bob") && noted.knows(home, "bob@example.org"));
        assert!(!noted.knows(home, "bo") && !noted.knows(home, "alice@example.org"));
        assert!(noted.is_new(2, home, "bob@example.org"));
        for number in 0..u32::try_from(2 * MAX_NOTED).unwrap() {
            noted.is_new(2, place(std::net::Ipv4Addr::from(number << 8).into()), "bob@example.org");
        }
        assert!(noted.places.len() <= MAX_NOTED);
    }
}
