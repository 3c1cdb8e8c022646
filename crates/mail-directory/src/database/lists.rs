use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result};

/// A list's owner and who may post.
pub(crate) type ListRow = (String, String);

impl Database {
    pub(crate) fn list(&self, address: &str) -> Result<Option<ListRow>> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT owner, posting FROM list WHERE address = ?1")?;
            statement.query_row([address], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    pub(crate) fn lists(&self) -> Result<Vec<String>> {
        self.column("SELECT address FROM list ORDER BY domain, address", &[])
    }

    pub(crate) fn members(&self, list: &str) -> Result<Vec<String>> {
        self.column("SELECT address FROM member WHERE list = ?1 ORDER BY address", &[list])
    }

    pub(crate) fn posters(&self, list: &str) -> Result<Vec<String>> {
        self.column("SELECT sender FROM poster WHERE list = ?1 ORDER BY sender", &[list])
    }

    /// Adds a list, or changes it.
    pub(crate) fn set_list(&self, address: &str, domain: &str, owner: &str, posting: &str) -> Result<()> {
        let sql = "INSERT INTO list (address, domain, owner, posting) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (address) DO UPDATE SET owner = ?3, posting = ?4";
        self.change(sql, params![address, domain, owner, posting]).map(drop)
    }

    pub(crate) fn remove_list(&self, address: &str) -> Result<bool> {
        Ok(self.change("DELETE FROM list WHERE address = ?1", [address])? > 0)
    }

    pub(crate) fn add_members(&self, list: &str, members: &[String]) -> Result<()> {
        self.for_each("INSERT OR IGNORE INTO member (list, address) VALUES (?1, ?2)", list, members)
    }

    pub(crate) fn remove_members(&self, list: &str, members: &[String]) -> Result<()> {
        self.for_each("DELETE FROM member WHERE list = ?1 AND address = ?2", list, members)
    }

    pub(crate) fn set_posters(&self, list: &str, posters: &[String]) -> Result<()> {
        let (clear, add) =
            ("DELETE FROM poster WHERE list = ?1", "INSERT INTO poster (list, sender) VALUES (?1, ?2)");
        self.replace(clear, add, list, posters)
    }
}
