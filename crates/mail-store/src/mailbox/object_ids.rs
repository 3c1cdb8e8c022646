//! The ids of a mailbox and of its messages (RFC 8474), and when it got these (RFC 8514).

use mail_types::Uid;

use super::Mailbox;
use super::work::Work;
use crate::error::{IoContext as _, StoreError};
use crate::mailbox_file::MailboxFile;
use crate::object_id::{EmailId, MailboxObjectId};

impl Mailbox {
    /// The id that it keeps when it is renamed.
    #[must_use]
    pub const fn mailbox_id(&self) -> MailboxObjectId {
        self.mailbox_id
    }

    /// At most `limit` messages from `uid` on, ascending, and their ids where these are known without reading the messages:
    /// of all that came by a delivery, APPEND or COPY of ours, and of others once their content was hashed.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn email_ids(&self, uid: Uid, limit: u32) -> Result<Vec<(u32, Option<EmailId>)>, StoreError> {
        self.place.account.read(|index| {
            if self.is_known_to(index)? {
                index.email_ids(&self.place.key, uid, limit)
            } else {
                Ok(Vec::new())
            }
        })
    }
}

impl Mailbox {
    /// At most `limit` messages from `uid` on, ascending, and when each was saved here, in seconds since 1970. It waits for nobody
    /// who changes the account.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn save_dates(&self, uid: Uid, limit: u32) -> Result<Vec<(u32, i64)>, StoreError> {
        self.place.account.read(|index| {
            if !self.is_known_to(index)? {
                return Ok(Vec::new());
            }
            let rows = index.messages_from(&self.place.key, uid.value(), limit)?;
            Ok(rows.iter().map(|row| (row.uid, row.save_date())).collect())
        })
    }

    /// When a message was saved here, in seconds since 1970, also where the index has just been lost.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn save_date(&self, uid: Uid) -> Result<i64, StoreError> {
        let (row, _) = self.change(|work| work.index.message(&work.place.key, uid.value()))?;
        row.map(|row| row.save_date()).ok_or(StoreError::MessageGone(uid))
    }
}

impl Work<'_> {
    /// Sees to it that the mailbox has an id that no other one of the account has: a folder that somebody copied brings that
    /// of the other.
    pub(super) fn identify(&mut self) -> Result<MailboxObjectId, StoreError> {
        if let Some(id) = self.file.mailbox_id
            && !self.is_of_another(id)?
        {
            return Ok(id);
        }
        let id = MailboxObjectId::new().context("making an id for", &self.place.folder)?;
        self.file_mut().mailbox_id = Some(id);
        self.index.put_mailbox_id(&self.place.key, id)?;
        Ok(id)
    }

    fn is_of_another(&self, id: MailboxObjectId) -> Result<bool, StoreError> {
        let folder = self.index.folder_with(id)?;
        if folder.as_deref() == Some(&self.place.key) {
            return Ok(false);
        }
        if let Some(folder) = folder {
            // A damaged file of another mailbox is no reason not to open this one.
            let other = MailboxFile::read(&self.place.account.folder_of(&folder)).ok().flatten();
            if other.is_some_and(|other| other.mailbox_id == Some(id)) {
                return Ok(true);
            }
        }
        self.index.put_mailbox_id(&self.place.key, id)?;
        Ok(false)
    }
}
