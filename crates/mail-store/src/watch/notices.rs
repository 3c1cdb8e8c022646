//! A session's wait for changes anywhere in an account: in many mailboxes, few of them open, and in their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mail_types::{MailboxName, ModSeq, Uid, UidValidity};
use tokio::sync::Notify;

use super::subject::{Folder, Names, Shared, Subject};
use super::{Order, Watcher, next_id};
use crate::account::Account;
use crate::error::StoreError;
use crate::mailbox::{Mailbox, Signs};
use crate::store::Store;

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

/// A session's wait for changes anywhere in an account, and in what others share with its user, by whoever makes them. It costs
/// inotify watches for each mailbox that it was told to listen to, shared by all who listen there, and some hundred octets; no
/// mailbox is held open.
#[derive(Debug)]
pub struct Notices {
    account: Arc<Account>,
    heard: Arc<Heard>,
    watcher: Option<Watcher>,
    names: u64,
    /// What tells which accounts share something, once that is listened to.
    shares: Option<u64>,
    /// The names in others' accounts.
    others: BTreeMap<PathBuf, u64>,
    /// By the names that the session gives them.
    mailboxes: BTreeMap<MailboxName, u64>,
}

impl Notices {
    pub(crate) fn new(account: &Arc<Account>, watcher: Option<&Watcher>) -> Self {
        let notices = Self {
            account: Arc::clone(account),
            heard: Arc::default(),
            watcher: watcher.cloned(),
            names: next_id(),
            shares: None,
            others: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
        };
        notices.listen_to_names(notices.names, account.maildir());
        notices
    }

    fn listen_to_names(&self, id: u64, maildir: PathBuf) {
        let names = Names::new(maildir, Arc::downgrade(&self.heard));
        self.order(Order::Watch(id, Subject::Names(names)));
    }

    /// Listens to who shares something with others, and to the names in these accounts, which do: to the names in no others.
    pub fn listen_to_others(&mut self, store: &Store, owners: &[Arc<Account>]) {
        if self.shares.is_none() {
            let shared = Shared::new(store.shares_folder(), Arc::downgrade(&self.heard));
            let id = *self.shares.insert(next_id());
            self.order(Order::Watch(id, Subject::Shared(shared)));
        }
        let maildirs: BTreeSet<PathBuf> = owners.iter().map(|owner| owner.maildir()).collect();
        let before = std::mem::take(&mut self.others);
        for maildir in &maildirs {
            let id = before.get(maildir).copied().unwrap_or_else(|| {
                let id = next_id();
                self.listen_to_names(id, maildir.clone());
                id
            });
            self.others.insert(maildir.clone(), id);
        }
        let gone = before.into_iter().filter(|(maildir, _)| !maildirs.contains(maildir));
        gone.for_each(|(_, id)| self.order(Order::Forget(id)));
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

    /// Listens from now on to a mailbox, which the session knows as `name`, and which in `account` has the name `inner`. Tells how
    /// far it was known to be: all that came since is heard.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn listen(
        &mut self,
        name: &MailboxName,
        account: &Arc<Account>,
        inner: &MailboxName,
    ) -> Result<Option<KnownStatus>, StoreError> {
        let path = account.folder(inner);
        let signs = Signs::of(&path).ok();
        let key = inner.to_maildir();
        let row = account.read(|index| index.mailbox(&key))?;
        // Where the folder is not as the index has it, it is looked at as soon as it is watched.
        let in_step = signs.zip(row.as_ref()).is_some_and(|(signs, row)| signs.agree(row.cur, row.new));
        if !self.mailboxes.contains_key(name) {
            let id = next_id();
            self.mailboxes.insert(name.clone(), id);
            let heard = Arc::downgrade(&self.heard);
            let is_others = !Arc::ptr_eq(account, &self.account);
            let folder =
                Folder { path, name: name.clone(), heard, seen: signs.filter(|_| in_step), is_others };
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

    /// A mailbox of which something was heard has been looked at: what may have changed since without a sign is heard later.
    pub fn looked_at(&self, name: &MailboxName, mailbox: &Mailbox) {
        if let Some((id, again)) = self.mailboxes.get(name).copied().zip(mailbox.recheck_in()) {
            self.order(Order::LookIn(id, again));
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let ids =
            self.mailboxes.values().chain(self.others.values()).chain(&self.shares).chain([&self.names]);
        ids.for_each(|id| self.order(Order::Forget(*id)));
    }
}
