//! Looking for texts in all messages.

use mail_message::search::{Needle, Within};

use super::Mailbox;
use crate::error::StoreError;
use crate::search::TextAnswer;

impl Mailbox {
    /// What the full-text index knows of a text, without reading a message. It may know nothing, but what it knows is so.
    ///
    /// # Errors
    /// [`StoreError::Index`], if it is the index of the mailbox that fails.
    pub fn find_text(&self, needle: &Needle, within: Within) -> Result<TextAnswer, StoreError> {
        let (account, key) = (&self.place.account, &self.place.key);
        account.search().wake();
        let rows = account.read(|index| index.messages(key))?;
        // Read after the rows: one made anew under this name has other UIDs.
        let row = account.read(|index| index.mailbox(key))?;
        if row.is_none_or(|row| row.uid_validity != self.uid_validity.value()) {
            return Ok(TextAnswer::default());
        }
        Ok(account.search().answer(&rows, needle, within))
    }
}
