//! One pass through an account: what is new is indexed and summarized, what is gone is dropped.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::database::Database;
use super::message::Reader;
use super::summaries::Summaries;
use crate::account::Account;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Head, MessageRow};
use crate::mailbox_file::MailboxFile;
use crate::mark::Mark;
use crate::names::FileName;

/// How long a transaction is worked on.
const BATCH: Duration = Duration::from_millis(100);
/// Messages looked up at once.
const PAGE: u32 = 256;
/// Messages dropped in one transaction.
const DROPPED: usize = 256;

/// How far a pass is.
#[derive(Debug)]
pub(super) struct Pass {
    /// The mailboxes that are not done, the first being worked on, each with the first UID that is new.
    mailboxes: VecDeque<(Head, u32)>,
    page: VecDeque<MessageRow>,
    /// By what names of files in the first mailbox say that they are its.
    mark: Option<Mark>,
    /// From here on downwards the first mailbox is to be looked at.
    end: u32,
    /// The open mailboxes in which messages lack summaries. They get them as their texts are indexed, and the rest then.
    summaries: VecDeque<Summaries>,
    /// A file in the first mailbox was not where the index has it.
    has_missed: bool,
    has_left_what_is_gone: bool,
}

impl Pass {
    /// Drops what is gone, unless that was done not long ago, and finds the mailboxes in which something is new.
    pub(super) fn new(account: &Account, database: &Database, may_sweep: bool) -> Result<Self, StoreError> {
        let mut heads = account.read(|index| index.heads())?;
        let known = database.mailboxes()?;
        let is_something_gone = is_something_gone(&heads, &known);
        let is_swept = is_something_gone && may_sweep;
        if is_swept {
            drop_gone(account, database)?;
            forget_gone(&heads, &known, database)?;
        }
        let mut mailboxes = VecDeque::new();
        for mut head in heads.drain(..) {
            let before = before(&head, &known);
            if !is_swept {
                head.expunged = before.map_or(0, |it| it.expunged); // so that it is found the next time
            }
            if before != Some(&head) {
                mailboxes.push_back((head, before.map_or(1, |it| it.uid_next)));
            }
        }
        let mut summaries = VecDeque::new();
        for mailbox in account.open_mailboxes() {
            summaries.extend(Summaries::of(account, &mailbox)?);
        }
        let mut pass = Self {
            mailboxes,
            summaries,
            page: VecDeque::new(),
            mark: None,
            end: 0,
            has_missed: false,
            has_left_what_is_gone: is_something_gone && !is_swept,
        };
        pass.begin_mailbox(account);
        Ok(pass)
    }

    /// Works for a while in one transaction; false once all is done.
    pub(super) fn advance(&mut self, account: &Account, database: &Database) -> Result<bool, StoreError> {
        let until = Instant::now() + BATCH;
        database.transaction(true, || {
            while Instant::now() < until && !self.mailboxes.is_empty() {
                self.index_next(account, database)?;
            }
            while Instant::now() < until && !self.summaries.is_empty() {
                if !self.summarize_next(account, database)? {
                    break;
                }
            }
            Ok(())
        })?;
        // What can't be kept now is kept the next time.
        self.summaries.iter_mut().for_each(|it| {
            it.keep();
        });
        Ok(!self.mailboxes.is_empty() || !self.summaries.is_empty())
    }

    /// Indexes the next message of the first mailbox, or ends with that.
    fn index_next(&mut self, account: &Account, database: &Database) -> Result<(), StoreError> {
        let Some((head, first)) = self.mailboxes.front() else { return Ok(()) };
        if self.page.is_empty() {
            self.page = account.read(|index| index.newest(&head.folder, *first, self.end, PAGE))?.into();
        }
        let Some(row) = self.page.pop_front() else { return self.end_mailbox(account, database) };
        self.end = row.uid;
        let Some(mark) = self.mark else {
            self.has_missed = true;
            return Ok(());
        };
        let reader = Reader { account, database, folder: &head.folder, mark };
        let summaries = self.summaries.iter_mut().find(|it| it.folder() == head.folder);
        self.has_missed |= !reader.learn(&row, summaries)?;
        Ok(())
    }

    /// Summarizes the next messages of an open mailbox, or ends with that; false while others are at work on the account.
    fn summarize_next(&mut self, account: &Account, database: &Database) -> Result<bool, StoreError> {
        let Some(mut summaries) = self.summaries.pop_front() else { return Ok(true) };
        if !summaries.keep() {
            self.summaries.push_front(summaries);
            return Ok(false);
        }
        let page = summaries.page(account)?;
        let (folder, mark) = (summaries.folder().to_owned(), summaries.mark());
        let reader = Reader { account, database, folder: &folder, mark };
        for row in &page {
            reader.learn(row, Some(&mut summaries))?;
            summaries.passed(row);
        }
        let is_kept = summaries.keep();
        if page.is_empty() && is_kept {
            summaries.end();
        } else {
            self.summaries.push_front(summaries);
        }
        Ok(is_kept)
    }

    /// True if what is gone was looked for too short a time ago.
    pub(super) const fn has_left_what_is_gone(&self) -> bool {
        self.has_left_what_is_gone
    }

    fn begin_mailbox(&mut self, account: &Account) {
        let file =
            self.mailboxes.front().map(|(head, _)| MailboxFile::read(&account.folder_of(&head.folder)));
        self.mark = file.and_then(Result::ok).flatten().map(|file| file.mark());
        self.end = self.mailboxes.front().map_or(0, |(head, _)| head.uid_next);
        self.has_missed = false;
    }

    fn end_mailbox(&mut self, account: &Account, database: &Database) -> Result<(), StoreError> {
        if let Some((head, _)) = self.mailboxes.pop_front()
            && !self.has_missed
        {
            database.put_mailbox(&head)?;
        }
        self.begin_mailbox(account);
        Ok(())
    }
}

fn before<'a>(head: &Head, known: &'a [Head]) -> Option<&'a Head> {
    known.iter().find(|it| it.folder == head.folder && it.uid_validity == head.uid_validity)
}

/// Whether there may be something to drop.
fn is_something_gone(heads: &[Head], known: &[Head]) -> bool {
    let is_there = |it: &Head| heads.iter().any(|head| before(head, known) == Some(it));
    let has_expunged = |head: &Head| before(head, known).is_some_and(|it| it.expunged != head.expunged);
    !known.iter().all(is_there) || heads.iter().any(has_expunged)
}

fn forget_gone(heads: &[Head], known: &[Head], database: &Database) -> Result<(), StoreError> {
    let is_there = |it: &Head| heads.iter().any(|head| head.folder == it.folder);
    known.iter().filter(|it| !is_there(it)).try_for_each(|it| database.forget_mailbox(&it.folder))
}

/// Drops the messages of which no mailbox has a file.
fn drop_gone(account: &Account, database: &Database) -> Result<(), StoreError> {
    let mut there = Names::default();
    there.read(account)?;
    if database.dead(|base| there.has(base))?.is_empty() {
        return Ok(());
    }
    there.read(account)?; // what was being moved was perhaps passed by
    let dead = database.dead(|base| there.has(base))?;
    for some in dead.chunks(DROPPED) {
        database.transaction(true, || some.iter().try_for_each(|id| database.drop_document(*id)))?;
    }
    Ok(())
}

/// The names of all messages of an account, in eight octets each: that one stays for another's sake does no harm.
#[derive(Debug, Default)]
struct Names {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Names {
    fn read(&mut self, account: &Account) -> Result<(), StoreError> {
        for mailbox in account.names()? {
            for part in ["new", "cur"] {
                self.read_folder(&account.folder(&mailbox).join(part))?;
            }
        }
        Ok(())
    }

    fn read_folder(&mut self, folder: &Path) -> Result<(), StoreError> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // just deleted
            entries => entries.context("reading the folder", folder)?,
        };
        for entry in entries {
            let name = entry.context("reading the folder", folder)?.file_name();
            let name = name.to_string_lossy();
            self.hashes.insert(self.hasher.hash_one(FileName::parse(&name).base.as_ref()));
        }
        Ok(())
    }

    fn has(&self, base: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(base))
    }
}
