//! Whether there is room for a message in its recipients' mailboxes.

use std::sync::Arc;

use mail_config::{FullMailbox, QuotaConfig};
use mail_directory::{Directory, DirectoryError, Moment, Reached, Resolution};
use mail_store::{Store, StoreError};
use mail_types::{LocalRecipient, Usage};
use smtp_proto::Reply;

/// What is said where a full mailbox is a failure for good.
const REJECTED: &str = "The mailbox is full: reach its owner another way";

/// Who may hold how much.
#[derive(Debug, Clone)]
pub(crate) struct Quotas {
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<Store>,
    pub(crate) config: QuotaConfig,
}

/// Why it can't be told whether there is room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuotaError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Quotas {
    /// What becomes of a recipient, given the size that the client declared (RFC 1870 §6.2); `None` if nobody it leads to has
    /// room. Of several accounts, those without room get the message by way of the queue, which waits for room and tells the
    /// sender in the end. Blocks.
    pub(crate) fn with_room(
        &self,
        moment: &Moment<'_>,
        resolution: Resolution,
        size: Option<u64>,
        delimiter: Option<char>,
    ) -> Result<Option<Resolution>, QuotaError> {
        let Resolution::Ours(Reached { accounts, mut remote, mut forwards }) = resolution else {
            return Ok(Some(resolution));
        };
        let (mut with_room, mut full) = (Vec::new(), Vec::new());
        for recipient in accounts {
            let quota = moment.quota(&recipient.account, self.config.default)?;
            if self.store.has_room(&recipient.account, quota, Usage::message(size.unwrap_or_default()))? {
                with_room.push(recipient)
            } else {
                full.push((recipient.account.clone(), recipient.address(delimiter)))
            }
        }
        if with_room.is_empty() && remote.is_empty() && forwards.is_empty() && !full.is_empty() {
            return Ok(None);
        }
        // The queue sends on as well what it keeps for an account.
        forwards.retain(|forward| full.iter().all(|(account, _)| *account != forward.via));
        remote.extend(full.into_iter().map(|(_, address)| address));
        Ok(Some(Resolution::Ours(Reached { accounts: with_room, remote, forwards })))
    }

    /// True if a message of so many octets may go to these accounts, for each of which there was room at RCPT.
    ///
    /// Where it turns out greater than was declared, or others were faster, a tenth beyond the quota is let pass, and it is
    /// refused only if nobody has room: one may exceed the quota by one message so that others get theirs. Blocks.
    pub(crate) fn may_deliver<'a>(
        &self,
        accounts: impl Iterator<Item = &'a LocalRecipient>,
        size: u64,
    ) -> Result<bool, QuotaError> {
        let (mut is_refused, moment) = (false, self.directory.moment()?);
        for LocalRecipient { account, .. } in accounts {
            let (quota, more) = (moment.quota(account, self.config.default)?, Usage::message(size));
            if !quota.is_limited() {
                return Ok(true); // nobody counts what has no limit
            }
            let now = self.store.usage(account, quota)?;
            if quota.with_grace().admits(now + more) || self.store.has_room(account, quota, more)? {
                return Ok(true);
            }
            is_refused = true;
        }
        Ok(!is_refused)
    }

    /// The answer for a full mailbox. RFC 3463 §3.3.
    pub(crate) fn full(&self) -> Reply {
        match self.config.full {
            FullMailbox::Defer => Reply::new(
                452,
                "4.2.2",
                "The mailbox is full: try again later, or reach its owner another way",
            ),
            FullMailbox::Reject => Reply::new(552, "5.2.2", REJECTED),
        }
    }

    /// The same where it turns out behind a message that is no longer than was declared: 552 would say that it is. RFC 1870 §6.3.
    pub(crate) fn full_after_all(&self) -> Reply {
        match self.config.full {
            FullMailbox::Defer => self.full(),
            FullMailbox::Reject => Reply::new(554, "5.2.2", REJECTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_types::Address;

    use super::*;

    fn quotas(dir: &tempfile::TempDir, config: QuotaConfig) -> Quotas {
        let store = Store::open(&dir.path().join("mail")).unwrap();
        let directory = Arc::new(Directory::open(&dir.path().join("directory.sqlite")).unwrap());
        Quotas { directory, store, config }
    }

    /// RFC 1870 §6.3
    #[test]
    fn a_message_that_is_as_long_as_declared_is_not_refused_by_552_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        for (full, before, behind) in [(FullMailbox::Defer, 452, 452), (FullMailbox::Reject, 552, 554)] {
            let quotas = quotas(&dir, QuotaConfig { full, ..QuotaConfig::default() });
            assert_eq!((quotas.full().code(), quotas.full_after_all().code()), (before, behind));
        }
    }

    #[test]
    fn mail_of_an_account_without_quota_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let quotas = quotas(&dir, QuotaConfig::default());
        let bob: Address = "bob@example.org".parse().unwrap();
        quotas.store.create_account(&bob).unwrap();
        let new = dir.path().join("mail/example.org/bob/Maildir/new");
        std::fs::remove_dir(&new).unwrap();
        std::fs::write(&new, "who counts stumbles over a file in a folder's place").unwrap();
        assert!(quotas.may_deliver([&bob.into()].into_iter(), 4096).unwrap());
    }
}
