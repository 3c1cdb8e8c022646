//! STORE and EXPUNGE.

use std::sync::Arc;

use mail_types::{Flags, Uid, Usage};

use super::Mailbox;
use super::work::Work;
use crate::disk;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::names::FileName;
use crate::quota;
use crate::snapshot::Snapshot;

/// How STORE changes flags. RFC 3501 §6.4.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// `+FLAGS`
    Add(Flags),
    /// `-FLAGS`
    Remove(Flags),
    /// `FLAGS`
    Replace(Flags),
}

impl FlagChange {
    /// What a message with the flags `before` has after the change.
    #[must_use]
    pub fn applied_to(&self, before: &Flags) -> Flags {
        match self {
            Self::Replace(flags) => flags.clone(),
            Self::Add(flags) => Flags::from_parts(
                before.system_bits() | flags.system_bits(),
                before.keywords().iter().chain(flags.keywords()).cloned(),
            ),
            Self::Remove(flags) => Flags::from_parts(
                before.system_bits() & !flags.system_bits(),
                before.keywords().iter().filter(|it| !flags.keywords().contains(it)).cloned(),
            ),
        }
    }
}

impl Mailbox {
    /// Changes the flags of the messages named; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let mut mod_seq = None;
            for uid in uids {
                work.on_file(*uid, |work, row| work.set_flags(row, change, &mut mod_seq))?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }

    /// Removes the messages named, whatever their flags; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn expunge(&self, uids: &[Uid]) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let (mut mod_seq, mut count) = (None, work.place.account.count());
            for uid in uids {
                work.on_file(*uid, |work, row| {
                    work.touched = true;
                    let path = work.path(&row);
                    let octets = quota::octets(&row.base, &path)?.unwrap_or_default();
                    disk::remove(&path)?;
                    count.removed(Usage::message(octets));
                    let mod_seq = work.change(&mut mod_seq)?;
                    work.forget(&row, mod_seq)
                })?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }
}

impl Work<'_> {
    fn set_flags(
        &mut self,
        mut row: MessageRow,
        change: &FlagChange,
        mod_seq: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        let old = self.path(&row);
        let after = change.applied_to(&self.flags(&row));
        let (info, extra) = self.encode(&FileName::of_info(&row.info), row.uid, &after);
        if (&info, &extra) == (&row.info, &row.extra) {
            return Ok(());
        }
        (row.info, row.extra) = (info, extra);
        // What a letter means must be known before it stands in a name.
        self.write_file()?;
        let new = self.path(&row);
        if new != old {
            self.touched = true;
            disk::rename_new(&old, &new)?;
        }
        row.mod_seq = self.change(mod_seq)?;
        self.index.put_message(&self.place.key, &row)
    }
}
