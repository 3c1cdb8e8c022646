//! STORE of many messages: one thread renames the files, which takes the longest, while another changes the index.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use mail_types::Uid;

use super::Storing;
use crate::disk::{self, Folder};
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::mailbox::work::Work;
use crate::meter::Meter;

/// Messages that are looked up, and handed on to be renamed, at once.
const AT_ONCE: usize = 256;

/// A message's file that gets another name.
struct Rename {
    uid: Uid,
    from: String,
    to: String,
}

/// Renames files of one folder on a thread of its own.
struct Renamer<'scope> {
    files: Sender<Vec<Rename>>,
    /// The messages whose files were not there.
    missed: ScopedJoinHandle<'scope, Result<Vec<Uid>, StoreError>>,
}

impl<'scope> Renamer<'scope> {
    fn begin(scope: &'scope Scope<'scope, '_>, folder: PathBuf) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let (files, received) = channel();
        let missed = disk::spawn(scope, move || rename_all(&folder, &received));
        Ok(Self { files, missed })
    }

    fn rename(&self, files: Vec<Rename>) {
        // Where it has ended, that is by an error, which it tells in the end.
        let _ = self.files.send(files);
    }

    fn end(self) -> Result<Vec<Uid>, StoreError> {
        drop(self.files);
        self.missed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn rename_all(folder: &Folder, files: &Receiver<Vec<Rename>>) -> Result<Vec<Uid>, StoreError> {
    let mut missed = Vec::new();
    for Rename { uid, from, to } in files.iter().flatten() {
        match folder.rename_new(&from, &to) {
            Err(error) if error.is_not_found() => missed.push(uid),
            result => result?,
        }
    }
    Ok(missed)
}

impl Work<'_> {
    /// Changes the flags of many messages, which ascend. Those whose files were not where they should be are returned, after the
    /// folder was compared: for them it is to be done again.
    pub(super) fn store_many(
        &mut self,
        uids: &[Uid],
        storing: &mut Storing<'_>,
    ) -> Result<Vec<Uid>, StoreError> {
        let mut flagged = Vec::with_capacity(uids.len());
        let missed = std::thread::scope(|scope| {
            let renamer = Renamer::begin(scope, self.place.path("cur"))?;
            let stored = uids.chunks(AT_ONCE).try_for_each(|some| {
                flagged.extend(self.store_some(some, storing, &renamer)?);
                Ok(())
            });
            let missed = renamer.end();
            stored.and(missed)
        })?;
        if missed.is_empty() {
            self.flagged = flagged;
        } else {
            self.compare_again()?;
        }
        Ok(missed)
    }

    /// Changes the flags of some messages; those that changed.
    fn store_some(
        &mut self,
        uids: &[Uid],
        storing: &mut Storing<'_>,
        renamer: &Renamer<'_>,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let mark = self.file.mark();
        let (mut changed, mut files) = (Vec::new(), Vec::new());
        for mut row in self.index.messages_named(&self.place.key, uids)? {
            Meter::count();
            let Ok(uid) = Uid::try_from(row.uid) else { continue };
            if !self.is_allowed(uid, &row, storing) {
                continue;
            }
            let from = row.name(mark);
            let (stem, _) = from.split_at(from.len() - row.info.len());
            if !self.put_on(&mut row, storing.change)? {
                continue;
            }
            row.mod_seq = self.change(&mut storing.mod_seq)?;
            let to = [stem, &row.info].concat();
            files.extend((from != to).then_some(Rename { uid, from, to }));
            changed.push(row);
        }
        self.touched |= !files.is_empty();
        renamer.rename(files);
        self.index.put_flags(&self.place.key, &changed)?;
        Ok(changed)
    }
}
