use rusqlite::{OptionalExtension as _, params};

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

    /// Whether the server saves what an account sends; `None` if there is none.
    pub(crate) fn saves_sent(&self, account: &str) -> Result<Option<bool>> {
        self.with(|connection| {
            let sql = "SELECT saves_sent FROM account WHERE address = ?1";
            connection.prepare_cached(sql)?.query_row([account], |row| row.get(0)).optional()
        })
    }

    pub(crate) fn set_saves_sent(&self, account: &str, saves_sent: bool) -> Result<bool> {
        let sql = "UPDATE account SET saves_sent = ?2 WHERE address = ?1";
        Ok(self.change(sql, params![account, saves_sent])? > 0)
    }

    pub(crate) fn set_send_rights(&self, account: &str, senders: &[String]) -> Result<()> {
        let clear = "DELETE FROM send_right WHERE account = ?1";
        self.replace(clear, "INSERT INTO send_right (account, sender) VALUES (?1, ?2)", account, senders)
    }
}
