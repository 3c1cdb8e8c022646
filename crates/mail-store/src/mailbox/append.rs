use std::io::Write;
use std::sync::Arc;

use mail_types::{Flags, InternalDate, Uid};

use super::Mailbox;
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
        self.tmp.set_modified(self.date.unix_seconds())?;
        let base = self.tmp.finish()?;
        let (uid, _) = self.mailbox.change(|work| {
            let (uid, mod_seq) = (work.next_uid()?, work.next_mod_seq()?);
            let (info, extra) = work.encode(&FileName::parse("x"), uid.value(), &self.flags);
            work.write_file()?;
            let row = MessageRow {
                uid: uid.value(),
                base: base.clone(),
                info,
                extra,
                seconds: self.date.unix_seconds(),
                offset_minutes: self.date.offset_minutes(),
                wire: self.tmp.wire(),
                mod_seq,
            };
            disk::rename_new(&self.tmp.path, &work.path(&row))?;
            work.index.put_message(work.key, &row)?;
            disk::sync_dir(&work.folder.join("cur"))?;
            Ok(uid)
        })?;
        Ok(uid)
    }
}
