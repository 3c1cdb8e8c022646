//! Where messages go: into the account's mailboxes, many at once, and none that is there already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use mail_store::{Account, Append, Mailbox, StoreError};
use mail_types::{Flags, InternalDate, MailboxName, Uid};

use super::incoming::{Hash, Incoming, LineEnds};
use super::report::Report;
use crate::store::trouble::Trouble;

/// What becomes durable together.
const BATCH_MESSAGES: usize = 64;
const BATCH_OCTETS: u64 = 32 << 20;

pub(super) struct Target {
    account: Arc<Account>,
    is_dry_run: bool,
    mailboxes: BTreeMap<MailboxName, Place>,
    batch: Vec<Append>,
    batch_mailbox: Option<MailboxName>,
    batch_octets: u64,
    pub(super) report: Report,
}

/// A mailbox, and what it held before the source was read.
struct Place {
    /// `None` when it does not exist and only a look is asked for.
    mailbox: Option<Arc<Mailbox>>,
    there: There,
}

/// The messages of a mailbox, each of which stands for one of the source that has the same content. Only those are read whose
/// size one of the source has.
#[derive(Default)]
struct There {
    /// Ascending.
    sizes: Vec<(u64, Uid)>,
    /// The sizes of those that were read.
    seen: HashSet<u64>,
    read: HashMap<Hash, u32>,
}

/// What is known of a message beside its content.
pub(super) struct Facts {
    pub(super) mailbox: MailboxName,
    pub(super) flags: Flags,
    /// Seconds since the Unix epoch.
    pub(super) date: Option<i64>,
    pub(super) line_ends: LineEnds,
}

impl Target {
    pub(super) fn new(account: Arc<Account>, is_dry_run: bool) -> Self {
        Self {
            account,
            is_dry_run,
            mailboxes: BTreeMap::new(),
            batch: Vec::new(),
            batch_mailbox: None,
            batch_octets: 0,
            report: Report::default(),
        }
    }

    /// Begins with a source: what is in the mailboxes now is what it may hold already.
    pub(super) fn begin(&mut self) {
        self.mailboxes.clear();
    }

    /// Adds the message that `fill` gives, unless it is there.
    pub(super) fn add(
        &mut self,
        facts: Facts,
        fill: impl FnOnce(&mut Incoming) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mailbox = self.place(&facts.mailbox)?.mailbox.clone().filter(|_| !self.is_dry_run);
        let date = facts.date.map(InternalDate::from_unix);
        let append = mailbox.map(|it| it.append(facts.flags, date)).transpose().map_err(Trouble::fatal)?;
        let mut incoming = Incoming::new(append, facts.line_ends);
        fill(&mut incoming)?;
        let (append, size, hash) = incoming.finish();
        if size == 0 {
            return Err(Trouble::Message("it is empty".to_owned()));
        }
        if self.place(&facts.mailbox)?.is_there(size, &hash)? {
            self.report.already_there += 1;
            return Ok(());
        }
        match append {
            Some(append) => self.enqueue(facts.mailbox, append, size),
            None => {
                self.count(facts.mailbox, 1, size);
                Ok(())
            }
        }
    }

    fn count(&mut self, mailbox: MailboxName, messages: u64, octets: u64) {
        *self.report.imported.entry(mailbox).or_default() += messages;
        self.report.octets += octets;
    }

    fn enqueue(&mut self, mailbox: MailboxName, append: Append, size: u64) -> Result<(), Trouble> {
        if self.batch_mailbox.as_ref() != Some(&mailbox) {
            self.flush()?;
        }
        self.batch_mailbox = Some(mailbox);
        self.batch.push(append);
        self.batch_octets += size;
        if self.batch.len() >= BATCH_MESSAGES || self.batch_octets >= BATCH_OCTETS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Makes what came in durable.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        let Some(mailbox) = self.batch_mailbox.take() else { return Ok(()) };
        let uids = Append::commit_all(std::mem::take(&mut self.batch)).map_err(Trouble::fatal)?;
        let octets = std::mem::take(&mut self.batch_octets);
        self.count(mailbox, uids.len() as u64, octets);
        Ok(())
    }

    /// Makes the mailbox where it is missing.
    pub(super) fn make(&mut self, name: &MailboxName) -> Result<(), Trouble> {
        self.place(name).map(drop)
    }

    fn place(&mut self, name: &MailboxName) -> Result<&mut Place, Trouble> {
        if !self.mailboxes.contains_key(name) {
            let place = self.open(name).map_err(Trouble::fatal)?;
            self.mailboxes.insert(name.clone(), place);
        }
        let missing = || Trouble::fatal(anyhow::anyhow!("the mailbox {name} is missing"));
        self.mailboxes.get_mut(name).ok_or_else(missing)
    }

    fn open(&self, name: &MailboxName) -> Result<Place, StoreError> {
        let mailbox = match self.account.open(name) {
            Err(StoreError::NoSuchMailbox(_)) if self.is_dry_run => {
                return Ok(Place { mailbox: None, there: There::default() });
            }
            Err(StoreError::NoSuchMailbox(_)) => {
                self.account.subscribe(name, true)?; // many clients show no others
                self.account.create(name, None)?;
                self.account.open(name)?
            }
            opened => opened?,
        };
        let there = There::of(&mailbox);
        Ok(Place { mailbox: Some(mailbox), there })
    }

    /// Subscribes to mailboxes that exist.
    pub(super) fn subscribe(&mut self, names: &[MailboxName]) -> Result<(), Trouble> {
        let known = self.account.mailboxes().map_err(Trouble::fatal)?;
        let exists = |name: &&MailboxName| known.iter().any(|entry| entry.selectable && entry.name == **name);
        for name in names.iter().filter(exists).filter(|_| !self.is_dry_run) {
            self.account.subscribe(name, true).map_err(Trouble::fatal)?;
        }
        Ok(())
    }
}

impl Place {
    fn is_there(&mut self, size: u64, hash: &Hash) -> Result<bool, Trouble> {
        let Some(mailbox) = &self.mailbox else { return Ok(false) };
        for uid in self.there.of_size(size) {
            match content_hash(mailbox, uid) {
                Ok(hash) => *self.there.read.entry(hash).or_default() += 1,
                Err(StoreError::MessageGone(_)) => {}
                Err(error) => {
                    let read = Err(error).with_context(|| format!("can't compare with message {uid}"));
                    return read.map_err(Trouble::Fatal);
                }
            }
        }
        let Some(count) = self.there.read.get_mut(hash).filter(|count| **count > 0) else { return Ok(false) };
        *count -= 1;
        Ok(true)
    }
}

impl There {
    fn of(mailbox: &Mailbox) -> Self {
        let snapshot = mailbox.snapshot();
        let messages = (0..snapshot.len()).filter_map(|position| snapshot.get(position));
        let mut sizes: Vec<_> = messages.map(|message| (message.size, message.uid)).collect();
        sizes.sort_unstable();
        Self { sizes, ..Self::default() }
    }

    /// Those of this size, the first time.
    fn of_size(&mut self, size: u64) -> Vec<Uid> {
        if !self.seen.insert(size) {
            return Vec::new();
        }
        let from = self.sizes.partition_point(|(other, _)| *other < size);
        let same = self.sizes.iter().skip(from).take_while(|(other, _)| *other == size);
        same.map(|(_, uid)| *uid).collect()
    }
}

fn content_hash(mailbox: &Mailbox, uid: Uid) -> Result<Hash, StoreError> {
    use std::io::Read as _;
    let message = mailbox.open_message(uid)?;
    let mut hashing = Incoming::new(None, LineEnds::Any);
    let mut file = message.file;
    let mut block = vec![0; 64 << 10];
    loop {
        let failed =
            |source| StoreError::Io { context: "reading", path: format!("message {uid}").into(), source };
        let read = file.read(&mut block).map_err(failed)?;
        if read == 0 {
            return Ok(hashing.finish().2);
        }
        // One that is longer than what is imported is never the same.
        if hashing.put(block.get(..read).unwrap_or_default()).is_err() {
            return Ok([0; 32]);
        }
    }
}
