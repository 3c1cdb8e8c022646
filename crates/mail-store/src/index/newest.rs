//! What the indexer of texts asks for: what there is in which mailbox, the newest first.

use rusqlite::params;

use super::{Index, MESSAGE, MessageRow};
use crate::error::StoreError;

/// How far a mailbox is: nothing changes its messages' texts without changing one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) folder: String,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    /// The mod-sequence of the last message that was taken out.
    pub(crate) expunged: u64,
}

impl Head {
    /// Of a row with its fields in their order.
    pub(crate) fn of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            folder: row.get(0)?,
            uid_validity: row.get(1)?,
            uid_next: row.get(2)?,
            expunged: row.get(3)?,
        })
    }
}

impl Index {
    /// All mailboxes that were ever opened.
    pub(crate) fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let sql = "SELECT folder, uid_validity, uid_next,
            (SELECT ifnull(max(mod_seq), 0) FROM expunged WHERE expunged.folder = mailbox.folder) FROM mailbox";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let heads = statement.query_map([], Head::of_row).map_err(self.failed())?;
        heads.collect::<Result<_, _>>().map_err(self.failed())
    }

    /// At most `limit` messages with UIDs from `first` to below `end`, the newest first.
    pub(crate) fn newest(
        &self,
        folder: &str,
        first: u32,
        end: u32,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!("{MESSAGE} AND uid >= ?2 AND uid < ?3 ORDER BY uid DESC LIMIT ?4");
        self.rows(&sql, params![folder, first, end, limit])
    }
}
