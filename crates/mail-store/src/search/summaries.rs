//! The summaries of messages in open mailboxes, made of the same reading of a file as its texts.

use std::sync::{Arc, Weak};

use mail_message::search::SearchedMessage;
use mail_types::Uid;

use crate::account::Account;
use crate::content_hash::ContentHash;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::mailbox::Mailbox;
use crate::mark::Mark;
use crate::summary::{Summarized, Summarizer};

/// Summaries kept in one transaction: so few that nobody waits for it.
const BATCH: usize = 32;
/// Summaries that wait while others are at work on the account.
const WAITING: usize = 512;
/// Messages looked up at once.
const PAGE: u32 = 256;

/// The messages of one open mailbox that are to be summarized, the newest first.
#[derive(Debug)]
pub(super) struct Summaries {
    mailbox: Weak<Mailbox>,
    key: String,
    mark: Mark,
    summarizer: Arc<dyn Summarizer>,
    inode: u64,
    /// From this UID on to below the other nobody has looked yet.
    first: u32,
    end: u32,
    /// When all is done: how far the mailbox is then.
    below: u32,
    made: Vec<Summarized>,
}

impl Summaries {
    /// `None` if all messages of the mailbox have one, or nobody wants them.
    pub(super) fn of(account: &Account, mailbox: &Arc<Mailbox>) -> Result<Option<Self>, StoreError> {
        let Some(summarizer) = account.summarizer() else { return Ok(None) };
        let inode = account.read(|index| Ok(index.inode()))?;
        let first = mailbox.summarized_below(inode);
        let below = mailbox.snapshot().uid_next().value();
        let (mailbox, key, mark) = (Arc::downgrade(mailbox), mailbox.key().to_owned(), mailbox.mark());
        let summarizer = Arc::clone(summarizer);
        let summaries =
            Self { mailbox, key, mark, summarizer, inode, first, end: below, below, made: Vec::new() };
        Ok((first < below).then_some(summaries))
    }

    pub(super) fn folder(&self) -> &str {
        &self.key
    }

    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// The next messages to be looked at.
    pub(super) fn page(&self, account: &Account) -> Result<Vec<MessageRow>, StoreError> {
        let form = self.summarizer.form();
        account.read(|index| index.without_summary(&self.key, form, self.first..self.end, PAGE))
    }

    /// All messages from this one on were looked at.
    pub(super) const fn passed(&mut self, row: &MessageRow) {
        self.end = row.uid;
    }

    /// True if the message has no summary.
    pub(super) fn lacks(&self, account: &Account, row: &MessageRow) -> Result<bool, StoreError> {
        let form = self.summarizer.form();
        let uids = row.uid..row.uid.saturating_add(1);
        account.read(|index| Ok(!index.without_summary(&self.key, form, uids.clone(), 1)?.is_empty()))
    }

    /// Summarizes a message. `content` is the hash of its file, where its name doesn't say that.
    pub(super) fn add(&mut self, row: &MessageRow, message: &SearchedMessage, content: Option<ContentHash>) {
        let Ok(uid) = Uid::try_from(row.uid) else { return };
        let summary = crate::Summary { content, ..self.summarizer.summarize(message) };
        self.made.push(Summarized { uid, size: row.wire, summary });
        if self.made.len() >= BATCH {
            self.keep();
        }
    }

    /// Keeps what was made; while others are at work on the account, that waits for the next call. True once all is kept.
    pub(super) fn keep(&mut self) -> bool {
        let Some(mailbox) = self.mailbox.upgrade() else {
            self.made.clear();
            return true;
        };
        while !self.made.is_empty() {
            let (some, _) = self.made.split_at(BATCH.min(self.made.len()));
            match mailbox.keep_summaries(self.summarizer.form(), some) {
                Ok(true) => drop(self.made.drain(..BATCH.min(self.made.len()))),
                Ok(false) => {
                    self.made.truncate(WAITING); // what is lost is made when it is needed
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, "summaries are not kept");
                    self.made.clear();
                }
            }
        }
        true
    }

    /// All messages were looked at.
    pub(super) fn end(&self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.set_summarized(self.inode, self.below);
        }
    }
}
