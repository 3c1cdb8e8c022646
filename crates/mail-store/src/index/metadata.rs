//! Which annotations were changed lately, for sessions to be told of. The annotations themselves are no business of the index.

use rusqlite::{Row, params};

use super::Index;
use super::sum::{Sum, verify};
use crate::error::StoreError;

impl Index {
    pub(crate) fn add_metadata_change(
        &self,
        number: i64,
        folder: &str,
        entry: &str,
    ) -> Result<(), StoreError> {
        let sum = sum(number, entry);
        self.execute(
            "INSERT INTO metadata_change VALUES (?1, ?2, ?3, ?4)",
            params![number, folder, entry, sum],
        )
    }

    /// The number of the last change, 0 if there was none.
    pub(crate) fn last_metadata_change(&self) -> Result<i64, StoreError> {
        let sql = "SELECT ifnull(max(number), 0) FROM metadata_change";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.query_row([], |row| row.get(0)).map_err(self.failed())
    }

    /// The changes after one, ascending: number, folder, entry.
    pub(crate) fn metadata_changes_since(
        &self,
        number: i64,
    ) -> Result<Vec<(i64, String, String)>, StoreError> {
        let sql = "SELECT number, folder, entry, sum FROM metadata_change WHERE number > ?1 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let change = |row: &Row<'_>| {
            let (number, entry) = (row.get(0)?, row.get::<_, String>(2)?);
            verify(row, 3, sum(number, &entry))?;
            Ok((number, row.get(1)?, entry))
        };
        let rows = statement.query_map([number], change);
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// Forgets all but the last `keep`.
    pub(crate) fn trim_metadata_changes(&self, keep: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM metadata_change WHERE number <= \
                   (SELECT number FROM metadata_change ORDER BY number DESC LIMIT 1 OFFSET ?1)";
        self.execute(sql, [keep])
    }
}

/// Without the folder, which a rename changes.
fn sum(number: i64, entry: &str) -> u32 {
    Sum::default().number(number).octets(entry.as_bytes()).finish()
}
