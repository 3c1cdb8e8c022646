//! Full-text search: which messages hold a text, known without reading them.
//!
//! What is known is exact, and says of which messages it is known: a search reads the others. The index is only a cache;
//! [`indexer`] fills it beside the work. A message is known by the base of its file's name, its size and date, which stay
//! the same wherever it is moved.

mod database;
mod documents;
mod fuzzy;
mod indexer;
mod message;
mod pass;
mod summaries;
#[cfg(test)]
mod tests;
mod texts;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use mail_message::fuzzy::FuzzyNeedle;
use mail_message::search::{Needle, Within};
use mail_types::Uid;

use crate::account::Account;
use crate::error::StoreError;
use database::{Database, is_broken};
use documents::Documents;
pub(crate) use documents::{Haystack, Remembered};
pub use fuzzy::FuzzyAnswer;
use pass::Pass;

/// What is gone is looked for no more often.
const SWEEP: Duration = Duration::from_secs(60);
/// A longer needle is looked for by its beginning, and what is found is to be looked at.
const LONGEST: usize = 64;
/// Among so many messages, as their ids have it, a needle is looked for by two threads.
const MANY: i64 = if cfg!(test) { 4 } else { 2000 };
/// Which part of them is left to the thread that also looks up the messages: less, if they are not remembered.
const SHARES: (i64, i64) = (2, 3);
/// A needle of one or two characters is looked for by the trigrams that begin with it, unless these are more.
const MOST_TRIGRAMS: usize = 256;

/// What the index knows of one needle in one mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TextAnswer {
    /// Ascending.
    known: Vec<Uid>,
    found: Vec<Uid>,
    /// What was found needs no look at it.
    is_certain: bool,
}

impl TextAnswer {
    /// Whether the message holds the text; `None` if it must be read to know that.
    #[must_use]
    pub fn holds(&self, uid: Uid) -> Option<bool> {
        self.known.binary_search(&uid).ok()?;
        match self.found.binary_search(&uid) {
            Ok(_) => self.is_certain.then_some(true),
            Err(_) => Some(false),
        }
    }
}

/// The full-text search of one account.
#[derive(Debug)]
pub(crate) struct Search {
    home: PathBuf,
    account: OnceLock<Weak<Account>>,
    is_queued: AtomicBool,
    /// When what is gone was last looked for.
    swept: Mutex<Option<Instant>>,
    reader: Mutex<Option<Database>>,
    /// For what is looked for beside.
    helper: Mutex<Option<Database>>,
}

impl Search {
    pub(crate) fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            account: OnceLock::new(),
            is_queued: AtomicBool::new(false),
            swept: Mutex::default(),
            reader: Mutex::default(),
            helper: Mutex::default(),
        }
    }

    /// From now on what changes in the account is indexed beside the work.
    pub(crate) fn begin(&self, account: &Arc<Account>) {
        self.account.get_or_init(|| Arc::downgrade(account));
        self.wake();
    }

    /// Something may have changed. Doesn't block.
    pub(crate) fn wake(&self) {
        if let Some(account) = self.account.get()
            && !self.is_queued.swap(true, Ordering::Relaxed)
        {
            indexer::later(account);
        }
    }

    fn begin_pass(&self, account: &Account) -> Result<(Database, Pass), StoreError> {
        self.is_queued.store(false, Ordering::Relaxed);
        let database = Database::open(&self.home)?;
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let may_sweep = swept.is_none_or(|it| it.elapsed() >= SWEEP);
        match Pass::new(account, &database, may_sweep) {
            Ok(pass) => {
                if may_sweep {
                    *swept = Some(Instant::now());
                }
                Ok((database, pass))
            }
            Err(error) => {
                if is_broken(&error) {
                    self.remove(database)?;
                }
                Err(error)
            }
        }
    }

    fn remove(&self, database: Database) -> Result<(), StoreError> {
        tracing::warn!(home = %self.home.display(), "the full-text index is damaged; it is made anew");
        database.remove(&self.home)
    }

    /// What is known of a needle in a mailbox. Nothing, if the index can't be read.
    pub(crate) fn answer(&self, haystack: &Haystack<'_>, needle: &Needle, within: Within) -> TextAnswer {
        self.read_or_nothing(|database| {
            let look = self.look(database, haystack, needle.mapped(), within)?;
            Ok(look.map(Look::answer).unwrap_or_default())
        })
    }

    /// What is known by a fuzzy search of a mailbox. Nothing, if the index can't be read.
    pub(crate) fn fuzzy_answer(
        &self,
        haystack: &Haystack<'_>,
        needle: &FuzzyNeedle,
        within: Within,
    ) -> FuzzyAnswer {
        self.read_or_nothing(|database| {
            match self.look(database, haystack, needle.exact().mapped(), within)? {
                Some(look) => fuzzy::answer(database, &look, needle, within),
                None => Ok(FuzzyAnswer::default()),
            }
        })
    }

    /// Looks for what holds the needle; `None` if the index can't say.
    fn look(
        &self,
        database: &Database,
        haystack: &Haystack<'_>,
        needle: &str,
        within: Within,
    ) -> Result<Option<Look>, StoreError> {
        let Some((query, is_certain)) = query(database, needle, within)? else { return Ok(None) };
        let look = match query {
            Some(query) => self.find(database, haystack, &query)?,
            None => Look { documents: haystack.documents(database)?, ids: Vec::new(), is_certain },
        };
        Ok(Some(Look { is_certain, ..look }))
    }

    /// Looks for what the query finds. Among many, another thread looks for a part of it.
    fn find(&self, database: &Database, haystack: &Haystack<'_>, query: &str) -> Result<Look, StoreError> {
        // Read first, so that the other doesn't see less.
        let (stamp, last) = (database.stamp()?, database.last_id()?);
        let share = if haystack.remembers(database)? { SHARES.0 } else { SHARES.1 };
        let split = if last < MANY { last } else { last / share };
        let find_beside = || {
            self.read(&self.helper, |database| {
                Ok((database.stamp()?, database.find(query, split + 1..=last)?))
            })
        };
        std::thread::scope(|scope| {
            let helper = (split < last).then(|| scope.spawn(find_beside));
            let documents = haystack.documents(database)?;
            let mut ids = database.find(query, 1..=split)?;
            match helper.map(ScopedJoinHandle::join) {
                Some(Ok(Ok((seen, more)))) if seen == stamp => ids.extend(more),
                // Something went in between, or it failed.
                Some(_) => ids.extend(database.find(query, split + 1..=last)?),
                None => {}
            }
            Ok(Look { documents, ids, is_certain: true })
        })
    }

    /// What the index says; nothing, if it can't be read.
    fn read_or_nothing<T: Default>(&self, act: impl FnOnce(&Database) -> Result<T, StoreError>) -> T {
        self.read(&self.reader, act).unwrap_or_else(|error| {
            tracing::warn!(%error, "the messages themselves are searched");
            T::default()
        })
    }

    fn read<T>(
        &self,
        reader: &Mutex<Option<Database>>,
        act: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match reader.take().filter(Database::is_current) {
            Some(database) => database,
            None => Database::open(&self.home)?,
        };
        let result = database.transaction(false, || act(&database));
        match &result {
            Err(error) if is_broken(error) => self.remove(database)?,
            Ok(_) | Err(_) => *reader = Some(database),
        }
        result
    }
}

/// A mailbox beside the index.
struct Look {
    documents: Arc<Documents>,
    /// What a query finds, ascending.
    ids: Vec<i64>,
    /// What it finds needs no look at it.
    is_certain: bool,
}

impl Look {
    /// The messages of which the texts are in the index, each with its id there and whether the query finds it.
    fn messages(&self) -> impl Iterator<Item = (Uid, i64, bool)> {
        self.documents.iter().map(|(uid, id)| (*uid, *id, self.ids.binary_search(id).is_ok()))
    }

    fn answer(self) -> TextAnswer {
        let mut answer = TextAnswer { is_certain: self.is_certain, ..TextAnswer::default() };
        for (uid, _, is_found) in self.messages() {
            answer.known.push(uid);
            answer.found.extend(is_found.then_some(uid));
        }
        answer
    }
}

/// The query in FTS5's language, itself `None` if nothing can be found, and whether what it finds needs no look at it.
/// `None` if the index can't answer.
fn query(
    database: &Database,
    needle: &str,
    within: Within,
) -> Result<Option<(Option<String>, bool)>, StoreError> {
    if needle.is_empty() || texts::is_beyond(needle) {
        return Ok(None);
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let columns = match within {
        Within::Body => "body : ",
        Within::Text => "",
    };
    if needle.chars().nth(2).is_some() {
        let start: String = needle.chars().take(LONGEST).collect();
        let is_certain = start.len() == needle.len();
        return Ok(Some((Some(format!("{columns}{}", quoted(&start))), is_certain)));
    }
    let Some(trigrams) = database.trigrams(needle, MOST_TRIGRAMS)? else { return Ok(None) };
    let any = trigrams.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(" OR ");
    Ok(Some(((!any.is_empty()).then(|| format!("{columns}({any})")), true)))
}
