//! The table of what servers learned of messages' contents.

use std::ops::Range;

use mail_types::Uid;
use rusqlite::{Row, params};

use super::sum::{Sum, damaged, verify};
use super::{Index, MESSAGE, MessageRow};
use crate::error::StoreError;
use crate::summary::{Digests, Summarized, Summary};

const SUMMARIES: &str = "SELECT uid, wire, envelope, body, body_structure, fields, preview, sum FROM summary";
const DIGESTS: &str = "SELECT uid, wire, digest, content, sum FROM digest";

impl Index {
    /// At most `limit` summaries of this form from `uid` on, ascending, without the digests and what is kept with them.
    pub(crate) fn summaries(
        &self,
        folder: &str,
        form: u32,
        uid: Uid,
        limit: u32,
    ) -> Result<Vec<Summarized>, StoreError> {
        let sql = format!("{SUMMARIES} WHERE folder = ?1 AND uid >= ?2 AND form = ?3 ORDER BY uid LIMIT ?4");
        let mut statement = self.connection.prepare_cached(&sql).map_err(self.failed())?;
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
        let sql = format!("{DIGESTS} WHERE folder = ?1 AND uid >= ?2 AND form = ?3 ORDER BY uid LIMIT ?4");
        let mut statement = self.connection.prepare_cached(&sql).map_err(self.failed())?;
        let mut rows = statement.query(params![folder, uid.value(), form, limit]).map_err(self.failed())?;
        let mut digests = Digests::default();
        while let Some(row) = rows.next().map_err(self.failed())? {
            let (uid, size, digest) = digest_of(row).map_err(self.failed())?;
            digests.push(uid, size, digest);
        }
        Ok(digests)
    }

    /// An error if one isn't as it was written.
    pub(super) fn verify_summaries(&self) -> Result<(), StoreError> {
        self.verify_each(SUMMARIES, |row| summarized(row).map(drop))?;
        self.verify_each(DIGESTS, |row| digest_of(row).map(drop))
    }

    fn verify_each(
        &self,
        sql: &str,
        verify: impl Fn(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(sql).map_err(self.failed())?;
        let mut rows = statement.query([]).map_err(self.failed())?;
        while let Some(row) = rows.next().map_err(self.failed())? {
            verify(row).map_err(self.failed())?;
        }
        Ok(())
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
            "INSERT OR REPLACE INTO summary SELECT folder, uid, wire, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM message \
             WHERE folder = ?1 AND uid = ?2 AND wire = ?3",
            params![folder, uid, size, form, envelope, body, body_structure, fields, preview, summary_sum(of)],
        )?;
        let Some(digest) = digest else { return Ok(()) };
        let content = content.as_ref().map(|it| it.octets().as_slice());
        let sum = sum(uid, size, &[Some(digest), content]);
        self.execute(
            "INSERT OR REPLACE INTO digest SELECT folder, uid, wire, ?4, ?5, ?6, ?7 FROM message \
             WHERE folder = ?1 AND uid = ?2 AND wire = ?3",
            params![folder, uid, size, form, digest, content, sum],
        )
    }

    /// Gives a message's copy the summary of the message.
    pub(crate) fn copy_summary(&self, from: (&str, u32), to: (&str, u32)) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO summary SELECT ?3, ?4, wire, form, envelope, body, body_structure, fields, preview, sum - uid + ?4 \
             FROM summary WHERE folder = ?1 AND uid = ?2",
            params![from.0, from.1, to.0, to.1],
        )?;
        self.execute(
            "INSERT OR REPLACE INTO digest SELECT ?3, ?4, wire, form, digest, content, sum - uid + ?4 FROM digest WHERE folder = ?1 AND uid = ?2",
            params![from.0, from.1, to.0, to.1],
        )
    }
}

/// The UID is added to the checksum of the rest, so that a copy's is known without a look at what is copied.
fn sum(uid: u32, size: u64, parts: &[Option<&[u8]>]) -> i64 {
    let sum = Sum::default().number(size.cast_signed());
    i64::from(parts.iter().fold(sum, |sum, part| sum.optional(*part)).finish()) + i64::from(uid)
}

fn summary_sum(of: &Summarized) -> i64 {
    let Summary { envelope, body, body_structure, fields, preview, digest: _, content: _ } = &of.summary;
    let parts = [envelope, body, body_structure, fields, preview].map(Option::as_deref);
    sum(of.uid.value(), of.size, &parts)
}

/// UID, octets on the wire, and digest.
fn digest_of<'a>(row: &'a Row<'_>) -> rusqlite::Result<(u32, u64, &'a [u8])> {
    let (uid, size, digest) = (row.get(0)?, row.get(1)?, row.get_ref(2)?.as_blob()?);
    verify(row, 4, sum(uid, size, &[Some(digest), row.get_ref(3)?.as_blob_or_null()?]))?;
    Ok((uid, size, digest))
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
    let of = Summarized { uid: Uid::try_from(uid).map_err(|_| damaged(0))?, size: row.get(1)?, summary };
    verify(row, 7, summary_sum(&of))?;
    Ok(of)
}
