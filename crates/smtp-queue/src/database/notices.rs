//! What the deliverer has to say to operators of more than one message.

use jiff::Timestamp;
use rusqlite::params;

use super::Database;
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
            let known: Vec<String> = transaction
                .prepare("SELECT subject FROM notice")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for subject in known.iter().filter(|known| !notices.iter().any(|(it, _)| it == *known)) {
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
                    Ok(Notice { subject: row.get(0)?, text: row.get(1)?, since: timestamp(row, 2)? })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.failed(source))
    }
}
