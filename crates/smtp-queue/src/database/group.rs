//! Changes of many threads in one transaction: one flush of the disk serves all that came while the last one was under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{OptionalExtension as _, Transaction};

use super::{Attempted, Database, NewMessage, Recorded, insert, record};
use crate::QueueError;

/// A change that many threads make at once.
#[derive(Debug)]
pub(crate) enum Change {
    /// Queues messages, all or none.
    Insert(Vec<NewMessage>),
    Record(Arc<Attempted>),
}

impl Change {
    fn make(&self, transaction: &Transaction<'_>) -> rusqlite::Result<Recorded> {
        match self {
            Self::Insert(messages) => {
                messages.iter().try_for_each(|message| insert(transaction, message)).map(|()| Recorded::Kept)
            }
            Self::Record(attempted) => finish(transaction, attempted),
        }
    }
}

/// A change, and what became of it once it is made.
#[derive(Debug)]
struct Waiting {
    change: Change,
    outcome: Mutex<Option<Result<Recorded, QueueError>>>,
}

impl Waiting {
    fn take(&self) -> Option<Result<Recorded, QueueError>> {
        locked(&self.outcome).take()
    }

    fn set(&self, outcome: Result<Recorded, QueueError>) {
        *locked(&self.outcome) = Some(outcome);
    }
}

/// Who writes to the database.
#[derive(Debug)]
pub(crate) struct Writer {
    database: Mutex<Database>,
    waiting: Mutex<Vec<Arc<Waiting>>>,
}

impl Writer {
    pub(crate) fn new(database: Database) -> Self {
        Self { database: Mutex::new(database), waiting: Mutex::default() }
    }

    /// For changes that are made alone.
    pub(crate) fn alone(&self) -> MutexGuard<'_, Database> {
        // A panic inside a transaction rolled it back: the connection is whole.
        locked(&self.database)
    }

    /// Makes the change durable, with those of all threads that wait for the same. Blocks.
    pub(crate) fn write(&self, change: Change) -> Result<Recorded, QueueError> {
        let mine = Arc::new(Waiting { change, outcome: Mutex::new(None) });
        locked(&self.waiting).push(Arc::clone(&mine));
        let mut database = self.alone();
        loop {
            // Who had the database before may have made it with its own.
            if let Some(outcome) = mine.take() {
                return outcome;
            }
            let mut all = std::mem::take(&mut *locked(&self.waiting));
            // Who had taken it to make it with its own has panicked before that was done.
            if !all.iter().any(|it| Arc::ptr_eq(it, &mine)) {
                all.push(Arc::clone(&mine));
            }
            database.write_all(&all);
        }
    }
}

impl Database {
    /// Makes all changes in one transaction; if one of them fails, each in its own.
    fn write_all(&mut self, all: &[Arc<Waiting>]) {
        let together = self.write(|transaction| {
            all.iter().map(|it| it.change.make(transaction)).collect::<rusqlite::Result<Vec<_>>>()
        });
        match (together, all) {
            (Ok(outcomes), _) => all.iter().zip(outcomes).for_each(|(it, outcome)| it.set(Ok(outcome))),
            (Err(error), [it]) => it.set(Err(error)),
            (Err(_), _) => {
                all.iter().for_each(|it| it.set(self.write(|transaction| it.change.make(transaction))));
            }
        }
    }
}

fn finish(transaction: &Transaction<'_>, attempted: &Attempted) -> rusqlite::Result<Recorded> {
    let Attempted { id, progress, offspring } = attempted;
    let mut held = transaction.prepare_cached("SELECT held FROM message WHERE id = ?1")?;
    let Some(held) = held.query_row([&id.0], |row| row.get::<_, bool>(0)).optional()? else {
        return Ok(Recorded::Gone);
    };
    for step in progress {
        record(transaction, id, step, held)?;
    }
    offspring.iter().try_for_each(|message| insert(transaction, message))?;
    let has_file = transaction
        .prepare_cached(
            "DELETE FROM message WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = ?1 AND state = 0)
             RETURNING content IS NULL",
        )?
        .query_row([&id.0], |row| row.get(0))
        .optional()?;
    Ok(has_file.map_or(Recorded::Kept, |has_file| Recorded::Finished { has_file }))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;

    use jiff::Timestamp;

    use super::*;
    use crate::{Body, Envelope, Handling, QueueId, Requests};

    fn writer(folder: &Path) -> Writer {
        Writer::new(Database::open(&folder.join("queue.sqlite")).unwrap())
    }

    fn message(id: &str) -> Change {
        let envelope = Envelope {
            sender: None,
            recipients: vec!["bob@example.net".parse().unwrap()],
            smtputf8: false,
            body: Body::SevenBit,
            requests: Requests::default(),
            handling: Handling::default(),
        };
        let now = Timestamp::now();
        let content = Some("Subject: x\r\n\r\n".into());
        let id = QueueId(id.to_owned());
        Change::Insert(vec![NewMessage { id, envelope, size: 14, content, arrived: now, first_attempt: now }])
    }

    /// What waits while the database is at work is made together; what can't be made is told to who wanted it, and to nobody else.
    #[test]
    fn changes_that_wait_are_made_together_and_fail_for_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        writer.write(message("taken")).unwrap();
        let (held, barrier) = (writer.alone(), Barrier::new(4));
        let outcomes = std::thread::scope(|scope| {
            let write = |id| {
                let (writer, barrier) = (&writer, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    writer.write(message(id)).is_ok()
                })
            };
            let threads = ["one", "taken", "two"].map(write);
            barrier.wait();
            while locked(&writer.waiting).len() < 3 {
                std::thread::yield_now();
            }
            drop(held);
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(outcomes, [true, false, true]);
        let queued = writer.alone().list(None, 10).unwrap();
        let ids: Vec<_> = queued.iter().map(|it| it.id.0.as_str()).collect();
        assert_eq!(ids, ["one", "taken", "two"]);
    }

    #[test]
    fn the_content_goes_with_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        writer.write(message("one")).unwrap();
        let id = QueueId("one".to_owned());
        assert_eq!(writer.alone().content(&id).unwrap().unwrap(), "Subject: x\r\n\r\n");
        writer.alone().remove(super::super::Selection::One(&id)).unwrap();
        let count = "SELECT count(*) FROM content";
        let left: i64 = writer.alone().connection.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}
