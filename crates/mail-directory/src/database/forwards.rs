use rusqlite::params;

use super::{Database, Result};

impl Database {
    /// Where an account's mail goes on to.
    pub(crate) fn forwards(&self, account: &str) -> Result<Vec<String>> {
        self.column("SELECT target FROM forward WHERE account = ?1 ORDER BY target", &[account])
    }

    pub(crate) fn set_forwards(&self, account: &str, targets: &[String]) -> Result<()> {
        let (clear, add) = (
            "DELETE FROM forward WHERE account = ?1",
            "INSERT INTO forward (account, target) VALUES (?1, ?2)",
        );
        self.replace(clear, add, account, targets)
    }

    pub(crate) fn set_keeps_copy(&self, account: &str, keeps_copy: bool) -> Result<bool> {
        let sql = "UPDATE account SET keeps_copy = ?2 WHERE address = ?1";
        Ok(self.change(sql, params![account, keeps_copy])? > 0)
    }
}
