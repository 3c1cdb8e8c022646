//! What the index knows of a mailbox, made anew from its folder.

use std::sync::Arc;

use mail_types::MailboxName;

use super::Mailbox;
use super::place::Place;
use super::work::Work;
use crate::account::{Account, create_maildir};
use crate::error::StoreError;
use crate::index::{Index, MessageRow};
use crate::mailbox_file::MailboxFile;

impl Mailbox {
    /// In one transaction: other processes see the old or the new, both with the same UIDs.
    pub(crate) fn rebuild(account: &Arc<Account>, name: &MailboxName) -> Result<(), StoreError> {
        let place = Place::new(account, name);
        create_maildir(&place.folder)?;
        account.locked(|index| Work::open_anew(&place, index)?.save())
    }
}

impl<'a> Work<'a> {
    /// As [`Self::open`], with all that the index knows learnt from the folder.
    pub(super) fn open_anew(place: &'a Place, index: &'a Index) -> Result<Self, StoreError> {
        let first_recent = index.mailbox(&place.key)?.map(|row| row.first_recent);
        let before = index.messages(&place.key)?;
        if MailboxFile::read(&place.folder).is_ok_and(|file| file.is_some()) {
            index.forget(&place.key)?; // else the UIDVALIDITY is still needed
        }
        let mut work = Self::open(place, index, None)?;
        keep_zones(index, &place.key, before)?;
        // Not above what was ever given: the file's limit is.
        work.row.first_recent = first_recent.unwrap_or(work.row.first_recent).min(work.row.uid_next);
        Ok(work)
    }
}

/// Of a date only the moment stands in the Maildir; the zone is known to the index alone.
fn keep_zones(index: &Index, key: &str, before: Vec<MessageRow>) -> Result<(), StoreError> {
    for old in before.into_iter().filter(|row| row.offset_minutes != 0) {
        let now = index.message(key, old.uid)?;
        if let Some(row) = now.filter(|now| now.base == old.base && now.seconds == old.seconds) {
            index.put_message(key, &MessageRow { offset_minutes: old.offset_minutes, ..row })?;
        }
    }
    Ok(())
}
