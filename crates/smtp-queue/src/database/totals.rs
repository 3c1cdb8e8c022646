//! How much is queued: kept by the database itself, with each change, so that nobody reads all of the queue to know.

use rusqlite::{OptionalExtension as _, Row};

use super::Database;
use super::row::{moment, unsigned};
use crate::QueueError;
use crate::message::Summary;

/// What a message's size counts for: as it is, unless damage has made of it what no message has.
macro_rules! octets {
    ($size:literal) => {
        concat!("min(max(cast(coalesce(", $size, ", 0) AS INTEGER), 0), 1 << 40)")
    };
}
pub(super) use octets;

/// How much there is, summed up.
macro_rules! sums {
    () => {
        concat!("count(*), coalesce(sum(", octets!("size"), "), 0), coalesce(sum(held <> 0), 0) FROM message")
    };
}
/// Finds none where what is kept can't be right.
pub(super) const SANE: &str =
    "SELECT messages, octets, held FROM total WHERE id = 1 AND min(messages, octets, held) >= 0";

/// What is made where it is missing. A program that knows nothing of it keeps it right as well.
pub(super) const TOTALS: &str = concat!(
    "
    CREATE TABLE IF NOT EXISTS total (
        id INTEGER PRIMARY KEY, messages INTEGER NOT NULL, octets INTEGER NOT NULL, held INTEGER NOT NULL
    ) STRICT;
    CREATE TRIGGER IF NOT EXISTS total_grows AFTER INSERT ON message BEGIN
        UPDATE total SET messages = messages + 1, held = held + (new.held <> 0), octets = octets + ",
    octets!("new.size"),
    ";
    END;
    CREATE TRIGGER IF NOT EXISTS total_shrinks AFTER DELETE ON message BEGIN
        UPDATE total SET messages = messages - 1, held = held - (old.held <> 0), octets = octets - ",
    octets!("old.size"),
    ";
    END;
    CREATE TRIGGER IF NOT EXISTS total_changes AFTER UPDATE OF size, held ON message BEGIN
        UPDATE total SET held = held + (new.held <> 0) - (old.held <> 0), octets = octets + ",
    octets!("new.size"),
    " - ",
    octets!("old.size"),
    ";
    END;
    INSERT OR REPLACE INTO total (id, messages, octets, held)
        SELECT 1, ",
    sums!(),
    ";",
);
/// What that makes.
pub(super) const NAMES: [&str; 4] = ["total", "total_grows", "total_shrinks", "total_changes"];

impl Database {
    pub(crate) fn summary(&self) -> Result<Summary, QueueError> {
        let oldest = |row: &Row<'_>| row.get(0).and_then(|it| moment(it, 0));
        let read = || {
            // Names are in the order of time.
            let oldest = self
                .connection
                .prepare_cached("SELECT arrived FROM message ORDER BY id LIMIT 1")?
                .query_row([], oldest)
                .optional()?;
            let summary = |row: &Row<'_>| {
                let (messages, octets, held) = (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?);
                Ok(Summary { messages, octets, held, oldest })
            };
            match self.connection.prepare_cached(SANE)?.query_row([], summary).optional()? {
                Some(summary) => Ok(summary),
                None => self.connection.prepare_cached(concat!("SELECT ", sums!()))?.query_row([], summary),
            }
        };
        read().map_err(|source| self.failed(source))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rusqlite::StatementStatus;

    use super::super::Selection;
    use super::super::raw::RawText;
    use super::*;
    use crate::QueueId;

    const FILL: &str = "
        WITH RECURSIVE number (it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number WHERE it < 10000)
        INSERT INTO message (id, size, arrived, held, smtputf8, eight_bit)
            SELECT printf('%09d', it), it % 7, it, it % 5 = 0, 0, 0 FROM number";

    #[track_caller]
    fn check(database: &Database) {
        let summed = |row: &Row<'_>| {
            Ok(Summary {
                messages: unsigned(row, 0)?,
                octets: unsigned(row, 1)?,
                held: unsigned(row, 2)?,
                oldest: row.get::<_, Option<i64>>(3)?.map(|it| moment(it, 3)).transpose()?,
            })
        };
        let sum =
            "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(held), 0), min(arrived) FROM message";
        let summed = database.connection.query_row(sum, [], summed).unwrap();
        assert_eq!(database.summary().unwrap(), summed);
    }

    #[test]
    fn the_totals_are_right_whatever_is_done_with_messages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let mut database = Database::open(&path).unwrap();
        check(&database);
        database.connection.execute_batch(FILL).unwrap();
        check(&database);
        let (one, now) = (Selection::one(&QueueId("000000001".to_owned())), Timestamp::now());
        let some = database.some_behind(&RawText::from("000000100")).unwrap().unwrap();
        for held in [true, true, false, true] {
            for which in [&one, &some] {
                database.hold(which, held, now).unwrap();
                check(&database);
            }
        }
        for which in [&one, &some] {
            database.remove(which).unwrap();
            check(&database);
        }
        // Of an older version, or by a hand.
        database
            .connection
            .execute_batch("DROP TRIGGER total_shrinks; DELETE FROM message WHERE id < '000005000'")
            .unwrap();
        let database = Database::open(&path).unwrap();
        check(&database);
    }

    #[test]
    fn totals_that_are_lost_or_can_not_be_right_are_counted_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let is_sane = |database: &Database| database.connection.prepare(SANE).unwrap().exists([]).unwrap();
        for damage in ["DELETE FROM total", "UPDATE total SET octets = -1", "UPDATE total SET messages = -9"]
        {
            let database = Database::open(&path).unwrap();
            database.connection.execute_batch(&format!("DELETE FROM message; {FILL}")).unwrap();
            database.connection.execute_batch(damage).unwrap();
            check(&database);
            assert!(!is_sane(&database));
            let database = Database::open(&path).unwrap();
            assert!(is_sane(&database));
            check(&database);
        }
    }

    #[test]
    fn a_queue_whose_totals_are_lost_while_it_is_open_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join("queue.sqlite")).unwrap();
        let writes = |database: &mut Database| database.write(|it| it.execute_batch(FILL));
        let reads = |database: &mut Database| database.read(Database::summary).map(drop);
        for work in [writes as fn(&mut Database) -> Result<(), QueueError>, reads] {
            database.connection.execute_batch("DROP TABLE total").unwrap();
            work(&mut database).unwrap();
            check(&database);
        }
    }

    #[test]
    fn sizes_that_can_not_be_keep_nothing_from_being_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let database = Database::open(&path).unwrap();
        let sum = |database: &Database| {
            let Summary { messages, octets, .. } = database.summary().unwrap();
            (messages, octets)
        };
        database.connection.execute_batch(FILL).unwrap();
        let (messages, octets) = sum(&database);
        let damage =
            "UPDATE message SET size = iif(id < '000000003', 9223372036854775807, -5) WHERE id < '000000004'";
        let lost = 1 + 2 + 3;
        database.connection.execute_batch(damage).unwrap();
        let expected = (messages, octets - lost + (2 << 40));
        assert_eq!(sum(&database), expected);
        database.connection.execute_batch("DROP TABLE total; DROP TRIGGER total_grows").unwrap();
        let database = Database::open(&path).unwrap();
        assert_eq!(sum(&database), expected);
        database.connection.execute_batch("DELETE FROM message WHERE id < '000000004'").unwrap();
        assert_eq!(sum(&database), (messages - 3, octets - lost));
    }

    #[test]
    fn a_look_at_the_totals_goes_through_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("queue.sqlite")).unwrap();
        database.connection.execute_batch(FILL).unwrap();
        for sql in [SANE, "SELECT arrived FROM message ORDER BY id LIMIT 1"] {
            let mut statement = database.connection.prepare(sql).unwrap();
            statement.query_row([], |_| Ok(())).unwrap();
            assert!(statement.get_status(StatementStatus::VmStep) < 50, "{sql}");
        }
    }
}
