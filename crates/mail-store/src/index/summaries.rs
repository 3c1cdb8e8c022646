//! The table of what servers learned of messages' contents.

use std::ops::Range;

use mail_types::Uid;
use rusqlite::{Row, params};

use super::{Index, MESSAGE, MessageRow};
use crate::content_hash::ContentHash;
use crate::error::StoreError;
use crate::summary::{Digests, Summarized, Summary};

impl Index {
    /// At most `limit` summaries of this form from `uid` on, ascending, without the digests and what is kept with them.
    pub(crate) fn summaries(
        &self,
        folder: &str,
        form: u32,
        uid: Uid,
        limit: u32,
    ) -> Result<Vec<Summarized>, StoreError> {
        let sql = "SELECT uid, wire, envelope, body, body_structure, fields, preview FROM summary \
                   WHERE folder = ?1 AND uid >= ?2 AND form = ?3 ORDER BY uid LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let rows = statement.query_map(params![folder, uid.value(), form, limit], summarized);
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// At most `limit` digests of this form from `uid` on, ascending.
    pub(crate) fn digests(
        &self,
        folder: &str,
        form: u32,
        uid: Uid,
        limit: u32,
    ) -> Result<Digests, StoreError> {
        let sql = "SELECT uid, wire, digest FROM digest WHERE folder = ?1 AND uid >= ?2 AND form = ?3 ORDER BY uid LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let mut rows = statement.query(params![folder, uid.value(), form, limit]).map_err(self.failed())?;
        let mut digests = Digests::default();
        while let Some(row) = rows.next().map_err(self.failed())? {
            let digest = row.get_ref(2).and_then(|it| Ok(it.as_blob()?)).map_err(self.failed())?;
            digests.push(row.get(0).map_err(self.failed())?, row.get(1).map_err(self.failed())?, digest);
        }
        Ok(digests)
    }

    /// At most `limit` messages without a whole summary of this form, with UIDs from `first` to below `end`, the newest first.
    pub(crate) fn without_summary(
        &self,
        folder: &str,
        form: u32,
        uids: Range<u32>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        // The preview is what is made of whole messages only, and kept even where the rest is too long.
        let sql = format!(
            "{MESSAGE} AND uid >= ?2 AND uid < ?3 AND NOT EXISTS (SELECT 1 FROM summary \
             WHERE summary.folder = ?1 AND summary.uid = message.uid AND form = ?4 AND preview IS NOT NULL) \
             ORDER BY uid DESC LIMIT ?5"
        );
        self.rows(&sql, params![folder, uids.start, uids.end, form, limit])
    }

    /// Keeps a summary, if the message is still there and of the same size.
    pub(crate) fn put_summary(&self, folder: &str, form: u32, of: &Summarized) -> Result<(), StoreError> {
        let Summary { envelope, body, body_structure, fields, preview, digest, content } = &of.summary;
        let (uid, size) = (of.uid.value(), of.size);
        self.execute(
            "INSERT OR REPLACE INTO summary SELECT folder, uid, wire, ?4, ?5, ?6, ?7, ?8, ?9 FROM message \
             WHERE folder = ?1 AND uid = ?2 AND wire = ?3",
            params![folder, uid, size, form, envelope, body, body_structure, fields, preview],
        )?;
        let Some(digest) = digest else { return Ok(()) };
        self.execute(
            "INSERT OR REPLACE INTO digest SELECT folder, uid, wire, ?4, ?5, ?6 FROM message \
             WHERE folder = ?1 AND uid = ?2 AND wire = ?3",
            params![folder, uid, size, form, digest, content.as_ref().map(ContentHash::octets)],
        )
    }

    /// Gives a message's copy the summary of the message.
    pub(crate) fn copy_summary(&self, from: (&str, u32), to: (&str, u32)) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO summary SELECT ?3, ?4, wire, form, envelope, body, body_structure, fields, preview \
             FROM summary WHERE folder = ?1 AND uid = ?2",
            params![from.0, from.1, to.0, to.1],
        )?;
        self.execute(
            "INSERT OR REPLACE INTO digest SELECT ?3, ?4, wire, form, digest, content FROM digest WHERE folder = ?1 AND uid = ?2",
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
        preview: row.get(6)?,
        digest: None,
        content: None,
    };
    Ok(Summarized { uid: Uid::try_from(uid).unwrap_or(Uid::MIN), size: row.get(1)?, summary })
}
