//! Changes of many threads in one transaction: one flush of the disk serves all that came while the last one was under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{OptionalExtension as _, Transaction, params};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::spawn_blocking;

use super::flush::{Flush, Unflushed};
use super::{Attempted, Database, NewMessage, Recorded, insert, record};
use crate::step::Step;
use crate::{QueueError, step};

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

impl Change {
    /// Nobody but this server has been told of an outcome: it may share the next flush. Who has sent a message was told that it is safe.
    const fn flush(&self) -> Flush {
        match self {
            Self::Insert(_) => Flush::AtCommit,
            Self::Record(_) => Flush::Later,
        }
    }
}

type Outcome = Result<Recorded, QueueError>;

/// A change, and who is told what became of it.
#[derive(Debug)]
struct Waiting {
    change: Change,
    teller: oneshot::Sender<Outcome>,
}

impl Waiting {
    fn tell(self, outcome: Outcome) {
        // Who was cut off doesn't listen any more.
        let _ = self.teller.send(outcome);
    }
}

#[derive(Debug, Default)]
struct Room {
    waiting: Vec<Waiting>,
    /// A thread is about to make what waits.
    is_attended: bool,
}

/// Who writes to the database.
#[derive(Debug)]
pub(crate) struct Writer {
    database: Mutex<Database>,
    room: Mutex<Room>,
    unflushed: Arc<Unflushed>,
}

impl Writer {
    pub(crate) fn new(database: Database) -> Self {
        let unflushed = Unflushed::of(&database.path);
        Self { database: Mutex::new(database), room: Mutex::default(), unflushed }
    }

    /// For changes that are made alone.
    pub(crate) fn alone(&self) -> MutexGuard<'_, Database> {
        // A panic inside a transaction rolled it back: the connection is whole.
        locked(&self.database)
    }

    /// Makes the change, with those of all who wait for the same: a message is on the disk then. Blocks.
    pub(crate) fn write(&self, change: Change) -> Outcome {
        let (teller, mut outcome) = oneshot::channel();
        locked(&self.room).waiting.push(Waiting { change, teller });
        let mut database = self.alone();
        loop {
            match outcome.try_recv() {
                // Who had the database before may have made it with its own.
                Ok(outcome) => return outcome,
                Err(TryRecvError::Empty) => database.write_all(self.take(), &self.unflushed),
                Err(TryRecvError::Closed) => return Err(panicked()),
            }
        }
    }

    /// The same, without blocking. An outcome is on the disk soon after.
    pub(crate) async fn written(self: &Arc<Self>, change: Change) -> Outcome {
        let (teller, outcome) = oneshot::channel();
        let is_attended = {
            let mut room = locked(&self.room);
            room.waiting.push(Waiting { change, teller });
            std::mem::replace(&mut room.is_attended, true)
        };
        if !is_attended {
            let this = Arc::clone(self);
            spawn_blocking(move || {
                let mut database = this.alone();
                database.write_all(this.take(), &this.unflushed);
            });
        }
        let outcome = outcome.await.unwrap_or_else(|_| Err(panicked()));
        self.unflushed.flush_soon();
        outcome
    }

    /// Waits until all outcomes written so far are on the disk.
    pub(crate) async fn flushed(&self) {
        self.unflushed.gone().await;
    }

    /// Has them on the disk. Blocks.
    pub(crate) fn flush(&self) -> Result<(), QueueError> {
        self.unflushed.flush()
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *locked(&self.room)).waiting
    }
}

impl Database {
    /// Makes all changes in one transaction; if one of them fails, each in its own.
    fn write_all(&mut self, all: Vec<Waiting>, unflushed: &Unflushed) {
        let is_durable = all.iter().any(|it| it.change.flush() == Flush::AtCommit);
        let flush = if is_durable { Flush::AtCommit } else { Flush::Later };
        let mut made = |flush, some: &[Waiting]| {
            let make = |transaction: &Transaction<'_>| -> rusqlite::Result<Vec<_>> {
                some.iter().map(|it| it.change.make(transaction)).collect()
            };
            let before = unflushed.committed();
            let outcomes = self.write_flushed(flush, make);
            if self.is_unsure.take() {
                unflushed.doubt();
            }
            match (&outcomes, flush) {
                (Ok(_), Flush::Later) => unflushed.count(),
                (Ok(_), Flush::AtCommit) => unflushed.flushed_with(before),
                (Err(_), _) => {}
            }
            outcomes
        };
        match made(flush, &all) {
            Ok(outcomes) => all.into_iter().zip(outcomes).for_each(|(it, outcome)| it.tell(Ok(outcome))),
            Err(error) if all.len() == 1 => {
                if let Some(it) = all.into_iter().next() {
                    it.tell(Err(error));
                }
            }
            Err(_) => all.into_iter().for_each(|it| {
                let outcome = made(it.change.flush(), std::slice::from_ref(&it));
                let outcome = outcome.and_then(|outcomes| outcomes.into_iter().next().ok_or_else(panicked));
                it.tell(outcome);
            }),
        }
    }
}

/// What became of a change isn't known.
fn panicked() -> QueueError {
    QueueError::io("writing to", "queue.sqlite")(std::io::Error::other("a thread panicked"))
}

fn finish(transaction: &Transaction<'_>, attempted: &Attempted) -> rusqlite::Result<Recorded> {
    let Attempted { id, progress, offspring, warned, superseded } = attempted;
    let mut held = transaction.prepare_cached("SELECT held FROM message WHERE id = ?1")?;
    let Some(held) = held.query_row([&id.0], |row| row.get::<_, bool>(0)).optional()? else {
        return Ok(Recorded::Gone);
    };
    for step in progress {
        record(transaction, id, step, held)?;
    }
    for position in warned {
        transaction
            .prepare_cached("UPDATE recipient SET warned = 1 WHERE message = ?1 AND position = ?2")?
            .execute(params![id.0, i64::try_from(*position).unwrap_or(i64::MAX)])?;
    }
    offspring.iter().try_for_each(|message| insert(transaction, message))?;
    if let Some(superseded) = superseded {
        // Its file, if it has one, is swept.
        transaction.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([&superseded.0])?;
        step::reached(Step::Superseded);
    }
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
impl Writer {
    pub(super) fn unflushed(&self) -> &Unflushed {
        &self.unflushed
    }

    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed.is_any()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Barrier;

    use jiff::Timestamp;

    use super::*;
    use crate::{Envelope, QueueId};

    pub(in super::super) fn writer(folder: &Path) -> Writer {
        Writer::new(Database::open(&folder.join("queue.sqlite")).unwrap())
    }

    pub(in super::super) fn message(id: &str) -> Change {
        let envelope = Envelope::plain();
        let now = Timestamp::now();
        let content = Some("Subject: x\r\n\r\n".into());
        let id = QueueId(id.to_owned());
        let (size, checksum) = (14, None);
        Change::Insert(vec![NewMessage {
            id,
            envelope,
            size,
            checksum,
            content,
            arrived: now,
            first_attempt: now,
        }])
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
            while locked(&writer.room).waiting.len() < 3 {
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

    /// However many wait without blocking, one thread at most waits for the database beside the one that has it.
    #[tokio::test]
    async fn who_does_not_block_is_told_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Arc::new(writer(folder.path()));
        let (one, again, two) = tokio::join!(
            writer.written(message("one")),
            writer.written(message("one")),
            writer.written(message("two"))
        );
        assert_eq!((one.is_ok(), again.is_ok(), two.is_ok()), (true, false, true));
        assert_eq!(writer.alone().list(None, 10).unwrap().len(), 2);
    }

    /// One that says nothing of the recipients.
    pub(in super::super) fn outcome(id: &str) -> Change {
        let (id, progress) = (QueueId(id.to_owned()), Vec::new());
        let attempted =
            Attempted { id, progress, offspring: Vec::new(), warned: Vec::new(), superseded: None };
        Change::Record(Arc::new(attempted))
    }

    /// How SQLite made the last commit: 2 with a flush, 1 without.
    fn synchronous(writer: &Writer) -> i64 {
        writer.alone().connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_flushed_at_its_commit_and_an_outcome_later() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Arc::new(writer(folder.path()));
        writer.written(message("one")).await.unwrap();
        assert_eq!(synchronous(&writer), 2);
        writer.written(outcome("one")).await.unwrap();
        assert_eq!(synchronous(&writer), 1);
        writer.flushed().await;
        let (both, _) = tokio::join!(writer.written(outcome("one")), writer.written(message("two")));
        both.unwrap();
        assert_eq!(synchronous(&writer), 2, "one that shares a transaction with a message has its flush");
        writer.written(outcome("two")).await.unwrap();
        writer.alone().remove(&super::super::Selection::one(&QueueId("two".to_owned()))).unwrap();
        assert_eq!(synchronous(&writer), 2, "what an operator does is on the disk");
    }

    #[test]
    fn the_content_goes_with_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        writer.write(message("one")).unwrap();
        let id = QueueId("one".to_owned());
        assert_eq!(writer.alone().content(&id).unwrap().unwrap(), "Subject: x\r\n\r\n");
        writer.alone().remove(&super::super::Selection::one(&id)).unwrap();
        let count = "SELECT count(*) FROM content";
        let left: i64 = writer.alone().connection.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}
