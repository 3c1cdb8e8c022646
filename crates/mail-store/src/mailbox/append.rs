//! APPEND.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use mail_types::{Flags, InternalDate, Uid, Usage};

use super::reader::Reader;
use super::transfer::take_back;
use super::work::Work;
use super::{Mailbox, Outcome};
use crate::delivery::TmpFile;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Index, MessageRow};
use crate::meter::Meter;
use crate::names::FileName;
use crate::quota::Count;

/// From so many messages on they are brought to the disk side by side, by so many threads.
const MANY: usize = 8;
const FLUSHERS: usize = 16;

/// A message on its way into a mailbox by APPEND. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Append {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) flags: Flags,
    pub(super) date: InternalDate,
    pub(super) tmp: TmpFile,
    /// Who has seen it although it is another's: see [`super::View::append`].
    pub(super) seen_by: Option<Arc<Reader>>,
}

impl Write for Append {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.tmp.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.tmp.flush()
    }
}

impl Append {
    /// Octets written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tmp.size()
    }

    /// Writes more of the message, with an error that says to what.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_message(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.write_all(octets).context("writing", &self.tmp.path)
    }

    /// What was written so far.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn octets(&mut self) -> std::io::Result<Vec<u8>> {
        self.tmp.flush()?;
        std::fs::read(&self.tmp.path)
    }

    /// Makes the message durable and visible.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] if it was deleted meanwhile, [`StoreError::OverQuota`], [`StoreError::Io`],
    /// [`StoreError::Index`].
    pub fn commit(self) -> Result<Uid, StoreError> {
        let missing = StoreError::NumbersExhausted(self.mailbox.place.name.clone());
        Self::commit_all(vec![self])?.pop().ok_or(missing)
    }

    /// Makes messages durable and visible, all or none of them, and tells their UIDs, which ascend. They must have been begun
    /// in the same mailbox. RFC 3502 §6.3.11.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_all(mut messages: Vec<Self>) -> Result<Vec<Uid>, StoreError> {
        let Some(mailbox) = messages.first().map(|first| Arc::clone(&first.mailbox)) else {
            return Ok(Vec::new());
        };
        let more: Usage = messages.iter().map(|it| Usage::message(it.tmp.size())).sum();
        mailbox.place.account.check_room(more)?;
        Meter::expect(messages.len());
        let bases = Self::finish_all(&mut messages)?;
        let placed = RefCell::new(Vec::new());
        let place = |index: &Index| -> Result<(Vec<Uid>, Outcome, Count), StoreError> {
            let mut work = mailbox.work(index)?;
            let count = mailbox.place.account.count_more(more)?;
            mailbox.place.account.note_placing(&work.place.key, bases.iter().map(String::as_str));
            let both = messages.iter().zip(&bases);
            let place = |(message, base): (&Self, &String)| message.place(base, &mut work, &placed);
            let uids = both.map(place).collect::<Result<Vec<_>, _>>()?;
            Self::note_seen(&messages, &mut work, &uids)?;
            disk::sync_dir(&work.place.path("cur"))?;
            messages.iter().try_for_each(|message| message.tmp.keep())?;
            Ok((uids, mailbox.finish(work)?, count))
        };
        mailbox.or_undo(
            place,
            || take_back(&placed),
            |(uids, outcome, mut count)| {
                count.keep();
                mailbox.show(outcome);
                uids
            },
        )
    }

    /// Notes who has seen the messages, all by one user, that have these UIDs now.
    pub(super) fn note_seen(messages: &[Self], work: &mut Work<'_>, uids: &[Uid]) -> Result<(), StoreError> {
        let Some(reader) = messages.iter().find_map(|it| it.seen_by.as_ref()) else { return Ok(()) };
        let seen = messages.iter().zip(uids).filter(|(message, _)| message.seen_by.is_some());
        reader.add_seen(work, &seen.map(|(_, uid)| *uid).collect::<Vec<_>>())
    }

    /// Brings all contents to the disk, many of them side by side: then they share what the disk does to make one durable. Of few,
    /// see [`TmpFile::write_out`].
    fn finish_all(messages: &mut [Self]) -> Result<Vec<String>, StoreError> {
        // The threads that share the work are not measured by themselves.
        let meter = Meter::current();
        let counted = |finished| {
            meter.iter().for_each(|meter| meter.count_one());
            finished
        };
        if messages.len() < MANY {
            return messages.iter_mut().map(|message| counted(message.write_out())).collect();
        }
        let finish = |message: &mut Self| counted(message.finish());
        let share = messages.len().div_ceil(FLUSHERS);
        std::thread::scope(|scope| {
            let finish = |share: &mut [Self]| share.iter_mut().map(&finish).collect::<Result<Vec<_>, _>>();
            let shares = messages.chunks_mut(share).map(|share| scope.spawn(move || finish(share)));
            let shares: Vec<_> = shares.collect();
            let mut bases = Vec::new();
            for share in shares {
                bases.extend(share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(bases)
        })
    }

    /// Brings the content to the disk, and gives the base of its name.
    fn finish(&mut self) -> Result<String, StoreError> {
        self.tmp.set_modified(self.date.unix_seconds())?;
        self.tmp.finish()
    }

    /// As [`TmpFile::write_out`].
    pub(super) fn write_out(&mut self) -> Result<String, StoreError> {
        self.tmp.set_modified(self.date.unix_seconds())?;
        self.tmp.write_out()
    }

    /// Puts the message into `cur/` and the index.
    pub(super) fn place(
        &self,
        base: &str,
        work: &mut Work<'_>,
        placed: &RefCell<Vec<(PathBuf, PathBuf)>>,
    ) -> Result<Uid, StoreError> {
        let (uid, mod_seq) = (work.next_uid()?, work.next_mod_seq()?);
        let (info, extra) = work.encode(&FileName::of_info(""), uid.value(), &self.flags);
        // What a letter means must be known before it stands in a name.
        work.write_file()?;
        let row = MessageRow {
            uid: uid.value(),
            base: base.to_owned(),
            info,
            extra,
            seconds: self.date.unix_seconds(),
            offset_minutes: self.date.offset_minutes(),
            wire: self.tmp.wire(),
            mod_seq,
            saved: None,
        };
        let path = work.path(&row);
        work.touched = true;
        disk::rename_new(&self.tmp.path, &path)?;
        placed.borrow_mut().push((self.tmp.path.clone(), path));
        work.add(&row)?;
        Ok(uid)
    }
}
