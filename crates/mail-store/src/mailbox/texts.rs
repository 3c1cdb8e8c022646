//! Looking for texts in all messages.

use mail_message::fuzzy::FuzzyNeedle;
use mail_message::search::{Needle, Within};

use super::Mailbox;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::search::{FuzzyAnswer, Haystack, Search, TextAnswer};

impl Mailbox {
    /// What the full-text index knows of a text, without reading a message. It may know nothing, but what it knows is so.
    #[must_use]
    pub fn find_text(&self, needle: &Needle, within: Within) -> TextAnswer {
        self.place.account.search().wake();
        self.searched(|search, haystack| search.answer(haystack, needle, within))
    }

    /// What the full-text index knows by a fuzzy search, without reading a message. It may know nothing, but what it knows is so.
    #[must_use]
    pub fn find_fuzzy(&self, needle: &FuzzyNeedle, within: Within) -> FuzzyAnswer {
        self.place.account.search().wake();
        self.searched(|search, haystack| search.fuzzy_answer(haystack, needle, within))
    }

    fn searched<T>(&self, search: impl FnOnce(&Search, &Haystack<'_>) -> T) -> T {
        let snapshot = self.snapshot();
        let rows = || self.rows_now();
        let (uid_next, messages) = (snapshot.uid_next, snapshot.len());
        let haystack = Haystack { uid_next, messages, remembered: &self.documents, rows: &rows };
        search(self.place.account.search(), &haystack)
    }

    /// What the index has of this mailbox; nothing if it can't be read.
    fn rows_now(&self) -> Vec<MessageRow> {
        self.read_rows().unwrap_or_else(|error| {
            tracing::debug!(%error, "the messages themselves are searched");
            Vec::new()
        })
    }

    /// What the index has of this mailbox; nothing if it has another under this name.
    fn read_rows(&self) -> Result<Vec<MessageRow>, StoreError> {
        let (account, key) = (&self.place.account, &self.place.key);
        let rows = account.read(|index| index.messages(key))?;
        // Read after the rows: in one made anew meanwhile, others have these UIDs.
        let row = account.read(|index| index.mailbox(key))?;
        let is_this = row.is_some_and(|row| row.uid_validity == self.uid_validity().value());
        Ok(if is_this { rows } else { Vec::new() })
    }
}
