//! STORE and EXPUNGE.

mod many;

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

/// From so many messages on, one thread renames the files while another changes the index: then a thread is worth its beginning.
const MANY: usize = if cfg!(test) { 3 } else { 128 };

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
        let is_many = uids.len() >= MANY && uids.is_sorted_by(|one, next| one < next);
        let (refused, after) = self.change(|work| {
            let mut storing = Storing { change, may, mod_seq: None, refused: Vec::new() };
            if is_many {
                let missed = work.store_many(uids, &mut storing)?;
                work.store_each(&missed, &mut storing)?;
                storing.refused.sort_unstable();
            } else {
                work.store_each(uids, &mut storing)?;
            }
            Ok(storing.refused)
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

/// A change of flags on its way.
struct Storing<'a> {
    change: &'a FlagChange,
    may: Option<&'a Condition<'a>>,
    /// Of all that it changes.
    mod_seq: Option<u64>,
    refused: Vec<Uid>,
}

impl Work<'_> {
    fn store_each(&mut self, uids: &[Uid], storing: &mut Storing<'_>) -> Result<(), StoreError> {
        for uid in uids {
            self.on_file(*uid, |work, row| {
                if work.is_allowed(*uid, &row, storing) {
                    work.set_flags(row, storing.change, &mut storing.mod_seq)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether the message's flags may be changed; it is noted if not.
    fn is_allowed(&self, uid: Uid, row: &MessageRow, storing: &mut Storing<'_>) -> bool {
        let is_allowed = storing.may.is_none_or(|may| may(uid, &self.flags(row), self.mod_seq(row)));
        storing.refused.extend((!is_allowed).then_some(uid));
        is_allowed
    }

    pub(super) fn set_flags(
        &mut self,
        mut row: MessageRow,
        change: &FlagChange,
        mod_seq: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        let old = self.path(&row);
        if !self.put_on(&mut row, change)? {
            return Ok(());
        }
        let new = self.path(&row);
        if new != old {
            self.touched = true;
            disk::rename_new(&old, &new)?;
        }
        row.mod_seq = self.change(mod_seq)?;
        self.index.put_flags(&self.place.key, std::slice::from_ref(&row))
    }

    /// Changes the flags in the row; false if they are so already.
    fn put_on(&mut self, row: &mut MessageRow, change: &FlagChange) -> Result<bool, StoreError> {
        let after = change.applied_to(&self.flags(row));
        let (info, extra) = self.encode(&FileName::of_info(&row.info), row.uid, &after);
        if (&info, &extra) == (&row.info, &row.extra) {
            return Ok(false);
        }
        (row.info, row.extra) = (info, extra);
        // What a letter means must be known before it stands in a name.
        self.write_file()?;
        Ok(true)
    }
}
