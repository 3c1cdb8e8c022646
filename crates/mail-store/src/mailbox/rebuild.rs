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
        account.locked(|index| {
            let known = index.mailbox(&place.key)?;
            let first_recent = known.as_ref().map(|row| row.first_recent);
            match MailboxFile::read(&place.folder) {
                Ok(None) if known.is_some() => drop(MailboxFile::salvage(&place.folder, known.as_ref())?),
                Err(error) if error.is_damage() => drop(MailboxFile::salvage(&place.folder, known.as_ref())?),
                _ => {}
            }
            let before = index.messages(&place.key)?;
            index.forget(&place.key)?;
            let mut work = Work::open(&place, index)?;
            keep_zones(index, &place.key, before)?;
            // Not above what was ever given: the file's limit is.
            work.row.first_recent = first_recent.unwrap_or(work.row.first_recent).min(work.row.uid_next);
            work.save()
        })
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
