use rusqlite::params;

use super::{Database, Result};

/// Whom somebody refuses. `account` is the empty string for what all refuse.
impl Database {
    /// True if one of these is refused.
    pub(crate) fn refuses(&self, account: &str, senders: &[String]) -> Result<bool> {
        self.with(|connection| {
            let mut one =
                connection.prepare_cached("SELECT 1 FROM refusal WHERE account = ?1 AND sender = ?2")?;
            for sender in senders {
                if one.exists([account, sender])? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// True if somebody is refused.
    pub(crate) fn refuses_any(&self, account: &str) -> Result<bool> {
        self.exists("SELECT 1 FROM refusal WHERE account = ?1", account)
    }

    pub(crate) fn refusals(&self) -> Result<Vec<(String, String)>> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT account, sender FROM refusal ORDER BY account, sender")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    pub(crate) fn add_refusal(&self, account: &str, sender: &str) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO refusal (account, sender) VALUES (?1, ?2)";
        Ok(self.change(sql, params![account, sender])? > 0)
    }

    pub(crate) fn remove_refusal(&self, account: &str, sender: &str) -> Result<bool> {
        let sql = "DELETE FROM refusal WHERE account = ?1 AND sender = ?2";
        Ok(self.change(sql, params![account, sender])? > 0)
    }
}
