use rusqlite::params;

use super::{Database, Result};

impl Database {
    pub(crate) fn send_rights(&self, account: &str) -> Result<Vec<String>> {
        self.column("SELECT sender FROM send_right WHERE account = ?1 ORDER BY sender", &[account])
    }

    /// True if the account may send as one of both.
    pub(crate) fn may_send_as(&self, account: &str, address: &str, domain: &str) -> Result<bool> {
        self.with(|connection| {
            let sql = "SELECT 1 FROM send_right WHERE account = ?1 AND sender IN (?2, ?3)";
            connection.prepare_cached(sql)?.exists(params![account, address, domain])
        })
    }

    pub(crate) fn set_send_rights(&self, account: &str, senders: &[String]) -> Result<()> {
        let clear = "DELETE FROM send_right WHERE account = ?1";
        self.replace(clear, "INSERT INTO send_right (account, sender) VALUES (?1, ?2)", account, senders)
    }
}
