//! Which messages of a mailbox are in the full-text index: looked up by the first search, remembered for the next.

use std::sync::{Arc, Mutex, PoisonError};

use mail_types::Uid;

use super::database::{Database, Stamp};
use crate::error::StoreError;
use crate::index::MessageRow;

/// The messages of which the texts are in the index, each with its id there; ascending by UID.
pub(super) type Documents = Vec<(Uid, i64)>;

/// What was looked up last of a mailbox, and when that was so.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Option<(Moment, Arc<Documents>)>>);

/// No message has come or gone, and none was put into the index or taken out, as long as this stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    uid_next: Uid,
    messages: usize,
    stamp: Stamp,
    last_id: i64,
}

/// A mailbox that is searched.
pub(crate) struct Haystack<'a> {
    /// Both as they were before the rows are read.
    pub(crate) uid_next: Uid,
    pub(crate) messages: usize,
    pub(crate) remembered: &'a Remembered,
    /// Reads what its messages are known by, ascending by UID.
    pub(crate) rows: &'a dyn Fn() -> Vec<MessageRow>,
}

impl Haystack<'_> {
    /// True if [`Self::documents`] takes no time.
    pub(super) fn remembers(&self, database: &Database) -> Result<bool, StoreError> {
        let moment = self.moment(database)?;
        Ok(self.remembered_at(&moment).is_some())
    }

    /// Its messages in the index.
    pub(super) fn documents(&self, database: &Database) -> Result<Arc<Documents>, StoreError> {
        let moment = self.moment(database)?;
        if let Some(documents) = self.remembered_at(&moment) {
            return Ok(documents);
        }
        let rows = (self.rows)();
        let found = database.documents(&rows)?;
        let documents = rows.iter().zip(found).filter_map(|(row, document)| {
            let document = document.filter(|it| it.is_text)?;
            Some((Uid::try_from(row.uid).ok()?, document.id))
        });
        let documents = Arc::new(documents.collect::<Documents>());
        // Fewer, if some are gone since, or if they couldn't be read.
        if rows.len() >= moment.messages {
            *self.remembered.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((moment, Arc::clone(&documents)));
        }
        Ok(documents)
    }

    fn moment(&self, database: &Database) -> Result<Moment, StoreError> {
        let Self { uid_next, messages, .. } = *self;
        Ok(Moment { uid_next, messages, stamp: database.stamp()?, last_id: database.last_id()? })
    }

    fn remembered_at(&self, moment: &Moment) -> Option<Arc<Documents>> {
        let remembered = self.remembered.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.as_ref().filter(|(seen, _)| seen == moment).map(|(_, documents)| Arc::clone(documents))
    }
}
