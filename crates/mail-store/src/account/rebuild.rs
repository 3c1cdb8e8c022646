//! Making an account's index anew while servers may run.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use mail_types::MailboxName;
use rustix::fs::{FlockOperation, flock};

use super::Account;
use crate::error::{IoContext as _, StoreError};
use crate::index::Soundness;

impl Account {
    /// Octets that the index has on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn index_octets(&self) -> Result<u64, StoreError> {
        let size = |suffix: &str| {
            let path = self.home.join(format!("index.sqlite{suffix}"));
            match std::fs::metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
                data => Ok(data.context("looking at", &path)?.len()),
            }
        };
        Ok(size("")? + size("-wal")?)
    }

    /// Sets an index aside that SQLite finds damaged, and begins a new one.
    pub(crate) fn renew_index(&self) -> Result<(), StoreError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let flock = |operation| {
            flock(&self.lock, operation).map_err(std::io::Error::from).context("locking", &self.home)
        };
        flock(FlockOperation::LockExclusive)?;
        let renewed = index.refresh().and_then(|()| match index.soundness()? {
            Soundness::Damaged(text) => index.recover(&text),
            Soundness::Sound | Soundness::Older | Soundness::Newer(_) => Ok(()),
        });
        flock(FlockOperation::Unlock)?;
        self.close_reader();
        renewed
    }

    /// Drops from the index and the subscriptions what names no mailbox.
    pub(crate) fn forget_what_is_nowhere(&self) -> Result<(), StoreError> {
        let names = self.names()?;
        let keys: BTreeSet<String> = names.iter().map(MailboxName::to_maildir).collect();
        self.locked(|index| {
            let mut nowhere = index.folders()?.into_iter().filter(|key| !keys.contains(key));
            nowhere.try_for_each(|key| index.forget(&key))
        })?;
        self.change_subscriptions(|subscribed| subscribed.retain(|name| names.contains(name)))
    }
}
