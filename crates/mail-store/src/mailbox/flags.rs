//! STORE and EXPUNGE.

use std::sync::Arc;

use mail_types::{Flags, ModSeq, Rights, Uid, Usage};

use super::Mailbox;
use super::work::Work;
use crate::disk;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::meter::Meter;
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
    /// `FLAGS` by somebody who may not change them all: the others stay as they are. RFC 4314 §4.
    ReplaceSome(Flags, Rights),
}

impl FlagChange {
    /// What a message with the flags `before` has after the change.
    #[must_use]
    pub fn applied_to(&self, before: &Flags) -> Flags {
        match self {
            Self::Replace(flags) => flags.clone(),
            Self::ReplaceSome(flags, rights) => {
                let kept = Self::Remove(rights.of_flags(before)).applied_to(before);
                Self::Add(rights.of_flags(flags)).applied_to(&kept)
            }
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

/// Whether a message's flags may be changed.
pub(super) type Condition<'a> = dyn Fn(Uid, &Flags, ModSeq) -> bool + 'a;

/// What came of a conditional change of flags.
#[derive(Debug)]
pub struct Stored {
    /// The mailbox as it is then.
    pub after: Arc<Snapshot>,
    /// The messages whose flags were not to be changed, as named.
    pub refused: Vec<Uid>,
}

impl Mailbox {
    /// Changes the flags of the messages named; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        self.store_where(uids, change, None).map(|stored| stored.after)
    }

    /// Changes the flags of those of the messages named of which `may` says so, given the UID, the flags, and the
    /// mod-sequence at that moment: nobody changes them in between. `may` can be asked about a message again.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store_if(
        &self,
        uids: &[Uid],
        change: &FlagChange,
        may: impl Fn(Uid, &Flags, ModSeq) -> bool,
    ) -> Result<Stored, StoreError> {
        self.store_where(uids, change, Some(&may))
    }

    fn store_where(
        &self,
        uids: &[Uid],
        change: &FlagChange,
        may: Option<&Condition<'_>>,
    ) -> Result<Stored, StoreError> {
        Meter::expect(uids.len());
        let (refused, after) = self.change(|work| {
            let (mut mod_seq, mut refused) = (None, Vec::new());
            for uid in uids {
                let stored = work.on_file(*uid, |work, row| {
                    let is_allowed = may.is_none_or(|may| may(*uid, &work.flags(&row), work.mod_seq(&row)));
                    if is_allowed {
                        work.set_flags(row, change, &mut mod_seq)?;
                    }
                    Ok(is_allowed)
                })?;
                refused.extend((stored == Some(false)).then_some(*uid));
            }
            Ok(refused)
        })?;
        Ok(Stored { after, refused })
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
    pub(super) fn set_flags(
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
        self.index.put_flags(&self.place.key, &row)
    }
}
