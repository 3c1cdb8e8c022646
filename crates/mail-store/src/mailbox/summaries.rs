//! What servers learned of messages' contents, kept in the index so that no file is read twice for it.

use std::sync::PoisonError;

use mail_types::Uid;

use super::Mailbox;
use crate::error::StoreError;
use crate::index::Index;
use crate::mark::Mark;
use crate::summary::{self, Digests};

/// Octets that summaries kept at once may take of the disk.
const BATCH: u64 = 1 << 20;

/// How far the mailbox is summarized: below this UID, in the index of this inode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summarized {
    inode: u64,
    below: u32,
}

impl Mailbox {
    /// All messages below the UID have a summary or can't have one; 1 if that isn't known of the index that there is now.
    pub(crate) fn summarized_below(&self, inode: u64) -> u32 {
        let summarized = *self.summarized.lock().unwrap_or_else(PoisonError::into_inner);
        if summarized.inode == inode { summarized.below } else { 1 }
    }

    pub(crate) fn set_summarized(&self, inode: u64, below: u32) {
        *self.summarized.lock().unwrap_or_else(PoisonError::into_inner) = Summarized { inode, below };
    }

    /// By what names of files say that they are its.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Where the index has it.
    pub(crate) fn key(&self) -> &str {
        &self.place.key
    }

    /// At most `limit` summaries of this form from `uid` on, ascending, without their digests; messages without one are passed over. It waits for
    /// nobody who changes the account.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn summaries(&self, form: u32, uid: Uid, limit: u32) -> Result<Vec<summary::Summarized>, StoreError> {
        self.place.account.read(|index| {
            if self.is_known_to(index)? {
                index.summaries(&self.place.key, form, uid, limit)
            } else {
                Ok(Vec::new())
            }
        })
    }

    /// At most `limit` digests of this form from `uid` on, ascending, as [`Self::summaries`].
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn digests(&self, form: u32, uid: Uid, limit: u32) -> Result<Digests, StoreError> {
        self.place.account.read(|index| {
            if self.is_known_to(index)? {
                index.digests(&self.place.key, form, uid, limit)
            } else {
                Ok(Digests::default())
            }
        })
    }

    /// Keeps summaries of this form, all in one transaction; those of messages that are gone are passed over, and all while the disk is
    /// nearly full. It waits for nobody: false if others were at work on the account, and then nothing is kept.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn keep_summaries(&self, form: u32, summaries: &[summary::Summarized]) -> Result<bool, StoreError> {
        if !self.place.account.room().admits_cache(BATCH) {
            return Ok(true);
        }
        let kept = self.place.account.locked_if_free(|index| {
            if self.is_known_to(index)? {
                summaries.iter().try_for_each(|it| index.put_summary(&self.place.key, form, it))?;
            }
            Ok(())
        })?;
        Ok(kept.is_some())
    }

    /// False if another mailbox has its name by now: the UIDs of that are others.
    pub(super) fn is_known_to(&self, index: &Index) -> Result<bool, StoreError> {
        let row = index.mailbox(&self.place.key)?;
        Ok(row.is_some_and(|row| row.uid_validity == self.uid_validity().value()))
    }
}
