//! An index looked at without changing it.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY, Index, VERSION, is_damage};
use crate::error::{IoContext as _, StoreError};

/// How far an index can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Soundness {
    Sound,
    /// An earlier version of this program made it.
    Older,
    /// A later version made it.
    Newer(i64),
    /// What SQLite says of it.
    Damaged(String),
}

impl Index {
    /// Opens an index to read it only, and says how far it can be relied on.
    pub(crate) fn inspect(path: &Path) -> Result<(Self, Soundness), StoreError> {
        let failed = |source| StoreError::Index { path: path.to_owned(), source };
        let inode = std::fs::metadata(path).context("looking at", path)?.ino();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let index = Self { path: path.to_owned(), inode, connection, changes: Cell::default() };
        let soundness = index.soundness()?;
        Ok((index, soundness))
    }

    /// Reads the whole file.
    pub(crate) fn soundness(&self) -> Result<Soundness, StoreError> {
        // All of one moment, whatever others commit meanwhile.
        let _moment = self.connection.unchecked_transaction().map_err(self.failed())?;
        let ask = || -> rusqlite::Result<(i64, String)> {
            let version = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let verdict = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok((version, verdict))
        };
        match ask() {
            Ok((_, verdict)) if verdict != "ok" => Ok(Soundness::Damaged(verdict)),
            Ok((version, _)) if version < VERSION => Ok(Soundness::Older),
            Ok((version, _)) if version > VERSION => Ok(Soundness::Newer(version)),
            Ok(_) => match self.verify_rows() {
                Err(StoreError::Index { source, .. }) if is_damage(&source) => {
                    Ok(Soundness::Damaged(source.to_string()))
                }
                result => result.map(|()| Soundness::Sound),
            },
            Err(error) if is_damage(&error) => Ok(Soundness::Damaged(error.to_string())),
            Err(error) => Err(self.failed()(error)),
        }
    }

    /// An error if the file doesn't hold together. Reads all of it.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        let ask = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let verdict =
            self.connection.query_row("PRAGMA integrity_check(1)", [], ask).map_err(self.failed())?;
        if verdict == "ok" {
            return self.verify_rows();
        }
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(self.failed()(rusqlite::Error::SqliteFailure(corrupt, Some(verdict))))
    }

    /// An error if a row isn't as it was written, or a message is missing.
    fn verify_rows(&self) -> Result<(), StoreError> {
        for folder in self.folders()? {
            let count = self.mailbox(&folder)?.map_or(0, |row| row.messages);
            self.each_state(&folder, count, |_| ())?;
            self.expunged(&folder, 0, i64::MAX.cast_unsigned())?;
        }
        self.verify_summaries()
    }

    /// The folders that it knows.
    pub(crate) fn folders(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT folder FROM mailbox UNION SELECT DISTINCT folder FROM message";
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let folders = statement.query_map([], |row| row.get(0)).map_err(self.failed())?;
        folders.collect::<Result<_, _>>().map_err(self.failed())
    }
}
