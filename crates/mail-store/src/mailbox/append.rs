use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use mail_types::{Flags, InternalDate, Uid};

use super::Mailbox;
use super::work::Work;
use crate::delivery::TmpFile;
use crate::disk;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::names::FileName;

/// A message on its way into a mailbox by APPEND. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Append {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) flags: Flags,
    pub(super) date: InternalDate,
    pub(super) tmp: TmpFile,
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
    /// Makes the message durable and visible.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] if it was deleted meanwhile, [`StoreError::Io`], [`StoreError::Index`].
    pub fn commit(mut self) -> Result<Uid, StoreError> {
        let base = self.finish()?;
        let mailbox = Arc::clone(&self.mailbox);
        mailbox.place_all(|place| place(&self, &base))
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
        let bases = messages.iter_mut().map(Self::finish).collect::<Result<Vec<_>, _>>()?;
        mailbox.place_all(|place| {
            messages.iter().zip(&bases).map(|(message, base)| place(message, base)).collect()
        })
    }

    /// Brings the content to the disk, and gives the base of its name.
    fn finish(&mut self) -> Result<String, StoreError> {
        self.tmp.set_modified(self.date.unix_seconds())?;
        self.tmp.finish()
    }

    /// Puts the message into `cur/` and the index; what is placed is noted first.
    fn place(
        &self,
        base: &str,
        work: &mut Work<'_>,
        placed: &RefCell<Vec<PathBuf>>,
    ) -> Result<Uid, StoreError> {
        let (uid, mod_seq) = (work.next_uid()?, work.next_mod_seq()?);
        let (info, extra) = work.encode(&FileName::parse("x"), uid.value(), &self.flags);
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
        };
        let path = work.path(&row);
        placed.borrow_mut().push(path.clone());
        disk::rename_new(&self.tmp.path, &path)?;
        work.index.put_message(work.key, &row)?;
        Ok(uid)
    }
}

impl Mailbox {
    /// Gives `act` the means to place messages; on a failure none of them stays.
    fn place_all<T>(
        &self,
        act: impl Fn(&mut dyn FnMut(&Append, &str) -> Result<Uid, StoreError>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let placed = RefCell::new(Vec::new());
        let outcome = self.change(|work| {
            let outcome = act(&mut |message, base| message.place(base, work, &placed))?;
            disk::sync_dir(&work.folder.join("cur"))?;
            Ok(outcome)
        });
        if outcome.is_err() {
            placed.borrow().iter().for_each(|path| disk::discard(path));
        }
        outcome.map(|(outcome, _)| outcome)
    }
}
