//! REPLACE.

use std::cell::RefCell;
use std::path::PathBuf;

use mail_types::{Uid, Usage};

use super::append::Append;
use super::transfer::take_back;
use super::work::Work;
use super::{Mailbox, Outcome};
use crate::disk;
use crate::error::StoreError;
use crate::index::Index;
use crate::names;
use crate::quota::{self, Count};

impl Append {
    /// Makes the message durable and visible in its mailbox, and at once removes the message `uid` of `source`, a mailbox of the
    /// same account: no session sees both or neither, and after a crash there is at least one of them (RFC 8508 §3.4). Only
    /// what the new message is larger counts against the quota.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`] if there is no such message any more, and as [`Self::commit`]; then all is as it was.
    pub fn replace(mut self, source: &Mailbox, uid: Uid) -> Result<Uid, StoreError> {
        self.mailbox.is_neighbour(source)?;
        let more = Usage::message(self.tmp.size());
        let base = self.write_out()?;
        let moved = RefCell::new(Vec::new());
        let target = &self.mailbox;
        let exchange = |index: &Index| -> Result<Exchanged, StoreError> {
            let is_same = source.place.folder == target.place.folder;
            let mut work = target.work(index)?;
            let new = self.place(&base, &mut work, &moved)?;
            Self::note_seen(std::slice::from_ref(&self), &mut work, &[new])?;
            disk::sync_dir(&work.place.path("cur"))?;
            self.tmp.keep()?;
            let mut other = if is_same { None } else { Some(source.work(index)?) };
            let less = other.as_mut().unwrap_or(&mut work).put_away(uid, &mut moved.borrow_mut())?;
            let count = target.place.account.count_exchange(more, less)?;
            let here = other.map(|work| source.finish(work)).transpose()?;
            Ok(Exchanged { new, count, here, there: target.finish(work)? })
        };
        let done = target.or_undo(
            exchange,
            || take_back(&moved),
            |exchanged| {
                let Exchanged { new, mut count, here, there } = exchanged;
                count.keep();
                target.show(there);
                here.map(|here| source.show(here));
                new
            },
        );
        if let (Ok(_), Some((_, away))) = (&done, moved.borrow().last()) {
            disk::discard(away);
        }
        done
    }
}

/// What a REPLACE leaves, to be shown once it is committed.
struct Exchanged {
    new: Uid,
    count: Count,
    here: Option<Outcome>,
    there: Outcome,
}

impl Work<'_> {
    /// Takes a message out; its file waits in `tmp/` until that is for good. Tells what it counted.
    fn put_away(&mut self, uid: Uid, moved: &mut Vec<(PathBuf, PathBuf)>) -> Result<Usage, StoreError> {
        let away = self.on_file(uid, |work, row| {
            let (path, away) = (work.path(&row), work.place.path("tmp").join(names::unique()));
            let octets = quota::octets(&row.base, &path)?.unwrap_or_default();
            work.touched = true;
            disk::rename_new(&path, &away)?;
            moved.push((path, away));
            let mod_seq = work.next_mod_seq()?;
            work.forget(&row, mod_seq)?;
            Ok(Usage::message(octets))
        })?;
        away.ok_or(StoreError::MessageGone(uid))
    }
}
