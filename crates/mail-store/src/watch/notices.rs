//! A session's wait for changes anywhere in an account: in many mailboxes, few of them open, and in their names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use mail_types::{MailboxName, ModSeq, Uid, UidValidity};
use tokio::sync::Notify;

use super::subject::{Folder, Names, Subject};
use super::{Order, Watcher, next_id};
use crate::account::{Account, MailboxStatus};
use crate::error::StoreError;
use crate::mailbox::Signs;

/// What may have changed.
#[derive(Debug, Default)]
pub struct News {
    /// Mailboxes in which something may have changed.
    pub mailboxes: BTreeSet<MailboxName>,
    /// Mailboxes may have come, gone, got another name, or been subscribed to.
    pub names: bool,
    /// The system gives no more watches: not everything is heard.
    pub overflow: bool,
}

/// How far a mailbox was known to be, before anybody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownStatus {
    /// The generation of its UIDs.
    pub uid_validity: UidValidity,
    /// The next UID to be given.
    pub uid_next: Uid,
    /// The highest mod-sequence in it.
    pub highest_mod_seq: ModSeq,
}

/// What one session has yet to take.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    news: Mutex<News>,
    wake: Notify,
}

impl Heard {
    pub(super) fn note(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }
}

/// A session's wait for changes anywhere in an account, by whoever makes them. It costs inotify watches for each mailbox that it
/// was told to listen to, shared by all who listen there, and some hundred octets; no mailbox is held open.
#[derive(Debug)]
pub struct Notices {
    account: Arc<Account>,
    heard: Arc<Heard>,
    watcher: Option<Watcher>,
    names: u64,
    mailboxes: BTreeMap<MailboxName, u64>,
}

impl Notices {
    pub(crate) fn new(account: &Arc<Account>, watcher: Option<&Watcher>) -> Self {
        let notices = Self {
            account: Arc::clone(account),
            heard: Arc::default(),
            watcher: watcher.cloned(),
            names: next_id(),
            mailboxes: BTreeMap::new(),
        };
        let names = Names::new(account.maildir(), Arc::downgrade(&notices.heard));
        notices.order(Order::Watch(notices.names, Subject::Names(names)));
        notices
    }

    fn order(&self, order: Order) {
        if let Some(watcher) = &self.watcher {
            watcher.order(order);
        }
    }

    /// The mailboxes that it listens to.
    pub fn mailboxes(&self) -> impl ExactSizeIterator<Item = &MailboxName> {
        self.mailboxes.keys()
    }

    /// True if it listens to this mailbox.
    #[must_use]
    pub fn is_listening(&self, name: &MailboxName) -> bool {
        self.mailboxes.contains_key(name)
    }

    /// Listens to a mailbox from now on. Tells how far it was known to be: all that came since is heard.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn listen(&mut self, name: &MailboxName) -> Result<Option<KnownStatus>, StoreError> {
        let path = self.account.folder(name);
        let signs = Signs::of(&path).ok();
        let key = name.to_maildir();
        let row = self.account.read(|index| index.mailbox(&key))?;
        // Where the folder is not as the index has it, it is looked at as soon as it is watched.
        let in_step = signs.zip(row.as_ref()).is_some_and(|(signs, row)| signs.agree(row.cur, row.new));
        if !self.mailboxes.contains_key(name) {
            let id = next_id();
            self.mailboxes.insert(name.clone(), id);
            let heard = Arc::downgrade(&self.heard);
            let folder = Folder { path, name: name.clone(), heard, seen: signs.filter(|_| in_step) };
            self.order(Order::Watch(id, Subject::Folder(folder)));
        }
        Ok(row.and_then(|row| {
            Some(KnownStatus {
                uid_validity: UidValidity::try_from(row.uid_validity).ok()?,
                uid_next: Uid::try_from(row.uid_next).ok()?,
                highest_mod_seq: ModSeq::try_from(row.mod_seq).ok()?,
            })
        }))
    }

    /// Listens no longer to all but these mailboxes.
    pub fn retain(&mut self, names: &BTreeSet<MailboxName>) {
        let gone: Vec<MailboxName> =
            self.mailboxes.keys().filter(|it| !names.contains(it)).cloned().collect();
        for name in gone {
            let id = self.mailboxes.remove(&name);
            id.into_iter().for_each(|id| self.order(Order::Forget(id)));
        }
    }

    /// Waits until there is something to take. Safe to drop and call again.
    pub async fn heard(&self) {
        self.heard.wake.notified().await;
    }

    /// Takes what was heard since the last time. Doesn't block.
    #[must_use]
    pub fn take(&self) -> News {
        std::mem::take(&mut self.heard.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until all is told of what happened before, and takes it.
    #[cfg(test)]
    pub(crate) async fn settled(&self) {
        let (settled, wait) = tokio::sync::oneshot::channel();
        self.order(Order::Settle(settled));
        wait.await.unwrap();
        drop(self.take());
    }

    /// Has a mailbox heard of once more.
    pub fn look_again(&self, name: &MailboxName) {
        self.heard.note(|news| {
            news.mailboxes.insert(name.clone());
        });
    }

    /// The figures of a mailbox of which something was heard.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn status(&self, name: &MailboxName) -> Result<MailboxStatus, StoreError> {
        let mailbox = self.account.open(name)?;
        let again = mailbox.recheck_in();
        if let Some((id, again)) = self.mailboxes.get(name).copied().zip(again) {
            self.order(Order::LookIn(id, again));
        }
        self.account.status(name)
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let ids = self.mailboxes.values().chain([&self.names]);
        ids.for_each(|id| self.order(Order::Forget(*id)));
    }
}
