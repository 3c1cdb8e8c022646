//! Opening messages, by names looked up without the account's lock.

use std::fs::File;
use std::path::PathBuf;
use std::sync::PoisonError;

use mail_types::Uid;

use super::Mailbox;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::message_file::MessageFile;

/// Names looked up at once when messages are opened one after the other.
const BLOCK: u32 = 128;
/// How often a message is looked up that another program keeps renaming.
const ATTEMPTS: usize = 6;

/// The names last looked up. They may be old: then the file isn't there, and they are looked up anew.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ascending by UID.
    rows: Vec<MessageRow>,
}

impl Names {
    fn get(&self, uid: Uid) -> Option<&MessageRow> {
        let position = self.rows.binary_search_by_key(&uid.value(), |row| row.uid).ok()?;
        self.rows.get(position)
    }

    /// How many to look up from this UID on: many when it is soon after those before.
    fn ahead(&self, uid: Uid) -> u32 {
        let last = self.rows.last().map_or(u32::MAX, |row| row.uid);
        if (last..=last.saturating_add(BLOCK)).contains(&uid.value()) { BLOCK } else { 1 }
    }
}

impl Mailbox {
    /// Opens a message's file, also when another program has just renamed it.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`], [`StoreError::Io`].
    pub fn open_message(&self, uid: Uid) -> Result<MessageFile, StoreError> {
        let mut failed = StoreError::MessageGone(uid);
        for attempt in 0..ATTEMPTS {
            let Some((path, wire_size)) = self.look_up(uid, attempt)? else { continue };
            match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    failed = StoreError::Io { context: "opening", path, source: error };
                }
                result => {
                    let file = result.context("opening", &path)?;
                    let file_size = file.metadata().context("looking at", &path)?.len();
                    return Ok(MessageFile { file, file_size, wire_size });
                }
            }
        }
        Err(failed)
    }

    /// First without a lock; only when that leads nowhere does the folder get compared.
    fn look_up(&self, uid: Uid, attempt: usize) -> Result<Option<(PathBuf, u64)>, StoreError> {
        let found = match attempt {
            0 => self.known_row(uid),
            1 => {
                self.names.lock().unwrap_or_else(PoisonError::into_inner).rows.clear();
                self.known_row(uid)
            }
            _ => {
                let compared = self.change(|work| {
                    work.compare_again()?;
                    work.index.message(&work.place.key, uid.value())
                });
                self.place.account.close_reader();
                Some(compared?.0.ok_or(StoreError::MessageGone(uid))?)
            }
        };
        Ok(found.map(|row| (self.path_of(&row), row.wire)))
    }

    pub(super) fn path_of(&self, row: &MessageRow) -> PathBuf {
        self.place.path("cur").join(row.name(self.mark))
    }

    fn known_row(&self, uid: Uid) -> Option<MessageRow> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(uid).is_none() {
            let (key, limit) = (&self.place.key, names.ahead(uid));
            let rows = self.place.account.read(|index| index.messages_from(key, uid.value(), limit));
            names.rows = rows
                .inspect_err(|error| tracing::debug!(%error, "names are looked up under the lock"))
                .unwrap_or_default();
        }
        names.get(uid).cloned()
    }
}
