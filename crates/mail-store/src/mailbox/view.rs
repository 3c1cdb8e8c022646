//! A mailbox as a user sees it: `\Seen` of the owner is in the names of the files, that of each other user in a file of his own.

use std::sync::{Arc, PoisonError, Weak};

use mail_types::{Address, Flag, Flags, InternalDate, ModSeq, Rights, Uid};

use super::reader::{Reader, seen_as};
use super::seen::Record;
use super::work::Work;
use super::{Append, Mailbox};
use crate::account::MailboxStatus;
use crate::error::StoreError;
use crate::mailbox::flags::{Condition, FlagChange, Stored};
use crate::shares::SEEN;
use crate::snapshot::Snapshot;
use crate::store::file_of;

/// A mailbox as a user sees it.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) mailbox: Arc<Mailbox>,
    /// `None` for the owner.
    pub(super) reader: Option<Arc<Reader>>,
}

impl View {
    /// As its owner sees it.
    #[must_use]
    pub const fn of_owner(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, reader: None }
    }

    /// As somebody else sees it. His sessions in the process share what he has seen.
    #[must_use]
    pub fn of_reader(mailbox: Arc<Mailbox>, address: &Address) -> Self {
        let reader = mailbox.reader(address);
        Self { mailbox, reader: Some(reader) }
    }

    /// The mailbox itself.
    #[must_use]
    pub const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// True if it is another's mailbox.
    #[must_use]
    pub const fn is_of_reader(&self) -> bool {
        self.reader.is_some()
    }

    /// As [`Mailbox::sync`].
    ///
    /// # Errors
    /// As [`Mailbox::sync`].
    pub fn sync(&self) -> Result<Arc<Snapshot>, StoreError> {
        let mut base = self.mailbox.sync()?;
        let Some(reader) = &self.reader else { return Ok(base) };
        loop {
            if let Some(snapshot) = reader.look(&base)? {
                return Ok(snapshot);
            }
            (_, base) = self.mailbox.change(|work| reader.at_work(work).map(|_| ()))?;
        }
    }

    /// As [`Mailbox::store`].
    ///
    /// # Errors
    /// As [`Mailbox::store`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        match &self.reader {
            None => self.mailbox.store(uids, change),
            Some(reader) => self.store_for(reader, uids, change, None).map(|stored| stored.after),
        }
    }

    /// As [`Mailbox::store_if`].
    ///
    /// # Errors
    /// As [`Mailbox::store`].
    pub fn store_if(
        &self,
        uids: &[Uid],
        change: &FlagChange,
        may: impl Fn(Uid, &Flags, ModSeq) -> bool,
    ) -> Result<Stored, StoreError> {
        match &self.reader {
            None => self.mailbox.store_if(uids, change, may),
            Some(reader) => self.store_for(reader, uids, change, Some(&may)),
        }
    }

    fn store_for(
        &self,
        reader: &Reader,
        uids: &[Uid],
        change: &FlagChange,
        may: Option<&Condition<'_>>,
    ) -> Result<Stored, StoreError> {
        let (refused, _) = self.mailbox.change(|work| {
            let mut known = reader.at_work(work)?;
            let (mut mod_seq, mut refused) = (None, Vec::new());
            let mut turned: [Vec<Uid>; 2] = Default::default();
            for uid in uids {
                let is_seen = work.on_file(*uid, |work, row| {
                    let (flags, last) = known.flags(work, &row);
                    if may.is_some_and(|may| !may(*uid, &flags, last)) {
                        refused.push(*uid);
                        return Ok(None);
                    }
                    let after = change.applied_to(&flags);
                    let of_owner = work.flags(&row).contains(Flag::Seen);
                    work.set_flags(row, &FlagChange::Replace(seen_as(&after, of_owner)), &mut mod_seq)?;
                    let (before, after) = (flags.contains(Flag::Seen), after.contains(Flag::Seen));
                    Ok((before != after).then_some(after))
                })?;
                let turned = is_seen.flatten().and_then(|is_seen| turned.get_mut(usize::from(is_seen)));
                turned.into_iter().for_each(|uids| uids.push(*uid));
            }
            let mut records = Vec::new();
            for (is_seen, uids) in
                [false, true].into_iter().zip(&mut turned).filter(|(_, uids)| !uids.is_empty())
            {
                uids.sort_unstable();
                records.push(Record::of(is_seen, work.change(&mut mod_seq)?, uids));
            }
            if !records.is_empty() {
                reader.write(&mut known, &records)?;
            }
            Ok(refused)
        })?;
        Ok(Stored { after: self.sync()?, refused })
    }

    /// Its figures, as the user sees it.
    ///
    /// # Errors
    /// As [`Mailbox::sync`].
    pub fn status(&self) -> Result<MailboxStatus, StoreError> {
        let status = MailboxStatus::of(&self.mailbox, &*self.sync()?);
        // What is recent is the owner's.
        Ok(if self.is_of_reader() { MailboxStatus { recent: 0, ..status } } else { status })
    }

    /// As [`Mailbox::append`].
    ///
    /// # Errors
    /// As [`Mailbox::append`].
    pub fn append(&self, flags: &Flags, date: Option<InternalDate>) -> Result<Append, StoreError> {
        let Some(reader) = &self.reader else { return self.mailbox.append(flags.clone(), date) };
        let mut append = self.mailbox.append(seen_as(flags, false), date)?;
        append.seen_by = flags.contains(Flag::Seen).then(|| Arc::clone(reader));
        Ok(append)
    }

    /// Copies messages to another mailbox, or moves them there, as far as that user's rights there allow with their flags; pairs
    /// each UID here with its UID there. It is as [`Mailbox::copy`] and [`Mailbox::move_to`], between accounts too; but to another
    /// file system messages are copied, all or none, and only then removed here.
    ///
    /// # Errors
    /// As [`Mailbox::copy`].
    pub fn transfer(
        &self,
        uids: &[Uid],
        target: &Self,
        rights: Rights,
        is_move: bool,
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        if !self.mailbox.is_in_account_of(&target.mailbox) {
            return self.transfer_far(uids, target, rights, is_move);
        }
        let before =
            if self.is_of_reader() || !rights.contains(Rights::FLAGS) { Some(self.sync()?) } else { None };
        let pairs = if is_move {
            self.mailbox.move_to(uids, &target.mailbox)?
        } else {
            self.mailbox.copy(uids, &target.mailbox)?
        };
        if let Some(before) = before {
            target.settle_flags(&before, &pairs, rights)?;
        }
        Ok(pairs)
    }

    /// Gives messages that came the flags they had for this user, as far as he may set them.
    fn settle_flags(
        &self,
        before: &Snapshot,
        pairs: &[(Uid, Uid)],
        rights: Rights,
    ) -> Result<(), StoreError> {
        let mut by_flags: Vec<(Flags, Vec<Uid>)> = Vec::new();
        for (from, to) in pairs {
            let Some(message) = before.position(*from).and_then(|at| before.get(at)) else { continue };
            let flags = rights.of_flags(&message.flags);
            match by_flags.iter_mut().find(|(it, _)| it.to_string() == flags.to_string()) {
                Some((_, uids)) => uids.push(*to),
                None => by_flags.push((flags, vec![*to])),
            }
        }
        for (flags, uids) in by_flags {
            self.store(&uids, &FlagChange::Replace(flags))?;
        }
        Ok(())
    }
}

impl Mailbox {
    fn reader(&self, address: &Address) -> Arc<Reader> {
        let name = file_of(SEEN, address);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(&name).and_then(Weak::upgrade) {
            return reader;
        }
        readers.retain(|_, reader| reader.strong_count() > 0);
        let reader = Arc::new(Reader::new(self.place.path(&name), self.mark));
        readers.insert(name, Arc::downgrade(&reader));
        reader
    }

    /// True if both are of one account.
    #[must_use]
    pub fn is_in_account_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place.account, &other.place.account)
    }
}

impl Reader {
    /// Notes that the user has seen messages that he adds. They ascend.
    pub(super) fn add_seen(&self, work: &mut Work<'_>, uids: &[Uid]) -> Result<(), StoreError> {
        let mut known = self.at_work(work)?;
        let record = Record::of(true, work.next_mod_seq()?, uids);
        self.write(&mut known, &[record])
    }
}
