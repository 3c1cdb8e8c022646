//! The table of what servers learned of messages' contents.

use mail_types::Uid;
use rusqlite::{Row, params};

use super::Index;
use crate::error::StoreError;
use crate::summary::{Summarized, Summary};

impl Index {
    /// At most `limit` summaries of this form from `uid` on, ascending.
    pub(crate) fn summaries(
        &self,
        folder: &str,
        form: u32,
        uid: Uid,
        limit: u32,
    ) -> Result<Vec<Summarized>, StoreError> {
        let sql = "SELECT uid, wire, envelope, body, body_structure, fields FROM summary \
                   WHERE folder = ?1 AND uid >= ?2 AND form = ?3 ORDER BY uid LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let rows = statement.query_map(params![folder, uid.value(), form, limit], summarized);
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// Keeps a summary, if the message is still there and of the same size.
    pub(crate) fn put_summary(&self, folder: &str, form: u32, of: &Summarized) -> Result<(), StoreError> {
        let Summary { envelope, body, body_structure, fields } = &of.summary;
        self.execute(
            "INSERT OR REPLACE INTO summary SELECT folder, uid, wire, ?4, ?5, ?6, ?7, ?8 FROM message \
             WHERE folder = ?1 AND uid = ?2 AND wire = ?3",
            params![folder, of.uid.value(), of.size, form, envelope, body, body_structure, fields],
        )
    }

    /// Gives a message's copy the summary of the message.
    pub(crate) fn copy_summary(&self, from: (&str, u32), to: (&str, u32)) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO summary SELECT ?3, ?4, wire, form, envelope, body, body_structure, fields \
             FROM summary WHERE folder = ?1 AND uid = ?2",
            params![from.0, from.1, to.0, to.1],
        )
    }
}

fn summarized(row: &Row<'_>) -> rusqlite::Result<Summarized> {
    let uid: u32 = row.get(0)?;
    let summary = Summary {
        envelope: row.get(2)?,
        body: row.get(3)?,
        body_structure: row.get(4)?,
        fields: row.get(5)?,
    };
    Ok(Summarized { uid: Uid::try_from(uid).unwrap_or(Uid::MIN), size: row.get(1)?, summary })
}
