//! By which ids mailboxes and messages are known. RFC 8474.

use mail_types::Uid;
use rusqlite::{OptionalExtension as _, params};

use super::Index;
use crate::content_hash::ContentHash;
use crate::error::StoreError;
use crate::names;
use crate::object_id::{EmailId, MailboxObjectId};

impl Index {
    /// The folder that has an id.
    pub(crate) fn folder_with(&self, id: MailboxObjectId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT folder FROM mailbox_id WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.query_row([id.octets()], |row| row.get(0)).optional().map_err(self.failed())
    }

    pub(crate) fn put_mailbox_id(&self, folder: &str, id: MailboxObjectId) -> Result<(), StoreError> {
        self.execute("DELETE FROM mailbox_id WHERE folder = ?1", [folder])?;
        self.execute("INSERT OR REPLACE INTO mailbox_id VALUES (?1, ?2)", params![id.octets(), folder])
    }

    /// At most `limit` messages from `uid` on, ascending, and their ids where the hash of their content is known.
    pub(crate) fn email_ids(
        &self,
        folder: &str,
        uid: Uid,
        limit: u32,
    ) -> Result<Vec<(u32, Option<EmailId>)>, StoreError> {
        let sql = "SELECT message.uid, base, seconds, content FROM message LEFT JOIN digest \
                   ON digest.folder = message.folder AND digest.uid = message.uid AND digest.wire = message.wire \
                   WHERE message.folder = ?1 AND message.uid >= ?2 ORDER BY message.uid LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let email_id = |row: &rusqlite::Row<'_>| {
            let kept: Option<Vec<u8>> = row.get(3)?;
            let kept = kept.and_then(|it| ContentHash::from_octets(&it));
            let content = names::content_hash(row.get_ref(1)?.as_str()?).or(kept);
            let seconds = row.get(2)?;
            Ok((row.get(0)?, content.map(|content| EmailId::new(content, seconds))))
        };
        let rows = statement.query_map(params![folder, uid.value(), limit], email_id);
        rows.and_then(Iterator::collect).map_err(self.failed())
    }
}
