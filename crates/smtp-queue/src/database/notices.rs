//! What the deliverer has to say to operators of more than one message.

use jiff::Timestamp;
use rusqlite::params;

use super::Database;
use super::raw::{RawText, lossy};
use super::row::timestamp;
use crate::QueueError;

/// Something that keeps mail waiting, or that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about: one word, behind which there may be a colon and a name.
    pub subject: String,
    /// One line.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

impl Database {
    /// Puts these, subject and text, into the place of all that there were; one that was there already keeps its time.
    pub(crate) fn set_notices(
        &mut self,
        notices: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.write(|transaction| {
            let known: Vec<RawText> = transaction
                .prepare("SELECT subject FROM notice")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for subject in known.iter().filter(|known| !notices.iter().any(|(it, _)| *it == known.lossy())) {
                transaction.execute("DELETE FROM notice WHERE subject = ?1", [subject])?;
            }
            let mut insert = transaction.prepare(
                "INSERT INTO notice (subject, text, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (subject) DO UPDATE SET text = ?2",
            )?;
            for (subject, text) in notices {
                insert.execute(params![subject, text, now.as_millisecond()])?;
            }
            Ok(())
        })
    }

    /// By subject.
    pub(crate) fn notices(&self) -> Result<Vec<Notice>, QueueError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT subject, text, since FROM notice ORDER BY subject")?
                .query_map([], |row| {
                    let (subject, text) = (lossy(row, 0)?.into_owned(), lossy(row, 1)?.into_owned());
                    Ok(Notice { subject, text, since: timestamp(row, 2)? })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.failed(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_were_told_outlives_the_file_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let mut database = Database::open(&path).unwrap();
        let (told, since) =
            ([("network".to_owned(), "port 25 is blocked".to_owned())], Timestamp::UNIX_EPOCH);
        database.set_notices(&told, since).unwrap();
        std::fs::remove_file(&path).unwrap();
        let notice = Notice { subject: told[0].0.clone(), text: told[0].1.clone(), since };
        assert_eq!(database.read(Database::notices).unwrap(), [notice]);
        assert!(path.exists());
    }
}
